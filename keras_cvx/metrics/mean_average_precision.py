"""COCO's average precision as a Keras metric, in a state of fixed size."""

import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.metrics.average_precision import IOU_THRESHOLDS
from keras_cvx.metrics.coco_matching import AREA_RANGES
from keras_cvx.metrics.detection_histogram import (
    confidence_edges,
    histogram,
    histogram_precision,
    judge,
)
from keras_cvx.metrics.detection_tensors import check_values, most_confident, unpack_batch
from keras_cvx.metrics.mergeable import MergeableMetric
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.boxes import check_format


@plugins.register("MeanAveragePrecision", kind="metric")
class MeanAveragePrecision(MergeableMetric):
    """COCO's mean average precision of detections: AP, AP50 and AP75.

    Update and result can be compiled, for any number of images: the state counts right and wrong
    detections by confidence, as `keras.metrics.AUC` does. Detections of one bin of confidence are
    taken to lie evenly in it. Where each has a bin of its own the result is that of pycocotools,
    and with the default number of bins it is within 2e-3 of it on data sets of usual size; equal
    confidences are judged without regard to their order. IoUs are float32. For all twelve numbers
    and to the last digit, see `COCOEvaluation`.

    The state holds `80 * A * C * bins` bytes, A being 1, or 4 with `area_ranges`: 0.8 MB for 10
    classes, 6.4 MB for COCO's 80. States of several replicas or shards are merged by adding them,
    as `merge_state` does. A number of up to 2**24 detections fits into a bin.

    Args:
        num_classes: Positive integer C.
        bounding_box_format: Format of ground truth and detections, as Keras names it. Relative
            boxes need no image size, for IoU does not change with the scale of an axis; their
            rounding may decide an exact tie with a threshold otherwise.
        max_detections: Positive integer. Of each image and class only the most confident count, as
            in pycocotools.
        area_ranges: Whether APs, APm and APl are reported too: of objects of up to 32**2, 96**2
            and more square pixels. They need boxes in pixels.
        bins: Integer of at least 2, the bins of confidence.
        name: As for every Keras metric.
        dtype: As for every Keras metric; the counts are float32 all the same.

    Call arguments:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, or packed `(B, N, 5)`;
            padded rows have label −1. The dictionary may have the Booleans `"is_crowd"` `(B, N)`
            and `"ignored"`, of objects that make a detection neither right nor wrong, and the
            `"areas"` of the objects in square pixels, instead of those of their boxes.
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` in `[0, 1]` and
            `"labels"` `(B, K)`; padded rows have label −1. Other keys, such as
            `"num_detections"`, are not read. K may be smaller or larger than `max_detections`. A
            confidence of NaN is the least of all, and a box that is not finite overlaps nothing.
            On either side, rows with labels from C on count nowhere.
        sample_weight: None; COCO's precision knows no weights.

    Returns:
        From `result`: `{"AP", "AP50", "AP75"}`, and `"APs"`, `"APm"`, `"APl"` with `area_ranges`:
        float tensors in `[0, 1]`, means over the classes that have ground truth, and 0 if none has
        (pycocotools says −1). AP is the mean over IoU 0.5, 0.55, … 0.95.

    Raises:
        ValueError: If an argument is out of its range, or the shapes or keys of `y_true` and
            `y_pred` do not go together. Of NumPy arrays and lists also if a label or a confidence
            is out of its range; in a compiled step such labels count nowhere.

    Example:
        >>> metric = MeanAveragePrecision(num_classes=2)
        >>> box = [[[0.0, 0.0, 8.0, 8.0]]]
        >>> found = {"boxes": box, "labels": [[1]], "confidence": [[0.5]]}
        >>> metric.update_state({"boxes": box, "labels": [[1]]}, found)
        >>> round(float(metric.result()["AP50"]), 6)
        1.0

        In a model of your own whose output is a dictionary, Keras' `compile` would want a metric
        for each of its entries. There, the metric is the model's, and its one method calls it:

        >>> import keras
        >>> class Detector(keras.Model):
        ...     def compute_metrics(self, x, y, y_pred, sample_weight=None):
        ...         self.precision.update_state(y, y_pred)  # made in `__init__`
        ...         return self.get_metrics_result()

    Reference:
        Lin et al. 2014, Microsoft COCO: Common Objects in Context, and its evaluation code.
    """

    def __init__(
        self,
        num_classes,
        *,
        bounding_box_format="xyxy",
        max_detections=100,
        area_ranges=False,
        bins=1000,
        name="mean_average_precision",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        check_integers(1, num_classes=num_classes, max_detections=max_detections)
        check_integers(2, bins=bins)
        if area_ranges not in (True, False):
            raise ValueError(
                f"`area_ranges` must be a Boolean. Received: area_ranges={area_ranges!r}"
            )
        if area_ranges and check_format(bounding_box_format).startswith("rel_"):
            raise ValueError(
                "`area_ranges` are in square pixels and need boxes in pixels. "
                f"Received: bounding_box_format={bounding_box_format!r}"
            )
        self.num_classes = int(num_classes)
        self.bounding_box_format = check_format(bounding_box_format)
        self.max_detections = int(max_detections)
        self.area_ranges = bool(area_ranges)
        self.bins = int(bins)
        self._edges = confidence_edges(self.bins)
        ranges = len(AREA_RANGES) if area_ranges else 1
        room = (self.num_classes, self.bins, 2, ranges, len(IOU_THRESHOLDS))
        self.counts = self.add_variable(
            room, "zeros", dtype="float32", aggregation="sum", name="counts"
        )
        self.truths = self.add_variable(
            (self.num_classes, ranges), "zeros", dtype="float32", aggregation="sum", name="truths"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        truth, found = unpack_batch(y_true, y_pred, sample_weight, self.bounding_box_format)
        check_values(y_true, y_pred, self.num_classes)
        found = most_confident(found, self.max_detections)
        right, judged, counting = judge(truth, found, AREA_RANGES if self.area_ranges else None)
        counts = histogram(
            right, judged, found["confidence"], found["labels"], self._edges, self.num_classes
        )
        self.counts.assign(self.counts + counts)
        # A label of −1 has no place among the classes and counts nowhere.
        of_class = truth["labels"][..., None] == ops.arange(self.num_classes, dtype="int32")
        both = ops.logical_and(counting[:, :, :, None], of_class[:, None])  # (B, A, N, C)
        self.truths.assign(self.truths + ops.transpose(ops.sum(ops.cast(both, "float32"), (0, 2))))

    def result(self):
        truths = ops.convert_to_tensor(self.truths)
        precision = histogram_precision(ops.convert_to_tensor(self.counts), truths)
        # Of classes without ground truth it is 0, and they do not count: (A, T).
        classes = ops.sum(ops.cast(truths > 0, "float32"), axis=0)
        mean = ops.divide_no_nan(ops.sum(precision, axis=0), classes[:, None])
        result = {"AP": ops.mean(mean[0]), "AP50": mean[0, 0], "AP75": mean[0, 5]}
        if self.area_ranges:
            result.update({f"AP{size}": ops.mean(mean[1 + i]) for i, size in enumerate("sml")})
        return result

    def curves(self, iou_threshold=0.5):
        """Precision, recall and F1 of each class by the confidence from which detections count.

        Args:
            iou_threshold: One of COCO's, 0.5, 0.55, … 0.95.

        Returns:
            Dictionary of NumPy arrays: `"confidence"` `(bins,)`, falling; `"precision"`,
            `"recall"` and `"f1"` `(C, bins)`, each counting the detections above that confidence,
            and above or at 0 for the last, 0 where there are none; `"best_confidence"` `(C,)`, that
            of the highest F1, and `"best_mean_confidence"`, a float, that of the highest mean F1
            of the classes with ground truth. Recall, F1 and the best are NaN for a class without
            ground truth, and the best where nothing is right at any.

        Raises:
            ValueError: If the threshold is not one of COCO's.
        """
        near = np.flatnonzero(np.isclose(IOU_THRESHOLDS, iou_threshold))
        if len(near) != 1:
            raise ValueError(
                "`iou_threshold` must be one of 0.5, 0.55, … 0.95. "
                f"Received: iou_threshold={iou_threshold!r}"
            )
        counts = ops.convert_to_numpy(self.counts)[..., 0, near[0]]
        right, judged = np.moveaxis(np.cumsum(counts, axis=1, dtype="float64"), -1, 0)
        truths = ops.convert_to_numpy(self.truths)[:, :1].astype("float64")
        precision = np.divide(right, judged, out=np.zeros_like(right), where=judged > 0)
        # NaN for classes without ground truth.
        truths = np.where(truths > 0, truths, np.nan)
        recall, f1 = right / truths, 2 * right / (judged + truths)
        confidence = np.append(self._edges[::-1], np.float32(0.0))
        of_present = f1[~np.isnan(truths[:, 0])]
        best, best_mean = (
            np.where((x > 0).any(-1), confidence[np.argmax(x, axis=-1)], np.float32(np.nan))
            for x in (np.nan_to_num(f1), of_present.sum(0))
        )
        return {
            "confidence": confidence,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "best_confidence": best,
            "best_mean_confidence": float(best_mean),
        }

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            bounding_box_format=self.bounding_box_format,
            max_detections=self.max_detections,
            area_ranges=self.area_ranges,
            bins=self.bins,
        )
        return config
