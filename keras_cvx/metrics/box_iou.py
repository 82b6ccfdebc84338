"""Localization by paired boxes: their mean overlap, or the share that overlaps enough."""

from numbers import Real

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_boxes, check_choice, shapes_agree
from keras_cvx.ops.boxes import check_format, corners
from keras_cvx.ops.confusion import highest_class
from keras_cvx.ops.ground_truth import present_rows, row_weights
from keras_cvx.ops.iou import VARIANTS, elementwise_iou, nan_unless_finite


def localization_scores(
    truth_boxes, boxes, truth_labels=None, labels=None, *, variant="iou", threshold=None
):
    """What each pair of boxes adds to the mean.

    Args:
        truth_boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1`.
        boxes: Float tensor `(..., 4)` in the same frame.
        truth_labels: Integer tensor `(...)`, or None if the class does not matter.
        labels: Likewise, of the predictions.
        variant: As in `keras_cvx.ops.elementwise_iou`.
        threshold: Number, or None.

    Returns:
        Float32 tensor `(...)`: the overlap, NaN where a number of a box is not finite; with a
        threshold 1 where the overlap reaches it and, if there are labels, the labels are equal,
        and 0 elsewhere.

    Example:
        >>> truth, found = [[0.0, 0.0, 4.0, 2.0]] * 2, [[0.0, 0.0, 2.0, 2.0]] * 2
        >>> scores = localization_scores(truth, found, [1, 2], [1, 1], threshold=0.5)
        >>> ops.convert_to_numpy(scores).tolist()
        [1.0, 0.0]
    """
    overlap = elementwise_iou(truth_boxes, boxes, variant=variant)
    overlap = nan_unless_finite(overlap, truth_boxes, boxes)
    if threshold is None:
        return overlap
    right = overlap >= threshold
    if truth_labels is not None:
        right = ops.logical_and(right, ops.equal(truth_labels, labels))
    return ops.cast(right, "float32")


@plugins.register("BoxIoU", kind="metric")
class BoxIoU(keras.metrics.Metric):
    """Mean overlap of each box with the ground truth at the same place, or localization accuracy.

    With a `threshold` it is the share of boxes whose overlap reaches it; `class_aware`, the share
    of those that have the right class too: ILSVRC's localization accuracy.

    A padded row of the ground truth, of label −1 or a box of four −1, counts nowhere. A box that
    was not found, so that its prediction is padding, counts as missed. A prediction that is not
    finite makes the mean NaN; with a threshold it counts as missed, as do scores that hold NaN.

    Args:
        variant: `"iou"`, `"giou"`, `"diou"` or `"ciou"`, as in `keras_cvx.ops.elementwise_iou`.
        threshold: None for the mean overlap, or a number in `(0, 1]`.
        class_aware: Boolean; it needs a threshold.
        bounding_box_format: Format of the boxes, as Keras names it. Relative formats need no image
            size: IoU and GIoU are the same for it, DIoU and CIoU are those on an image that is
            stretched to a square.
        name: As for every Keras metric.
        dtype: As for every Keras metric; the sums are float32 all the same.

    Call arguments:
        y_true: Float tensor of boxes `(B, 4)` or `(B, N, 4)`, or a dictionary of `"boxes"` and
            `"labels"`, integers `(B)` or `(B, N)`, one axis of size 1 more allowed. Without
            `class_aware` the labels only mark padding and may be missing.
        y_pred: Float tensor of boxes of the same shape, or a dictionary of `"boxes"` and, if
            `class_aware`, `"labels"`: integers like those of `y_true`, or scores of C classes
            (probabilities or logits) `(B, C)` or `(B, N, C)`, of which the highest is the class.
            Detections of one object an image, boxes `(B, 1, 4)` beside truth `(B, 4)`, will do.
        sample_weight: None, or a float tensor `(B)` or `(B, N)`.

    Returns:
        From `result`: float tensor `()`, the weighted mean; 0 before any box.

    Raises:
        ValueError: If an argument is out of its range, or the keys or shapes of `y_true`, `y_pred`
            and `sample_weight` do not go together.

    Example:
        >>> metric = BoxIoU(threshold=0.5, class_aware=True)
        >>> truth = {"boxes": [[0.0, 0.0, 4.0, 2.0]] * 2, "labels": [1, 0]}
        >>> found = {"boxes": [[0.0, 0.0, 4.0, 1.0]] * 2, "labels": [[0.25, 0.75]] * 2}
        >>> metric.update_state(truth, found)
        >>> float(metric.result())
        0.5

    Reference:
        Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge, section 4.2,
        for one object per image.
    """

    def __init__(
        self,
        variant="iou",
        threshold=None,
        *,
        class_aware=False,
        bounding_box_format="xyxy",
        name="box_iou",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        check_choice(VARIANTS, variant=variant)
        number = isinstance(threshold, Real) and not isinstance(threshold, bool)
        if threshold is not None and not (number and 0 < threshold <= 1):
            raise ValueError(
                "`threshold` must be None or a number above 0 and at most 1. "
                f"Received: threshold={threshold!r}"
            )
        if not isinstance(class_aware, bool) or (class_aware and threshold is None):
            raise ValueError(
                "`class_aware` must be False, or True beside a `threshold`: a mean overlap knows "
                f"no classes. Received: class_aware={class_aware!r}, threshold={threshold!r}"
            )
        self.variant = variant
        self.threshold = None if threshold is None else float(threshold)
        self.class_aware = class_aware
        self.bounding_box_format = check_format(bounding_box_format)
        self.total = self.add_variable((), "zeros", dtype="float32", name="total")
        self.count = self.add_variable((), "zeros", dtype="float32", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth_boxes, truth_labels = self._unpack(y_true, "y_true")
        boxes, labels = self._unpack(y_pred, "y_pred")
        if len(boxes.shape) == len(truth_boxes.shape) + 1 and boxes.shape[1] == 1:
            boxes = boxes[:, 0]
            labels = labels if labels is None else ops.convert_to_tensor(labels)[:, 0]
        if not shapes_agree(truth_boxes.shape, boxes.shape):
            raise ValueError(
                "`y_pred` must hold as many boxes as `y_true`. Received: boxes "
                f"{tuple(boxes.shape)} for {tuple(truth_boxes.shape)}"
            )
        present = present_rows(truth_boxes)
        if truth_labels is not None:
            truth_labels = _classes(truth_labels, boxes, "y_true")
            present = ops.logical_and(present, truth_labels >= 0)
        if self.class_aware:
            labels = _classes(labels, boxes, "y_pred")
        weights = row_weights(present, sample_weight)
        scores = localization_scores(
            corners(truth_boxes, self.bounding_box_format),
            corners(boxes, self.bounding_box_format),
            *((truth_labels, labels) if self.class_aware else ()),
            variant=self.variant,
            threshold=self.threshold,
        )
        # Padding may hold anything, and NaN times 0 is NaN.
        scores = ops.where(present, scores, ops.zeros_like(scores))
        self.total.assign(self.total + ops.sum(scores * weights))
        self.count.assign(self.count + ops.sum(weights))

    def result(self):
        return ops.divide_no_nan(
            ops.convert_to_tensor(self.total), ops.convert_to_tensor(self.count)
        )

    def get_config(self):
        config = super().get_config()
        config.update(
            variant=self.variant,
            threshold=self.threshold,
            class_aware=self.class_aware,
            bounding_box_format=self.bounding_box_format,
        )
        return config

    def _unpack(self, y, name):
        """Float32 boxes `(..., 4)`, and the labels as they come, or None."""
        labels = None
        if isinstance(y, dict):
            needed = {"boxes", "labels"} if self.class_aware else {"boxes"}
            if not needed <= set(y):
                raise ValueError(
                    f"`{name}` must have the keys {sorted(needed)}. "
                    f"Received: keys {sorted(map(str, y))}"
                )
            y, labels = y["boxes"], y.get("labels")
        elif self.class_aware:
            raise ValueError(
                f"`{name}` must be a dictionary of 'boxes' and 'labels', for the class matters. "
                f"Received: {type(y).__name__}"
            )
        boxes = ops.cast(ops.convert_to_tensor(y), "float32")
        check_boxes(boxes, name)
        return boxes, labels


def _classes(labels, boxes, name):
    """Int32 labels, one for each box, from labels or scores."""
    labels = ops.convert_to_tensor(labels)
    rows, shape = boxes.shape[:-1], tuple(labels.shape)
    if len(shape) == len(rows) + 1:
        whole = "int" in keras.backend.standardize_dtype(labels.dtype)
        # Of a single class, scores are told from labels by their dtype.
        if shape[-1] == 1 and (whole or name == "y_true"):
            labels = ops.squeeze(labels, axis=-1)
        elif name == "y_pred":
            labels = highest_class(labels, -1)
    if not shapes_agree(labels.shape, rows):
        raise ValueError(
            f"`{name}` must hold one label for each box"
            f"{', or the scores of its classes' if name == 'y_pred' else ''}. "
            f"Received: labels {shape} for boxes {tuple(boxes.shape)}"
        )
    return ops.cast(labels, "int32")
