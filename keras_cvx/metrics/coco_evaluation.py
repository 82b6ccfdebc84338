"""COCO's twelve numbers, exactly: collected batch by batch on the host, in float64."""

from typing import NamedTuple

import numpy as np

from keras_cvx.metrics.average_precision import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
    interpolated_precision,
)
from keras_cvx.metrics.coco_matching import AREA_RANGES, MAX_DETECTIONS, coco_verdicts
from keras_cvx.metrics.detection_evaluation import DetectionEvaluation

# Name, whether it is of precision, IoU threshold (None for the mean of all), range of area and
# number of detections, in the order of pycocotools.
_SUMMARY = (
    ("AP", True, None, 0, 100),
    ("AP50", True, 0, 0, 100),
    ("AP75", True, 5, 0, 100),
    ("APs", True, None, 1, 100),
    ("APm", True, None, 2, 100),
    ("APl", True, None, 3, 100),
    ("AR1", False, None, 0, 1),
    ("AR10", False, None, 0, 10),
    ("AR100", False, None, 0, 100),
    ("ARs", False, None, 1, 100),
    ("ARm", False, None, 2, 100),
    ("ARl", False, None, 3, 100),
)


class Curves(NamedTuple):
    """`precision` `(C, A, T, 101)` and `recall`, by the number of detections, `(C, A, T)`.

    −1 for a class and range of area without ground truth.
    """

    precision: np.ndarray
    recall: dict


def accumulate(verdicts, num_truths):
    """Precision and recall of every class, range of area and IoU threshold.

    Args:
        verdicts: `Verdicts` of `coco_verdicts`, image after image.
        num_truths: Integer array `(C, A)`.

    Returns:
        `Curves`.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `accumulate` of its evaluation code.
    """
    conditions = len(AREA_RANGES), len(IOU_THRESHOLDS)
    precision = np.full((len(num_truths), *conditions, len(RECALL_THRESHOLDS)), -1.0)
    recall = {
        most: np.full((len(num_truths), *conditions), -1.0) for most in (1, 10, MAX_DETECTIONS)
    }
    order = np.argsort(verdicts.labels, kind="stable")
    ends = np.cumsum(np.bincount(verdicts.labels, minlength=len(num_truths)))[:-1]
    for label, of_class in enumerate(np.split(order, ends)):
        rows = of_class[np.argsort(-verdicts.confidence[of_class], kind="stable")]
        hits, ignored = (
            np.unpackbits(bits[rows], axis=-1, count=conditions[0] * conditions[1])
            for bits in (verdicts.hits, verdicts.ignored)
        )
        counted = np.cumsum(1 - ignored, axis=0, dtype="int32")
        ranks = verdicts.ranks[rows]
        right = {most: hits[ranks < most].sum(0) for most in recall}
        for column, (area, threshold) in enumerate(np.ndindex(conditions)):
            if total := num_truths[label, area]:
                for most, values in recall.items():
                    values[label, area, threshold] = right[most][column] / total
                places = counted[:, column][hits[:, column] > 0]
                precision[label, area, threshold] = interpolated_precision(places, total)
    return Curves(precision, recall)


class COCOEvaluation(DetectionEvaluation):
    """COCO's evaluation of detections: all twelve numbers, equal to pycocotools.

    It is for the end of a training, a leaderboard or a paper; `MeanAveragePrecision` is for every
    epoch. Its state grows with the detections, some 40 bytes each, and it works on the host in
    float64, so it is no `keras.metrics.Metric` and cannot be compiled. Given the same boxes, areas
    and crowds it equals pycocotools to 1e-9. Detections of equal confidence count in the order of
    their images' ids, as in pycocotools, or else in the order of `update_state`.

    Args:
        num_classes: Positive integer C.
        bounding_box_format: Format of ground truth and detections in pixels, as Keras names it.
            `"xywh"` is that of COCO's files; in others a box may lie a rounding away from it.

    Call arguments:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, and perhaps `"areas"`
            `(B, N)`, in square pixels, of the objects (of their boxes, where they are not given);
            `"is_crowd"` and `"ignored"` `(B, N)`, whether a detection there is neither right nor
            wrong, which many may be in a crowd; and `"image_ids"` `(B,)`, integers. Padded
            rows have label −1. Each is an array or a tensor of any library, or a list of one array
            for each image.
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` and `"labels"`
            `(B, K)`, likewise. Of each image and class the 100 most confident count.

    Returns:
        From `result`: `{"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs",
        "ARm", "ARl"}`, floats in `[0, 1]`. AP is the mean of precision over IoU 0.5, 0.55, … 0.95,
        over recall and over classes that have ground truth; AR the mean of the recall that 1, 10
        or 100 detections of each image and class reach. The letters are the areas of the objects:
        up to 32² pixels, up to 96², and above. −1, as in pycocotools, where there is no ground
        truth, so before any update too.

    Raises:
        ValueError: If an argument is out of its range; from `update_state` and `merge_state`, as
            they say.

    Example:
        >>> evaluation = COCOEvaluation(num_classes=2)
        >>> box = [[[0.0, 0.0, 8.0, 8.0]]]
        >>> found = {"boxes": box, "labels": [[1]], "confidence": [[0.5]]}
        >>> evaluation.update_state({"boxes": box, "labels": [[1]]}, found)
        >>> scores = evaluation.result()
        >>> round(scores["AP"], 6), scores["AR100"], scores["APl"]
        (1.0, 1.0, -1.0)

        After training, with a detector and its test data:

        >>> def score(detector, data):
        ...     for images, truth in data:
        ...         evaluation.update_state(truth, detector.predict_on_batch(images))
        ...     return evaluation.result()

        Shards can be evaluated in several processes, for an evaluation can be pickled:
        `evaluation.merge_state(others)`.

    Reference:
        Lin et al. 2014, Microsoft COCO: Common Objects in Context, and its evaluation code.
    """

    def __init__(self, num_classes, *, bounding_box_format="xyxy"):
        super().__init__(num_classes, bounding_box_format=bounding_box_format)
        if bounding_box_format.startswith("rel_"):
            raise ValueError(
                "`bounding_box_format` must be in pixels, for COCO tells small objects from large "
                f"ones. Received: bounding_box_format={bounding_box_format!r}. Convert with "
                "`keras_cvx.ops.convert`, which takes the images' height and width."
            )

    def result(self):
        """The twelve numbers by name, as floats."""
        counts = self.per_class()
        del counts["num_truths"]
        means = {name: values[values > -1] for name, values in counts.items()}
        return {
            name: float(values.mean()) if len(values) else -1.0 for name, values in means.items()
        }

    def per_class(self):
        """The twelve numbers of each class.

        Returns:
            Dictionary of float64 arrays `(C,)` by the names of `result`, −1 where a class has no
            ground truth; and of `"num_truths"`, the number of ground truths that are not ignored.
        """
        curves, num_truths = self._accumulated()
        table = {}
        for name, of_precision, threshold, area, most in _SUMMARY:
            values = curves.precision.mean(-1) if of_precision else curves.recall[most]
            values = values[:, area]
            table[name] = values.mean(-1) if threshold is None else values[:, threshold]
        return {**table, "num_truths": num_truths[:, 0]}

    def precision_recall(self):
        """The curves of precision over recall, of objects of every size.

        Returns:
            Dictionary of float64 arrays: `"recall"` `(101,)`, 0 to 1; `"precision"`
            `(C, 10, 101)`, of each class and IoU threshold 0.5, 0.55, … 0.95 the highest precision
            at this recall or a higher one, 0 where it is not reached, −1 for a class without
            ground truth.
        """
        return {
            "recall": RECALL_THRESHOLDS.copy(),
            "precision": self._accumulated()[0].precision[:, 0],
        }

    def _accumulated(self):
        verdicts, num_truths = self._judged()
        return accumulate(verdicts, num_truths), num_truths

    def _judge(self, truths, found):
        return coco_verdicts(truths, found, self.num_classes)
