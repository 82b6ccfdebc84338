"""Greedy non-maximum suppression of a batch, class by class, with static shapes."""

from keras import ops

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
    # Ties cost `top_k` less than an order does, and most scores are below the threshold.
    scores = ops.where(scores > score_threshold, scores, ops.full_like(scores, score_threshold))
    scores = ops.reshape(scores, (-1, num_boxes * num_classes))
    confidence, order = ops.top_k(scores, count)
    order = ops.cast(order, "int32")
    index, label = order // num_classes, order % num_classes
    passes = confidence > score_threshold
    # One row a candidate: corners, area, class, which floats hold exactly up to 2 ** 24.
    x0, y0, x1, y1 = ops.unstack(take_rows(boxes, index), axis=-1)
    x1, y1 = ops.maximum(x0, x1), ops.maximum(y0, y1)
    columns = [x0, y0, x1, y1, (x1 - x0) * (y1 - y0), ops.cast(label, "float32")]
    kept, num_kept = _visit(
        ops.stack(columns, axis=-1), ops.sum(ops.cast(passes, "int32"), axis=-1),
        iou_threshold, max_detections,
    )  # fmt: skip

    filled = ops.arange(max_detections, dtype="int32") < num_kept[:, None]
    return (
        ops.where(filled, take_rows(index, kept), -1),
        ops.where(filled, take_rows(label, kept), -1),
        ops.where(filled, take_rows(confidence, kept), -1.0),
        num_kept,
    )


def take_rows(x, indices):
    """Rows of each image; `ops.take_along_axis` takes ten times as long in a TensorFlow graph.

    Args:
        x: Tensor `(B, N, ...)`.
        indices: Int32 tensor `(B, K)` into the N rows.

    Returns:
        Tensor `(B, K, ...)`.
    """
    batch, rows = ops.shape(x)[:2]
    first = rows * ops.arange(batch, dtype="int32")
    taken = ops.take(ops.reshape(x, (-1, *x.shape[2:])), first[:, None] + indices, axis=0)
    # JAX loses an axis where there is no image.
    return ops.reshape(taken, (-1, indices.shape[1], *x.shape[2:]))


def _visit(rows, passing, iou_threshold, max_detections):
    """Ranks `(B, K)` of the candidates kept, and their number `(B,)`.

    Only the first `passing` `(B,)` of an image's rows are candidates.
    """
    block = min(_BLOCK, rows.shape[1])
    count = -(-rows.shape[1] // block) * block
    rows = ops.pad(rows, ((0, 0), (0, count - rows.shape[1]), (0, 0)))
    earlier = ops.cast(ops.tril(ops.ones((block, block)), -1), "float32")
    place, slots = (ops.arange(n, dtype="int32") for n in (block, max_detections))
    none = ops.zeros_like(passing)

    def unfinished(turn, kept, num_kept):
        more = ops.logical_and(num_kept < max_detections, turn * block < passing)
        return ops.any(more)

    def settle(turn, kept, num_kept):
        rank = turn * block + place
        here = take_rows(rows, none[:, None] + rank)
        # The block beside itself and what was kept before, in one comparison.
        beside = ops.concatenate([here, take_rows(rows, kept)], axis=1)
        rivals = ops.cast(_rivals(here, beside, iou_threshold), "float32")
        filled = ops.cast(slots < num_kept[:, None], "float32")
        beaten = ops.max(rivals[:, :, block:] * filled[:, None], axis=-1)
        alive = (1.0 - beaten) * ops.cast(rank < passing[:, None], "float32")
        alive = ops.cast(_greedy(alive, rivals[:, :, :block] * earlier), "int32")
        # Slot of each survivor; the comparison writes it without a scatter.
        slot = alive * (num_kept[:, None] + ops.cumsum(alive, axis=-1)) - 1
        written = ops.cast(slot[:, :, None] == slots, "int32")
        kept = kept + ops.sum(written * rank[:, None], axis=1)
        num_kept = num_kept + ops.sum(alive, axis=-1)
        return turn + 1, kept, ops.minimum(num_kept, max_detections)

    kept = none[:, None] + ops.zeros_like(slots)
    return ops.while_loop(unfinished, settle, (0, kept, none))[1:]


def _rivals(a, b, iou_threshold):
    """Whether rows are of one class and their IoU exceeds the threshold, `(B, N, M)`.

    As `pairwise_iou`, without what guards its gradient and with half of its operations.
    """
    # A TensorFlow graph broadcasts one side and then the other faster than both at once.
    shape = (ops.shape(a)[0], a.shape[1], b.shape[1])
    ax0, ay0, ax1, ay1, a_area, a_label = (
        ops.broadcast_to(x, shape) for x in ops.unstack(ops.expand_dims(a, 2), axis=-1)
    )
    bx0, by0, bx1, by1, b_area, b_label = ops.unstack(ops.expand_dims(b, 1), axis=-1)
    width = ops.minimum(ax1, bx1) - ops.maximum(ax0, bx0)
    height = ops.minimum(ay1, by1) - ops.maximum(ay0, by0)
    intersection = ops.relu(width) * ops.relu(height)
    # The smallest normal float32 keeps an empty union from giving NaN.
    union = ops.maximum(a_area + b_area - intersection, 2.0**-126)
    return ops.logical_and(a_label == b_label, intersection / union > iou_threshold)


def _greedy(alive, rivals):
    """Which of the candidates `(B, S)` stay, where `rivals[b, i, j]` says that j can suppress i.

    A candidate stays if no earlier rival does. Repeating that sentence settles at least one more
    candidate a turn, so that it ends at the only answer, after as many turns as the longest chain.
    Truth values are 0.0 and 1.0, which TensorFlow handles several times as fast as booleans.
    """

    def unsettled(stays, before):
        return ops.any(stays != before)

    def repeat(stays, _):
        return alive * (1.0 - ops.max(rivals * stays[:, None], axis=-1)), stays

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
