"""What is checked: how it is made, what it is called with, and every kind of it as a layer."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Subject:
    """An object under test.

    Attributes:
        factory: Class, or function that returns an object.
        init_kwargs: Arguments of the factory.
        inputs: Tuple of positional arguments, each a structure of NumPy arrays.
        differentiable: Tuple of booleans: the inputs that the layers before compute, in half
            precision under a mixed policy, and to which gradients must return.
        wrap: Function from the object to what takes the inputs: a layer, or `update_state`.
        invalid: Mapping from an argument of the factory to a list of values that it must refuse.
        invalid_inputs: Mapping from an argument to a tuple of inputs that must be refused.
        tolerance: Float, relative and absolute.
    """

    factory: Callable[..., Any]
    init_kwargs: Mapping[str, Any]
    inputs: tuple
    differentiable: tuple[bool, ...]
    wrap: Callable[[Any], Any]
    invalid: Mapping[str, Any]
    invalid_inputs: Mapping[str, Any]
    tolerance: float

    @property
    def batch(self):
        """Number of samples of the inputs."""
        return keras.tree.flatten(self.inputs)[0].shape[0]

    def make(self, **changes):
        """A new object, with other arguments here and there."""
        return self.factory(**{**self.init_kwargs, **changes})

    def tensors(self, rows=slice(None)):
        """The inputs as the backend's tensors, or some of their samples."""
        return keras.tree.map_structure(lambda x: ops.convert_to_tensor(x[rows]), self.inputs)

    def narrow_tensors(self, dtype):
        """The inputs as tensors, as a model in half precision hands them on."""

        def narrow(x):
            tensor = ops.convert_to_tensor(x)
            return ops.cast(tensor, dtype) if np.issubdtype(x.dtype, np.floating) else tensor

        return tuple(
            keras.tree.map_structure(narrow if computed else ops.convert_to_tensor, argument)
            for argument, computed in zip(self.inputs, self.differentiable, strict=True)
        )

    def symbols(self, batch=None):
        """Symbolic inputs of the same structure: the flat list, and the positional arguments."""
        flat = [
            keras.Input(batch_shape=(batch, *x.shape[1:]), dtype=x.dtype.name, name=f"input_{i}")
            for i, x in enumerate(keras.tree.flatten(self.inputs))
        ]
        return flat, keras.tree.pack_sequence_as(self.inputs, flat)

    def takes(self, argument):
        """Whether the factory takes an argument, by name or with all the others."""
        parameters = inspect.signature(self.factory).parameters
        return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def as_inputs(inputs):
    """Positional arguments: a tuple as it is, anything else as the only one; of NumPy arrays."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return keras.tree.map_structure(_as_array, inputs)


def _as_array(x):
    x = x if isinstance(x, np.ndarray) else ops.convert_to_numpy(x)
    if x.ndim == 0:
        raise ValueError(
            "`inputs` must be arrays with a batch axis, or nested lists, tuples and dictionaries "
            "of such. Received a scalar; write `np.asarray` around a list of numbers."
        )
    # The widths in which Keras models get their data.
    return x.astype({"float64": "float32", "int64": "int32"}.get(x.dtype.name, x.dtype))


@contextlib.contextmanager
def dtype_policy(policy):
    """Context in which Keras' own dtype policy is another."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class _Wrapped(keras.layers.Layer):
    """What is no layer, as one; float32 whatever the policy, for it casts as it pleases."""

    def __init__(self, wrapped):
        super().__init__(dtype="float32", autocast=False)
        self.wrapped = wrapped

    def build(self, *_):
        self.built = True

    def get_config(self):
        return {"wrapped": keras.saving.serialize_keras_object(self.wrapped)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["wrapped"]))


class LossLayer(_Wrapped):
    """A loss as a layer: the loss of each sample."""

    def call(self, y_true, y_pred):
        # Not on a copy: Keras copies by saving and loading, which may be what is broken.
        loss = self.wrapped
        reduction, loss.reduction = loss.reduction, "none"
        try:
            return loss(y_true, y_pred)
        finally:
            loss.reduction = reduction


class CodingLayer(_Wrapped):
    """A grid coding as a layer: what it decodes, and its loss."""

    def call(self, outputs, centers, strides, boxes, labels):
        decoded, scores = self.wrapped.decode(outputs, centers, strides)
        loss = self.wrapped.loss(outputs, centers, strides, boxes, labels)
        return {"boxes": decoded, "scores": scores, "loss": loss}
