import types

import keras
import pytest
from keras import ops

from keras_cvx.ops import _arrays


@pytest.fixture
def no_tensors(monkeypatch):
    """While it lasts, a tensor of the backend cannot be made, nor Keras' own `__call__` be asked.

    The layers must answer NumPy arrays on the host, as the workers of a loader need it.
    """
    only = types.SimpleNamespace(is_tensor=ops.is_tensor)
    monkeypatch.setattr(_arrays, "ops", only)
    monkeypatch.setattr(keras.ops, "convert_to_tensor", lambda *_: pytest.fail("a tensor is made"))
    monkeypatch.setattr(keras.layers.Layer, "__call__", lambda *_: pytest.fail("Keras is asked"))
    monkeypatch.setattr(keras.random, "uniform", lambda *_, **__: pytest.fail("the backend draws"))
