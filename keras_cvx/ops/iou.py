"""Intersection over union and its generalized, distance and complete variants."""

import math

from keras import ops

from keras_cvx.ops._quotients import SMALLEST, quotient
from keras_cvx.ops.arguments import check_boxes, check_choice

# No area of boxes within it, and no sum of two, leaves float32's range.
_FARTHEST = 2.0**62

VARIANTS = ("iou", "giou", "diou", "ciou")


def elementwise_iou(boxes, others, *, variant="iou"):
    """Overlap of each box with the box at the same place in `others`.

    Nothing is added to a denominator: relative and absolute boxes score the same, however small.
    A pair whose union is empty scores 0, never NaN, so padded rows are safe to pass.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels or fractions. A box with
            `x1 < x0` or `y1 < y0` has no area. A coordinate beyond ±2**62 counts as that.
        others: Float tensor `(..., 4)` in the same frame. Leading axes broadcast.
        variant: `"iou"`, `"giou"` (generalized: minus the share of the enclosing box that the
            union leaves empty), `"diou"` (distance: minus the squared distance of the centres,
            in squared diagonals of the enclosing box) or `"ciou"` (complete: DIoU minus
            `alpha * v`, the difference in aspect ratio; no gradient flows through `alpha`).

    Returns:
        Float32 tensor `(...)`; IoU in `[0, 1]`, GIoU and DIoU in `[-1, 1]`, CIoU in `[-2, 1]`.

    Raises:
        ValueError: If the last axis of either argument is not 4, or `variant` is unknown.

    Example:
        >>> iou = elementwise_iou([0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0])
        >>> float(iou)
        0.5

    Reference:
        - Rezatofighi et al. 2019, Generalized Intersection over Union, algorithm 1.
        - Zheng et al. 2020, Distance-IoU Loss, equations 7 (DIoU) and 8 to 11 (CIoU).
    """
    boxes, others = _checked(boxes, "boxes"), _checked(others, "others")
    check_choice(VARIANTS, variant=variant)
    return _engine(boxes, others, variant)


def nan_unless_finite(overlap, *boxes):
    """The overlap, but NaN where a number of a box is not finite.

    An overlap of 0 would hide that a model has diverged.

    Args:
        overlap: Float32 tensor `(...)`, or what was made of it.
        *boxes: Float tensors `(..., 4)`, in the format in which they came.

    Returns:
        Float32 tensor `(...)`.
    """
    sides = [ops.isfinite(ops.convert_to_tensor(x)) for x in boxes]
    finite = ops.all(ops.concatenate(sides, axis=-1), axis=-1)
    return ops.where(finite, overlap, ops.full_like(overlap, float("nan")))


def pairwise_iou(boxes, others, *, variant="iou"):
    """Overlap of every box with every other box, by the same engine as `elementwise_iou`.

    Args:
        boxes: Float tensor `(..., N, 4)`, corners `x0, y0, x1, y1`.
        others: Float tensor `(..., M, 4)` in the same frame. Leading axes broadcast.
        variant: As in `elementwise_iou`.

    Returns:
        Float32 tensor `(..., N, M)`.

    Raises:
        ValueError: If the last axis of either argument is not 4, or `variant` is unknown.

    Example:
        >>> iou = pairwise_iou([[0.0, 0.0, 4.0, 2.0]], [[0.0, 0.0, 2.0, 2.0]])
        >>> ops.convert_to_numpy(iou).tolist()
        [[0.5]]
    """
    boxes, others = _checked(boxes, "boxes"), _checked(others, "others")
    return elementwise_iou(ops.expand_dims(boxes, -2), ops.expand_dims(others, -3), variant=variant)


def _checked(boxes, name):
    boxes = ops.cast(ops.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, name)
    return ops.maximum(ops.minimum(boxes, _FARTHEST), -_FARTHEST)


def _engine(boxes, others, variant):
    ax0, ay0, ax1, ay1 = _corners(boxes)
    bx0, by0, bx1, by1 = _corners(others)
    aw, ah, bw, bh = ax1 - ax0, ay1 - ay0, bx1 - bx0, by1 - by0
    width = ops.relu(ops.minimum(ax1, bx1) - ops.maximum(ax0, bx0))
    height = ops.relu(ops.minimum(ay1, by1) - ops.maximum(ay0, by0))
    intersection = width * height
    union = aw * ah + bw * bh - intersection
    iou = _ratio(intersection, union)
    if variant == "iou":
        return iou

    enclosing_width = ops.maximum(ax1, bx1) - ops.minimum(ax0, bx0)
    enclosing_height = ops.maximum(ay1, by1) - ops.minimum(ay0, by0)
    if variant == "giou":
        enclosing = enclosing_width * enclosing_height
        return iou - _ratio(enclosing - union, enclosing)

    # In units of the longer side, so that no square underflows.
    longer = ops.stop_gradient(ops.maximum(enclosing_width, enclosing_height))
    longer = ops.where(longer >= SMALLEST, longer, ops.ones_like(longer))
    dx = ((ax0 + ax1) - (bx0 + bx1)) / 2.0 / longer
    dy = ((ay0 + ay1) - (by0 + by1)) / 2.0 / longer
    diagonal = ops.square(enclosing_width / longer) + ops.square(enclosing_height / longer)
    diou = iou - _ratio(dx * dx + dy * dy, diagonal)
    if variant == "diou":
        return diou

    difference = _aspect_angle(aw, ah) - _aspect_angle(bw, bh)
    v = 4.0 / math.pi**2 * difference * difference
    alpha = ops.stop_gradient(_ratio(v, 1.0 - iou + v))
    return diou - alpha * v


def _corners(boxes):
    """The four coordinates; a box with swapped corners shrinks onto its first one."""
    x0, y0, x1, y1 = (boxes[..., i] for i in range(4))
    return x0, y0, ops.maximum(x0, x1), ops.maximum(y0, y1)


def _ratio(numerator, denominator):
    """The quotient, and 0 with gradient 0 where the denominator is 0 or below float32's range."""
    positive = denominator >= SMALLEST
    ratio = quotient(numerator, ops.where(positive, denominator, ops.ones_like(denominator)))
    return ops.where(positive, ratio, ops.zeros_like(ratio))


def _aspect_angle(width, height):
    """`arctan(width / height)`; scaled by the longer side, so that no square underflows."""
    longer = ops.stop_gradient(ops.maximum(width, height))
    empty = longer < SMALLEST
    longer = ops.where(empty, ops.ones_like(longer), longer)
    return ops.arctan2(width / longer, ops.where(empty, ops.ones_like(height), height / longer))
