"""Which cell of a grid answers for which ground truth."""

from keras import ops


def containing_cell(boxes, valid, centers, strides, size):
    """The cell that holds each box's centre; of several boxes in a cell, the first has it.

    Args:
        boxes: Float tensor `(B, N, 4)`, corners in pixels.
        valid: Boolean tensor `(B, N)`, false for padded rows.
        centers: Float tensor `(B, A, 2)`, the cells' centres in pixels.
        strides: Float tensor `(B, A, 1)` in pixels.
        size: Float tensor `(B, 1, 2)`, width and height of the image in pixels. A centre on the
            right or lower edge, or outside the image, belongs to the nearest cell.

    Returns:
        Boolean tensor `(B, N, A)`, at most one true a column.

    Example:
        >>> centers = ops.convert_to_tensor([[[4.0, 4.0], [12.0, 4.0]]])
        >>> strides, size = ops.full((1, 2, 1), 8.0), ops.convert_to_tensor([[[16.0, 8.0]]])
        >>> boxes = ops.convert_to_tensor([[[1.0, 1.0, 7.0, 7.0], [6.0, 0.0, 16.0, 8.0]]])
        >>> cells = containing_cell(boxes, ops.ones((1, 2), "bool"), centers, strides, size)
        >>> ops.convert_to_numpy(cells).tolist()
        [[[True, False], [False, True]]]
    """
    centers, strides = ops.expand_dims(centers, 1), ops.expand_dims(strides, 1)  # (B, 1, A, ·)
    middle = ops.expand_dims((boxes[..., :2] + boxes[..., 2:]) / 2.0, 2)  # (B, N, 1, 2)
    half = strides / 2.0
    # A compiled quotient can fall short of a whole number by its last bit; the edges of the cells
    # are exact, so that no centre lies in two of them.
    last = ops.floor(ops.expand_dims(size, 1) / strides + 2.0**-10) * strides - half
    place = ops.maximum(ops.minimum(middle, last), half)
    inside = ops.logical_and(place >= centers - half, place < centers + half)
    inside = ops.all(inside, axis=-1)
    inside = ops.logical_and(inside, ops.expand_dims(valid, -1))
    if boxes.shape[1] == 0:
        return inside
    return ops.logical_and(inside, ops.cumsum(ops.cast(inside, "int32"), axis=1) == 1)


def near_cells(boxes, valid, centers, strides):
    """The cells whose centre lies in a box, and those that hold the centre of a small one.

    Args:
        boxes: Float tensor `(B, N, 4)`, corners in pixels.
        valid: Boolean tensor `(B, N)`, false for padded rows.
        centers: Float tensor `(B, A, 2)`, the cells' centres in pixels.
        strides: Float tensor `(B, A, 1)` in pixels.

    Returns:
        Boolean tensor `(B, N, A)`.

    Example:
        >>> centers = ops.convert_to_tensor([[[4.0, 4.0], [12.0, 4.0]]])
        >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 16.0, 8.0], [9.0, 1.0, 11.0, 3.0]]])
        >>> cells = near_cells(boxes, ops.ones((1, 2), "bool"), centers, ops.full((1, 2, 1), 8.0))
        >>> ops.convert_to_numpy(cells).tolist()
        [[[True, True], [False, True]]]
    """
    boxes, centers, strides = (ops.convert_to_tensor(x) for x in (boxes, centers, strides))
    # Axis by axis: a reduction over an axis of two would cost more than all the comparisons.
    inside, near = [], []
    for axis in range(2):
        place = ops.expand_dims(centers[..., axis], 1)  # (B, 1, A)
        low, high = boxes[..., axis, None], boxes[..., axis + 2, None]  # (B, N, 1)
        inside.append(ops.logical_and(place > low, place < high))
        reach = ops.expand_dims(strides[..., 0], 1) / 2.0
        near.append(ops.abs(place - (low + high) / 2.0) <= reach)
    candidates = ops.logical_or(ops.logical_and(*inside), ops.logical_and(*near))
    return ops.logical_and(candidates, ops.expand_dims(valid, -1))


def task_aligned(overlaps, scores, candidates, *, top_k=7, alpha=0.5, beta=4.0):
    """Gives each object the cells that both classify and locate it best.

    The alignment of a cell with an object is `score ** alpha * overlap ** beta`. Each object takes
    its `top_k` best-aligned candidates; a cell that several objects take goes to the one that it
    overlaps most. The target of a cell is its alignment, scaled within the object so that the best
    cell gets the highest overlap that the object has.

    Args:
        overlaps: Float tensor `(B, N, A)`, IoU of each object with each cell's predicted box.
        scores: Float tensor `(B, N, A)` in `[0, 1]`, each cell's score for the object's class.
        candidates: Boolean tensor `(B, N, A)`, the cells that the object may take.
        top_k: Positive integer.
        alpha: Positive float, exponent of the score.
        beta: Positive float, exponent of the overlap.

    Returns:
        Tuple `(assigned, targets)`: boolean `(B, N, A)`, at most one true a column, and float32
        `(B, A)` in `[0, 1]`, 0 for a cell without object. No gradient flows through either.

    Example:
        >>> overlaps, scores = [[[0.5, 0.25], [0.25, 0.5]]], [[[1.0, 1.0], [0.5, 0.5]]]
        >>> candidates = ops.ones((1, 2, 2), "bool")
        >>> best = {"top_k": 1, "alpha": 1.0, "beta": 1.0}
        >>> taken, targets = task_aligned(overlaps, scores, candidates, **best)
        >>> ops.convert_to_numpy(taken).tolist(), ops.convert_to_numpy(targets).tolist()
        ([[[True, False], [False, True]]], [[0.5, 0.5]])

    Reference:
        Feng et al. 2021, TOOD: Task-aligned One-stage Object Detection, equations 1 and 4.
    """
    overlaps, scores = (ops.stop_gradient(ops.convert_to_tensor(x)) for x in (overlaps, scores))
    candidates = ops.convert_to_tensor(candidates)
    if 0 in overlaps.shape[:2]:
        return candidates, ops.sum(overlaps, axis=1)
    if overlaps.shape[1] is None:
        # Perhaps no object at all: one without candidates more, so that a cell has a winner.
        overlaps, scores, candidates = (
            ops.pad(x, ((0, 0), (0, 1), (0, 0))) for x in (overlaps, scores, candidates)
        )
        taken, targets = _task_aligned(overlaps, scores, candidates, top_k, alpha, beta)
        return taken[:, :-1], targets
    return _task_aligned(overlaps, scores, candidates, top_k, alpha, beta)


def _task_aligned(overlaps, scores, candidates, top_k, alpha, beta):
    """As `task_aligned`, of at least one object."""
    allowed = ops.cast(candidates, "float32")
    alignment = ops.power(scores, alpha) * ops.power(overlaps, beta) * allowed
    # Where the number of cells is unknown there must be `top_k` of them.
    top = ops.top_k(alignment, min(top_k, alignment.shape[-1] or top_k))[0]
    # Equal alignments at the edge of the top k all pass: only zeros are equal in practice.
    taken = ops.logical_and(alignment >= top[..., -1:], alignment > 0.0)
    claim = ops.where(taken, overlaps, ops.full_like(overlaps, -1.0))
    winner = ops.expand_dims(ops.argmax(claim, axis=1), 1)
    rows = ops.expand_dims(ops.arange(ops.shape(overlaps)[1], dtype=winner.dtype), -1)
    taken = ops.logical_and(taken, rows == winner)

    alignment = alignment * ops.cast(taken, "float32")
    overlaps = overlaps * ops.cast(taken, "float32")
    # With an initial value, which is below every other, an empty batch has a maximum.
    best = ops.max(alignment, axis=-1, keepdims=True, initial=0.0)
    most = ops.max(overlaps, axis=-1, keepdims=True, initial=0.0)
    scale = most / ops.where(best > 0.0, best, 1.0)
    return taken, ops.sum(alignment * scale, axis=1)


def assigned_boxes(assigned, boxes):
    """The box that each cell answers for.

    Args:
        assigned: Boolean tensor `(B, N, A)`, at most one true a column.
        boxes: Float tensor `(B, N, 4)`.

    Returns:
        Float32 tensor `(B, A, 4)`; zeros for a cell without object.

    Example:
        >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 4.0, 2.0]]])
        >>> ops.convert_to_numpy(assigned_boxes([[[True, False]]], boxes)).tolist()
        [[[0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]
    """
    assigned = ops.cast(assigned, "float32")
    # A product of matrices would be shorter, but accelerators round its factors.
    axes = [ops.sum(assigned * boxes[..., axis, None], axis=1) for axis in range(4)]
    return ops.stack(axes, axis=-1)
