import types

import numpy as np
import pytest
from keras import ops

from keras_cvx.ops import _arrays


def test_no_arrays():
    assert _arrays.namespace() is _arrays._NUMPY
    assert _arrays.dense([]) == []
    assert _arrays.dense([np.zeros((0, 4)), np.zeros((0, 4))]).shape == (2, 0, 4)


def test_the_namespaces_have_the_same_names():
    pytest.importorskip("tensorflow")
    names = set(vars(_arrays._NUMPY))
    assert names <= set(vars(_arrays.tensorflow()))
    assert all(hasattr(ops, name) for name in names)


def test_whose_functions():
    tf = pytest.importorskip("tensorflow")
    numpy, tensor, ours = np.zeros(2), tf.zeros(2), ops.zeros(2)
    assert _arrays.namespace(numpy, 3, None, [1.0]) is _arrays._NUMPY
    assert _arrays.namespace(numpy, ours) is ops
    assert _arrays.namespace(tensor, ours) is ops
    foreign = not ops.is_tensor(tensor)
    assert _arrays.namespace(numpy, tensor) is (_arrays.tensorflow() if foreign else ops)


def test_tensorflow_in_the_midst_of_its_import_is_no_obstacle(monkeypatch):
    monkeypatch.setitem(_arrays.sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    assert not _arrays.is_tensorflow(np.zeros(2))
    monkeypatch.delitem(_arrays.sys.modules, "tensorflow")
    assert not _arrays.is_tensorflow(np.zeros(2))


def test_rows_of_several_lengths(as_kind):
    rows = [np.float32([[1, 2]]), np.zeros((0, 2), "float32"), np.float32([[3, 4], [5, 6]])]
    got = np.asarray(_arrays.dense(as_kind(rows)))
    padding = [-1, -1]
    assert got.tolist() == [[[1, 2], padding], [padding, padding], [[3, 4], [5, 6]]]


def test_ragged_rows():
    tf = pytest.importorskip("tensorflow")
    got = _arrays.dense(tf.ragged.constant([[7], [], [8, 9]], dtype="int32"))
    assert got.numpy().tolist() == [[7, -1], [-1, -1], [8, 9]]


def test_what_is_neither_stays():
    for given in (np.zeros(3), [[1.0, 2.0]], "text", None):
        assert _arrays.dense(given) is given
