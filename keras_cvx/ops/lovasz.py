"""The Lovász extension of the Jaccard loss."""

from keras import ops

from keras_cvx.ops._sorting import falling_order, rows_in_memory


def lovasz_jaccard(errors, truth):
    """Convex extension of the Jaccard loss, from the errors of a mask's pixels.

    Where every error is 0 or 1 it is the Jaccard loss: 1 minus the mask's intersection over union.
    An error of 0 counts nowhere, so pixels without error can be added and taken away.

    Args:
        errors: Float tensor `(R, N)`, the error of each of N pixels for each of R masks, at least
            0 and finite; N known when the step is traced.
        truth: Tensor `(R, N)`, 1 in the mask and 0 elsewhere.

    Returns:
        Float32 tensor `(R,)`. An empty mask costs its largest error, and 0 without pixels.

    Example:
        >>> cost = lovasz_jaccard([[1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]])
        >>> ops.convert_to_numpy(cost).tolist()
        [0.5]

    Reference:
        Berman et al. 2018, The Lovász-Softmax loss, equations 9 and 10 and algorithm 1.
    """
    errors = rows_in_memory(ops.cast(ops.convert_to_tensor(errors), "float32"))
    truth = rows_in_memory(ops.cast(ops.convert_to_tensor(truth), "int32"))
    if errors.shape[1] == 0:
        return ops.sum(errors, axis=1)
    order, in_mask = falling_order(ops.stop_gradient(errors), truth)
    weights = _weights(in_mask)
    return ops.sum(ops.take_along_axis(errors, order, axis=1) * weights, axis=1)


def _weights(in_mask):
    """By how much the Jaccard loss rises with each pixel, the largest error first."""
    inside = ops.cumsum(in_mask, axis=1)
    total = inside[:, -1:]
    rank = ops.arange(1, ops.shape(in_mask)[1] + 1, dtype="int32")
    # The union of the mask and the pixels so far outside of it.
    union = ops.cast(total + rank - inside, "float32")
    missing = ops.cast(total - inside, "float32")
    # The differences of equation 9 in closed form: nothing cancels.
    outside = missing / (union * ops.maximum(union - 1.0, 1.0))
    weights = ops.where(in_mask > 0, 1.0 / union, outside)
    # Of an empty mask the first pixel costs all.
    return ops.where(total > 0, weights, ops.cast(rank == 1, "float32"))
