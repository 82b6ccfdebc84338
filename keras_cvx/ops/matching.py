"""Which detections hit which ground truth, as COCO counts it."""

from keras import ops


def match_detections(overlaps, labels, truth_labels, iou_thresholds):
    """Greedy matching of each image's detections to its ground truth, at several thresholds.

    In order of confidence each detection takes the free ground truth of its class with the highest
    overlap that reaches the threshold; of equal ones the last, as pycocotools does.

    Args:
        overlaps: Float tensor `(B, K, N)`, IoU of each detection with each ground truth; the
            detections are sorted by falling confidence.
        labels: Integer tensor `(B, K)`, classes of the detections; −1 in padded rows.
        truth_labels: Integer tensor `(B, N)`, classes of the ground truth; −1 in padded rows.
        iou_thresholds: Float tensor `(T,)` in `(0, 1]`.

    Returns:
        Integer tensor `(B, T, K)`: the index of the ground truth that the detection takes, or −1.

    Example:
        >>> taken = match_detections([[[0.75], [0.5]]], [[3, 3]], [[3]], [0.5])
        >>> ops.convert_to_numpy(taken).tolist()
        [[[0, -1]]]

    Reference:
        Lin et al. 2014, Microsoft COCO; the `evaluateImg` of its evaluation code.
    """
    overlaps = ops.cast(ops.convert_to_tensor(overlaps), "float32")
    labels = ops.cast(ops.convert_to_tensor(labels), "int32")
    truth_labels = ops.cast(ops.convert_to_tensor(truth_labels), "int32")
    thresholds = ops.cast(ops.convert_to_tensor(iou_thresholds), "float32")[:, None]  # (T, 1)
    detections, truths = overlaps.shape[1:]
    same = ops.logical_and(labels[:, :, None] == truth_labels[:, None], labels[:, :, None] >= 0)
    # Comparable with no threshold, so that other classes and padding are out of reach.
    overlaps = ops.where(same, overlaps, ops.full_like(overlaps, -1.0))
    nothing = ops.repeat(ops.full_like(labels, -1)[:, None], thresholds.shape[0], axis=1)
    if truths == 0 or detections == 0:
        return nothing
    places = ops.arange(truths)

    def step(k, state):
        free, taken = state
        overlap = ops.expand_dims(ops.take(overlaps, k, axis=1), 1)  # (B, 1, N)
        reached = ops.logical_and(free, overlap >= thresholds)  # (B, T, N)
        best = ops.where(reached, overlap, ops.full_like(overlap, -1.0))
        # The last of the highest: argmax of the reversed row.
        choice = truths - 1 - ops.cast(ops.argmax(ops.flip(best, axis=-1), axis=-1), "int32")
        choice = ops.where(ops.any(reached, axis=-1), choice, ops.full_like(choice, -1))
        free = ops.logical_and(free, places != choice[..., None])
        now = ops.arange(detections) == k
        return free, ops.where(now, choice[..., None], taken)

    free = ops.logical_and(nothing[..., :1] < 0, ops.ones((truths,), "bool"))
    return ops.fori_loop(0, detections, step, (free, nothing))[1]
