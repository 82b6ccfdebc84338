"""The steps of a model, repeated one by one, give what the model gives."""

import keras
import numpy as np
from keras import layers, ops

from keras_cvx.backbones.steps import trace_steps


def outputs_by_steps(model, *arrays):
    """What the steps compute of arrays, with no model left to call."""
    inputs, steps, outputs = trace_steps(model)
    known = {id(x): ops.convert_to_tensor(a) for x, a in zip(inputs, arrays, strict=True)}
    for step in steps:
        assert not isinstance(step.operation, keras.Model)
        step.repeat(known, {})
    return [ops.convert_to_numpy(known[id(x)]) for x in outputs]


def inner(channels, name):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(channels, activation="tanh")(inputs), name=name)


def test_a_model_of_no_layers():
    inputs = keras.Input((4,))
    given, steps, outputs = trace_steps(keras.Model(inputs, inputs))
    assert steps == []
    assert given[0] is outputs[0]


def test_nested_models_called_twice_and_deeper():
    once, shared = inner(3, "once"), inner(4, "shared")
    inputs = keras.Input((4,))
    deeper = keras.Model(inputs, once(shared(inputs)), name="deeper")
    others = keras.Input((4,))
    x = layers.Concatenate()([deeper(others), shared(shared(others))])
    model = keras.Model([inputs, others], [x * 2.0 + layers.Reshape((4,))(inputs)[:, :1], others])
    model = keras.Model(model.inputs, model(model.inputs))
    arrays = [np.float32(np.arange(8).reshape(2, 4) / shift) for shift in (5, 7)]
    expected = [ops.convert_to_numpy(y) for y in model(arrays)]
    for got, y in zip(outputs_by_steps(model, *arrays), expected, strict=True):
        np.testing.assert_allclose(got, y, atol=1e-6)


def test_a_model_whose_call_is_its_own_is_one_step():
    class Doubling(keras.Model):
        def call(self, x):
            return 2 * super().call(x)

    inputs = keras.Input((4,))
    doubling = Doubling(inputs, layers.Identity()(inputs))
    _, steps, _ = trace_steps(keras.Sequential([inputs, doubling, layers.ReLU()]))
    assert steps[0].operation is doubling
    assert len(steps) == 2


def test_steps_of_one_name_are_told_apart():
    inputs = keras.Input((4,))
    nested = keras.Model(inputs, layers.Rescaling(3.0, name="same")(inputs))
    pair = [keras.Input((4,)), keras.Input((4,))]
    difference = keras.Model(pair, layers.Subtract(name="same")(pair))
    y = layers.Rescaling(2.0, 1.0, name="same")(inputs)
    model = keras.Model(inputs, difference([nested(y), inputs]))
    [given], steps, [output] = trace_steps(model)
    images = keras.Input((4,))
    known, names = {id(given): images}, {}
    for step in steps:
        step.repeat(known, names)
    assert [step.operation.name for step in steps] == ["same"] * 3
    repeated = keras.Model(images, known[id(output)])
    x = np.float32([[1, 2, 3, 4]])
    np.testing.assert_allclose(ops.convert_to_numpy(repeated(x)), 3 * (2 * x + 1) - x)
