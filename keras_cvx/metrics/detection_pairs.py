"""Pairs of detections and ground truth of one image and class, and their overlap in float64."""

from typing import NamedTuple

import numpy as np

from keras_cvx.metrics.detection_records import take

# Pairs whose overlap is computed at once: some 100 MB.
_AT_ONCE = 2**20


class Pairs(NamedTuple):
    """Rows of two tables whose boxes overlap, sorted by detection and then by ground truth."""

    detections: np.ndarray
    truths: np.ndarray
    overlaps: np.ndarray


def grouped(columns, num_classes, confidence=None):
    """Columns sorted by image and class, within which by falling confidence, and the groups.

    Args:
        columns: `Truths` or `Detections`.
        num_classes: Integer C.
        confidence: None, or array `(D,)`.

    Returns:
        Tuple of the sorted columns and the integer array `(D,)` of the groups, `C * image + class`,
        in rising order.
    """
    groups = columns.images * num_classes + columns.labels
    if confidence is None:
        order = np.argsort(groups, kind="stable")
    else:
        order = np.argsort(-confidence, kind="stable")
        order = order[np.argsort(groups[order], kind="stable")]
    return take(columns, order), groups[order]


def ranks_within(groups):
    """Place of each row in its group, from 0.

    Args:
        groups: Integer array `(D,)`.
    """
    order, rows = np.argsort(groups, kind="stable"), np.arange(len(groups))
    groups = groups[order]
    first = np.append(True, groups[1:] != groups[:-1])[: len(rows)]
    ranks = np.empty_like(rows)
    ranks[order] = rows - np.maximum.accumulate(np.where(first, rows, 0))
    return ranks


def components(rows, truths):
    """Parts of one image and class that do not touch: what is matched in one leaves the others be.

    Args:
        rows: Integer array `(P,)` in rising order: the detection of each pair, every number from 0
            to the highest.
        truths: Integer array `(P,)`: the ground truth of each pair, likewise, in any order.

    Returns:
        Tuple of integer arrays: the part of each detection, and of each ground truth, from 0.
    """
    order = np.argsort(truths, kind="stable")
    starts = [np.flatnonzero(np.append(True, x[1:] != x[:-1])) for x in (rows, truths[order])]
    # Each ground truth is named after the first that it is known to touch.
    part = np.arange(len(starts[1]))
    while len(rows):
        of_row = np.minimum.reduceat(part[truths], starts[0])
        first = np.minimum.reduceat(of_row[rows[order]], starts[1])
        first = first[first]  # long chains in few turns
        if (first == part).all():
            names, part = np.unique(part, return_inverse=True)
            return np.searchsorted(names, of_row), part
        part = first
    return rows, truths


def overlapping_pairs(found, found_groups, truth, truth_groups, least):
    """Every pair of one group whose overlap is at least `least`.

    Args:
        found: `Detections`.
        found_groups: Integer array `(D,)` in rising order.
        truth: `Truths`.
        truth_groups: Integer array `(M,)` in rising order.
        least: Number above 0.

    Returns:
        `Pairs`.
    """
    start = np.searchsorted(truth_groups, found_groups, "left")
    count = np.searchsorted(truth_groups, found_groups, "right") - start
    rows = np.flatnonzero(count)
    parts, corners = [], np.ascontiguousarray(truth.boxes.T)
    boxes = np.ascontiguousarray(found.boxes.T)
    # A detection's pairs are never torn apart, so a part may be larger by one detection's.
    part_of = np.cumsum(count[rows]) // _AT_ONCE
    for some in np.split(rows, np.flatnonzero(np.diff(part_of)) + 1):
        detection = np.repeat(some, count[some])
        before = np.cumsum(count[some]) - count[some]
        truth_row = np.arange(len(detection)) + np.repeat(start[some] - before, count[some])
        overlap = _overlap(boxes[:, detection], corners[:, truth_row], truth.is_crowd[truth_row])
        near = overlap >= least
        parts.append((detection[near], truth_row[near], overlap[near]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _overlap(boxes, others, is_crowd):
    """IoU, or of a crowd the share of the detection that it covers; boxes are `(4, P)`.

    The arithmetic is that of pycocotools step by step, x, y, width and height included: a ratio
    that lies exactly on a threshold must be rounded alike. `keras_cvx.ops.iou` computes in float32.
    """
    (x, y, width, height), (other_x, other_y, other_width, other_height) = boxes, others
    shared_width = np.minimum(width + x, other_width + other_x) - np.maximum(x, other_x)
    shared_height = np.minimum(height + y, other_height + other_y) - np.maximum(y, other_y)
    shared = shared_width * shared_height
    area = width * height
    union = np.where(is_crowd, area, area + other_width * other_height - shared)
    apart = (shared_width <= 0) | (shared_height <= 0) | (union <= 0)
    return np.where(apart, 0.0, shared / np.where(apart, 1.0, union))
