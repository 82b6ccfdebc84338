"""Counts of what was taken for what."""

import keras
from keras import ops

from keras_cvx.ops._kernels import counts
from keras_cvx.ops.arguments import check_integers, shapes_agree


def confusion_matrix(y_true, y_pred, num_classes, *, counted=None, weights=None):
    """How often each class was taken for each other, in one pass.

    The matrix has a row and a column more than there are classes, the last: there stand the ids
    outside `[0, num_classes)`, so that every pair has its place.

    Args:
        y_true: Integer tensor of any shape, the classes that are right.
        y_pred: Integer tensor of the same shape, the classes that were found.
        num_classes: Positive integer C.
        counted: Boolean tensor of the same shape, or None for all; what is false counts nowhere.
        weights: Float tensor of the same shape, or None for 1 each.

    Returns:
        Tensor `(C + 1, C + 1)`, rows for truth and columns for predictions: int32, exact below
        2**31 pairs; with `weights` float32.

    Raises:
        ValueError: If the shapes differ or `num_classes` is no positive integer.

    Example:
        >>> matrix = confusion_matrix([0, 1, 1, 1], [0, 1, 0, 9], num_classes=2)
        >>> ops.convert_to_numpy(matrix).tolist()
        [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    check_integers(1, num_classes=num_classes)
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    others = [ops.convert_to_tensor(x) for x in (counted, weights) if x is not None]
    if not all(shapes_agree(x.shape, y_true.shape) for x in (y_pred, *others)):
        raise ValueError(
            "`y_true` and `y_pred`, `counted` and `weights` must have one shape. Received: shapes "
            f"{[tuple(x.shape) for x in (y_true, y_pred, *others)]}"
        )
    size = num_classes + 1
    places = _within(y_true, num_classes) * size + _within(y_pred, num_classes)
    if counted is not None:
        places = ops.where(counted, places, ops.full_like(places, size * size))
    if weights is not None:
        weights = ops.cast(weights, "float32")
    return ops.reshape(counts(places, size * size + 1, weights)[:-1], (size, size))


def highest_class(scores, axis):
    """The class of the highest score; −1, no class, where a score is NaN.

    Args:
        scores: Tensor with an axis of classes; booleans, integers or floats.
        axis: Integer, that axis.

    Returns:
        Int32 tensor without that axis.

    Example:
        >>> ops.convert_to_numpy(highest_class([[0.25, 0.75], [float("nan"), 0.5]], -1)).tolist()
        [1, -1]
    """
    scores = ops.convert_to_tensor(scores)
    dtype = keras.backend.standardize_dtype(scores.dtype)
    if dtype == "bool":
        scores = ops.cast(scores, "int32")
    classes = ops.cast(ops.argmax(scores, axis=axis), "int32")
    if "float" not in dtype:
        return classes
    # Where NaN is, each backend has another maximum.
    return ops.where(ops.any(ops.isnan(scores), axis=axis), ops.full_like(classes, -1), classes)


def _within(ids, num_classes):
    ids = ops.cast(ids, "int32")
    inside = ops.logical_and(ids >= 0, ids < num_classes)
    return ops.where(inside, ids, ops.full_like(ids, num_classes))
