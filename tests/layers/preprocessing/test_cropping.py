import numpy as np
import pytest

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


def test_bad_argument():
    with pytest.raises(ValueError, match=r"`min_visible` must be in \[0, 1\]"):
        UpperLeft(4, 8, min_visible=1.5)
