"""Strides, measured; and that the extractor taps what they say."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.backbones import FeatureExtractor, measure_strides


def names(model):
    """Stride to the name of the tapped layer."""
    taps = measure_strides(model).items()
    return {stride: tensor._keras_history.operation.name for stride, tensor in taps}


def images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def assert_taps(model, size, taps):
    """The extractor's outputs are, to the bit, those of the layers named."""
    x = images(2, *size, 3)
    got = FeatureExtractor(model, list(taps))(x)
    for feature, (stride, name) in zip(got, taps.items(), strict=True):
        expected = keras.Model(model.inputs[0], model.get_layer(name).output)(x)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(feature), ops.convert_to_numpy(expected), err_msg=str(stride)
        )


@pytest.mark.parametrize("size", [(None, None), (64, 96), (None, 64), (64, 64)])
def test_last_of_each_stride(size):
    inputs = keras.Input((*size, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="a")(inputs)
    x = layers.BatchNormalization(name="b")(x)
    x = layers.ReLU(name="c")(x)
    x = layers.MaxPooling2D(2, name="d")(x)
    x = layers.Conv2D(4, 3, 4, padding="same", name="e")(x)
    x = layers.Activation("tanh", name="f")(x)
    x = layers.GlobalAveragePooling2D(name="g")(x)
    model = keras.Model(inputs, layers.Dense(3, name="h")(x))
    assert sorted(measure_strides(model)) == [1, 2, 4, 16]
    assert_taps(model, (64, 96) if size[1] == 96 else (64, 64), {4: "d", 16: "f", 2: "c"})


@pytest.mark.parametrize("size", [None, 64])
def test_branches(size):
    """Inception-like branches of one stride join; the join is tapped."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="stem")(inputs)
    left = layers.Conv2D(4, 1, 2, padding="same", name="left")(x)
    right = layers.Conv2D(4, 5, padding="same", name="right")(x)
    right = layers.AveragePooling2D(2, name="pool")(right)
    x = layers.Add(name="sum")([left, right])
    skip = layers.UpSampling2D(2, name="up")(x)
    joined = layers.Concatenate(name="join")([skip, layers.Conv2D(2, 1, 2)(inputs)])
    model = keras.Model(inputs, [x, joined])
    assert names(model)[4] == "sum"
    assert_taps(model, (64, 64), {4: "sum", 2: "join"})


@pytest.mark.parametrize("size", [None, 299])
def test_valid_convolutions(size):
    """Borders that are lost do not hide the stride."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, 2, name="a")(inputs)
    x = layers.Conv2D(4, 3, name="b")(x)
    x = layers.MaxPooling2D(3, 2, name="c")(x)
    x = layers.Conv2D(4, 5, name="d")(x)
    x = layers.Conv2D(4, 3, 2, name="e")(x)
    model = keras.Model(inputs, x)
    assert {2, 4, 8} <= set(measure_strides(model))
    assert names(model)[8] == "e"
    assert names(model)[4] == "d"
    assert names(model)[2] == "b"


def test_valid_convolutions_on_images_of_one_size():
    """15 cells of 75 pixels are of stride 4, were a stride of 5 as near: the graph says which."""
    inputs = x = keras.Input((75, 75, 3))
    for name in "abc":
        x = layers.Conv2D(4, 3, 2, name=name)(x)
        x = layers.Conv2D(4, 3, name=f"{name}_valid")(x) if name != "c" else x
    # Layers that take this size only do not hide what comes before them.
    x = layers.Dense(2)(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Reshape((1, 1, 2))(x))
    found = names(model)
    assert [found.get(stride) for stride in (2, 4, 8)] == ["a_valid", "b_valid", "c"]
    assert sorted(found) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("strides", "size"),
    [((3, 2), None), ((3, 2), 48), ((7, 2), None), ((14,), 56), ((2, 3, 5), None), ((5, 5), 50),
     ((2,) * 7, None), ((2,) * 6, 128)],
)  # fmt: skip
def test_strides_that_are_no_powers_of_two(strides, size):
    inputs = x = keras.Input((size, size, 3))
    for stride in strides:
        x = layers.Conv2D(2, stride, stride, padding="same")(x)
    assert set(measure_strides(keras.Model(inputs, x))) == set(np.cumprod((1, *strides)).tolist())


def test_axes_of_different_strides_are_no_stride():
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(2, 3, (1, 2), padding="same")(inputs)
    x = layers.Conv2D(2, 3, (2, 1), padding="same", name="both")(x)
    assert names(keras.Model(inputs, x))[2] == "both"
    assert sorted(measure_strides(keras.Model(inputs, x))) == [1, 2]


@pytest.mark.parametrize("size", [None, 64])
def test_padded_maps_are_not_tapped(size):
    """Of a map and its padded copy, the map is the tap: its cells tile the image."""
    inputs = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(3, name="pad1")(inputs)
    x = layers.Conv2D(4, 7, 2, name="a")(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad2")(x)
    x = layers.DepthwiseConv2D(3, 2, name="b")(x)
    x = layers.ZeroPadding2D(1, name="pad4")(x)
    model = keras.Model(inputs, x)
    assert_taps(model, (64, 64), {2: "a", 4: "b"})
    shapes = [x.shape[1:3] for x in FeatureExtractor(model, [2, 4])(images(1, 64, 64, 3))]
    assert shapes == [(32, 32), (16, 16)]


@pytest.mark.parametrize("size", [None, 64])
def test_sequential_model(size):
    model = keras.Sequential(
        [keras.Input((size, size, 3)), layers.Conv2D(4, 3, 2, padding="same", name="a"),
         layers.ReLU(name="b"), layers.MaxPooling2D(name="c")]
    )  # fmt: skip
    assert sorted(measure_strides(model)) == [1, 2, 4]
    assert_taps(model, (64, 64), {2: "b", 4: "c"})


def test_layer_that_is_used_twice():
    """One activation for the whole model is common; every use of it is a tensor of its own."""
    relu = layers.ReLU(name="relu")
    inputs = keras.Input((32, 32, 3))
    x = relu(layers.Conv2D(4, 3, 2, padding="same", name="a")(inputs))
    x = relu(layers.Conv2D(4, 3, 2, padding="same", name="b")(x))
    model = keras.Model(inputs, x)
    assert sorted(measure_strides(model)) == [1, 2, 4]
    feature = FeatureExtractor(model, [4])(images(1, 32, 32, 3))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(feature), ops.convert_to_numpy(model(images(1, 32, 32, 3)))
    )


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("MobileNetV2", {8: "block_6_expand_relu", 32: "out_relu"}),
        ("ResNet50V2", {8: "conv3_block4_1_relu", 32: "post_relu"}),
        ("EfficientNetV2B0", {8: "block4a_expand_activation", 32: "top_activation"}),
    ],
)
def test_applications(name, taps, application):
    found = names(application(name))
    assert {stride: found[stride] for stride in taps} == taps


def test_channels_first():
    inputs = keras.Input((3, 32, 64))
    x = layers.AveragePooling2D(2, data_format="channels_first", name="a")(inputs)
    x = layers.AveragePooling2D(4, data_format="channels_first", name="b")(x)
    model = keras.Model(inputs, x)
    assert sorted(measure_strides(model, data_format="channels_first")) == [1, 2, 8]
    extractor = FeatureExtractor(model, [8, 2], data_format="channels_first")
    assert [x.shape[1:] for x in extractor.outputs] == [(3, 4, 8), (3, 16, 32)]


def test_strides_of_an_application_behind_its_preprocessing():
    inputs = keras.Input((64, 64, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(inputs)
    model = keras.applications.MobileNetV2(
        input_tensor=x, include_top=False, weights=None, alpha=0.35
    )
    assert sorted(measure_strides(model)) == [1, 2, 4, 8, 16, 32]
    assert [x.shape[1] for x in FeatureExtractor(model, [8, 16]).outputs] == [8, 4]


def test_layer_of_one_size_behind_images_of_any_size():
    small = keras.Input((32, 32, 3))
    inner = keras.Model(small, layers.MaxPooling2D()(small))
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, inner(inputs), name="outer")
    with pytest.raises(ValueError, match=r"`model` must take images of any size.*'outer'"):
        measure_strides(model)
    with pytest.raises(ValueError, match=r"`backbone` must take images of any size.*'outer'"):
        FeatureExtractor(model, [2])
    with pytest.raises(ValueError, match="`model` must be a functional"):
        measure_strides("ResNet50")
