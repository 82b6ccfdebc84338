"""Overlap of the inner edges of masks."""

import math
from numbers import Real

from keras import ops

from keras_cvx import plugins
from keras_cvx.metrics.mask_confusion import MaskConfusion
from keras_cvx.metrics.segmentation_iou import class_overlaps, per_class


def near_contour(masks, distance):
    """Which pixels lie near the contour of their region, and within it.

    A pixel does if a pixel of another id, or a place outside the image, is at most `distance` away
    along rows and columns: if erosion by a square of side `2 * distance + 1` takes it away.

    Args:
        masks: Integer tensor `(B, H, W)`, H and W known.
        distance: Positive integer, in pixels.

    Returns:
        Boolean tensor `(B, H, W)`.

    Example:
        >>> near = near_contour([[[1] * 5] * 5], 1)
        >>> ops.convert_to_numpy(near).astype(int)[0, :3].tolist()
        [[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1]]
    """
    masks = ops.cast(ops.convert_to_tensor(masks), "int32")
    lowest = highest = ops.pad(masks, ((0, 0), (distance, distance), (distance, distance)))
    for axis in (1, 2):
        lowest = _over_window(ops.minimum, lowest, distance, axis)
        highest = _over_window(ops.maximum, highest, distance, axis)
    height, width = masks.shape[1:]
    inside = ops.logical_and(
        _away_from_ends(height, distance)[:, None], _away_from_ends(width, distance)
    )
    return ops.logical_not(ops.logical_and(inside, lowest == highest))


def _over_window(extreme, masks, distance, axis):
    """The extreme of `2 * distance + 1` neighbours; every step doubles the window it has."""

    def later(x, by, size):
        slices = [slice(None)] * 3
        slices[axis] = slice(by, by + size)
        return x[tuple(slices)]

    window, wanted = 1, 2 * distance + 1
    while window < wanted:
        step = min(window, wanted - window)
        size = masks.shape[axis] - step
        masks = extreme(later(masks, 0, size), later(masks, step, size))
        window += step
    return masks


def _away_from_ends(size, distance):
    places = ops.arange(size, dtype="int32")
    return ops.logical_and(places >= distance, places < size - distance)


@plugins.register("BoundaryIoU", kind="metric")
class BoundaryIoU(MaskConfusion):
    """Mean boundary IoU of semantic masks: IoU of the pixels near the contours, within each mask.

    Of each class, in truth and in prediction, those pixels are compared that erosion by d pixels
    takes away; the image's edge is a contour too. Counts are summed over all images, and the means
    are over the classes that occur. A region of ignored pixels bounds its neighbours, and counts
    nowhere itself.

    Args:
        num_classes: Positive integer C.
        ignore_class: As in `SegmentationIoU`.
        dilation_ratio: Float in (0, 1); d is this share of the image's diagonal, rounded, and at
            least 1 pixel.
        name: As for every Keras metric.
        **kwargs: `out_of_range`, `sparse_y_true`, `sparse_y_pred`, `axis` and `dtype`, as in
            `SegmentationIoU`.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`; H and W known.
        y_pred: Likewise.
        sample_weight: As in `SegmentationIoU`.

    Returns:
        From `result`: `{"mean_boundary_iou"}`, a float32 scalar in `[0, 1]`; 0 before any update.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not go together or are
            unknown, or there were ids out of range.

    Example:
        >>> metric = BoundaryIoU(num_classes=2)
        >>> metric.update_state([[[0, 0, 1, 1]] * 4], [[[0, 0, 0, 1]] * 4])
        >>> metric.per_class()["boundary_iou"].tolist()
        [0.5, 0.5]

    Reference:
        Cheng et al. 2021, Boundary IoU: Improving Object-Centric Image Segmentation Evaluation,
        equation 3; the mask's edge as in its evaluation code.
    """

    def __init__(
        self, num_classes, ignore_class=255, *, dilation_ratio=0.02, name="boundary_iou", **kwargs
    ):
        super().__init__(num_classes, ignore_class, name=name, **kwargs)
        number = isinstance(dilation_ratio, Real)
        if not (number and 0 < dilation_ratio < 1):
            raise ValueError(f"`dilation_ratio` must be in (0, 1). Received: {dilation_ratio!r}")
        self.dilation_ratio = float(dilation_ratio)

    def result(self):
        iou, _, present = class_overlaps(self._confusion(), self.num_classes)
        return {"mean_boundary_iou": ops.divide_no_nan(ops.sum(iou), ops.sum(present))}

    def per_class(self):
        """The score of each class, on the host.

        Returns:
            Dictionary of a float32 array `(C,)`: `"boundary_iou"`, NaN for a class that is absent
            from truth and predictions.
        """
        return {"boundary_iou": per_class(self._confusion(), self.num_classes)["iou"]}

    def get_config(self):
        return {**super().get_config(), "dilation_ratio": self.dilation_ratio}

    def _classes(self, ids):
        if len(ids.shape) != 3 or None in ids.shape[1:]:
            raise ValueError(
                "`y_true` and `y_pred` must be masks (B, H, W) with H and W known when the step is "
                f"traced. Received: shape {tuple(ids.shape)}"
            )
        distance = max(1, round(self.dilation_ratio * math.hypot(*ids.shape[1:])))
        is_class = ops.logical_and(ids >= 0, ids < self.num_classes)
        inner = ops.logical_and(is_class, ops.logical_not(near_contour(ids, distance)))
        beyond = super()._classes(ids)
        return ops.where(inner, ops.full_like(ids, self.num_classes), beyond)
