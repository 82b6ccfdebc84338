"""Which classes a detector takes for which, what it misses and what it makes up."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.metrics.confusion_counts import ConfusionCounts
from keras_cvx.metrics.detection_tensors import crowd_overlaps, most_confident, unpack_batch
from keras_cvx.ops.arguments import check_numbers
from keras_cvx.ops.boxes import check_format
from keras_cvx.ops.confusion import confusion_matrix
from keras_cvx.ops.matching import ignored_detections, match_detections


def detection_confusion(truth, found, num_classes, iou_threshold):
    """Counts of what was taken for what, whatever the class of the boxes that match.

    Args:
        truth: Dictionary of `"boxes"` `(B, N, 4)`, corners, and `"labels"` `(B, N)`, −1 in padded
            rows; perhaps of the Booleans `"ignored"` and `"is_crowd"` `(B, N)`.
        found: Dictionary of `"boxes"` `(B, K, 4)`, corners, and `"labels"` `(B, K)`, −1 in rows
            that are not to count, sorted by falling confidence.
        num_classes: Positive integer C.
        iou_threshold: Number in `(0, 1]`.

    Returns:
        Int32 tensor `(C + 2, C + 2)`, rows for truth and columns for detections: the classes, the
        background, and labels from C on.

    Example:
        >>> box = [[[0.0, 0.0, 4.0, 2.0]]]
        >>> counts = detection_confusion(
        ...     {"boxes": ops.convert_to_tensor(box), "labels": ops.convert_to_tensor([[0]])},
        ...     {"boxes": ops.convert_to_tensor(box), "labels": ops.convert_to_tensor([[1]])},
        ...     num_classes=2,
        ...     iou_threshold=0.5,
        ... )
        >>> ops.convert_to_numpy(counts)[0].tolist()
        [0, 1, 0, 0]
    """
    labels, truth_labels = found["labels"], truth["labels"]
    overlaps, ignored = crowd_overlaps(truth, found)
    # One class for all that is there.
    any_class, any_truth = (ops.where(x >= 0, 0, -1) for x in (labels, truth_labels))
    taken = match_detections(
        overlaps,
        any_class,
        any_truth,
        [iou_threshold],
        ignored=ignored,
        is_crowd=truth.get("is_crowd"),
    )
    neither = ignored_detections(taken, ignored)[:, 0]
    taken = taken[:, 0]
    places = ops.arange(ops.shape(truth_labels)[1], dtype="int32")
    missed = ops.all(taken[:, :, None] != places, axis=1)
    truth_ids, found_ids = (_with_background(x, num_classes) for x in (truth_labels, labels))
    # One more place, for what takes nothing.
    places = ops.where(taken < 0, ops.full_like(taken, ops.shape(truth_labels)[1]), taken)
    of_found = ops.take_along_axis(
        ops.pad(truth_ids, ((0, 0), (0, 1)), constant_values=num_classes), places, axis=1
    )
    background = ops.full_like(truth_ids, num_classes)
    found_counted = ops.logical_and(labels >= 0, ops.logical_not(neither))
    truth_counted = ops.logical_and(truth_labels >= 0, ops.logical_not(ignored))
    return confusion_matrix(
        ops.concatenate([of_found, truth_ids], axis=1),
        ops.concatenate([found_ids, background], axis=1),
        num_classes + 1,
        counted=ops.concatenate([found_counted, ops.logical_and(truth_counted, missed)], axis=1),
    )


def detection_scores(confusion):
    """Precision, recall and F1 over all classes together.

    Args:
        confusion: Float tensor `(C + 1, C + 1)`, rows for truth and columns for detections, the
            background last.

    Returns:
        Dictionary of float32 scalars in `[0, 1]`: `"precision"`, the share of the detections that
        are right, `"recall"`, the share of the objects that were found in their class, and
        `"f1"`, their harmonic mean. Each is 0 where there is nothing to share.

    Example:
        >>> confusion = ops.convert_to_tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> {name: float(x) for name, x in detection_scores(confusion).items()}
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    right = ops.sum(ops.diagonal(confusion)[:-1])
    detections, objects = ops.sum(confusion[:, :-1]), ops.sum(confusion[:-1])
    return {
        "precision": ops.divide_no_nan(right, detections),
        "recall": ops.divide_no_nan(right, objects),
        "f1": ops.divide_no_nan(2.0 * right, detections + objects),
    }


def _with_background(labels, num_classes):
    """Labels whose number is that of the background are out of range, not background."""
    return ops.where(labels < num_classes, labels, ops.full_like(labels, num_classes + 1))


@plugins.register("DetectionConfusionMatrix", kind="metric")
class DetectionConfusionMatrix(ConfusionCounts):
    """Confusion matrix of detections, with a background row and column.

    Detections above the confidence threshold take objects whatever their class: in order of
    confidence, each the free object of highest overlap that reaches the IoU threshold, as in
    `keras_cvx.ops.match_detections`. A pair counts in the row of the object's class and the column
    of the detection's. An object that none takes was missed: it counts in the last column. A
    detection that takes none is a false alarm, in the last row; so is the second on one object,
    whatever its class. A detection that takes an ignored object or a crowd counts nowhere, nor do
    these objects.

    The state is one matrix, updated inside the compiled step and exact up to counts of 2**44; sums
    of states are states, so replicas and shards merge. For curves over all thresholds of
    confidence, and the best of them, see `MeanAveragePrecision.curves`.

    Args:
        num_classes: Positive integer C.
        confidence_threshold: Number in `[0, 1)`. Detections above it count, as in
            `keras_cvx.layers.NonMaxSuppression`.
        iou_threshold: Number in `(0, 1]`, the least overlap of a match; an overlap equal to it
            reaches it.
        bounding_box_format: Format of ground truth and detections, as Keras names it. Relative
            boxes need no image size.
        name: As for every Keras metric.
        dtype: As for every Keras metric; the counts are always exact.

    Call arguments:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, or packed `(B, N, 5)`;
            padded rows have label −1. The dictionary may have the Booleans `"is_crowd"` and
            `"ignored"` `(B, N)`.
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` in `[0, 1]` and
            `"labels"` `(B, K)`; padded rows have label −1. A confidence of NaN is below every
            threshold, and a box that is not finite overlaps nothing.
        sample_weight: None; objects are counted, not weighed.

    Returns:
        From `result`: float32 scalars in `[0, 1]`, as `detection_scores` names them, over all
        classes together; 0 before any update.

    Raises:
        ValueError: If an argument is out of its range, or the shapes or keys of `y_true` and
            `y_pred` do not go together. From `result`, on the host, if there were labels from C
            on; a traced one leaves it to the next.

    Example:
        >>> metric = DetectionConfusionMatrix(num_classes=2)
        >>> box, other = [0.0, 0.0, 8.0, 8.0], [20.0, 0.0, 28.0, 8.0]
        >>> truth = {"boxes": [[box, other]], "labels": [[0, 1]]}
        >>> found = {"boxes": [[box]], "labels": [[1]], "confidence": [[0.5]]}
        >>> metric.update_state(truth, found)
        >>> metric.confusion_matrix.tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    # The background.
    num_extra = 1

    def __init__(
        self,
        num_classes,
        confidence_threshold=0.3,
        *,
        iou_threshold=0.5,
        bounding_box_format="xyxy",
        name="detection_confusion_matrix",
        dtype=None,
    ):
        super().__init__(num_classes, name=name, dtype=dtype)
        check_numbers(confidence_threshold=confidence_threshold, iou_threshold=iou_threshold)
        if not 0 <= confidence_threshold < 1:
            raise ValueError(
                "`confidence_threshold` must be a number in [0, 1). "
                f"Received: confidence_threshold={confidence_threshold!r}"
            )
        if not 0 < iou_threshold <= 1:
            raise ValueError(
                "`iou_threshold` must be a number in (0, 1]. "
                f"Received: iou_threshold={iou_threshold!r}"
            )
        self.confidence_threshold = float(confidence_threshold)
        self.iou_threshold = float(iou_threshold)
        self.bounding_box_format = check_format(bounding_box_format)

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth, found = unpack_batch(y_true, y_pred, sample_weight, self.bounding_box_format)
        sure = found["confidence"] > self.confidence_threshold
        labels = found["labels"]
        found["labels"] = ops.where(sure, labels, ops.full_like(labels, -1))
        found = most_confident(found)
        self._count(detection_confusion(truth, found, self.num_classes, self.iou_threshold))

    def result(self):
        return detection_scores(self._confusion())

    @property
    def confusion_matrix(self):
        """Float64 array `(C + 1, C + 1)` on the host: exact counts, rows for truth.

        The last row holds the false alarms by class, the last column the objects missed.
        """
        return self._whole_confusion(self.num_classes + 1)

    def get_config(self):
        config = super().get_config()
        config.update(
            confidence_threshold=self.confidence_threshold,
            iou_threshold=self.iou_threshold,
            bounding_box_format=self.bounding_box_format,
        )
        return config

    def _check_range(self):
        truth, found = self._out_of_range()
        if truth or found:
            raise ValueError(
                f"The labels of `y_true` and `y_pred` must be in [0, {self.num_classes}), or −1 in "
                f"padded rows. Received: others of {truth:g} objects in `y_true`, and of {found:g} "
                "more in `y_pred`. Give the `num_classes` that both have."
            )
