import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx import plugins
from keras_cvx.layers import FeaturePyramidDecoder


def as_numpy(x):
    return ops.convert_to_numpy(x)


def maps_of(strides, height, width, batch=1):
    rng = np.random.default_rng(0)
    sizes = [(-(-height // s), -(-width // s)) for s in strides]
    return [rng.normal(size=(batch, *size, 3)).astype("float32") for size in sizes]


def images(height, width, batch=1):
    return np.zeros((batch, height, width, 3), "float32")


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow's 1×1 convolution of an empty batch has the wrong number of channels",
)
def test_empty_batch():
    decoder = FeaturePyramidDecoder(5, [2, 4])
    assert decoder(maps_of([2, 4], 8, 12, 0), images(8, 12, 0)).shape == (0, 8, 12, 5)


@pytest.mark.parametrize(("level", "row", "column"), [(0, 13, 17), (1, 6, 8)])
def test_a_hot_cell_shows_up_at_its_place(level, row, column):
    strides = [4, 8]
    decoder = FeaturePyramidDecoder(3, strides, filters=16)
    maps = maps_of(strides, 94, 126)
    before = as_numpy(decoder(maps, images(94, 126)))
    maps[level][0, row, column] += 1
    difference = np.abs(as_numpy(decoder(maps, images(94, 126))) - before).max(-1)[0]
    stride = strides[level]
    # Its own convolution and interpolation, those of the finer level, and that to the image.
    reach = stride + 2 if level == 0 else 2 * stride + 2
    for places, at in zip(np.nonzero(difference > 1e-6), (row, column), strict=True):
        assert places.min() >= at * stride - reach
        assert places.max() < (at + 1) * stride + reach
        assert abs((places.min() + places.max() + 1) / 2 - (at + 0.5) * stride) <= 0.5


def test_every_level_counts():
    strides = [4, 8, 16]
    decoder = FeaturePyramidDecoder(3, strides)
    maps = maps_of(strides, 32, 48)
    before = as_numpy(decoder(maps, images(32, 48)))
    for level in range(3):
        changed = [x + (i == level) for i, x in enumerate(maps)]
        assert np.abs(as_numpy(decoder(changed, images(32, 48))) - before).max() > 1e-2


def test_sizes_that_are_known_only_when_it_runs():
    inputs = keras.Input((None, None, 3))
    maps = [keras.layers.AveragePooling2D(s, padding="same")(inputs) for s in (2, 4)]
    model = keras.Model(inputs, FeaturePyramidDecoder(5, [2, 4])(maps, inputs))
    for size in ((8, 12), (9, 13)):
        assert model.predict(images(*size), verbose=0).shape == (1, *size, 5)


def test_channels_first():
    maps, strides = maps_of([2, 4], 9, 13), [2, 4]
    decoder = FeaturePyramidDecoder(5, strides, data_format="channels_last")
    expected = as_numpy(decoder(maps, images(9, 13)))
    other = FeaturePyramidDecoder(5, strides, data_format="channels_first")
    turned = [x.transpose(0, 3, 1, 2) for x in [*maps, images(9, 13)]]
    other(turned[:-1], turned[-1])
    other.set_weights(decoder.get_weights())
    np.testing.assert_allclose(as_numpy(other(turned[:-1], turned[-1])), expected, atol=1e-6)


def test_by_hand():
    decoder = FeaturePyramidDecoder(4, [2, 4, 8], filters=6)
    maps, picture = maps_of([2, 4, 8], 16, 24), images(16, 24)
    got = as_numpy(decoder(maps, picture))

    def enlarged(x, factor):
        size = tuple(factor * side for side in x.shape[1:3])
        return as_numpy(ops.image.resize(x, size, "bilinear", data_format="channels_last"))

    def scored(x, layer):
        kernel, bias = layer.get_weights()
        return x @ kernel[0, 0] + bias

    fine, middle, coarse = (
        scored(x, layer) for x, layer in zip(maps, decoder._lateral, strict=True)
    )
    middle = middle + enlarged(coarse, 2)
    fine = fine + enlarged(middle, 2)
    fine, middle, coarse = (
        as_numpy(layer(x)) for x, layer in zip((fine, middle, coarse), decoder._smooth, strict=True)
    )
    total = fine + enlarged(middle, 2) + enlarged(coarse, 4)
    expected = enlarged(scored(total, decoder._scorer), 2)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_by_name():
    # Numbers as NumPy has them, too.
    decoder = plugins.lookup("fpn", "decoder")(np.int64(7))
    assert (decoder.num_classes, decoder.strides) == (7, [4, 8, 16, 32])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be a positive integer"),
        ({"filters": 2.0}, "`filters` must be a positive integer"),
        ({"data_format": "NHWC"}, "`data_format` must be 'channels_last'"),
        ({"strides": []}, "`strides` must be integers that rise"),
        ({"strides": [1, 2]}, "`strides` must be integers that rise"),
        ({"strides": [4, 6]}, "`strides` must be integers that rise"),
        ({"strides": [2.0, 4.0]}, "`strides` must be integers that rise"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FeaturePyramidDecoder(**{"num_classes": 5, **arguments})


def test_bad_maps():
    with pytest.raises(ValueError, match=r"`features` must be one feature map of rank 4 for each"):
        FeaturePyramidDecoder(5, [2, 4])(maps_of([2], 8, 8), images(8, 8))


def test_maps_of_other_strides():
    with pytest.raises(ValueError, match=r"maps of the strides \[2, 4\].*\(16, 32\) cells\. Recei"):
        FeaturePyramidDecoder(5, [2, 4])(maps_of([4, 8], 32, 64), images(32, 64))
