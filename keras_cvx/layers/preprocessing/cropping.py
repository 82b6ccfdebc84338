"""What layers have in common that cut off parts of an image, and of the boxes in it."""

from keras_cvx import geometry
from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_numbers
from keras_cvx.ops.boxes import area, clip


class CroppingLayer(GeometricLayer):
    """A `GeometricLayer` that clips boxes to its result, and drops those of which little is left.

    What it shows is a region in whole pixels of the source. There, and not in the target, where
    coordinates are rounded, it is decided what is left of a box.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep. One that
            keeps nothing never stays.
        **kwargs: As for `GeometricLayer`.
    """

    def __init__(self, height, width, *, min_visible=0.0, **kwargs):
        super().__init__(height, width, **kwargs)
        self.min_visible = checked_min_visible(min_visible)

    def region(self, record):
        """What a record shows of the source: `(..., 1, 4)`, corners in whole pixels.

        Args:
            record: Record of `(..., 2)`.
        """
        xp = _arrays.namespace(*record.values())
        corner = xp.flip(xp.convert_to_tensor(record["target_size"]), -1)
        target = xp.expand_dims(xp.concatenate([xp.zeros_like(corner), corner], -1), -2)
        return xp.round(geometry.restore_boxes(target, record, clip=False))

    def move_boxes(self, boxes, record):
        left, stays = cut(boxes, self.region(record), self.min_visible)
        return clip(geometry.transform_boxes(left, record), self.height, self.width), stays

    def get_config(self):
        return {**super().get_config(), "min_visible": self.min_visible}


def cut(boxes, region, min_visible):
    """Boxes cut to a region, and of which of them enough is left.

    Args:
        boxes: Float32 `(..., N, 4)`, corners `x0, y0, x1, y1` in pixels.
        region: Float32 array that broadcasts with them, likewise.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep.

    Returns:
        Tuple of the boxes, of no area where they are outside, and a boolean array `(..., N)`, False
        for those and for what keeps less.

    Example:
        >>> import numpy as np
        >>> boxes = np.float32([[1, 1, 3, 3], [3, 1, 7, 2], [5, 0, 6, 3]])
        >>> left, stays = cut(boxes, np.float32([0, 0, 4, 4]), 0.5)
        >>> left[:2].tolist(), stays.tolist()
        ([[1.0, 1.0, 3.0, 3.0], [3.0, 1.0, 4.0, 2.0]], [True, False, False])
    """
    xp = _arrays.namespace(boxes, region)
    low = xp.maximum(boxes[..., :2], region[..., :2])
    high = xp.maximum(xp.minimum(boxes[..., 2:], region[..., 2:]), low)
    left = xp.concatenate([low, high], -1)
    return left, xp.logical_and(area(left) > 0, area(left) >= min_visible * area(boxes))


def checked_min_visible(min_visible):
    """`min_visible` if it is a share.

    Args:
        min_visible: Any object.

    Raises:
        ValueError: If it is no number in `[0, 1]`.
    """
    check_numbers(min_visible=min_visible)
    if not 0 <= min_visible <= 1:
        raise ValueError(f"`min_visible` must be in [0, 1]. Received: min_visible={min_visible}")
    return min_visible
