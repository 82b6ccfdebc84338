import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx import geometry
from keras_cvx.layers.preprocessing.cropping import CroppingLayer


class UpperLeft(CroppingLayer):
    """Keeps the upper left corner of an image."""

    def record(self, source_size):
        return geometry.crop_or_pad(source_size, (self.height, self.width), offset=(0, 0))


# 8 wide and 4 high; of the second box a quarter stays, of the third nothing, the fourth is empty.
BOXES = np.float32([[1, 1, 3, 3], [6, 2, 10, 6], [9, 0, 12, 3], [2, 2, 2, 3]])


@pytest.mark.parametrize(("min_visible", "kept"), [(0.0, [0, 1]), (0.25, [0, 1]), (0.26, [0])])
def test_boxes_are_clipped_and_dropped(min_visible, kept):
    layer = UpperLeft(4, 8, min_visible=min_visible, bounding_box_format="xyxy")
    boxes = {"boxes": BOXES, "labels": np.arange(4, dtype="int32")}
    moved = layer({"images": np.zeros((9, 14, 3)), "bounding_boxes": boxes})["bounding_boxes"]
    expected = np.full((4, 4), -1.0)
    expected[kept] = np.minimum(BOXES, [8, 4, 8, 4])[kept]
    np.testing.assert_array_equal(moved["boxes"], expected)
    assert moved["labels"].tolist() == [i if i in kept else -1 for i in range(4)]


# In eighths of pixels, which float32 holds: what each keeps is exact. Beyond the right edge, the
# lower, both, the upper left, none, and all but a sliver; then the edge itself from either side.
FRACTIONAL = np.float32(
    [
        [6.5, 1.25, 9.5, 2.75],
        [1.125, 3.625, 2.5, 4.625],
        [7.25, 3.25, 8.75, 4.75],
        [-1.5, -0.5, 1.5, 1.5],
        [0.125, 0.375, 7.875, 3.875],
        [7.875, 0.5, 15.875, 1.5],
        [7.5, 1.5, 8.0, 4.0],
        [8.0, 1.5, 8.5, 2.5],
        [2.5, 4.0, 3.5, 4.5],
        [-0.625, 1.0, 0.0, 2.0],
    ]
)
KEPT = [1 / 2, 3 / 8, 1 / 4, 3 / 8, 1, 1 / 64, 1, 0, 0, 0]


def moved_boxes(layer, boxes):
    given = {"boxes": boxes, "labels": np.arange(len(boxes), dtype="int32")}
    return layer({"images": np.zeros((9, 14, 3)), "bounding_boxes": given})["bounding_boxes"]


@pytest.mark.parametrize("share", sorted({x for x in KEPT if x}))
def test_fractional_boxes_are_kept_by_their_exact_share(share):
    """At a box's own share it stays, and a little above it goes."""
    for least in (share, share * (1 + 1e-6)):
        if least > 1:
            continue
        layer = UpperLeft(4, 8, min_visible=least, bounding_box_format="xyxy")
        moved = moved_boxes(layer, FRACTIONAL)
        stays = np.array(KEPT) >= least
        clipped = np.clip(FRACTIONAL, 0, [8, 4, 8, 4])
        np.testing.assert_array_equal(moved["boxes"], np.where(stays[:, None], clipped, -1.0))
        assert moved["labels"].tolist() == [i if x else -1 for i, x in enumerate(stays)]


@settings(max_examples=60, deadline=None)
@given(
    corner=st.tuples(*[st.integers(-40, 80)] * 2),
    sides=st.tuples(*[st.integers(1, 60)] * 2),
    least=st.integers(0, 16).map(lambda n: n / 16),
)
def test_fractional_boxes_anywhere(corner, sides, least):
    """The share that stays, counted in squares of an eighth of a pixel."""
    x0, y0 = corner
    x1, y1 = x0 + sides[0], y0 + sides[1]
    rows, columns = np.mgrid[y0:y1, x0:x1]
    visible = ((rows >= 0) & (rows < 32) & (columns >= 0) & (columns < 64)).sum()
    layer = UpperLeft(4, 8, min_visible=least, bounding_box_format="xyxy")
    moved = moved_boxes(layer, np.float32([[x0, y0, x1, y1]]) / 8)
    stays = visible > 0 and visible >= least * rows.size
    expected = np.clip([x0 / 8, y0 / 8, x1 / 8, y1 / 8], 0, [8, 4, 8, 4]) if stays else [-1] * 4
    np.testing.assert_array_equal(moved["boxes"], [expected])
    assert moved["labels"].tolist() == [0 if stays else -1]


def test_bad_argument():
    with pytest.raises(ValueError, match=r"`min_visible` must be in \[0, 1\]"):
        UpperLeft(4, 8, min_visible=1.5)
