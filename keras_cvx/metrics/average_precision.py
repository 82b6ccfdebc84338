"""Precision at COCO's recalls, and its mean: what the detection metrics have in common."""

import numpy as np

# As pycocotools computes them, to the last bit: which of two equal ratios passes depends on it.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)


def interpolated_precision(ranks, num_truths):
    """Precision at COCO's 101 recalls, in float64.

    Precision is made monotone: at each recall stands the highest that any higher recall has.

    Args:
        ranks: Rising array `(H,)` of the ranks of the detections that are right, from 1, among all
            that are right or wrong, sorted by falling confidence.
        num_truths: Positive number of ground truths.

    Returns:
        Float64 array `(101,)` in `[0, 1]`; 0 where the recall is never reached.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `accumulate` of its evaluation code.
    """
    right = np.arange(1.0, len(ranks) + 1)
    # pycocotools adds the spacing, which moves what lies below 1 by its last bit.
    precision = np.maximum.accumulate((right / (ranks + np.spacing(1)))[::-1])[::-1]
    place = np.searchsorted(right / num_truths, RECALL_THRESHOLDS, side="left")
    return np.append(precision, 0.0)[place]
