import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.backbones import FeatureExtractor


def images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def small(size=32):
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="a")(inputs)
    x = layers.BatchNormalization(name="b")(x)
    return keras.Model(inputs, layers.Conv2D(4, 3, 2, padding="same", name="c")(x), name="small")


def test_weights_are_shared():
    backbone = small()
    extractor = FeatureExtractor(backbone, [2, 4])
    assert extractor.backbone is backbone
    assert [id(w) for w in extractor.weights] == [id(w) for w in backbone.weights]
    before = ops.convert_to_numpy(extractor(images(1, 32, 32, 3))[1])
    backbone.get_layer("c").kernel.assign(backbone.get_layer("c").kernel * 2.0)
    np.testing.assert_allclose(
        ops.convert_to_numpy(extractor(images(1, 32, 32, 3))[1]), 2 * before, rtol=1e-5
    )
    # What lies behind the last tap gets no gradient, and is no weight of the extractor.
    assert len(FeatureExtractor(backbone, [2]).trainable_weights) == 4


@pytest.mark.parametrize("size", [None, 32])
def test_saved_and_loaded(size, tmp_path):
    extractor = FeatureExtractor(small(size), (4, 2), name="taps")
    extractor.backbone.get_layer("b").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    extractor.save(tmp_path / "taps.keras")
    loaded = keras.saving.load_model(tmp_path / "taps.keras")
    assert isinstance(loaded, FeatureExtractor)
    assert (loaded.name, loaded.strides, loaded.backbone.name) == ("taps", [4, 2], "small")
    x = images(2, 32, 32, 3)
    for got, expected in zip(loaded(x), extractor(x), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(got), ops.convert_to_numpy(expected))


@pytest.mark.parametrize("strides", [4, [4]])
def test_one_stride_is_one_map(strides):
    """Called in a graph as when it is run."""
    backbone = small()
    extractor = FeatureExtractor(backbone, strides)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.MaxPooling2D()(extractor(inputs)))
    x = images(1, 32, 32, 3)
    expected = layers.MaxPooling2D()(backbone(x))
    for got in (model(x), layers.MaxPooling2D()(extractor(x))):
        np.testing.assert_array_equal(ops.convert_to_numpy(got), ops.convert_to_numpy(expected))


def test_integers_of_numpy(tmp_path):
    extractor = FeatureExtractor(small(), list(np.array([4, 2])))
    extractor.save(tmp_path / "taps.keras")
    assert keras.saving.load_model(tmp_path / "taps.keras").strides == [4, 2]


def test_empty_batch_and_order():
    first, second = FeatureExtractor(small(), [4, 2]).outputs
    assert (first.shape, second.shape) == ((None, 8, 8, 4), (None, 16, 16, 4))


class Subclassed(keras.Model):
    def call(self, x):
        return x


def two_inputs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return keras.Model(inputs, layers.Add()(inputs))


def flat():
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(2)(inputs))


@pytest.mark.parametrize(
    ("backbone", "strides", "message"),
    [
        (small, [8], r"backbone 'small', which are \[1, 2, 4\]. Received: strides=\[8\]"),
        (small, [2, 8], r"which are \[1, 2, 4\]. Received: strides=\[2, 8\]"),
        (small, [], r"`strides` must be among .*Received: strides=\[\]"),
        (small, 2.0, r"`strides` must be an integer of at least 1. Received: strides=2.0"),
        (small, [2, True], r"`strides` must be an integer of at least 1. Received: strides=True"),
        (small, np.array([2, 4]), r"`strides` must be an integer .*strides=array"),
        (small, "2", "`strides` must be an integer"),
        (Subclassed, [2], "`backbone` must be a functional or built sequential"),
        (lambda: keras.Sequential([layers.Conv2D(2, 3)]), [2], "`backbone` must be a functional"),
        (lambda: layers.Conv2D(2, 3), [2], "`backbone` must be a functional"),
        (two_inputs, [1], "`backbone` must have one input.*Received: inputs of shapes"),
        (flat, [1], "`backbone` must have one input, a batch of images of rank 4"),
    ],
)
def test_bad_arguments(backbone, strides, message):
    with pytest.raises(ValueError, match=message):
        FeatureExtractor(backbone(), strides)
