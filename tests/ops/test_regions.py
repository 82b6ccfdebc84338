import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry
from keras_cvx.ops import crop_and_resize, resize, roi_align

HEIGHT, WIDTH, FILL = 11, 14, 7.0
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (2, HEIGHT, WIDTH, 3)).astype("float32")
# Inside, reaching outside, outside, flipped, without an area, padded, the whole image.
BOXES = np.float32(
    [
        [[2.25, 1.5, 9.0, 8.75], [-3.0, 4.0, 5.5, 13.0], [20.0, 20.0, 25.0, 22.0], [9, 3, 2, 7]],
        [[3.0, 3.0, 3.0, 3.0], [-1.0, -1.0, -1.0, -1.0], [0, 0, WIDTH, HEIGHT], [4, 9, 11, 2.5]],
    ]
)
SIZES = [(4, 5), (1, 1), (1, 6), (9, 1), (23, 17)]
# Eighths of pixels, from outside to outside, are exact in float32.
EIGHTHS = st.integers(-40, 8 * (WIDTH + 5)).map(lambda n: n / 8)


def places(boxes, size):
    """Rows and columns of all samples, 0 at the first pixel's centre, in float64."""
    x0, y0, x1, y1 = np.moveaxis(boxes.astype("float64"), -1, 0)[..., None]
    return [
        low + (np.arange(n) + 0.5) * (high - low) / n - 0.5
        for low, high, n in ((y0, y1, size[0]), (x0, x1, size[1]))
    ]


def pixel_at(image, y, x, interpolation):
    if interpolation == "nearest":
        return image[math.floor(y + 0.5), math.floor(x + 0.5)]
    value = 0.0
    for row in (math.floor(y), math.ceil(y)) if y % 1 else (int(y),):
        for column in (math.floor(x), math.ceil(x)) if x % 1 else (int(x),):
            value = value + image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def looped(images, boxes, size, interpolation, fill_value):
    """Crops by a loop over their pixels, in float64."""
    rows, columns = places(boxes, size)
    crops = np.full((*boxes.shape[:2], *size, images.shape[-1]), fill_value, "float64")
    for b, r, i, j in np.ndindex(crops.shape[:-1]):
        y, x = rows[b, r, i], columns[b, r, j]
        if 0 <= y <= images.shape[1] - 1 and 0 <= x <= images.shape[2] - 1:
            crops[b, r, i, j] = pixel_at(images[b].astype("float64"), y, x, interpolation)
    return crops


def looped_roi_align(images, boxes, size, ratio, aligned, scale):
    """As the kernels of Detectron2 have it, in float64."""
    height, width = images.shape[1:3]
    result = np.zeros((*boxes.shape[:2], *size, images.shape[-1]))
    for b, r, i, j in np.ndindex(result.shape[:-1]):
        x0, y0, x1, y1 = boxes[b, r].astype("float64") * scale - (0.5 if aligned else 0.0)
        sides = [y1 - y0, x1 - x0] if aligned else [max(y1 - y0, 1.0), max(x1 - x0, 1.0)]
        for k, m in np.ndindex(ratio, ratio):
            y = y0 + (i + (k + 0.5) / ratio) * sides[0] / size[0]
            x = x0 + (j + (m + 0.5) / ratio) * sides[1] / size[1]
            if -1 <= y <= height and -1 <= x <= width:
                y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
                result[b, r, i, j] += pixel_at(images[b].astype("float64"), y, x, "bilinear")
    return result / ratio**2


def tensorflow_boxes(boxes, size):
    """As `tf.image.crop_and_resize` takes them, by the formula of the docstring."""
    starts, ends = [], []
    for axis, side, n in ((1, HEIGHT, size[0]), (0, WIDTH, size[1])):
        low, high = boxes[..., axis].astype("float64"), boxes[..., axis + 2].astype("float64")
        s = (high - low) / n
        starts.append((low + s / 2 - 0.5) / (side - 1))
        ends.append((high - s / 2 - 0.5) / (side - 1))
    return np.stack([*starts, *ends], -1).astype("float32").reshape(-1, 4)


def of_tensorflow(tf, images, boxes, size, interpolation="bilinear"):
    crops = tf.image.crop_and_resize(
        images,
        tensorflow_boxes(boxes, size),
        np.repeat(np.arange(len(boxes)), boxes.shape[1]),
        size,
        method=interpolation,
        extrapolation_value=FILL,
    )
    return tf.reshape(crops, (*boxes.shape[:2], *size, images.shape[-1]))


def undecided(boxes, size, interpolation):
    """Samples that lie where a rounding decides: on the edge, or between two nearest pixels."""
    rows, columns = places(boxes, size)
    close = []
    for place, side in ((rows, HEIGHT), (columns, WIDTH)):
        near = np.minimum(np.abs(place), np.abs(place - (side - 1))) < 2e-3
        if interpolation == "nearest":
            near |= np.abs(place % 1 - 0.5) < 1e-4
        close.append(near)
    return close[0][..., :, None] | close[1][..., None, :]


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def to_numpy(x):
    return ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)


@pytest.mark.parametrize("function", [crop_and_resize, roi_align])
def test_empty(function, library):
    for images, boxes in ((IMAGES[:0], BOXES[:0]), (IMAGES, BOXES[:, :0])):
        crops = function(library(images), library(boxes), (4, 5))
        assert type(crops) is type(library(images))
        assert tuple(crops.shape) == (*boxes.shape[:2], 4, 5, 3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_is_the_loop_in_every_library(size, interpolation, library):
    images, boxes = library(IMAGES), library(BOXES)
    crops = crop_and_resize(images, boxes, size, interpolation=interpolation, fill_value=FILL)
    assert type(crops) is type(images)
    expected = looped(IMAGES, BOXES, size, interpolation, FILL)
    np.testing.assert_allclose(to_numpy(crops), expected, atol=1e-2)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@settings(max_examples=40, deadline=None)
@given(
    corners=st.lists(EIGHTHS, min_size=24, max_size=24),
    size=st.sampled_from(SIZES),
)
def test_is_that_of_tensorflow(tf, interpolation, corners, size):
    boxes = np.float32(corners).reshape(2, 3, 4)
    expected = of_tensorflow(tf, IMAGES, boxes, size, interpolation).numpy()
    crops = to_numpy(
        crop_and_resize(
            ops.convert_to_tensor(IMAGES), boxes, size, interpolation=interpolation, fill_value=FILL
        )
    )
    decided = ~undecided(boxes, size, interpolation)
    np.testing.assert_allclose(crops[decided], expected[decided], atol=1e-3)


def test_the_whole_image_of_tensorflow(tf):
    """Its box `[0, 0, 1, 1]` ends on the last pixel's centre; no rounding may leave that out."""
    for size in ((6, 9), (7, 10), (50, 41)):
        s = [(side - 1) / (n - 1) / 2 for side, n in zip((HEIGHT, WIDTH), size, strict=True)]
        box = [0.5 - s[1], 0.5 - s[0], WIDTH - 0.5 + s[1], HEIGHT - 0.5 + s[0]]
        np.testing.assert_allclose(
            tensorflow_boxes(np.float32([[box]]), size), [[0, 0, 1, 1]], atol=1e-6
        )
        crops = crop_and_resize(IMAGES[0], np.float32([box]), size, fill_value=-1000.0)
        assert crops.min() >= 0
        np.testing.assert_allclose(crops[0, -1, -1], IMAGES[0, -1, -1], atol=0.5)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_whole_pixels_are_copied(interpolation):
    boxes = np.float32([[3, 2, 8, 6], [0, 0, 5, 4], [WIDTH - 5, HEIGHT - 4, WIDTH, HEIGHT]])
    crops = crop_and_resize(IMAGES[0], boxes, (4, 5), interpolation=interpolation)
    for crop, (x0, y0, x1, y1) in zip(crops, boxes.astype(int), strict=True):
        np.testing.assert_array_equal(crop, IMAGES[0, y0:y1, x0:x1])


def test_a_flipped_box_is_a_mirrored_crop():
    box = np.float32([[2.5, 1.0, 9.0, 8.25]])
    crop = crop_and_resize(IMAGES[0], box, (4, 5))[0]
    flipped = crop_and_resize(IMAGES[0], box[:, [2, 3, 0, 1]], (4, 5))[0]
    np.testing.assert_allclose(flipped, crop[::-1, ::-1], atol=1e-3)


@pytest.mark.parametrize("size", [(40, 37), (5, 6)])
def test_the_whole_image_with_its_edges_repeated_is_resized(size):
    images, whole = ops.convert_to_tensor(IMAGES), np.float32([[[0, 0, WIDTH, HEIGHT]]] * 2)
    crops = to_numpy(crop_and_resize(images, whole, size, fill_value=None))
    np.testing.assert_allclose(crops[:, 0], to_numpy(resize(images, size)), atol=1e-2)


def test_repeated_edges_outside():
    boxes = np.float32([[-9, -8, -3, -2], [WIDTH + 2, 3, WIDTH + 4, 5]])
    crops = crop_and_resize(IMAGES[0], boxes, (2, 2), fill_value=None)
    np.testing.assert_array_equal(crops[0], np.broadcast_to(IMAGES[0, 0, 0], (2, 2, 3)))
    np.testing.assert_array_equal(crops[1, :, 0], IMAGES[0, 3:5, -1])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "bfloat16"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_dtype_stays(dtype, interpolation):
    images = ops.cast(np.round(IMAGES), dtype)
    crops = crop_and_resize(images, BOXES, (4, 5), interpolation=interpolation, fill_value=255.0)
    assert keras.backend.standardize_dtype(crops.dtype) == dtype
    of = to_numpy(ops.cast(images, "float32"))
    expected = looped(of, BOXES, (4, 5), interpolation, 255.0)
    tolerance = {"float16": 0.13, "bfloat16": 1.0}.get(dtype, 0.51)
    np.testing.assert_allclose(to_numpy(ops.cast(crops, "float32")), expected, atol=tolerance)


def test_labels_beyond_the_precision_of_float32_stay():
    masks = np.array([[[2**24 + 1], [2**24 + 3]]], "int32")
    crops = crop_and_resize(masks, [[0.0, 0.0, 2.0, 1.0]], (1, 2), interpolation="nearest")
    np.testing.assert_array_equal(crops[0], masks)


def test_the_record_says_where_a_pixel_was_sampled():
    """An image whose values are their own coordinates tells it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype("float32") + 0.5
    box = np.float32([2.25, 1.5, 9.0, 8.75])
    crop = crop_and_resize(np.stack([x, y], -1), box[None], (4, 5))[0]
    record = geometry.crop_and_resize((HEIGHT, WIDTH), box, (4, 5))
    centers = np.stack(np.meshgrid(np.arange(5) + 0.5, np.arange(4) + 0.5), -1)
    restored = geometry.restore_points(centers.reshape(-1, 2), record)
    np.testing.assert_allclose(crop.reshape(-1, 2), restored, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_compiled(compiled, interpolation):
    def crops(images, boxes):
        return crop_and_resize(images, boxes, (4, 5), interpolation=interpolation, fill_value=FILL)

    arguments = ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(BOXES)
    np.testing.assert_allclose(
        to_numpy(compiled(crops)(*arguments)), to_numpy(crops(*arguments)), atol=1e-2
    )


def test_in_a_pipeline(tf):
    def of(images, boxes):
        return crop_and_resize(images, boxes, (4, 5), fill_value=FILL), roi_align(
            images, boxes, (2, 3)
        )

    expected = [to_numpy(x) for x in of(IMAGES, BOXES)]
    data = tf.data.Dataset.from_tensor_slices((IMAGES, BOXES))
    unknown = tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, 4))
    for pipeline in (
        data.batch(2).map(of),
        data.map(of).batch(2),
        tf.data.Dataset.from_generator(lambda: [(IMAGES, BOXES)], output_signature=unknown).map(of),
    ):
        (got,) = list(pipeline)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one.numpy(), other, atol=1e-2)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_the_gradient_is_that_of_tensorflow(tf, gradient, interpolation):
    size, boxes = (4, 5), BOXES[:, :2] + np.float32(0.0625)
    weights = np.random.default_rng(1).normal(size=(2, 2, *size, 3)).astype("float32")
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(weights * of_tensorflow(tf, images, boxes, size, interpolation))
    expected = tape.gradient(value, images).numpy()
    assert np.abs(expected).max() > 0.5

    def weighted(x):
        crops = crop_and_resize(x, boxes, size, interpolation=interpolation)
        return ops.sum(ops.multiply(crops, weights))

    np.testing.assert_allclose(gradient(weighted, IMAGES)[1], expected, atol=1e-4)


@pytest.mark.parametrize("function", [crop_and_resize, roi_align])
def test_gradients_are_finite(function, gradient):
    for boxes in (BOXES, np.float32([[[1e30, -1e30, 1e30, 1e30]]] * 2)):
        value, slope = gradient(
            lambda x, b=boxes: ops.sum(ops.square(function(x, b, (3, 4)))), IMAGES
        )
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        value, slope = gradient(
            lambda x: ops.sum(ops.square(function(ops.convert_to_tensor(IMAGES), x, (3, 4)))), boxes
        )
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("box", [[math.nan] * 4, [-math.inf, 0.0, math.inf, 4.0]])
@pytest.mark.parametrize("fill_value", [None, FILL])
def test_no_number_is_read_from_no_pixel(box, fill_value):
    crops = crop_and_resize(ops.convert_to_tensor(IMAGES[0]), [box], (3, 4), fill_value=fill_value)
    assert np.isfinite(to_numpy(crops)).all()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    ("size", "ratio", "scale"), [((3, 2), 2, 0.5), ((1, 1), 1, 1.0), ((2, 4), 3, 1.25)]
)
def test_roi_align_is_the_loop(size, ratio, scale, aligned, library):
    options = {"sampling_ratio": ratio, "aligned": aligned, "spatial_scale": scale}
    got = roi_align(library(IMAGES), library(BOXES), size, **options)
    expected = looped_roi_align(IMAGES, BOXES, size, ratio, aligned, scale)
    np.testing.assert_allclose(to_numpy(got), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("aligned", "first"), [(False, [7.5, 8.0, 8.5, 9.0]), (True, [4.5, 5.0, 5.5, 6.0])]
)
def test_roi_align_has_the_values_that_detectron2_publishes(aligned, first, library):
    """Of `test_forward_output` in its tests/layers/test_roi_align.py.

    Its `sampling_ratio=0` takes one sample in cells of half a pixel; its rows are 2.5 apart.
    """
    image = library(np.arange(25, dtype="float32").reshape(5, 5, 1))
    boxes = library(np.float32([[1, 1, 3, 3]]))
    got = roi_align(image, boxes, (4, 4), sampling_ratio=1, aligned=aligned)
    expected = np.float32(first) + 2.5 * np.arange(4, dtype="float32")[:, None]
    np.testing.assert_allclose(to_numpy(got)[0, ..., 0], expected, atol=1e-5)


def test_roi_align_of_half_the_image_as_detectron2_tests_it():
    """Of `test_resize` in the same file: a box in an image of half the size has the same cells."""
    image = RNG.uniform(0, 100, (30, 30, 1)).astype("float32")
    half = image.reshape(15, 2, 15, 2, 1).mean((1, 3))
    box = np.float32([[10, 10, 20, 20]])
    got = roi_align(image, box, (5, 5), sampling_ratio=2)
    np.testing.assert_allclose(
        roi_align(half, box / 2, (5, 5), sampling_ratio=1), got, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(
        roi_align(half, box, (5, 5), sampling_ratio=1, spatial_scale=0.5), got, rtol=0, atol=1e-4
    )


def test_roi_align_has_the_values_and_gradients_that_mmcv_publishes(gradient):
    """Of its tests/test_ops/test_roi_align.py: 2 × 2 cells of 2 × 2 samples, aligned."""
    small = np.float32([[1, 2], [3, 4]])
    large = np.float32([[1, 2, 5, 6], [3, 4, 7, 8], [9, 10, 13, 14], [11, 12, 15, 16]])
    for image, side, values, weights in (
        (small, 1.0, [[1.0, 1.25], [1.5, 1.75]], [1.75, 0.25]),
        (large, 3.0, [[1.9375, 4.75], [7.5625, 10.375]], [0.6875, 0.625, 0.625, 0.0625]),
    ):
        boxes = np.float32([[0, 0, side, side]])
        got = roi_align(ops.convert_to_tensor(image[..., None]), boxes, (2, 2))
        np.testing.assert_allclose(to_numpy(got)[0, ..., 0], values, atol=1e-5)
        _, slope = gradient(lambda x, b=boxes: ops.sum(roi_align(x, b, (2, 2))), image[..., None])
        # Printed there are the products, 3.0625, 0.4375 and 0.0625 for the small image.
        np.testing.assert_allclose(slope[..., 0], np.outer(weights, weights), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    corner=st.tuples(st.integers(4, 40), st.integers(4, 30)),
    sides=st.tuples(st.integers(1, 60), st.integers(1, 50)),
)
def test_roi_align_of_a_slope_is_its_value_at_the_center(corner, sides):
    """Where nothing is cut off, however many samples a cell has."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype("float32") + 0.5
    box = np.float32([*corner, *np.add(corner, sides)]) / 8
    got = roi_align(np.stack([x, y], -1), box[None], (2, 3), sampling_ratio=3)[0]
    record = geometry.crop_and_resize((HEIGHT, WIDTH), box, (2, 3))
    centers = np.stack(np.meshgrid(np.arange(3) + 0.5, np.arange(2) + 0.5), -1).reshape(-1, 2)
    np.testing.assert_allclose(
        got.reshape(-1, 2), geometry.restore_points(centers, record), atol=1e-4
    )


def test_roi_align_compiled(compiled):
    arguments = ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(BOXES)
    got = compiled(lambda images, boxes: roi_align(images, boxes, (2, 3)))(*arguments)
    np.testing.assert_allclose(
        to_numpy(got), looped_roi_align(IMAGES, BOXES, (2, 3), 2, True, 1.0), atol=1e-2
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES[0, 0]}, "`images` must be of shape"),
        ({"images": IMAGES[:, :0]}, "`images` must .* at least one row"),
        ({"boxes": BOXES[..., :3]}, "`boxes` must have a last axis of 4"),
        ({"boxes": BOXES[0]}, "`boxes` must be of shape"),
        ({"boxes": BOXES[:1]}, "`boxes` must be of shape"),
        ({"size": (0, 5)}, "`height` must be"),
        ({"size": (4, -1)}, "`width` must be"),
    ],
)
@pytest.mark.parametrize("function", [crop_and_resize, roi_align])
def test_bad_input(function, changes, message):
    with pytest.raises(ValueError, match=message):
        function(**{"images": IMAGES, "boxes": BOXES, "size": (4, 5), **changes})


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (crop_and_resize, {"interpolation": "bicubic"}, "`interpolation` must be one of"),
        (roi_align, {"sampling_ratio": 0}, "`sampling_ratio` must be"),
        (roi_align, {"spatial_scale": 0.0}, "`spatial_scale` must be positive"),
        (roi_align, {"spatial_scale": math.nan}, "`spatial_scale` must be positive"),
    ],
)
def test_bad_options(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(IMAGES, BOXES, (4, 5), **options)


def test_booleans_are_rounded_as_resizing_rounds_them():
    image = np.array([[[True], [False], [False], [False]]])
    expected = resize(image, (1, 8))
    got = crop_and_resize(image, [[0.0, 0.0, 4.0, 1.0]], (1, 8), fill_value=None)[0]
    np.testing.assert_array_equal(got, expected)
    assert expected.any()


def test_fill_values_that_the_images_cannot_hold():
    images = np.zeros((4, 4, 1), "uint8")
    with pytest.raises(ValueError, match="`fill_value` must be in the range of uint8"):
        crop_and_resize(
            images, [[0.0, 0.0, 4.0, 4.0]], (2, 2), interpolation="nearest", fill_value=-300
        )
