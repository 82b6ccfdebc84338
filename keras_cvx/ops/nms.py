"""Greedy non-maximum suppression of a batch, class by class, with static shapes."""

from keras import ops

from keras_cvx.ops.iou import pairwise_iou

# Candidates settled at a time. Larger blocks mean fewer turns of the loop and more pairs in each.
_BLOCK = 64


def non_max_suppression(
    boxes,
    scores,
    *,
    iou_threshold=0.5,
    score_threshold=0.0,
    max_detections=100,
    max_candidates=1000,
):
    """Keeps the most confident box of each cluster of overlapping boxes of one class.

    Every pair of a box and a class is a candidate, so one box can be kept for several classes.
    The candidates are visited by falling score; one is kept unless its IoU with a kept box of the
    same class exceeds `iou_threshold`. They are settled in sorted blocks, and the work ends once
    every image has `max_detections`: time is linear in the candidates visited, and
    no comparison of all of them is held.

    Args:
        boxes: Float tensor `(B, N, 4)`, corners `x0, y0, x1, y1` in one frame for all.
        scores: Float tensor `(B, N, C)`, confidence of each box in each class.
        iou_threshold: Float in `[0, 1]`. Overlap above it suppresses.
        score_threshold: Float. Candidates whose score is not above it are dropped.
        max_detections: Positive integer K, the most detections of an image over all classes.
        max_candidates: Positive integer. Only so many of an image's best candidates are visited.

    Returns:
        Tuple `(indices, labels, confidence, num_detections)`: int32 `(B, K)` into the N boxes,
        int32 `(B, K)`, float32 `(B, K)`, sorted by falling confidence, each padded with −1, and
        int32 `(B,)`.

    Raises:
        ValueError: If the shapes do not go together, or there are no classes.

    Example:
        >>> boxes = [[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [6.0, 6.0, 8.0, 8.0]]]
        >>> scores = [[[0.5], [0.75], [0.25]]]
        >>> kept = non_max_suppression(boxes, scores, max_detections=3)
        >>> ops.convert_to_numpy(kept[0]).tolist()
        [[1, 2, -1]]

    Reference:
        Felzenszwalb et al. 2010, Object Detection with Discriminatively Trained Part-Based Models,
        section 4.2 (greedy suppression).
    """
    # There is no gradient in a choice, and JAX cannot go backward through a loop of unknown length.
    boxes = ops.stop_gradient(ops.cast(ops.convert_to_tensor(boxes), "float32"))
    scores = ops.stop_gradient(ops.cast(ops.convert_to_tensor(scores), "float32"))
    check_shapes(tuple(boxes.shape), tuple(scores.shape))
    num_boxes, num_classes = scores.shape[1], scores.shape[2]
    if not isinstance(num_boxes, int) or not num_boxes:
        # None or an exporter's symbol, known when it runs, or 0: enough boxes to choose from, which
        # no threshold lets through.
        spare = -(-max_candidates // num_classes)
        boxes = ops.pad(boxes, ((0, 0), (0, spare), (0, 0)))
        scores = ops.pad(scores, ((0, 0), (0, spare), (0, 0)), constant_values=-float("inf"))
        count, num_boxes = max_candidates, ops.shape(scores)[1]
    else:
        count = min(max_candidates, num_boxes * num_classes)
    # A tie costs `top_k` less than an order, and most scores are below the threshold.
    scores = ops.where(scores > score_threshold, scores, ops.full_like(scores, -float("inf")))
    confidence, order = ops.top_k(ops.reshape(scores, (-1, num_boxes * num_classes)), count)
    order = ops.cast(order, "int32")
    block = min(_BLOCK, count)
    blocks = -(-count // block)
    spare = ((0, 0), (0, blocks * block - count))
    # Scores are padded below any threshold, so that the spare candidates are never kept.
    confidence = ops.pad(confidence, spare, constant_values=-float("inf"))
    order = ops.pad(order, spare)
    candidates = ops.take_along_axis(boxes, (order // num_classes)[..., None], axis=1)
    kept, num_kept = _visit(
        candidates, order % num_classes, confidence,
        (block, blocks), iou_threshold, score_threshold, max_detections,
    )  # fmt: skip

    filled = ops.arange(max_detections) < num_kept[:, None]
    order = ops.take_along_axis(order, kept, axis=1)
    confidence = ops.take_along_axis(confidence, kept, axis=1)
    missing = ops.full_like(order, -1)
    return (
        ops.where(filled, order // num_classes, missing),
        ops.where(filled, order % num_classes, missing),
        ops.where(filled, confidence, ops.full_like(confidence, -1.0)),
        num_kept,
    )


def _visit(boxes, labels, confidence, extent, iou_threshold, score_threshold, max_detections):
    """Ranks `(B, K)` of the candidates kept, and their number `(B,)`."""
    block, blocks = extent

    def in_blocks(x):
        """(B, M, ...) to (M / block, B, block, ...), to be read by one index."""
        x = ops.reshape(x, (-1, blocks, block, *x.shape[2:]))
        return ops.swapaxes(x, 0, 1)

    boxes_of, labels_of, confidence_of = in_blocks(boxes), in_blocks(labels), in_blocks(confidence)
    earlier = ops.cast(ops.tril(ops.ones((block, block)), -1), "bool")

    def unfinished(turn, kept, num_kept):
        best = ops.take(confidence_of, ops.minimum(turn, blocks - 1), axis=0)[:, 0]
        open_images = ops.logical_and(num_kept < max_detections, best > score_threshold)
        return ops.logical_and(turn < blocks, ops.any(open_images))

    def settle(turn, kept, num_kept):
        here, label, score = (
            ops.take(x, turn, axis=0) for x in (boxes_of, labels_of, confidence_of)
        )
        kept_boxes = ops.take_along_axis(boxes, kept[..., None], axis=1)
        kept_labels = ops.take_along_axis(labels, kept, axis=1)
        # The block beside itself and what was kept before, in one comparison.
        overlap = pairwise_iou(here, ops.concatenate([here, kept_boxes], axis=1)) > iou_threshold
        same_class = label[:, :, None] == ops.concatenate([label, kept_labels], axis=1)[:, None]
        rivals = ops.logical_and(overlap, same_class)
        filled = ops.arange(max_detections) < num_kept[:, None]
        beaten = ops.any(ops.logical_and(rivals[:, :, block:], filled[:, None]), axis=-1)
        alive = ops.logical_and(score > score_threshold, ops.logical_not(beaten))
        alive = _greedy(alive, ops.logical_and(rivals[:, :, :block], earlier))
        # Slot of each survivor; the comparison writes it without a scatter.
        slot = num_kept[:, None] + ops.cumsum(ops.cast(alive, "int32"), axis=-1) - 1
        written = ops.logical_and(slot[:, :, None] == ops.arange(max_detections), alive[:, :, None])
        rank = turn * block + ops.arange(block)
        kept = kept + ops.sum(ops.cast(written, "int32") * rank[:, None], axis=1)
        num_kept = num_kept + ops.sum(ops.cast(alive, "int32"), axis=-1)
        return turn + 1, kept, ops.minimum(num_kept, max_detections)

    none = ops.zeros_like(labels[:, :1])
    kept = none + ops.zeros((1, max_detections), "int32")
    _, kept, num_kept = ops.while_loop(unfinished, settle, (0, kept, none[:, 0]))
    return kept, num_kept


def _greedy(alive, rivals):
    """Which of the candidates `(B, S)` stay, where `rivals[b, i, j]` says that j can suppress i.

    A candidate stays if no earlier rival does. Repeating that sentence settles at least one more
    candidate a turn, so that it ends at the only answer, after as many turns as the longest chain.
    """

    def unsettled(stays, before):
        return ops.any(stays != before)

    def repeat(stays, _):
        suppressed = ops.any(ops.logical_and(rivals, stays[:, None]), axis=-1)
        return ops.logical_and(alive, ops.logical_not(suppressed)), stays

    return ops.while_loop(unsettled, repeat, (alive, ops.zeros_like(alive)))[0]


def check_shapes(boxes, scores):
    """Raises if two static shapes cannot be those of boxes and scores.

    Args:
        boxes: Tuple, `(B, N, 4)`.
        scores: Tuple, `(B, N, C)`.

    Raises:
        ValueError: If they are not, naming the argument.
    """
    if len(boxes) != 3 or boxes[-1] != 4:
        raise ValueError(f"`boxes` must be of shape (B, N, 4). Received: {boxes}")
    if len(scores) != 3 or scores[1] not in (boxes[1], None) or scores[2] in (0, None):
        raise ValueError(
            f"`scores` must be of shape (B, N, classes) for boxes of shape {boxes}. "
            f"Received: {scores}"
        )
