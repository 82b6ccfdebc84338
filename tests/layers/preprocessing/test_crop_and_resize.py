import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry, testing
from keras_cvx.layers import CropAndResize
from keras_cvx.ops import convert, crop_and_resize

HEIGHT, WIDTH = 22, 30
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, HEIGHT, WIDTH, 3)).astype("uint8")
BOXES = np.float32([[[2, 1.5, 9, 8.75], [-3, 4, 25.5, 13]], [[9, 3, 2, 7], [-1, -1, -1, -1]]])
EXPECTED = crop_and_resize(IMAGES, BOXES, (6, 5))


def to_numpy(x):
    return ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)


def layer(**options):
    return CropAndResize(
        6, 5, **{"bounding_box_format": "xyxy", "data_format": "channels_last", **options}
    )


def test_empty():
    assert layer()(IMAGES[:0], BOXES[:0]).shape == (0, 2, 6, 5, 3)
    crops = layer()(ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(BOXES[:, :0]))
    assert tuple(crops.shape) == (2, 0, 6, 5, 3)


def test_is_the_function():
    crops = layer()(ops.convert_to_tensor(IMAGES), ops.convert_to_tensor(BOXES))
    assert keras.backend.standardize_dtype(crops.dtype) == "uint8"
    np.testing.assert_allclose(to_numpy(crops).astype(int), EXPECTED.astype(int), atol=1)
    host = layer()(IMAGES, BOXES)
    assert type(host) is np.ndarray
    np.testing.assert_array_equal(host, EXPECTED)
    np.testing.assert_array_equal(layer()(IMAGES[0], BOXES[0]), EXPECTED[0])


@pytest.mark.usefixtures("no_tensors")
def test_numpy_arrays_meet_no_tensor_of_the_backend():
    crop = layer(bounding_box_format="rel_yxyx")
    boxes = convert(BOXES, "xyxy", "rel_yxyx", height=HEIGHT, width=WIDTH)
    assert type(crop(IMAGES, boxes)) is np.ndarray
    assert type(crop(IMAGES[0], boxes[0].tolist())) is np.ndarray
    assert {type(x) for x in crop.record((HEIGHT, WIDTH), boxes).values()} == {np.ndarray}


@pytest.mark.parametrize("bounding_box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats(bounding_box_format):
    boxes = convert(BOXES, "xyxy", bounding_box_format, height=HEIGHT, width=WIDTH)
    crop = layer(bounding_box_format=bounding_box_format)
    images = IMAGES.astype("float32")
    np.testing.assert_allclose(
        crop(images, boxes), crop_and_resize(images, BOXES, (6, 5)), atol=2e-2
    )
    got, expected = crop.record((HEIGHT, WIDTH), boxes), layer().record((HEIGHT, WIDTH), BOXES)
    for name in geometry.FIELDS:
        np.testing.assert_allclose(got[name][0], expected[name][0], rtol=1e-5, atol=1e-4)


def test_channels_first():
    crops = layer(data_format="channels_first")(np.moveaxis(IMAGES, -1, 1), BOXES)
    np.testing.assert_array_equal(crops, np.moveaxis(EXPECTED, -1, 2))
    images, boxes = keras.Input((3, HEIGHT, WIDTH)), keras.Input((7, 4))
    symbolic = layer(data_format="channels_first")(images, boxes)
    assert symbolic.shape == (None, 7, 3, 6, 5)


def test_in_a_model_of_images_of_any_size():
    images, boxes = keras.Input((None, None, 3)), keras.Input((None, 4))
    model = keras.Model([images, boxes], layer(interpolation="nearest")(images, boxes))
    assert model.output_shape == (None, None, 6, 5, 3)
    expected = crop_and_resize(IMAGES, BOXES, (6, 5), interpolation="nearest")
    crops = model.predict([IMAGES.astype("float32"), BOXES], verbose=0)
    np.testing.assert_array_equal(crops, expected)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("fill_value", [None, 7.0])
def test_in_a_model_with_bilinear_sampling(compiled, known, fill_value):
    """Boxes inside and outside, eager and under XLA, as on the host."""
    crop = layer(bounding_box_format="rel_yxyx", fill_value=fill_value)
    boxes = convert(BOXES, "xyxy", "rel_yxyx", height=HEIGHT, width=WIDTH)
    images, pixels = (
        IMAGES.astype("float32"),
        keras.Input((HEIGHT, WIDTH, 3) if known else (None, None, 3)),
    )
    regions = keras.Input((2 if known else None, 4))
    model = keras.Model([pixels, regions], crop(pixels, regions))
    expected = crop(images, boxes)
    given = [ops.convert_to_tensor(images), ops.convert_to_tensor(boxes)]
    for call in (model, compiled(model)):
        np.testing.assert_allclose(to_numpy(call(given)), expected, rtol=0, atol=1e-2)


def test_in_a_pipeline():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((IMAGES, BOXES))
    for pipeline in (data.map(layer()).batch(2), data.batch(2).map(layer())):
        (crops,) = list(pipeline)
        np.testing.assert_allclose(crops.numpy().astype(int), EXPECTED.astype(int), atol=1)


@st.composite
def crops(draw, largest):
    """An image's size, a rectangle in it, a region around that, the crop's size, and a fill value.

    With a fill value the region may leave the image, and the rectangle keeps off the edge, for the
    rim of an enlarged crop is filled too. Without, the region ends with the image.
    """
    size, target = (draw(testing.image_sizes(8, largest)) for _ in range(2))
    fill_value = draw(st.sampled_from([None, 0]))
    painted, region = [], []
    for side in size:
        first = 0 if fill_value is None else 1
        low = draw(st.integers(first, side - 4 - first))
        high = draw(st.integers(low + 4, side - first))
        # Eighths of pixels, which float32 holds, up to twice the painted side away.
        before, after = (draw(st.integers(0, 16 * (high - low))) / 8 for _ in range(2))
        painted.append((low, high))
        if fill_value is None:
            region.append((max(low - before, 0), min(high + after, side)))
        else:
            region.append((low - before, high + after))
    painted, region = (np.float32(x)[::-1].T.ravel() for x in (painted, region))
    return size, painted, region, target, fill_value


def extent(shown):
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@settings(max_examples=40, deadline=None)
@given(crop=crops(64))
def test_a_painted_rectangle_lies_in_its_box(crop):
    assert_found(*crop)


@settings(max_examples=25, deadline=None)
@given(crop=crops(2000))
def test_a_painted_rectangle_in_images_of_up_to_2000_pixels(crop):
    assert_found(*crop)


@pytest.mark.parametrize(
    ("size", "region", "target"),
    [
        ((8, 2000), [0, 0, 2000, 8], (2000, 8)),
        ((2000, 8), [-1.5, -20, 9.125, 2040], (8, 2000)),
        ((2000, 1500), [1490, 1992, 1500, 2000], (2000, 1999)),
        ((1500, 2000), [0, 0, 2000, 1500], (224, 224)),
    ],
)
def test_a_painted_rectangle_at_the_extremes(size, region, target):
    """Both orientations, up and down; what is painted is the lower right of the region."""
    x0, y0, x1, y1 = region = np.float32(region)
    low = np.ceil([(x0 + x1) / 2, (y0 + y1) / 2])
    high = np.minimum(np.floor(region[2:]), [size[1], size[0]])
    leaves = (region < 0).any()
    painted = np.float32([*low, *(high - leaves)])
    assert_found(size, painted, region, target, 0 if leaves else None)


def assert_found(size, painted, region, target, fill_value):
    """A crop shows it within half a pixel of where the record says that it is."""
    x0, y0, x1, y1 = painted.astype(int)
    mask = np.zeros((*size, 1), "int32")
    mask[y0:y1, x0:x1] = 7
    # A region beside it must not matter.
    regions = np.float32([[0, 0, 4, 4], region])
    options = {"bounding_box_format": "xyxy", "data_format": "channels_last"}
    bilinear = CropAndResize(*target, fill_value=fill_value, **options)
    nearest = CropAndResize(*target, fill_value=fill_value, interpolation="nearest", **options)
    record = {name: field[1] for name, field in bilinear.record(size, regions).items()}
    [box] = geometry.transform_boxes(painted[None], record)
    # Where some pixels of a large image are enlarged, float32 tells the places no better.
    tolerance = 0.5 + max(1e-3, 2 * np.spacing(np.abs(record["offset"]).max()))
    for shown in (
        bilinear(mask.astype("float32"), regions)[1, ..., 0] >= 3.5,
        nearest(mask, regions)[1, ..., 0] == 7,
    ):
        assert np.abs(extent(shown) - box).max() <= tolerance
    np.testing.assert_allclose(geometry.restore_boxes(box[None], record)[0], painted, atol=1e-3)


def test_the_record_of_every_crop():
    """Of flipped boxes too; what shows nothing has a finite one."""
    for boxes in (BOXES, ops.convert_to_tensor(BOXES)):
        record = layer().record((HEIGHT, WIDTH), boxes)
        assert all(np.isfinite(to_numpy(field)).all() for field in record.values())
        corners = np.broadcast_to(np.float32([[0, 0], [5, 6]]), (2, 2, 2, 2))
        got = to_numpy(geometry.restore_points(corners, record)).reshape(2, 2, 4)
        np.testing.assert_allclose(got[:1], BOXES[:1], atol=1e-4)
        np.testing.assert_allclose(got[1, 0], BOXES[1, 0], atol=1e-4)
        np.testing.assert_allclose(got[1, 1], [0, 0, WIDTH, HEIGHT], atol=1e-4)


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        (IMAGES[0, 0], BOXES, "`images` must be of rank"),
        (IMAGES[:, :0], BOXES, "`images` must .* at least one row"),
        (IMAGES, BOXES[..., :3], "`boxes` must have a last axis of 4"),
        (IMAGES, BOXES[0], "`boxes` must be of shape"),
    ],
)
def test_bad_input(images, boxes, message):
    with pytest.raises(ValueError, match=message):
        layer()(images, boxes)


def test_boxes_without_a_format():
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of"):
        CropAndResize(6, 5)
