"""Average precision in a state of fixed size: right and wrong detections by confidence."""

from fractions import Fraction

import numpy as np
from keras import ops

from keras_cvx.metrics.average_precision import IOU_THRESHOLDS, RECALL_THRESHOLDS
from keras_cvx.metrics.detection_tensors import crowd_overlaps
from keras_cvx.ops.boxes import area
from keras_cvx.ops.matching import ignored_detections, match_detections


def _float32_threshold(threshold):
    """The float32 that a float32 ratio must reach where pycocotools' float64 must reach another.

    Boxes with whole corners have IoUs like 3/5 that lie exactly on a threshold. Whether these pass
    is decided by the rounding of the float64 threshold, and reproduced here, also where another
    NumPy rounds `linspace` otherwise.
    """
    ratio = float(Fraction(round(threshold * 100), 100))
    nearest = np.float32(ratio)
    return nearest if ratio >= threshold else np.nextafter(nearest, np.float32(2.0))


THRESHOLDS = np.array([_float32_threshold(t) for t in IOU_THRESHOLDS], "float32")
# Whether pycocotools' recall of k hundredths lies above k / 100, so that this does not reach it.
_ROUNDED_UP = (np.arange(101) / 100 < RECALL_THRESHOLDS).astype("float32")
# From a confidence of 2e-9 to 1 - 8e-7, beyond which float32 knows few.
_LOGITS = -20.0, 14.0


def confidence_edges(bins):
    """Confidences that divide `[0, 1]` into bins: half of them evenly, half of their logits.

    A detector's confidences crowd near 0 and, once it is trained, near 1, where only their logits
    tell them apart.

    Args:
        bins: Integer of at least 2.

    Returns:
        Rising float32 array `(bins - 1,)`.
    """
    logits = np.linspace(*_LOGITS, bins - bins // 2)
    even = np.linspace(0.0, 1.0, bins // 2 + 1)[1:-1]
    return np.sort(np.concatenate([even, 1.0 / (1.0 + np.exp(-logits))])).astype("float32")


def judge(truth, found, area_ranges=None):
    """Which detections are right, and which are wrong, by COCO's rule.

    Args:
        truth: Dictionary of `"boxes"` `(B, N, 4)`, corners, and `"labels"` `(B, N)`, −1 in padded
            rows; perhaps of the Booleans `"ignored"` and `"is_crowd"`, and of the objects'
            `"areas"` instead of those of their boxes, `(B, N)`.
        found: Dictionary of `"boxes"` `(B, K, 4)`, corners, and `"labels"` `(B, K)`, sorted by
            falling confidence.
        area_ranges: None, or array `(A, 2)` of areas in the unit of the boxes, both included.

    Returns:
        Tuple of Boolean tensors: right, and right or wrong, `(B, A, 10, K)`; and ground truth that
        counts, `(B, A, N)`. A is 1 without ranges.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `evaluateImg` of its evaluation code.
    """
    labels, truth_labels = found["labels"], truth["labels"]
    overlaps, ignored = crowd_overlaps(truth, found)
    if area_ranges is None and not {"ignored", "is_crowd"} & set(truth):
        # Nothing can be ignored, the usual case, in a third of the time.
        taken = match_detections(overlaps, labels, truth_labels, THRESHOLDS)[:, None]
        judged = ops.logical_or(taken >= 0, (labels >= 0)[:, None, None])
        return taken >= 0, judged, (truth_labels >= 0)[:, None]
    ignored, outside = ignored[:, None], None
    if area_ranges is not None:
        areas = truth["areas"] if "areas" in truth else area(truth["boxes"])
        ignored = ops.logical_or(ignored, _outside(areas, area_ranges))
        outside = _outside(area(found["boxes"]), area_ranges)
    taken = match_detections(
        overlaps,
        labels,
        truth_labels,
        THRESHOLDS,
        ignored=ignored,
        is_crowd=truth.get("is_crowd"),
    )
    neither = ignored_detections(taken, ignored, outside)
    judged = ops.logical_and(ops.logical_not(neither), (labels >= 0)[:, None, None])
    counting = ops.logical_and(ops.logical_not(ignored), (truth_labels >= 0)[:, None])
    return ops.logical_and(judged, taken >= 0), judged, counting


def _outside(areas, area_ranges):
    """Whether areas `(B, N)` lie outside ranges, `(B, A, N)`."""
    ranges = ops.convert_to_tensor(np.asarray(area_ranges, "float32"))
    low, high = ranges[:, :1], ranges[:, 1:]
    return ops.logical_or(areas[:, None] < low, areas[:, None] > high)


def histogram(right, judged, confidence, labels, edges, num_classes):
    """How many detections are right, and how many right or wrong, in each bin of confidence.

    Args:
        right: Boolean tensor `(B, A, T, K)`.
        judged: Likewise; those that are right or wrong.
        confidence: Float tensor `(B, K)`.
        labels: Integer tensor `(B, K)`; −1 in padded rows.
        edges: Float array `(bins - 1,)`, as of `confidence_edges`.
        num_classes: Integer C. Labels from C on count nowhere.

    Returns:
        Float32 tensor `(C, bins, 2, A, T)`, of falling confidence.
    """
    bins, conditions = len(edges) + 1, right.shape[1:3]
    flat = ops.reshape(confidence, (-1,))
    # NaN is no confidence at all.
    flat = ops.where(ops.isnan(flat), ops.full_like(flat, -1.0), flat)
    place = bins - 1 - ops.cast(ops.searchsorted(ops.convert_to_tensor(edges), flat), "int32")
    labels = ops.reshape(labels, (-1,))
    known = ops.logical_and(labels >= 0, labels < num_classes)
    row = ops.where(known, labels * bins + place, ops.zeros_like(place))
    both = ops.stack([right, judged])  # (2, B, A, T, K)
    both = ops.reshape(
        ops.transpose(both, (1, 4, 0, 2, 3)), (-1, 2 * conditions[0] * conditions[1])
    )
    both = ops.cast(ops.logical_and(both, known[:, None]), "float32")
    counts = ops.segment_sum(both, row, num_segments=num_classes * bins)
    return ops.reshape(counts, (num_classes, bins, 2, *conditions))


def histogram_precision(counts, num_truths):
    """COCO's AP of every class, from counts by confidence.

    Detections of one bin are taken to lie evenly: with one of them in each, the result is exact.

    Args:
        counts: Float tensor `(C, bins, 2, A, T)`, as `histogram` gives it, summed.
        num_truths: Float tensor `(C, A)`, the ground truths that count.

    Returns:
        Float32 tensor `(C, A, T)` in `[0, 1]`; 0 for a class without ground truth.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `accumulate` of its evaluation code: precision made
        monotone and read at 101 recalls.
    """
    right, judged = counts[:, :, 0], counts[:, :, 1]
    all_right, all_judged = ops.cumsum(right, axis=1), ops.cumsum(judged, axis=1)
    before, earlier = all_right - right, all_judged - judged
    one = ops.ones_like(right)
    # The first and the last that is right in a bin, and their ranks.
    step = (judged + 1.0) / (right + 1.0)
    first = (before + 1.0) / (earlier + step)
    last = all_right / ops.maximum(earlier + right * step, one)
    some = right > 0
    first, last = (ops.where(some, x, ops.zeros_like(x)) for x in (first, last))
    highest = _highest_from(ops.maximum(first, last))
    later = ops.pad(highest[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
    truths = ops.maximum(num_truths, ops.ones_like(num_truths))[:, None, :, None]
    reached, reached_before = (_recalls_reached(x, truths) for x in (all_right, before))
    # Between the first and the last, precision rises or falls steadily.
    mean = (ops.maximum(first, ops.maximum(last, later)) + ops.maximum(last, later)) / 2.0
    return ops.sum((reached - reached_before) * mean, axis=1) / 101.0


def _recalls_reached(right, truths):
    """How many of the 101 recalls are reached, 0 where nothing is right."""
    hundredfold = 100.0 * right
    recall = ops.floor(hundredfold / truths)
    # Exact up to counts of 2**24 / 100, also where a compiler multiplies by a reciprocal.
    recall = recall + ops.cast((recall + 1.0) * truths <= hundredfold, "float32")
    recall = recall - ops.cast(recall * truths > hundredfold, "float32")
    recall = ops.minimum(recall, 100.0)
    late = ops.take(ops.convert_to_tensor(_ROUNDED_UP), ops.cast(recall, "int32"))
    exact = ops.cast(recall * truths == hundredfold, "float32")
    return ops.where(right > 0, recall + 1.0 - exact * late, ops.zeros_like(recall))


def _highest_from(x):
    """The highest of each place and those after it, along the second axis."""
    shift, count = 1, x.shape[1]
    while shift < count:
        ahead = ops.pad(x[:, shift:], ((0, 0), (0, shift), (0, 0), (0, 0)))
        x, shift = ops.maximum(x, ahead), 2 * shift
    return x
