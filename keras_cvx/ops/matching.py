"""Which detections hit which ground truth, as COCO counts it."""

from keras import ops

from keras_cvx.ops.arguments import shapes_agree


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
        Int32 tensor `(B, T, K)`: the index of the ground truth that the detection takes, or −1.

    Raises:
        ValueError: If the shapes do not go together, or K is unknown when the step is traced. N may
            be unknown, and turn out to be 0.

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
    thresholds = ops.cast(ops.convert_to_tensor(iou_thresholds), "float32")
    _check_shapes(overlaps.shape, labels.shape, truth_labels.shape, thresholds.shape)
    thresholds = thresholds[:, None]  # (T, 1)
    if truth_labels.shape[1] is None:
        # Perhaps no ground truth at all: one padded row more, so that there is a highest overlap.
        overlaps = ops.pad(overlaps, ((0, 0), (0, 0), (0, 1)))
        truth_labels = ops.pad(truth_labels, ((0, 0), (0, 1)), constant_values=-1)
    detections, truths = overlaps.shape[1], ops.shape(truth_labels)[1]
    same = ops.logical_and(labels[:, :, None] == truth_labels[:, None], labels[:, :, None] >= 0)
    # Comparable with no threshold, so that other classes and padding are out of reach.
    overlaps = ops.where(same, overlaps, ops.full_like(overlaps, -1.0))
    nothing = ops.repeat(ops.full_like(labels, -1)[:, None], thresholds.shape[0], axis=1)
    if 0 in (detections, truth_labels.shape[1]):
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

    everywhere = ops.ones_like(truth_labels[:, None], dtype="bool")  # (B, 1, N)
    free = ops.logical_and(nothing[..., :1] < 0, everywhere)
    return ops.fori_loop(0, detections, step, (free, nothing))[1]


def _check_shapes(overlaps, labels, truth_labels, thresholds):
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
    if labels[1] is None:
        raise ValueError(
            "The number K of detections must be known when the step is traced. "
            f"{received}. Pad to a fixed number, with label −1."
        )
