"""Pixels of masks: which count, and which lie at given places."""

import numpy as np
from keras import ops

from keras_cvx.ops.arguments import check_fill_value


def kept_pixels(y_true, ids):
    """Which pixels have none of these ids.

    Args:
        y_true: Tensor of ids, of any shape.
        ids: Sequence of integers.

    Returns:
        Boolean tensor of the shape of `y_true`.

    Example:
        >>> ops.convert_to_numpy(kept_pixels([0, 255, 254, 1], (254, 255))).tolist()
        [True, False, False, True]
    """
    y_true = ops.convert_to_tensor(y_true)
    kept = ops.ones_like(y_true, dtype="bool")
    for label in ids:
        kept = ops.logical_and(kept, y_true != label)
    return kept


def take_pixels(mask, places, fill_value):
    """The pixels in which places lie, on the host.

    Args:
        mask: NumPy array `(H, W)` or `(H, W, channels)`.
        places: Pair of float arrays, `(height,)` in rows and `(width,)` in columns of the mask: k
            to k + 1 is pixel k.
        fill_value: What is taken for places outside.

    Returns:
        NumPy array `(height, width)` or `(height, width, channels)` of the mask's dtype.

    Raises:
        ValueError: If the mask's dtype cannot hold `fill_value`.
    """
    check_fill_value(mask.dtype, fill_value=fill_value)
    places = [np.floor(place).astype(int) for place in places]
    inside = [(place >= 0) & (place < n) for place, n in zip(places, mask.shape, strict=False)]
    result = np.full((*map(len, places), *mask.shape[2:]), fill_value, mask.dtype)
    result[np.ix_(*inside)] = mask[
        np.ix_(*(place[ok] for place, ok in zip(places, inside, strict=True)))
    ]
    return result
