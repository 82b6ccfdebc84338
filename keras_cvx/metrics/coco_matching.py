"""COCO's matching of many images at once, on the host in float64."""

import numpy as np

from keras_cvx.metrics.average_precision import IOU_THRESHOLDS
from keras_cvx.metrics.detection_evaluation import Verdicts
from keras_cvx.metrics.detection_pairs import components, grouped, overlapping_pairs, ranks_within
from keras_cvx.metrics.detection_records import take
from keras_cvx.ops.matching import ignored_detections, match_detections

# In square pixels, both ends included: all, small, medium and large.
AREA_RANGES = np.array([[0, 1e5], [0, 32], [32, 96], [96, 1e5]]) ** 2
MAX_DETECTIONS = 100
# Numbers in an array of the dense matching: larger ones leave the processor's cache.
_AT_ONCE = 2**20


def coco_verdicts(truths, found, num_classes):
    """Judges detections by the rule of COCO, in every range of area and at every IoU threshold.

    Args:
        truths: `Truths`.
        found: `Detections`. Of each image and class the 100 most confident count.
        num_classes: Integer C.

    Returns:
        Tuple of `Verdicts`, the bits of which are the 4 ranges times the 10 thresholds, and the
        integer array `(C, 4)` of the ground truths that count in each range.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `evaluateImg` of its evaluation code.
    """
    truths, truth_groups = grouped(truths, num_classes)
    found, groups = grouped(found, num_classes, found.confidence)
    ranks = ranks_within(groups)
    counting = ranks < MAX_DETECTIONS
    found, groups, ranks = take(found, counting), groups[counting], ranks[counting]

    ignored = (truths.ignored | truths.is_crowd)[:, None] | _outside(truths.areas)
    outside = _outside(found.boxes[:, 2] * found.boxes[:, 3])
    hits = np.zeros((*outside.shape, len(IOU_THRESHOLDS)), bool)
    unjudged = np.repeat(outside[..., None], len(IOU_THRESHOLDS), axis=-1)
    pairs = overlapping_pairs(found, groups, truths, truth_groups, IOU_THRESHOLDS[0])
    for rows, right, neither in _matched(pairs, ignored, truths.is_crowd, outside):
        hits[rows], unjudged[rows] = right, neither

    num_truths = np.stack(
        [np.bincount(truths.labels[~of_range], minlength=num_classes) for of_range in ignored.T],
        axis=-1,
    )
    bits = [
        np.packbits(x.reshape(len(ranks), np.prod(x.shape[1:])), axis=-1) for x in (hits, unjudged)
    ]
    return Verdicts(found.images, found.labels, found.confidence, ranks, *bits), num_truths


def _outside(areas):
    """Which areas `(D,)` lie outside each range `(D, 4)`."""
    return (areas[:, None] < AREA_RANGES[:, 0]) | (areas[:, None] > AREA_RANGES[:, 1])


def _matched(pairs, ignored, is_crowd, outside):
    """Matches the rows that overlap at all; the others are never right.

    Yields:
        Tuples of the rows of detections, and Boolean arrays `(rows, A, T)`: whether they are right,
        and whether they are ignored.
    """
    # Numbered anew: the detections and ground truths that overlap, and the parts that they are of.
    rows, row_of = np.unique(pairs.detections, return_inverse=True)
    truths, truth_of = np.unique(pairs.truths, return_inverse=True)
    part_of_row, part_of_truth = components(row_of, truth_of)
    part_of_pair = part_of_row[row_of]
    rank, place = ranks_within(part_of_row), ranks_within(part_of_truth)
    sizes = np.bincount(part_of_row), np.bincount(part_of_truth)
    # Where all objects of a part are ignored in the same ranges, the ranges are matched alike.
    first = np.zeros(len(sizes[0]), int)
    first[part_of_truth[::-1]] = truths[::-1]
    other = (ignored[truths] != ignored[first[part_of_truth]]).any(-1) | is_crowd[truths]
    mixed = np.bincount(part_of_truth, weights=other) > 0

    for some in _of_like_size(*sizes, mixed):
        detections, objects = (size[some].max() for size in sizes)
        slot = np.full(len(sizes[0]), -1)
        slot[some] = np.arange(len(some))
        overlaps = np.zeros((len(some), detections, objects))
        at = np.flatnonzero(slot[part_of_pair] >= 0)
        overlaps[slot[part_of_pair[at]], rank[row_of[at]], place[truth_of[at]]] = pairs.overlaps[at]
        row_at, truth_at = _places(slot[part_of_row], rank), _places(slot[part_of_truth], place)
        found_labels = _padded(np.zeros(len(rows), int), row_at, (len(some), detections), -1)
        labels = _padded(np.zeros(len(truths), int), truth_at, (len(some), objects), -1)
        unwanted = _padded(ignored[truths], truth_at, (len(some), objects), False).swapaxes(1, 2)
        crowd = _padded(is_crowd[truths], truth_at, (len(some), objects), False)
        away = _padded(outside[rows], row_at, (len(some), detections), False).swapaxes(1, 2)
        given = overlaps, found_labels, labels, IOU_THRESHOLDS
        if mixed[some[0]]:
            taken = match_detections(*given, ignored=unwanted, is_crowd=crowd)
        else:
            taken = match_detections(*given)[:, None]
            taken = np.broadcast_to(taken, (len(some), len(AREA_RANGES), *taken.shape[2:]))
        neither = ignored_detections(taken, unwanted, away)
        right = (taken >= 0) & ~neither
        here, *places = row_at
        yield rows[here], *(np.moveaxis(x, -1, 1)[tuple(places)] for x in (right, neither))


def _of_like_size(detections, objects, mixed):
    """Splits parts into arrays of such as are padded together, none too large but of one part."""
    kinds = np.stack([np.ceil(np.log2(detections)), np.ceil(np.log2(objects)), mixed])
    order = np.lexsort(kinds)
    kinds = kinds[:, order]
    for some in np.split(order, np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(0)) + 1):
        if len(some):
            pairs = int(detections[some].max() * objects[some].max())
            arrays = -(-len(some) * pairs * len(IOU_THRESHOLDS) * len(AREA_RANGES) // _AT_ONCE)
            yield from np.array_split(some, min(arrays, len(some)))


def _places(slot, place):
    """The rows that have a slot, and their two indices."""
    here = np.flatnonzero(slot >= 0)
    return here, slot[here], place[here]


def _padded(values, at, shape, fill):
    here, slot, place = at
    result = np.full((*shape, *values.shape[1:]), fill, values.dtype)
    result[slot, place] = values[here]
    return result
