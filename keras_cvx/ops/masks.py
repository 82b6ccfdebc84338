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


def weights_of_pixels(sample_weight, masks):
    """Weights of images or of pixels, as a tensor that broadcasts with the masks.

    Args:
        sample_weight: A number, or a tensor of the first axes of `masks`, as `(B,)` has, or of all
            of them, sizes of 1 standing for any; one more axis of size 1 may follow.
        masks: Tensor `(B, H, W)`; other numbers of axes will do.

    Returns:
        Float32 tensor with as many axes as `masks`.

    Raises:
        ValueError: If `sample_weight` is of another shape.

    Example:
        >>> weights_of_pixels([0.5, 2.0], ops.zeros((2, 3, 3))).shape == (2, 1, 1)
        True
    """
    weights = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    rank = len(masks.shape)
    if len(weights.shape) == rank + 1 and weights.shape[-1] == 1:
        weights = ops.squeeze(weights, axis=-1)
    missing = rank - len(weights.shape)
    sides = zip(weights.shape, masks.shape, strict=False)
    if missing < 0 or any(one not in (1, None, n) and n is not None for one, n in sides):
        raise ValueError(
            "`sample_weight` must broadcast to the masks, from the first axis on. Received: "
            f"shape {tuple(weights.shape)} for masks {tuple(masks.shape)}"
        )
    return ops.reshape(weights, (*ops.shape(weights), *(1,) * missing))


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
