"""Average precision of Pascal VOC, over all points and over eleven, on the host in float64."""

import numbers

import numpy as np

from keras_cvx.metrics.detection_evaluation import DetectionEvaluation, Verdicts
from keras_cvx.metrics.detection_pairs import grouped, overlapping_pairs, ranks_within


def voc_verdicts(truths, found, num_classes, iou_threshold):
    """Judges detections by the rule of the development kit.

    A detection belongs to the object of its class with the highest overlap, the first of equal
    ones, whether another has it already or not: then it is a false alarm, however well it overlaps
    a second object. One that belongs to an ignored object counts neither way.

    Args:
        truths: `Truths`.
        found: `Detections`.
        num_classes: Integer C.
        iou_threshold: Number in `(0, 1]` that the overlap must reach.

    Returns:
        Tuple of `Verdicts` of one condition, and the integer array `(C, 1)` of the ground truths
        that count.

    Reference:
        Everingham et al. 2010, The Pascal Visual Object Classes Challenge, section 4.2; the
        `VOCevaldet.m` of its development kit.
    """
    truths, truth_groups = grouped(truths, num_classes)
    found, groups = grouped(found, num_classes, found.confidence)
    # A crowd is COCO's; here a box is a box.
    boxes = truths._replace(is_crowd=np.zeros(len(truths.labels), bool))
    pairs = overlapping_pairs(found, groups, boxes, truth_groups, iou_threshold)
    order = np.lexsort((pairs.truths, -pairs.overlaps, pairs.detections))
    rows, first = np.unique(pairs.detections[order], return_index=True)
    owner = pairs.truths[order][first]

    hits, ignored = np.zeros((2, len(groups), 1), bool)
    ignored[rows] = truths.ignored[owner, None]
    rows, owner = (x[~truths.ignored[owner]] for x in (rows, owner))
    # Within a class and image the detections stand by confidence, so the first has the highest.
    hits[rows[np.unique(owner, return_index=True)[1]]] = True
    bits = (np.packbits(x, axis=-1) for x in (hits, ignored))
    verdicts = Verdicts(found.images, found.labels, found.confidence, ranks_within(groups), *bits)
    return verdicts, np.bincount(truths.labels[~truths.ignored], minlength=num_classes)[:, None]


def voc_average_precision(ranks, num_truths):
    """The area under the curve of precision made monotone, and its mean at eleven recalls.

    Args:
        ranks: Rising array `(H,)` of the ranks of the detections that are right, from 1, among all
            that are right or wrong, sorted by falling confidence.
        num_truths: Positive number of ground truths.

    Returns:
        Tuple of two floats in `[0, 1]`: of all points, as from 2010 on, and of eleven, as until
        2009. A recall counts as reached by exact arithmetic, where the kit rounds tenths.

    Reference:
        Everingham et al. 2010, section 4.2, equations 1 and 2; the `VOCap.m` of the kit.
    """
    precision = np.arange(1, len(ranks) + 1) / ranks
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    # The number of hits that reaches each tenth, at least one.
    needed = np.maximum(-(-np.arange(11) * num_truths // 10), 1)
    reached = needed[needed <= len(ranks)] - 1
    return float(precision.sum() / num_truths), float(precision[reached].sum() / 11)


class PascalVOCEvaluation(DetectionEvaluation):
    """Pascal VOC's average precision of detections, exactly as its development kit defines it.

    Like `COCOEvaluation` it is for the end of a training: it works on the host in float64, its
    state grows with the detections, and it can be pickled and merged. Detections of equal
    confidence count in the order of their images' ids, or else in the order of `update_state`.

    The kit's boxes are of whole pixels from 1, the last one included. Here a box that covers the
    pixels `xmin` to `xmax` of the kit is from `xmin - 1` to `xmax`, and overlaps are then the same.

    Args:
        num_classes: Positive integer C.
        iou_threshold: Number in `(0, 1]` that the overlap of a hit reaches.
        bounding_box_format: Format of ground truth and detections, as Keras names it.

    Call arguments:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, and perhaps `"ignored"`
            `(B, N)`, of the objects that the kit calls difficult; and `"image_ids"` `(B,)`,
            integers. Padded rows have label −1. Each is an array or a tensor of any library, or a
            list of one array for each image.
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` and `"labels"`
            `(B, K)`, likewise. All count.

    Returns:
        From `result`: `{"AP", "AP11"}`, floats in `[0, 1]`, means over the classes that have ground
        truth: `"AP"` of all points, as from 2010 on, `"AP11"` of eleven, as in 2007. −1 where no
        class has any, so before any update too.

    Raises:
        ValueError: If an argument is out of its range; from `update_state` and `merge_state`, as
            they say.

    Example:
        >>> evaluation = PascalVOCEvaluation(num_classes=2)
        >>> box = [[[0.0, 0.0, 8.0, 8.0]]]
        >>> found = {"boxes": box, "labels": [[1]], "confidence": [[0.5]]}
        >>> evaluation.update_state({"boxes": box, "labels": [[1]]}, found)
        >>> evaluation.result()
        {'AP': 1.0, 'AP11': 1.0}

    Reference:
        Everingham et al. 2010, The Pascal Visual Object Classes (VOC) Challenge, section 4.2.
    """

    def __init__(self, num_classes, *, iou_threshold=0.5, bounding_box_format="xyxy"):
        super().__init__(num_classes, bounding_box_format=bounding_box_format)
        if not isinstance(iou_threshold, numbers.Real) or not 0 < float(iou_threshold) <= 1:
            raise ValueError(
                "`iou_threshold` must be a number above 0 and at most 1. "
                f"Received: iou_threshold={iou_threshold!r}"
            )
        self.iou_threshold = float(iou_threshold)

    def result(self):
        """The two means by name, as floats."""
        table = self.per_class()
        present = table.pop("num_truths") > 0
        return {
            name: float(values[present].mean()) if present.any() else -1.0
            for name, values in table.items()
        }

    def per_class(self):
        """The numbers of each class.

        Returns:
            Dictionary of float64 arrays `(C,)`, `"AP"` and `"AP11"`, −1 where a class has no ground
            truth; and of `"num_truths"`, the number of ground truths that are not ignored.
        """
        verdicts, num_truths = self._judged()
        hits, ignored = (
            np.unpackbits(x, axis=-1, count=1)[:, 0] > 0 for x in (verdicts.hits, verdicts.ignored)
        )
        num_truths = num_truths[:, 0]
        table = np.full((2, self.num_classes), -1.0)
        order = np.argsort(-verdicts.confidence, kind="stable")
        order = order[~ignored[order]]
        for label in np.flatnonzero(num_truths):
            rows = order[verdicts.labels[order] == label]
            ranks = np.flatnonzero(hits[rows]) + 1
            table[:, label] = voc_average_precision(ranks, int(num_truths[label]))
        return {"AP": table[0], "AP11": table[1], "num_truths": num_truths}

    def get_config(self):
        """The arguments by name."""
        return {**super().get_config(), "iou_threshold": self.iou_threshold}

    def _judge(self, truths, found):
        return voc_verdicts(truths, found, self.num_classes, self.iou_threshold)
