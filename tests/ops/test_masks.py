import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.ops.masks import (
    check_masks,
    kept_pixels,
    take_pixels,
    weights_of_classes,
    weights_of_pixels,
)


def test_no_ids_and_no_pixels():
    assert ops.convert_to_numpy(kept_pixels([[0, 255]], ())).tolist() == [[True, True]]
    assert tuple(kept_pixels(np.zeros((0, 2), "int32"), (255,)).shape) == (0, 2)
    assert take_pixels(np.zeros((2, 3), "uint8"), (np.zeros(0), np.zeros(2)), 255).shape == (0, 2)


def test_several_ids():
    ids = np.array([[0, 255, 3], [254, 3, 1]], "int32")
    kept = ops.convert_to_numpy(kept_pixels(ids, (255, 3)))
    assert kept.tolist() == [[True, False, False], [True, False, True]]


def test_pixels_of_places_inside_and_outside():
    mask = np.arange(6, dtype="uint8").reshape(2, 3)
    places = np.array([-0.01, 0.0, 1.99, 2.0]), np.array([2.5, 0.5, 3.0])
    taken = take_pixels(mask, places, 9)
    assert taken.tolist() == [[9, 9, 9], [2, 0, 9], [5, 3, 9], [9, 9, 9]]
    colours = take_pixels(np.stack([mask, mask + 10], -1), places, 9)
    assert colours[1].tolist() == [[2, 12], [0, 10], [9, 9]]
    assert colours.dtype == np.uint8


def test_fill_values_that_the_mask_cannot_hold():
    with pytest.raises(ValueError, match="`fill_value` must be in the range of int8"):
        take_pixels(np.zeros((2, 2), "int8"), (np.zeros(1), np.zeros(1)), 255)


def test_weights_of_images_and_of_pixels():
    masks, rng = np.zeros((2, 3, 4)), np.random.default_rng(0)
    pixels = rng.uniform(size=masks.shape).astype("float32")
    for given in (pixels, pixels[..., None]):
        got = ops.convert_to_numpy(weights_of_pixels(given, masks))
        np.testing.assert_array_equal(got, pixels)
    each = ops.convert_to_numpy(weights_of_pixels(pixels[:, 0, 0], masks))
    np.testing.assert_array_equal(each, pixels[:, :1, :1])
    assert ops.convert_to_numpy(weights_of_pixels(2, masks)).tolist() == [[[2.0]]]
    for shape in ((3,), (2, 4), (2, 3, 4, 2)):
        with pytest.raises(ValueError, match="`sample_weight` must broadcast to the masks"):
            weights_of_pixels(np.ones(shape), masks)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others know every rank")
def test_weights_of_a_forgotten_rank():
    import tensorflow as tf

    pixels = np.random.default_rng(0).uniform(size=(2, 3, 4)).astype("float32")
    weights = tf.function(
        weights_of_pixels,
        input_signature=[tf.TensorSpec(None), tf.TensorSpec((None, None, None), "int32")],
    )
    for given in (pixels, pixels[..., None], pixels[:, 0, 0], pixels[:, :1, 0]):
        expected = given.reshape(2, *((3, 4) if given.size > 2 else (1, 1))) + np.zeros((2, 3, 4))
        np.testing.assert_array_equal(weights(given, np.zeros((2, 3, 4), "int32")), expected)


def test_weights_of_classes():
    table = np.float32([0.5, 2.0, 3.0])
    ids = np.random.default_rng(0).integers(-2, 6, (2, 3, 4)).astype("int32")
    expected = [table[i] if 0 <= i < 3 else 1.0 for i in ids.ravel()]
    for given in (ids, ids[..., None], ids.astype("float32")):
        got = ops.convert_to_numpy(weights_of_classes(table, ops.convert_to_tensor(given)))
        np.testing.assert_array_equal(got.ravel(), expected)
        assert got.shape == ids.shape


def check(masks, ignored=(255,)):
    check_masks(masks, image_size=(2, 3), num_images=2, num_classes=4, ignored=ignored)


def test_masks_that_can_be_trained_on():
    masks = np.array([[[0, 1, 255], [3, 2, 255]]] * 2)
    for dtype in ("uint8", "int32", "int64"):
        check(masks.astype(dtype))
        check(masks.astype(dtype)[..., None])
    check_masks(
        np.zeros((0, 2, 3), "uint8"), image_size=(2, 3), num_images=0, num_classes=4, ignored=()
    )


@pytest.mark.parametrize(
    ("change", "ignored", "message"),
    [
        (
            lambda m: m,
            (),
            r"from 0 to 3\. Received: \[255\] in 2 pixels of the mask of image 0",
        ),
        (
            lambda m: m - (m == 0),
            (255,),
            r"Received: \[-1\] in 1 pixels.*give the model these ids as",
        ),
        (
            lambda m: np.where(m == 3, 9, m),
            (255,),
            r"Received: \[9\].*`num_classes=10` or these ids",
        ),
        (lambda m: m * 1.0, (255,), "integers. Received: dtype float64"),
        (lambda m: m[:1], (255,), r"Received: shape \(1, 2, 3\)\.$"),
        (lambda m: m[:, :1], (255,), "`keras_cvx.layers.ResizeWithPad` moves images and masks"),
        (lambda m: np.eye(256)[m], (255,), "one-hot"),
    ],
)
def test_masks_that_cannot(change, ignored, message):
    masks = np.array([[[0, 1, 255], [3, 2, 255]]] * 2)
    with pytest.raises(ValueError, match=message):
        check(change(masks), ignored)


def test_objects_that_are_ignored_are_told():
    masks = np.array([[[0, 255, 255], [0, 0, 255]]] * 2)
    with pytest.warns(
        UserWarning, match=r"no class but 0 beside the ignored \[255\].*masks // 255"
    ):
        check(masks)
    # Warnings are errors here.
    for fine in (masks * 0, masks * 0 + 255, masks // 255 + 1, np.where(masks, masks, 2)):
        check(fine)
    check(masks * 0, ())
