import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keras_cvx import geometry, testing
from keras_cvx.layers import ResizeWithPad
from keras_cvx.ops.resizing import INTERPOLATIONS

SIZES = testing.image_sizes(8, 64) | testing.image_sizes(8, 400)
LARGE = testing.image_sizes(8, 2000)
RNG = np.random.default_rng(0)
# Both orientations, larger and smaller, a square in which float32 loses a pixel.
CASES = [
    ((37, 53), (24, 32)),
    ((53, 37), (24, 32)),
    ((20, 30), (64, 48)),
    ((30, 20), (57, 57)),
    ((29, 50), (61, 61)),
    ((40, 40), (40, 40)),
]


def rectangles(size):
    """Boxes of at least one pixel with integer corners in an image."""

    def spans(side):
        return st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True).map(sorted)

    return st.tuples(spans(size[1]), spans(size[0])).map(
        lambda box: np.float32([[box[0][0], box[1][0], box[0][1], box[1][1]]])
    )


def extent(painted):
    rows, columns = (np.flatnonzero(painted.any(axis)) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def painted(size, box):
    """An image of two channels, one for each axis, and a mask, in which a box is painted."""
    x0, y0, x1, y1 = box[0].astype(int)
    image, mask = np.zeros((*size, 2), "float32"), np.zeros(size, "int32")
    image[:, x0:x1, 0] = image[y0:y1, :, 1] = 255
    mask[y0:y1, x0:x1] = 7
    return image, mask


@pytest.mark.parametrize("count", [0, 2])
def test_no_images_and_no_boxes(as_kind, count):
    sample = as_kind(
        {
            "images": np.zeros((count, 5, 7, 3), "uint8"),
            "bounding_boxes": {
                "boxes": np.zeros((count, 0, 4), "float32"),
                "labels": np.zeros((count, 0), "int32"),
            },
            "segmentation_masks": np.zeros((count, 5, 7), "int32"),
        }
    )
    moved = ResizeWithPad(8, 9, bounding_box_format="xywh")(sample)
    assert moved["images"].shape == (count, 8, 9, 3)
    assert moved["segmentation_masks"].shape == (count, 8, 9)
    assert moved["bounding_boxes"]["boxes"].shape == (count, 0, 4)
    assert moved["bounding_boxes"]["labels"].shape == (count, 0)
    assert {tuple(field.shape) for field in moved["geometry"].values()} == {(count, 2)}


def letterboxed(size, target, position, box):
    image, mask = painted(size, box)
    layer = ResizeWithPad(*target, pad_position=position, bounding_box_format="xyxy")
    return layer(
        {
            "images": image,
            "bounding_boxes": {"boxes": box, "labels": np.int32([7])},
            "segmentation_masks": mask,
        }
    )


def assert_found(moved, box):
    got = moved["bounding_boxes"]["boxes"][0]
    found = extent((moved["images"] >= 127.4).all(-1))
    assert np.abs(found - got).max() <= 0.501
    assert np.abs(extent(moved["segmentation_masks"] == 7) - got).max() <= 0.501
    record = moved["geometry"]
    back = geometry.restore_boxes(got[None], record)
    # Where a hundred pixels become one, the last places of float32 in the target are as many.
    reduction = (record["source_size"] / record["content_size"]).max()
    places = 2 * np.spacing(max(got.max(), record["offset"].max())) * reduction
    np.testing.assert_allclose(back, box, rtol=0, atol=max(1e-3, places))


def is_shown(moved):
    """What is smaller than a pixel may fall between two samples."""
    box = moved["bounding_boxes"]["boxes"][0]
    return (box[2:] - box[:2] >= 1).all()


@settings(max_examples=150, deadline=None)
@given(data=st.data(), size=SIZES, target=SIZES, position=st.sampled_from([*geometry.POSITIONS]))
def test_a_painted_box_is_found_where_the_box_is(data, size, target, position):
    box = data.draw(rectangles(size))
    moved = letterboxed(size, target, position, box)
    assume(is_shown(moved))
    assert_found(moved, box)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=LARGE, target=LARGE)
def test_a_painted_box_in_images_of_up_to_2000_pixels(data, size, target):
    box = data.draw(rectangles(size))
    moved = letterboxed(size, target, "center", box)
    assume(is_shown(moved))
    assert_found(moved, box)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((2000, 1333), (1333, 2000)),
        ((1333, 2000), (224, 224)),
        ((8, 2000), (2000, 8)),
        ((2000, 8), (2000, 2000)),
        ((8, 11), (2000, 1999)),
    ],
)
def test_a_painted_box_at_the_extremes(size, target):
    """Both orientations, up and down; to the image's edge and off it."""
    height, width = size
    # At least a pixel of the target is left of an eighth of the narrow sides.
    for box in ([0, 0, width, height], [width // 8, height // 4, width, height]):
        moved = letterboxed(size, target, "bottom_right", np.float32([box]))
        assert_found(moved, np.float32([box]))


@settings(max_examples=60, deadline=None)
@given(size=SIZES, target=SIZES)
def test_padding_is_what_the_record_says(size, target):
    layer = ResizeWithPad(*target, fill_value=-1.0, mask_fill_value=9)
    sample = {"images": np.ones((*size, 1), "float32"), "segmentation_masks": np.ones(size, int)}
    moved = layer(sample)
    record = moved["geometry"]
    low, side = record["offset"].astype(int), record["content_size"].astype(int)
    expected = np.full(target, -1.0)
    expected[low[0] : low[0] + side[0], low[1] : low[1] + side[1]] = 1
    np.testing.assert_array_equal(moved["images"][..., 0], expected)
    np.testing.assert_array_equal(moved["segmentation_masks"], np.where(expected == 1, 1, 9))
    moved_mask = geometry.transform_mask(sample["segmentation_masks"], record, fill_value=9)
    np.testing.assert_array_equal(moved["segmentation_masks"], moved_mask)


@pytest.mark.parametrize(
    ("interpolation", "antialias"), list(itertools.product(INTERPOLATIONS, [False, True]))
)
def test_pixels_of_tensorflow(as_kind, interpolation, antialias):
    tf = pytest.importorskip("tensorflow")
    for size, target in CASES:
        images = RNG.uniform(0, 255, (2, *size, 3)).astype("float32")
        expected = tf.image.resize_with_pad(
            images, *target, method=interpolation, antialias=antialias
        )
        layer = ResizeWithPad(*target, interpolation=interpolation, antialias=antialias)
        got = layer(as_kind(images))
        tolerance = 1e-3 if as_kind.exact else 1e-2
        np.testing.assert_allclose(np.asarray(got), expected.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("position", list(geometry.POSITIONS))
def test_small_images_are_not_enlarged_unless_allowed(as_kind, position):
    image = RNG.uniform(0, 255, (3, 5, 2)).astype("float32")
    layer = ResizeWithPad(8, 7, allow_upscale=False, pad_position=position, fill_value=-1)
    moved = np.asarray(layer(as_kind(image)))
    low = {
        "center": (2, 1), "top_left": (0, 0), "top_right": (0, 2), "bottom_left": (5, 0),
        "bottom_right": (5, 2),
    }[position]  # fmt: skip
    content = moved[low[0] : low[0] + 3, low[1] : low[1] + 5]
    np.testing.assert_array_equal(content, image)
    assert (moved == -1).sum() == moved.size - content.size
    larger = np.asarray(layer(as_kind(np.ones((16, 14, 2), "float32"))))
    assert (larger == 1).all()


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1)])
def test_content_of_a_single_pixel(as_kind, size):
    image = np.full((*size, 3), 200, "uint8")
    layer = ResizeWithPad(6, 8, bounding_box_format="xyxy")
    height, width = size
    boxes = {"boxes": np.float32([[0, 0, width, height]]), "labels": np.int32([0])}
    moved = layer(as_kind({"images": image, "bounding_boxes": boxes}))
    pixels = np.asarray(moved["images"])[..., 0]
    assert set(np.unique(pixels)) == {0, 200}
    got = np.asarray(moved["bounding_boxes"]["boxes"])[0]
    np.testing.assert_allclose(extent(pixels == 200), got, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "value"), [("pad_position", "left"), ("interpolation", "area"), ("height", 0)]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        ResizeWithPad(**{"height": 4, "width": 4, argument: value})
