import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.codings import YOLOv1Coding
from keras_cvx.layers import GridDetectionHead
from keras_cvx.ops import cell_centers

CHANNELS_FIRST_ON_CPU = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow cannot convolve channels_first on a CPU",
)


def as_numpy(x):
    return ops.convert_to_numpy(x)


def features(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def small(num_classes=2, strides=8, **options):
    """A head whose number of channels is 5 + C."""
    return GridDetectionHead(
        num_classes, strides, **{"coding": YOLOv1Coding(1), "filters": 4, **options}
    )


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow's 1×1 convolution of an empty batch has the wrong number of channels",
)
def test_empty_batch():
    assert small()(np.zeros((0, 2, 3, 4), "float32")).shape == (0, 6, 10)


@pytest.mark.parametrize(
    ("strides", "shapes", "cells"),
    [
        (8, [(2, 4, 6, 3)], [(4, 6, 8)]),
        ([8], [(2, 4, 6, 3)], [(4, 6, 8)]),
        ((4, 16), [(2, 8, 4, 3), (2, 2, 1, 5)], [(8, 4, 4), (2, 1, 16)]),
        (
            [32, 16, 8],
            [(1, 1, 2, 3), (1, 2, 4, 3), (1, 4, 8, 2)],
            [(1, 2, 32), (2, 4, 16), (4, 8, 8)],
        ),
    ],
)  # fmt: skip
def test_every_prediction_carries_its_cell(strides, shapes, cells):
    head, maps = small(strides=strides), features(*shapes)
    maps = maps if len(maps) > 1 or isinstance(strides, list) else maps[0]
    got = as_numpy(head(maps))
    expected = np.concatenate([as_numpy(cell_centers(*level)) for level in cells])
    assert got.shape == (shapes[0][0], len(expected), 10)
    for image in got:
        np.testing.assert_array_equal(image[:, :3], expected)
    assert np.ptp(got[..., 3:]) > 0.1


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("level", "row", "column"), [(0, 0, 0), (0, 1, 5), (0, 3, 2), (1, 1, 2)])
def test_a_hot_cell_shows_up_at_its_place(data_format, level, row, column):
    """With a 1×1 convolution of ones, one bright pixel of one map is one bright prediction."""
    if data_format == "channels_first" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow cannot convolve channels_first on a CPU")
    strides = [8, 16]
    head = small(strides=strides, depth=0, data_format=data_format)
    maps = [np.zeros((1, 4, 6, 3), "float32"), np.zeros((1, 2, 3, 3), "float32")]
    maps[level][0, row, column] = 1.0
    if data_format == "channels_first":
        maps = [np.moveaxis(x, -1, 1) for x in maps]
    head(maps)
    head.set_weights(
        [np.ones_like(w) if w.ndim == 4 else np.zeros_like(w) for w in head.get_weights()]
    )
    got = as_numpy(head(maps))[0]
    (hot,) = np.flatnonzero(got[:, 3:].any(-1))
    stride = strides[level]
    assert got[hot, :3].tolist() == [(column + 0.5) * stride, (row + 0.5) * stride, stride]
    assert got[hot, 3:].tolist() == [3.0] * 7


@CHANNELS_FIRST_ON_CPU
def test_channels_first_is_channels_last():
    last = small(strides=[8, 16], data_format="channels_last")
    first = small(strides=[8, 16], data_format="channels_first")
    maps = features((2, 4, 6, 3), (2, 2, 3, 5))
    transposed = [np.moveaxis(x, -1, 1) for x in maps]
    expected = as_numpy(last(maps))
    first(transposed)
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(as_numpy(first(transposed)), expected, atol=1e-5)
    symbolic = first([keras.Input((3, 4, 6)), keras.Input((5, 2, 3))])
    assert symbolic.shape == (None, 30, 10)
    assert symbolic.dtype == "float32"


def test_images_of_any_size():
    """Symbolic sides, one model for several sizes, and the same as a head called directly."""
    head = small(strides=[8, 16])
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 5))]
    model = keras.Model(inputs, head(inputs))
    assert model.output_shape == (None, None, 10)
    for height, width in ((1, 1), (2, 3), (4, 1)):
        maps = features((2, 2 * height, 2 * width, 3), (2, height, width, 5))
        got = model.predict(maps, verbose=0)
        assert got.shape == (2, 5 * height * width, 10)
        np.testing.assert_allclose(got, as_numpy(head(maps)), atol=1e-5)
        centers = np.concatenate(
            [as_numpy(cell_centers(2 * height, 2 * width, 8)),
             as_numpy(cell_centers(height, width, 16))]
        )  # fmt: skip
        np.testing.assert_array_equal(got[1, :, :3], centers)


@pytest.mark.parametrize("shapes", [[(3, 4, 6, 3)], [(3, 4, 6, 3), (3, 2, 3, 5)]])
def test_symbolic_is_eager_is_compiled(shapes, compiled):
    head = small(strides=[8, 16][: len(shapes)])
    maps = [ops.convert_to_tensor(x) for x in features(*shapes)]
    eager = head(maps)
    symbolic = head([keras.Input(shape[1:]) for shape in shapes])
    assert symbolic.shape[1:] == eager.shape[1:]
    got = compiled(lambda *x: head(list(x)))(*maps)
    np.testing.assert_allclose(as_numpy(got), as_numpy(eager), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_output_is_float32(policy):
    """Centres above 2048 pixels, which half precision rounds, stay exact."""
    head = small(strides=64, dtype=policy)
    (x,) = features((1, 1, 40, 3))
    got = head(x)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    assert as_numpy(got)[0, :, 0].tolist() == [(i + 0.5) * 64 for i in range(40)]
    assert head(keras.Input((1, 40, 3))).dtype == "float32"
    assert np.all(np.isfinite(as_numpy(got)))


def test_branches_start_with_their_biases():
    """An anchor-free head gives every class 0.01 on a map of zeros."""
    head = GridDetectionHead(3, 8, filters=4)
    got = as_numpy(head(np.zeros((1, 2, 2, 3), "float32")))
    np.testing.assert_allclose(1 / (1 + np.exp(-got[..., -3:])), 0.01, rtol=1e-4)
    np.testing.assert_array_equal(got[..., 3:-3], 0.0)


def test_depth_and_width_of_the_towers():
    """Every tower of every level has its own weights: 3×3 towers and the 1×1 at their end."""

    def kernels(**options):
        head = GridDetectionHead(3, [8, 16], filters=6, **options)
        head.build([(None, 2, 2, 5), (None, 1, 1, 5)])
        return sorted(tuple(w.shape[:3]) for w in head.trainable_weights if len(w.shape) == 4)

    assert kernels(depth=0) == [(1, 1, 5)] * 4
    assert kernels(depth=2) == sorted([(1, 1, 6), (3, 3, 5), (3, 3, 6)] * 4)
    assert len(kernels(depth=0, coding="yolov1")) == 2


def test_normalization_follows_training():
    head = small(depth=1)
    (x,) = features((4, 4, 4, 3))
    before = as_numpy(head(x, training=False))
    assert np.abs(as_numpy(head(x, training=True)) - before)[..., 3:].max() > 0.01
    assert np.abs(as_numpy(head(x, training=False)) - before)[..., 3:].max() > 1e-4  # has learnt


def test_config_round_trip():
    head = small(3, [8, 16], depth=2, activation="relu", data_format="channels_last", name="h")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert again.coding.get_config() == head.coding.get_config()
    config = head.get_config()
    head(features((1, 4, 4, 3), (1, 2, 2, 3)))
    assert head.get_config() == config


def test_saved_and_loaded(tmp_path):
    inputs = [keras.Input((4, 6, 3)), keras.Input((2, 3, 5))]
    model = keras.Model(inputs, small(strides=(8, 16))(inputs))
    maps = features((2, 4, 6, 3), (2, 2, 3, 5))
    model.save(tmp_path / "head.keras")
    loaded = keras.saving.load_model(tmp_path / "head.keras")
    np.testing.assert_allclose(
        loaded.predict(maps, verbose=0), model.predict(maps, verbose=0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1.*num_classes=0"),
        ({"num_classes": 2.0}, "`num_classes` must be an integer of at least 1.*=2.0"),
        ({"num_classes": True}, "`num_classes` must be an integer of at least 1.*=True"),
        ({"strides": 0}, "`strides` must be an integer of at least 1.*strides=0"),
        ({"strides": [8, -1]}, "`strides` must be an integer of at least 1.*strides=-1"),
        ({"strides": []}, r"`strides` must name at least one stride. Received: \[\]"),
        ({"filters": 0}, "`filters` must be an integer of at least 1.*filters=0"),
        ({"depth": -1}, "`depth` must be an integer of at least 0.*depth=-1"),
        ({"activation": "swoosh"}, "swoosh"),
        ({"data_format": "channels_frist"}, "data_format.*channels_frist"),
        ({"coding": "yolo_v1"}, "Did you mean 'yolov1'"),
        ({"coding": None}, "kind 'coding' is required.*Received: None"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridDetectionHead(**{"num_classes": 2, "strides": 8, **arguments})


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 4, 4, 3)], r"`inputs` must be one feature map for each of the strides \[8, 16\]"),
        ([(1, 4, 4, 3)] * 3, r"`inputs` must be one feature map for each of the strides \[8, 16\]"),
        ([(1, 4, 4, 3), (1, 2, 3)], "`inputs` must be feature maps of rank 4"),
        ([(1, 4, 4, 3), (1, 2, 3, 3)], "`inputs` must cover one image"),
        ([(1, 4, 4, 3), (1, 4, 4, 3)], "Pad the image to a multiple of 16"),
    ],
)
def test_wrong_inputs(built, shapes, message):
    head = small(strides=[8, 16])
    if built:
        head(features((1, 4, 4, 3), (1, 2, 2, 3)))
    with pytest.raises(ValueError, match=message):
        head(features(*shapes))
    with pytest.raises(ValueError, match=message):
        head([keras.Input(shape[1:]) for shape in shapes])


def test_on_a_pyramid():
    """Maps of one backbone, of different widths, train together."""
    inputs = keras.Input((32, 48, 3))
    x = layers.Conv2D(4, 3, 8, padding="same")(inputs)
    y = layers.Conv2D(6, 3, 2, padding="same")(x)
    model = keras.Model(inputs, small(strides=[8, 16])([x, y]))
    model.compile("sgd", lambda _, p: ops.mean(ops.square(p[..., 3:]), axis=(1, 2)))
    images = features((4, 32, 48, 3))[0]
    losses = model.fit(images, np.zeros((4, 1)), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
