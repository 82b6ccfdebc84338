"""The Lovász extension of the Jaccard loss."""

from keras import ops

from keras_cvx.ops._bins import MAGNITUDES, UP_TO_ONE, bins_of
from keras_cvx.ops._kernels import counts, look_up, rows_in_memory
from keras_cvx.ops._sorting import falling_order


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


def rounded_lovasz_jaccard(y_true, y_pred, shares):
    """Weighted sum over classes of `lovasz_jaccard`, with errors ranked by 9 significant digits.

    Nothing is sorted: errors are counted by bins, each a 256th of its power of 2, and the pixels of
    a bin share the weights that the mean of two orders gives them, mask first and mask last. Those
    are slopes of the extension where the bins' errors are equal, so of errors that are 0 or 1 the
    value is exact, and otherwise it is never above the exact one. Errors below
    2**-22 count nowhere.

    Args:
        y_true: Float tensor `(B, N, C)` of 0 and 1.
        y_pred: Float tensor `(B, N, C)` in `[0, 1]`; what is 0 in both counts nowhere.
        shares: Float tensor `(B, C)`, what each class counts; or `(1, C)`, the pixels of all images
            judged as one.

    Returns:
        Float32 tensor `(B,)`, or `(1,)`.

    Reference:
        As `lovasz_jaccard`.
    """
    (images, classes), together = ops.shape(shares), shares.shape[0] == 1
    # Below 0 in the mask, above it outside.
    signed = y_pred - y_true
    rows = ops.reshape(ops.arange(images * classes, dtype="int32"), (images, 1, classes))
    places = bins_of(ops.stop_gradient(signed), rows)
    bins = ops.reshape(
        counts(places, images * classes * 2 * MAGNITUDES), (images, classes, 2, MAGNITUDES)
    )
    total = ops.sum(y_true, axis=1)
    total = ops.sum(total, axis=0) if together else total
    weights = _weights_of_bins(bins[..., 1:UP_TO_ONE], ops.reshape(total, (images, classes, 1)))
    slopes = ops.stack([0.0 - weights[0], weights[1]], axis=2) * shares[..., None, None]
    slopes = ops.pad(slopes, ((0, 0), (0, 0), (0, 0), (1, MAGNITUDES - UP_TO_ONE)))
    slopes = look_up(ops.reshape(ops.stop_gradient(slopes), (-1,)), places)
    products = signed * slopes
    return ops.sum(products)[None] if together else ops.sum(products, axis=(1, 2))


def _weights_of_bins(bins, total):
    """What a pixel in the mask, and one outside, weigh in each bin `(..., 2, M)` of errors."""
    above = ops.flip(ops.cumsum(ops.flip(bins, axis=-1), axis=-1), axis=-1)
    above, bins = ops.cast(above, "float32"), ops.cast(bins, "float32")
    # The union before the bin's pixels, and after them.
    after = total + above[..., 1, :]
    before = after - bins[..., 1, :]
    missing = total - above[..., 0, :] + 0.5 * bins[..., 0, :]
    first = before > 0
    before, after = ops.where(first, before, 1.0), ops.maximum(after, 1.0)
    # Of an empty mask the first pixels cost all.
    return 0.5 / before + 0.5 / after, ops.where(first, missing / before, 1.0) / after
