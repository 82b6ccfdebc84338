"""Feature maps inside nested models: the extractor's outputs against the inner layers' own."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.backbones import FeatureExtractor, measure_strides
from keras_cvx.backbones.graphs import INPUT, select, trace


def images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def assert_equal(got, expected):
    for x, y in zip(keras.tree.flatten(got), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(x), ops.convert_to_numpy(y))


class Counting(layers.Layer):
    """Passes its input on, and counts how often it is run on arrays."""

    runs = 0

    def call(self, x):
        if not isinstance(x, keras.KerasTensor):
            self.runs += 1
        return x

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def stage(filters, size=None, channels=3, name=None):
    """Strides 2 and 4, and one layer of stride 4 behind them."""
    inputs = keras.Input((size, size, channels))
    x = layers.Conv2D(filters, 3, 2, padding="same", name="a")(inputs)
    x = layers.BatchNormalization(name="b")(x)
    x = layers.Conv2D(filters, 3, 2, padding="same", name="c")(x)
    return keras.Model(inputs, layers.ReLU(name="d")(x), name=name)


def outputs_of(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def in_sequential(inner, size):
    return keras.Sequential([keras.Input((size, size, 3)), layers.Rescaling(1 / 255), inner])


def in_functional(inner, size):
    inputs = keras.Input((size, size, 3))
    return keras.Model(inputs, layers.Conv2D(5, 3, 2)(inner(layers.Rescaling(1 / 255)(inputs))))


def in_functional_in_sequential(inner, size):
    inputs = keras.Input((size, size, 3))
    middle = keras.Model(inputs, keras.Sequential([inner, layers.ReLU()])(inputs), name="middle")
    return in_sequential(middle, size)


NESTINGS = [in_sequential, in_functional, in_functional_in_sequential]


def test_empty_selection():
    assert select(stage(4), []) == []


@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize("nest", NESTINGS)
def test_maps_inside(nest, size, tmp_path):
    inner = stage(4, size, name="inner")
    model = nest(inner, size)
    x = images(2, 32, 32, 3)
    assert {1, 2, 4} <= set(measure_strides(model))
    extractor = FeatureExtractor(model, [2, 4])
    expected = outputs_of(inner, "b", "d")(x / np.float32(255))
    for got, wanted in zip(extractor(x), expected, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(got), ops.convert_to_numpy(wanted), atol=1e-6
        )
    assert {id(w) for w in extractor.weights} == {id(w) for w in inner.weights}
    # What lies behind the last tap inside is no weight of the extractor.
    assert len(FeatureExtractor(model, [2]).weights) == 6
    inner.get_layer("b").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    extractor.save(tmp_path / "taps.keras")
    loaded = keras.saving.load_model(tmp_path / "taps.keras")
    assert_equal(loaded(x), extractor(x))


def test_measured_tensors_are_of_the_model():
    model = in_functional_in_sequential(stage(4), 32)
    x = images(1, 32, 32, 3)
    found = keras.Model(model.inputs[0], measure_strides(model)[2])(x)
    assert_equal(found, FeatureExtractor(model, 2)(x))


@pytest.mark.parametrize(("strides", "runs"), [([2], 1), ([2, 4], 1), ([2, 8], 1), ([8], 1)])
def test_nothing_is_run_twice(strides, runs):
    counting = Counting(name="counting")
    inputs = keras.Input((32, 32, 3))
    x = counting(layers.Conv2D(4, 3, 2, padding="same")(inputs))
    inner = keras.Model(inputs, layers.Conv2D(4, 3, 2, padding="same")(x))
    outer_inputs = keras.Input((32, 32, 3))
    model = keras.Model(outer_inputs, layers.MaxPooling2D()(inner(outer_inputs)))
    extractor = FeatureExtractor(model, strides)
    counting.runs = 0
    extractor(images(1, 32, 32, 3))
    assert counting.runs == runs


def test_weights_behind_the_last_tap():
    """The second nested model begins behind the tap; the first is cut in its middle or whole."""
    inputs = keras.Input((64, 64, 3))
    first, second = stage(4, name="first"), stage(5, channels=4, name="second")
    model = keras.Model(inputs, second(first(inputs)))
    assert sorted(measure_strides(model)) == [1, 2, 4, 8, 16]
    counts = {2: 6, 4: 8, 8: 14, 16: 16}
    for stride, count in counts.items():
        assert len(FeatureExtractor(model, stride).weights) == count, stride
    x = images(1, 64, 64, 3)
    expected = [
        *outputs_of(first, "b", "d")(x),
        *outputs_of(second, "b", "d")(first(x)),
    ]
    assert_equal(FeatureExtractor(model, [2, 4, 8, 16])(x), expected)


@pytest.mark.parametrize("arguments", [{}, {"training": False}])
def test_statistics_inside_move_as_in_the_model(arguments):
    """Also where the inner model is called as the guide to transfer learning has it."""
    inner = stage(4)
    mean = inner.get_layer("b").moving_mean
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.MaxPooling2D()(inner(inputs, **arguments)))
    x, means = images(2, 32, 32, 3), []
    for called in (model, FeatureExtractor(model, [2])):
        mean.assign([0.0] * 4)
        called(x, training=True)
        means.append(ops.convert_to_numpy(mean))
    np.testing.assert_array_equal(*means)
    assert np.any(means[0]) or arguments


def test_frozen_layers_stay_frozen(tmp_path):
    """Also where they are frozen after the extractor is built, and in a saved and loaded one."""
    inner = stage(4)
    model = in_functional(inner, 32)
    extractor = FeatureExtractor(model, [2, 8])
    assert len(extractor.trainable_weights) == 8
    inner.trainable = False
    assert len(extractor.trainable_weights) == 2
    mean = ops.convert_to_numpy(inner.get_layer("b").moving_mean)
    extractor(images(2, 32, 32, 3), training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(inner.get_layer("b").moving_mean), mean)
    assert len(FeatureExtractor(model, [2]).trainable_weights) == 0
    extractor.save(tmp_path / "taps.keras")
    assert len(keras.saving.load_model(tmp_path / "taps.keras").trainable_weights) == 2


def test_nested_model_that_is_used_twice():
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(3, 3, 2, padding="same"), layers.ReLU()],
        name="inner",
    )
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.MaxPooling2D()(inner(layers.Rescaling(2.0)(inner(inputs)))))
    extractor = FeatureExtractor(model, [1, 2, 4, 8])
    x = images(1, 32, 32, 3)
    twice = inner(2.0 * inner(x))
    assert_equal(extractor(x)[:3], [x, 2.0 * inner(x), twice])
    assert len(extractor.weights) == 2


def test_tap_inside_each_use_of_a_nested_model():
    convolution = layers.Conv2D(3, 3, 2, padding="same")
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), convolution, layers.ZeroPadding2D(1)], name="inner"
    )
    inputs = keras.Input((32, 32, 3))
    # Only inside are there maps that are not padded.
    model = keras.Model(inputs, inner(inner(inputs)))
    x = images(1, 32, 32, 3)
    assert_equal(FeatureExtractor(model, [2])(x), convolution(x))
    paths = [path for path in trace(model) if path[2] == convolution.name]
    assert [path[:2] for path in paths] == [("inner", 0), ("inner", 1)]
    both = keras.Model(model.inputs[0], select(model, paths))(x)
    assert_equal(both, [convolution(x), convolution(inner(x))])


def test_nested_model_of_dictionaries():
    inner_inputs = {"left": keras.Input((32, 32, 3), name="left"),
                    "right": keras.Input((32, 32, 3), name="right")}  # fmt: skip
    x = layers.Conv2D(4, 3, 2, padding="same")(inner_inputs["left"])
    y = layers.Conv2D(4, 5, 2, padding="same")(inner_inputs["right"])
    summed = layers.Add(name="sum")([x, y])
    inner = keras.Model(
        inner_inputs, {"pooled": layers.MaxPooling2D()(summed), "half": layers.ReLU()(summed)}
    )
    inputs = keras.Input((32, 32, 3))
    outputs = inner({"left": inputs, "right": layers.Rescaling(2.0)(inputs)})
    model = keras.Model(inputs, layers.Conv2D(1, 1)(outputs["pooled"]))
    x = images(1, 32, 32, 3)
    paths = [path for path in trace(model) if "sum" in path]
    got = keras.Model(model.inputs[0], select(model, paths))(x)
    assert_equal(got, outputs_of(inner, "sum")({"left": x, "right": 2.0 * x}))
    assert sorted(measure_strides(model)) == [1, 2, 4]


def test_compiled_models_stay_as_they_are():
    inner = stage(4)
    inner.compile("sgd", "mse")
    model = in_functional(inner, 32)
    model.compile("sgd", "mse")
    assert not FeatureExtractor(model, 2).compiled
    assert trace(model)[INPUT] is model.inputs[0]


class Closed(keras.Model):
    """A functional model that does something else than its graph says."""

    def call(self, x):
        return super().call(x) + 1.0


def test_models_that_differ_from_their_graph_are_not_looked_into():
    inputs = keras.Input((32, 32, 3))
    inner = Closed(inputs, layers.MaxPooling2D()(layers.Conv2D(4, 3, 2)(inputs)), name="closed")
    outer = keras.Input((32, 32, 3))
    model = keras.Model(outer, inner(outer))
    assert sorted(measure_strides(model)) == [1, 4]
    message = r"are \[1, 4\].*strides=\[2\]. Feature maps inside the models \['closed'\] are not"
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(model, [2])


def test_no_map_but_the_images():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match=r"are \[1\].*Besides the images it has no map"):
        FeatureExtractor(model, 2)
