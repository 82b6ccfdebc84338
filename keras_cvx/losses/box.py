"""Losses of paired boxes: one minus their overlap, in the four variants of `elementwise_iou`."""

import math
from numbers import Real

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_boxes, shapes_agree
from keras_cvx.ops.boxes import check_format, corners
from keras_cvx.ops.ground_truth import present_rows, row_weights
from keras_cvx.ops.iou import elementwise_iou, nan_unless_finite

# Of centres in anchor sides, and of logarithms of sides: no area overflows float32 within them.
_LIMITS = (2.0**60, 2.0**60, 40.0, 40.0)


def box_overlap_loss(
    y_true, y_pred, *, variant="iou", bounding_box_format="xyxy", box_variance=None
):
    """One minus the overlap of each box with its ground truth.

    Args:
        y_true: Float tensor `(..., 4)` of boxes, or of offsets from anchors. A row of four −1 is
            padding, among boxes.
        y_pred: Float tensor of the same shape.
        variant: `"iou"`, `"giou"`, `"diou"` or `"ciou"`, as in `keras_cvx.ops.elementwise_iou`.
        bounding_box_format: Format of the boxes, as Keras names it.
        box_variance: None, or four positive numbers: as in `IoULoss`.

    Returns:
        Float32 tensor `(...)`, 0 in padded rows; of IoU in `[0, 1]`, of GIoU and DIoU in
        `[0, 2]`, of CIoU in `[0, 3]`.

    Raises:
        ValueError: If the shapes are not equal, the last axis is not 4, or the variant or the
            format is unknown.

    Example:
        >>> float(box_overlap_loss([0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 2.0, 2.0]))
        0.5
    """
    y_true, y_pred = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (y_true, y_pred))
    check_boxes(y_true, "y_true")
    check_boxes(y_pred, "y_pred")
    if not shapes_agree(y_true.shape, y_pred.shape):
        raise ValueError(
            "`y_true` and `y_pred` must hold the same number of boxes. "
            f"Received: shapes {tuple(y_true.shape)} and {tuple(y_pred.shape)}"
        )
    if box_variance is not None:
        sides = (_beside_unit_anchor(x, box_variance) for x in (y_true, y_pred))
        loss = 1.0 - elementwise_iou(*sides, variant=variant)
        return nan_unless_finite(loss, y_true, y_pred)
    present = present_rows(y_true)
    # Nothing of a padded row may reach a gradient.
    y_true, y_pred = (ops.where(present[..., None], x, ops.zeros_like(x)) for x in (y_true, y_pred))
    sides = (corners(x, bounding_box_format) for x in (y_true, y_pred))
    loss = nan_unless_finite(1.0 - elementwise_iou(*sides, variant=variant), y_true, y_pred)
    return ops.where(present, loss, ops.zeros_like(loss))


def _beside_unit_anchor(offsets, variance):
    """Corners of the boxes that lie by their anchor's unit square as by the anchor itself."""
    limits = ops.convert_to_tensor(_LIMITS)
    offsets = offsets * ops.convert_to_tensor(variance, "float32")
    offsets = ops.maximum(ops.minimum(offsets, limits), -limits)
    center, half = offsets[..., :2], ops.exp(offsets[..., 2:]) / 2.0
    return ops.concatenate([center - half, center + half], axis=-1)


class _BoxOverlapLoss(keras.losses.Loss):
    """What the four losses share; `_variant` is the only difference."""

    _variant: str

    def __init__(
        self,
        bounding_box_format="xyxy",
        box_variance=None,
        *,
        reduction="sum_over_batch_size",
        name=None,
    ):
        # Always float32: half precision would move a corner by pixels.
        super().__init__(name=name or f"{self._variant}_loss", reduction=reduction, dtype="float32")
        self.bounding_box_format = check_format(bounding_box_format)
        self.box_variance = _check_variance(box_variance)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(ops.convert_to_tensor(y_true), "float32")
        check_boxes(y_true, "y_true")
        present = present_rows(y_true)
        if self.box_variance is not None:
            present = ops.ones_like(present)
        weights = row_weights(present, sample_weight)
        if self.reduction in ("sum_over_batch_size", "mean"):
            # Keras divides by the number of all rows; with this it is that of the present ones.
            weights = ops.divide_no_nan(weights, _share(present, y_pred))
        return super().__call__(y_true, y_pred, sample_weight=weights)

    def call(self, y_true, y_pred):
        return box_overlap_loss(
            y_true,
            y_pred,
            variant=self._variant,
            bounding_box_format=self.bounding_box_format,
            box_variance=self.box_variance,
        )

    def get_config(self):
        config = super().get_config()
        config.update(bounding_box_format=self.bounding_box_format, box_variance=self.box_variance)
        return config


class _Unmasked(keras.losses.Loss):
    """Its first argument; 0 where Keras' mask of the second, which only Keras knows, is false."""

    def call(self, y_true, y_pred):
        return y_true


def _share(present, y_pred):
    """The share of present rows among those that Keras' mask of the predictions leaves."""
    unmasked = _Unmasked(reduction="none", dtype="float32")
    present, rows = (ops.sum(unmasked(x, y_pred)) for x in (present, ops.ones_like(present)))
    return ops.divide_no_nan(present, rows)


def _check_variance(variance):
    """`box_variance` as it was given, if it can be one."""
    if variance is None:
        return None
    four = isinstance(variance, (list, tuple)) and len(variance) == 4
    if not four or not all(isinstance(x, Real) and 0 < float(x) < math.inf for x in variance):
        raise ValueError(
            "`box_variance` must be None or four positive numbers, as the detector's label encoder "
            f"has them. Received: box_variance={variance!r}"
        )
    return variance


@plugins.register("IoULoss", kind="loss")
class IoULoss(_BoxOverlapLoss):
    """`1 - IoU` of each box with the ground truth at the same place.

    Boxes that do not meet have a loss of 1 and no gradient: a predictor that starts far from the
    truth needs `GIoULoss`, `DIoULoss` or `CIoULoss`. The loss does not depend on the unit, and
    gradients are finite for boxes without area too.

    A row of `y_true` of four −1 is padding: it adds nothing to the loss, and the means are those
    over the other rows. Rows that Keras' mask of `y_pred` leaves out count nowhere either.
    `sample_weight` `(B,)` weighs samples, `(B, N)` boxes.

    In relative formats the sides of the image count as equally long. IoU and GIoU are the same
    for that; DIoU and CIoU, which know distances and aspect ratios, are those of the boxes on an
    image that is stretched to a square.

    **As the box loss of a detector**, with `reduction="sum"`, because these detectors divide by
    the number of their boxes themselves:

    - KerasCV's `YOLOV8Detector` gives boxes, `"xyxy"` whatever the format of the data set: the
      defaults are right.
    - KerasCV's `RetinaNet` gives offsets from its anchors: `box_variance=(0.1, 0.1, 0.2, 0.2)`,
      and its own `bounding_box_format`, for it refuses another.
    - KerasHub's `RetinaNetObjectDetector` gives offsets likewise: `box_variance=(1, 1, 1, 1)`.

    Args:
        bounding_box_format: Format of the boxes, as Keras names it.
        box_variance: None where `y_true` and `y_pred` are boxes. Where they are offsets from
            anchors, the four positive numbers that the label encoder has for it: an offset times
            its number is the centre's distance in sides of the anchor, in the first two places,
            and the logarithm of a side in sides of the anchor, in the last two. The anchors are
            not needed, since IoU and GIoU are the same beside a unit square; DIoU and CIoU take
            distances and aspect ratios relative to the anchor's. No row is padding then, and
            `bounding_box_format` is not used.
        reduction: As for every Keras loss. `"sum_over_batch_size"` and `"mean"` divide by the
            number of rows that are not padding, `"mean_with_sample_weight"` by the sum of weights.
        name: As for every Keras loss.

    Call arguments:
        y_true: Float tensor `(B, ..., 4)` of finite numbers. NaN or an infinity makes the loss
            NaN.
        y_pred: Float tensor of the same shape.

    Raises:
        ValueError: If an argument is out of its range, or the shapes of `y_true`, `y_pred` and
            `sample_weight` do not go together.

    Example:
        >>> loss = IoULoss("xywh")
        >>> truth = keras.ops.convert_to_tensor([[[0.0, 0.0, 4.0, 2.0], [-1.0] * 4]])
        >>> float(loss(truth, keras.ops.convert_to_tensor([[[0.0, 0.0, 1.0, 2.0], [8.0] * 4]])))
        0.75

    Reference:
        Yu et al. 2016, UnitBox, whose loss is the negative logarithm of the same IoU;
        Rezatofighi et al. 2019, Generalized Intersection over Union, algorithm 2.
    """

    _variant = "iou"


@plugins.register("GIoULoss", kind="loss")
class GIoULoss(_BoxOverlapLoss):
    """`1 - GIoU`: of boxes that do not meet, the more the emptier the box around both is.

    Padding and use in detectors are those of `IoULoss`.

    Args:
        bounding_box_format: As for `IoULoss`.
        box_variance: As for `IoULoss`.
        reduction: As for `IoULoss`.
        name: As for every Keras loss.

    Example:
        >>> float(GIoULoss()([[0.0, 0.0, 2.0, 2.0]], [[2.0, 2.0, 4.0, 4.0]]))
        1.5

    Reference:
        Rezatofighi et al. 2019, Generalized Intersection over Union, algorithm 2.
    """

    _variant = "giou"


@plugins.register("DIoULoss", kind="loss")
class DIoULoss(_BoxOverlapLoss):
    """`1 - DIoU`: adds the squared distance of the centres, by the diagonal of the box around both.

    Padding and use in detectors are those of `IoULoss`.

    Args:
        bounding_box_format: As for `IoULoss`.
        box_variance: As for `IoULoss`.
        reduction: As for `IoULoss`.
        name: As for every Keras loss.

    Example:
        >>> float(DIoULoss()([[0.0, 0.0, 2.0, 2.0]], [[2.0, 2.0, 4.0, 4.0]]))
        1.25

    Reference:
        Zheng et al. 2020, Distance-IoU Loss, equation 7.
    """

    _variant = "diou"


@plugins.register("CIoULoss", kind="loss")
class CIoULoss(_BoxOverlapLoss):
    """`1 - CIoU`: DIoU's loss, and a term for the difference in aspect ratio.

    No gradient flows through the weight of that term. Padding and use in detectors are those of
    `IoULoss`.

    Args:
        bounding_box_format: As for `IoULoss`.
        box_variance: As for `IoULoss`.
        reduction: As for `IoULoss`.
        name: As for every Keras loss.

    Example:
        >>> float(CIoULoss()([[0.0, 0.0, 2.0, 2.0]], [[2.0, 2.0, 4.0, 4.0]]))
        1.25

    Reference:
        Zheng et al. 2020, Distance-IoU Loss, equations 8 to 11.
    """

    _variant = "ciou"
