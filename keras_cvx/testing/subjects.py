"""What is checked: how to make it, what to call it with, and every kind of it as a layer."""

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
        wrap: Function from the object to a layer that takes the inputs.
        differentiable: Tuple of booleans, the inputs through which gradients must pass.
        invalid: Mapping from an argument to arguments of the factory that it must refuse, or to a
            list of such.
        invalid_inputs: Mapping from an argument to inputs that must be refused.
        tolerance: Float, relative and absolute.
    """

    factory: Callable[..., Any]
    init_kwargs: Mapping[str, Any]
    inputs: tuple
    wrap: Callable[[Any], Any]
    differentiable: tuple[bool, ...]
    invalid: Mapping[str, Any]
    invalid_inputs: Mapping[str, Any]
    tolerance: float

    def make(self, **changes):
        """A new object, with other arguments here and there."""
        return self.factory(**{**self.init_kwargs, **changes})

    def tensors(self, inputs=None):
        """The inputs as the backend's tensors."""
        return keras.tree.map_structure(
            ops.convert_to_tensor, self.inputs if inputs is None else inputs
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
        if argument in parameters:
            return True
        others = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        is_model = isinstance(self.factory, type) and issubclass(self.factory, keras.Model)
        return others and not is_model


def as_inputs(inputs):
    """Positional arguments: a tuple as it is, anything else as the only one; of NumPy arrays.

    Args:
        inputs: Array, or nested list or dictionary of arrays; or a tuple of such.
    """
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return keras.tree.map_structure(_array, inputs)


def _array(x):
    x = x if isinstance(x, np.ndarray) else ops.convert_to_numpy(x)
    if x.ndim == 0:
        raise ValueError(
            "The inputs must be arrays with a batch axis, or nested lists, tuples and dictionaries "
            "of such arrays. Received a scalar; write np.asarray around a list of numbers."
        )
    # The widths in which Keras models get their data.
    return x.astype({"float64": "float32", "int64": "int32"}.get(x.dtype.name, x.dtype))


class LossLayer(keras.layers.Layer):
    """A loss as a layer: the reduced loss, and the loss of each sample."""

    def __init__(self, loss):
        super().__init__(dtype="float32", autocast=False)
        self.loss = loss
        self.each = type(loss).from_config({**loss.get_config(), "reduction": "none"})

    def build(self, *_):
        self.built = True

    def call(self, y_true, y_pred):
        return {"loss": self.loss(y_true, y_pred), "each": self.each(y_true, y_pred)}


class CodingLayer(keras.layers.Layer):
    """A grid coding as a layer: what it decodes, and its loss."""

    def __init__(self, coding):
        super().__init__(dtype="float32", autocast=False)
        self.coding = coding

    def build(self, *_):
        self.built = True

    def call(self, outputs, centers, strides, boxes, labels):
        decoded, scores = self.coding.decode(outputs, centers, strides)
        loss = self.coding.loss(outputs, centers, strides, boxes, labels)
        return {"boxes": decoded, "scores": scores, "loss": loss}


class Gain(keras.layers.Layer):
    """Weights before a layer, so that there is something to train and gradients pass through."""

    def __init__(self, chosen):
        super().__init__(dtype="float32", autocast=False)
        self.chosen = chosen

    def build(self, _):
        self.gain = self.add_weight(shape=(len(self.chosen),), initializer="ones", name="gain")
        self.shift = self.add_weight(shape=(len(self.chosen),), initializer="zeros", name="shift")
        self.built = True

    def call(self, inputs):
        gain, shift = ops.convert_to_tensor(self.gain), ops.convert_to_tensor(self.shift)
        return [
            x * gain[i] + shift[i] if chosen else x
            for i, (x, chosen) in enumerate(zip(inputs, self.chosen, strict=True))
        ]


class Energy(keras.layers.Layer):
    """Makes a scalar loss of all floats, which no usual output leaves without a gradient."""

    def __init__(self):
        super().__init__(dtype="float32", autocast=False)

    def build(self, _):
        self.built = True

    def call(self, outputs):
        outputs = [ops.cast(x, "float32") for x in outputs]
        energy = sum(ops.mean(x) + ops.mean(ops.square(x)) for x in outputs)
        self.add_loss(energy)
        return energy
