"""Which detections hit which ground truth, as COCO counts it."""

import numpy as np
from keras import ops

from keras_cvx.ops._arrays import namespace
from keras_cvx.ops.arguments import shapes_agree

# Of pycocotools: an overlap that rounding keeps below 1 still reaches a threshold of 1.
_HIGHEST = 1.0 - 1e-10


def match_detections(
    overlaps, labels, truth_labels, iou_thresholds, *, ignored=None, is_crowd=None
):
    """Greedy matching of each image's detections to its ground truth, at several thresholds.

    In order of confidence each detection takes the free ground truth of its class with the highest
    overlap that reaches the threshold; of equal ones the last, as pycocotools does. An ignored one
    is taken only where no other is within reach, however high its overlap. A crowd may be taken
    any number of times.

    Args:
        overlaps: Float tensor `(B, K, N)` in `[0, 1]`, IoU of each detection with each ground
            truth, or the share of the detection that a crowd covers; the detections are sorted by
            falling confidence. If all arguments are NumPy arrays or lists, they are compared in
            float64 on the host, else in float32 on the backend of Keras.
        labels: Integer tensor `(B, K)`, classes of the detections; −1 in padded rows.
        truth_labels: Integer tensor `(B, N)`, classes of the ground truth; −1 in padded rows.
        iou_thresholds: Float tensor `(T,)` in `(0, 1]`.
        ignored: Boolean tensor `(B, N)`, or `(B, A, N)` for A ranges of area that are matched at
            once: the ground truth that makes its detection neither right nor wrong. None for none.
        is_crowd: Boolean tensor `(B, N)`. None for none. COCO ignores its crowds: they are to be
            set in `ignored` too.

    Returns:
        Int32 tensor `(B, T, K)`, or `(B, A, T, K)`: the index of the ground truth that the
        detection takes, or −1. A NumPy array if all arguments are.

    Raises:
        ValueError: If the shapes do not go together, or K is unknown when the step is traced. N may
            be unknown, and turn out to be 0.

    Example:
        >>> match_detections([[[0.75], [0.5]]], [[3, 3]], [[3]], [0.5]).tolist()
        [[[0, -1]]]

    Reference:
        Lin et al. 2014, Microsoft COCO; the `evaluateImg` of its evaluation code.
    """
    given = overlaps, labels, truth_labels, iou_thresholds, ignored, is_crowd
    xp, numbers = _library(*given)
    overlaps, thresholds = (_array(xp, x, numbers) for x in (overlaps, iou_thresholds))
    labels, truth_labels = (_array(xp, x, "int32") for x in (labels, truth_labels))
    ignored, is_crowd = (x if x is None else _array(xp, x, "bool") for x in (ignored, is_crowd))
    _check_shapes(*(getattr(x, "shape", None) for x in (
        overlaps, labels, truth_labels, thresholds, ignored, is_crowd
    )))  # fmt: skip
    thresholds = xp.minimum(thresholds, _array(xp, _HIGHEST, numbers))
    if truth_labels.shape[1] is None:
        # Perhaps no ground truth at all: one padded row more, so that there is a highest overlap.
        overlaps = xp.pad(overlaps, ((0, 0), (0, 0), (0, 1)))
        truth_labels = xp.pad(truth_labels, ((0, 0), (0, 1)), constant_values=-1)
        ignored, is_crowd = (x if x is None else _one_more(xp, x) for x in (ignored, is_crowd))
    ranges = ignored is not None and len(ignored.shape) == 3
    if ignored is not None and not ranges:
        ignored = ignored[:, None]
    nothing = xp.repeat(xp.full_like(labels, -1)[:, None], thresholds.shape[0], axis=1)
    nothing = xp.repeat(nothing[:, None], ignored.shape[1] if ranges else 1, axis=1)
    if 0 in (labels.shape[1], truth_labels.shape[1]):
        return nothing if ranges else nothing[:, 0]
    same = xp.logical_and(labels[:, :, None] == truth_labels[:, None], labels[:, :, None] >= 0)
    # Comparable with no threshold, so that other classes and padding are out of reach.
    overlaps = xp.where(same, overlaps, xp.full_like(overlaps, -1.0))[:, None, None]
    within_reach = xp.logical_and(
        overlaps >= thresholds[:, None, None], nothing[..., None] < 0
    )  # (B, A, T, K, N)
    regular = None if ignored is None else xp.logical_not(ignored)[:, :, None, None]
    again = None if is_crowd is None else is_crowd[:, None, None, None]
    choice = _stable_matching(xp, nothing, within_reach, overlaps, regular, again)
    return choice if ranges else choice[:, 0]


def _stable_matching(xp, nothing, within_reach, overlaps, regular, again):
    """What each detection takes `(B, A, T, K)`.

    In order of confidence, each takes the best that is free: the one stable matching of detections
    that want overlap and ground truth that wants confidence (Gale and Shapley 1962). So all may
    choose at once: who is second somewhere chooses anew, and few turns are enough.

    Args:
        xp: Namespace.
        nothing: −1, of the shape of the result.
        within_reach: Boolean tensor `(B, A, T, K, N)`.
        overlaps: Float tensor that broadcasts with it.
        regular: Likewise, Boolean: what is preferred to the rest. None for all.
        again: Likewise: what may be taken any number of times. None for nothing.
    """
    detections, truths = within_reach.shape[-2], xp.shape(within_reach)[-1]
    # Reversed, so that the first of the highest is the last of the given order.
    within_reach, overlaps, regular, again = (
        x if x is None else xp.flip(x, axis=-1) for x in (within_reach, overlaps, regular, again)
    )
    places = xp.flip(xp.arange(truths, dtype="int32"), axis=0)
    ranks = xp.arange(detections, dtype="int32")[:, None]

    def turn(within_reach):
        """What each would take, what remains within its reach, and whether two want the same."""
        wanted = within_reach
        if regular is not None:
            preferred = xp.logical_and(within_reach, regular)
            wanted = xp.where(xp.any(preferred, axis=-1, keepdims=True), preferred, wanted)
        best = xp.argmax(xp.where(wanted, overlaps, xp.full_like(overlaps, -1.0)), axis=-1)
        choice = truths - 1 - _array(xp, best, "int32")
        choice = xp.where(xp.any(wanted, axis=-1), choice, xp.full_like(choice, -1))
        taken = places == choice[..., None]
        # The first that wants it; Keras refuses torch the `min` of an empty batch.
        first = xp.argmax(_array(xp, taken, "int32"), axis=-2, keepdims=True)
        left = ranks <= _array(xp, first, "int32")
        left = xp.logical_or(left, xp.logical_not(xp.any(taken, axis=-2, keepdims=True)))
        if again is not None:
            left = xp.logical_or(left, again)
        disputed = xp.any(xp.logical_and(taken, xp.logical_not(left)))
        return choice, xp.logical_and(within_reach, left), disputed

    if xp is np:
        disputed = True
        while disputed:
            choice, within_reach, disputed = turn(within_reach)
        return choice
    return ops.while_loop(
        lambda _, __, disputed: disputed,
        lambda _, within_reach, __: turn(within_reach),
        (nothing, within_reach, ops.convert_to_tensor(True)),
    )[0]


def ignored_detections(taken, ignored, outside=None):
    """Which detections are neither right nor wrong.

    A detection is ignored if the ground truth that it takes is, or if it takes none and its own
    area lies outside the range.

    Args:
        taken: Integer tensor `(B, T, K)`, or `(B, A, T, K)` for A ranges of area, from
            `match_detections`.
        ignored: Boolean tensor `(B, N)`, or `(B, A, N)`, as it was given to `match_detections`.
        outside: Boolean tensor `(B, K)`, or `(B, A, K)`: whether the detection's area is out of the
            range. None for none.

    Returns:
        Boolean tensor in the shape of `taken`.

    Example:
        >>> ignored_detections([[[0, -1, 1, -1]]], [[False, True]]).tolist()
        [[[False, False, True, False]]]

    Reference:
        Lin et al. 2014, Microsoft COCO; the `evaluateImg` of its evaluation code.
    """
    xp, _ = _library(taken, ignored, outside)
    taken = _array(xp, taken, "int32")
    # One more place, for those that take nothing.
    ignored = _one_more(xp, _array(xp, ignored, "bool"))
    truths = xp.shape(ignored)[-1] - 1
    none = taken < 0
    place = xp.where(none, xp.full_like(taken, truths), taken)
    result = xp.take_along_axis(xp.expand_dims(ignored, -2), place, axis=-1)
    if outside is None:
        return result
    outside = xp.expand_dims(_array(xp, outside, "bool"), -2)
    return xp.logical_or(result, xp.logical_and(none, outside))


def _library(*arrays):
    """NumPy or `keras.ops`, and the type of its floats; one of its functions has no third."""
    host = namespace(*arrays) is namespace()
    return (np, "float64") if host else (ops, "float32")


def _array(xp, x, dtype):
    return np.asarray(x, dtype) if xp is np else ops.cast(ops.convert_to_tensor(x), dtype)


def _one_more(xp, flags):
    """Flags of one row more, which is False."""
    return xp.pad(flags, ((0, 0),) * (len(flags.shape) - 1) + ((0, 1),))


def _check_shapes(overlaps, labels, truth_labels, thresholds, ignored, is_crowd):
    received = (
        f"Received: overlaps {tuple(overlaps)}, labels {tuple(labels)}, "
        f"truth_labels {tuple(truth_labels)}, iou_thresholds {tuple(thresholds)}"
    )
    ranks = len(labels) == 2 and len(truth_labels) == 2 and len(thresholds) == 1
    # A batch of 1 beside a larger one would broadcast to a wrong score.
    if (
        not ranks
        or not shapes_agree(overlaps, (*labels, truth_labels[1]))
        or not shapes_agree(labels[:1], truth_labels[:1])
    ):
        raise ValueError(
            "`overlaps` must be (B, K, N), `labels` (B, K), `truth_labels` (B, N) and "
            f"`iou_thresholds` (T,). {received}"
        )
    for name, shape in (("ignored", ignored), ("is_crowd", is_crowd)):
        if shape is None or shapes_agree(shape, truth_labels):
            continue
        areas = name == "ignored" and len(shape) == 3
        if not areas or not shapes_agree(shape, (truth_labels[0], shape[1], truth_labels[1])):
            raise ValueError(
                f"`{name}` must be (B, N){', or (B, A, N)' if name == 'ignored' else ''}, of the B "
                f"and N of `truth_labels`. {received}, {name} {tuple(shape)}"
            )
    if labels[1] is None:
        raise ValueError(
            "The number K of detections must be known when the step is traced. "
            f"{received}. Pad to a fixed number, with label −1."
        )
