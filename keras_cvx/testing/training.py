"""The clause of the contract that trains: one step of `fit`."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_cvx.testing.comparison import BreachError, to_numpy


def fit(subject):
    """One step of `fit` has finite gradients, which reach the weights and the inputs.

    The loss is the `Energy` of all float outputs. Each input to which gradients must return has
    weights before it, `Gain`. The step is plain descent at rate 1: what changed had a gradient.
    """
    gains = [
        Gain() if passes and np.issubdtype(x.dtype, np.floating) else None
        for argument, passes in zip(subject.inputs, subject.differentiable, strict=True)
        for x in keras.tree.flatten(argument)
    ]
    flat, _ = subject.symbols()
    before = [gain(x) if gain else x for gain, x in zip(gains, flat, strict=True)]
    layer = subject.wrap(subject.make())
    outputs = layer(*keras.tree.pack_sequence_as(subject.inputs, before))
    floats = [x for x in keras.tree.flatten(outputs) if "float" in x.dtype]
    if not floats or not (any(gains) or layer.trainable_variables):
        raise BreachError(
            "there is nothing to train: no float output, or neither weights nor float inputs. "
            "Skip this clause if that is meant"
        )
    model = keras.Model(flat, Energy()(floats))
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    watched = {
        f"input {i}, of shape {flat[i].shape}": [gain.gain] for i, gain in enumerate(gains) if gain
    }
    if layer.trainable_variables:
        watched["the weights"] = layer.trainable_variables
    start = {name: _values(variables) for name, variables in watched.items()}
    inputs = keras.tree.flatten(subject.inputs)
    with warnings.catch_warnings():
        # TensorFlow's; what lacks a gradient is told below.
        warnings.filterwarnings("ignore", "Gradients do not exist")
        history = model.fit(inputs, batch_size=subject.batch, shuffle=False, verbose=0)
    loss = history.history["loss"][0]
    wrong = [v.path for v in model.variables if not np.isfinite(to_numpy(v.value)).all()]
    if wrong or not np.isfinite(loss):
        raise BreachError(f"after a step of `fit` with a loss of {loss}, {wrong} are not finite")
    for name, variables in watched.items():
        if all(map(np.array_equal, start[name], _values(variables))):
            mend = (
                ""
                if name == "the weights"
                else ". If no layer computes it, say so: `differentiable`"
            )
            raise BreachError(f"no gradient reaches {name} in a step of `fit`{mend}")


class Gain(keras.layers.Layer):
    """Multiplies each entry by a weight of 1, so that there is something to train before it."""

    def __init__(self):
        super().__init__(dtype="float32", autocast=False)

    def build(self, input_shape):
        self.gain = self.add_weight(shape=input_shape[1:], initializer="ones", name="gain")
        self.built = True

    def call(self, inputs):
        return inputs * self.gain


class Energy(keras.layers.Layer):
    """Makes a scalar loss of all floats.

    Channels count differently, so that outputs whose sum is fixed (a softmax, a normalization)
    have gradients too.
    """

    def __init__(self):
        super().__init__(dtype="float32", autocast=False)

    def build(self, _):
        self.built = True

    def call(self, outputs):
        energy = sum(ops.mean(ops.square(ops.cast(x, "float32") + _ramp(x.shape))) for x in outputs)
        self.add_loss(energy)
        return energy


def _ramp(shape):
    channels = shape[-1] if len(shape) > 1 else None
    return ops.linspace(1.0, 2.0, channels) if channels else 1.0


def _values(variables):
    return [to_numpy(variable.value) for variable in variables]
