import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry
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


def test_in_a_pipeline():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((IMAGES, BOXES))
    for pipeline in (data.map(layer()).batch(2), data.batch(2).map(layer())):
        (crops,) = list(pipeline)
        np.testing.assert_allclose(crops.numpy().astype(int), EXPECTED.astype(int), atol=1)


@settings(max_examples=30, deadline=None)
@given(
    corners=st.tuples(*[st.integers(0, 20)] * 4),
    sides=st.tuples(*[st.integers(3, 9)] * 4),
    interpolation=st.sampled_from(["nearest", "bilinear"]),
)
def test_a_painted_rectangle_lies_in_its_box(corners, sides, interpolation):
    """The crop shows it within half a pixel of where the record says that it is."""
    image = np.zeros((32, 32, 1), "float32")
    x0, y0 = corners[0] % 12 + 8, corners[1] % 12 + 8
    painted = np.float32([x0, y0, x0 + sides[0], y0 + sides[1]])
    image[y0 : y0 + sides[1], x0 : x0 + sides[0]] = 1.0
    region = painted + np.float32([-1, -1, 1, 1]) * (np.float32([*sides[2:], *sides[2:]]) / 2)
    crop = CropAndResize(
        48, 40, interpolation=interpolation, bounding_box_format="xyxy", data_format="channels_last"
    )
    shown = crop(image, region[None])[0, ..., 0] > 0.5
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    record = {name: field[0] for name, field in crop.record((32, 32), region[None]).items()}
    box = geometry.transform_boxes(painted[None], record)
    np.testing.assert_allclose(extent, box[0], atol=0.5 + 1e-3)
    np.testing.assert_allclose(geometry.restore_boxes(box, record)[0], painted, atol=1e-3)


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
