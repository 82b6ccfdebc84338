"""Pixels of masks: which count, which class they are of, and which lie at given places."""

import warnings

import numpy as np
from keras import ops

from keras_cvx.ops.arguments import FIELDS, check_fill_value, check_record

# The id of pixels for which nothing was found: their logits are NaN, or they were cut off.
NO_CLASS = -1


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
    if getattr(weights.shape, "rank", 0) is None:
        # TensorFlow forgets the rank once it has seen weights of images and of pixels.
        shape = ops.shape(masks)
        pixels = ops.reshape(ops.ones_like(masks, dtype="float32"), (shape[0], -1))
        return ops.reshape(ops.reshape(weights, (shape[0], -1)) * pixels, shape)
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


def most_probable(logits):
    """The class of the highest logit, and its probability.

    Args:
        logits: Float tensor or NumPy array `(..., C)`.

    Returns:
        Dictionary of `"masks"`, int32 `(...)`, class ids, −1 where a logit is NaN; and
        `"confidence"`, float32 `(...)`, their softmax. Of NumPy arrays, NumPy arrays.

    Example:
        >>> found = most_probable(np.float32([[0.0, 0.0], [float("nan"), 0.0]]))
        >>> found["masks"].tolist(), found["confidence"].tolist()
        ([0, -1], [0.5, nan])
    """
    on_host = isinstance(logits, np.ndarray)
    xp, cast = (np, np.asarray) if on_host else (ops, ops.cast)
    logits = cast(logits, "float32")
    highest = xp.argmax(logits, axis=-1, keepdims=True)
    # Not the maximum, which Keras takes of no empty batch.
    above = logits - xp.take_along_axis(logits, highest, axis=-1)
    confidence = 1.0 / xp.sum(xp.exp(above), axis=-1)
    ids = cast(highest[..., 0], "int32")
    masks = xp.where(xp.isnan(confidence), xp.full_like(ids, NO_CLASS), ids)
    return {"masks": masks, "confidence": confidence}


def check_masks(masks, *, image_size, num_images, num_classes, ignored):
    """Raises for masks on which no segmentation can be trained.

    Args:
        masks: NumPy array `(B, H, W)` or `(B, H, W, 1)`.
        image_size: Tuple of the images' height and width.
        num_images: Integer, the B of the images.
        num_classes: Integer C; ids are in `[0, C)`.
        ignored: Tuple of further ids.

    Raises:
        ValueError: If the masks are no integers, of another size or number than the images, or an
            id is out of range. The message names the ids, the number of pixels and an image.
    """
    expected = (num_images, *image_size)
    if masks.shape not in (expected, (*expected, 1)):
        mend = ""
        if masks.ndim == 4 and masks.shape[:3] == expected:
            mend = " Of one-hot masks, pass `np.argmax(masks, axis=-1)`."
        elif masks.shape[:1] == expected[:1]:
            mend = (
                " `keras_cvx.layers.ResizeWithPad` moves images and masks of a sample to one size."
            )
        raise ValueError(
            f"`y` must be masks of the size of their images, {expected} or {(*expected, 1)}. "
            f"Received: shape {masks.shape}.{mend}"
        )
    if masks.dtype.kind not in "iu":
        raise ValueError(
            "`y` must be masks of class ids, integers. Received: dtype "
            f"{masks.dtype}. If they are whole numbers, pass `masks.astype('int32')`."
        )

    def of_no_class(mask):
        wrong = (mask < 0) | (mask >= num_classes)
        return wrong & ~np.isin(mask, ignored) if ignored else wrong

    for index, mask in enumerate(masks):
        wrong = of_no_class(mask)
        if wrong.any():
            ids, counts = np.unique(mask[wrong], return_counts=True)
            highest = int(masks[of_no_class(masks)].max())
            more = f"`num_classes={highest + 1}` or " if highest >= num_classes else ""
            others = f", or the ignored {list(ignored)}" if ignored else ""
            raise ValueError(
                f"`y` must hold ids from 0 to {num_classes - 1}{others}. Received: "
                f"{ids[:10].tolist()} in {int(counts.sum())} pixels of the mask of image {index}, "
                f"the first with such ids. Map them to classes, or give the model {more}these ids "
                "as `ignore_class`."
            )
    kept = masks[~np.isin(masks, ignored)]
    if kept.size < masks.size and kept.size and not kept.any():
        warnings.warn(
            f"`y` has no class but 0 beside the ignored {list(ignored)}, so that there is nothing "
            "to learn. Where 255 is an object and not to be ignored, pass `masks // 255`.",
            # The user's call of `fit`.
            stacklevel=5,
        )


def weights_of_classes(weights, masks):
    """The weight of each pixel's class.

    Args:
        weights: Float32 array `(C,)`.
        masks: Tensor of ids, `(B, H, W)` or `(B, H, W, 1)`.

    Returns:
        Float32 tensor `(B, H, W)`; 1 where the id is no class.

    Example:
        >>> masks = ops.convert_to_tensor([[[0, 1, 255]]])
        >>> ops.convert_to_numpy(weights_of_classes(np.float32([0.5, 2.0]), masks)).tolist()
        [[[0.5, 2.0, 1.0]]]
    """
    masks = ops.cast(masks, "int32")
    if len(masks.shape) == 4:
        masks = ops.squeeze(masks, axis=-1)
    known = ops.logical_and(masks >= 0, masks < len(weights))
    found = ops.take(weights, ops.where(known, masks, ops.zeros_like(masks)))
    return ops.where(known, found, ops.ones_like(found))


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


def mask_and_centers(mask, geometry, size, result_size):
    """A mask and a record of geometry as NumPy arrays, and the result's pixel centres.

    Args:
        mask: Array `(H, W)` or `(H, W, channels)`.
        geometry: Record of one image.
        size: The field of the record that is the mask's size, such as `"source_size"`.
        result_size: The field that is the result's.

    Returns:
        Tuple of the mask, the record, and a pair of float32 arrays: the centres of the result's
        rows and of its columns, in its pixels.

    Raises:
        ValueError: If the mask is not of that size.

    Example:
        >>> sizes = {"source_size": [1, 2], "content_size": [1, 2], "target_size": [2, 2]}
        >>> record = {name: np.float32(size) for name, size in {**sizes, "offset": [0, 0]}.items()}
        >>> mask_and_centers([[7, 1]], record, "source_size", "target_size")[2][0].tolist()
        [0.5, 1.5]
    """
    check_record(geometry)
    mask = np.asarray(mask)
    record = {name: np.asarray(geometry[name], "float32") for name in FIELDS}
    expected = tuple(record[size].astype(int).tolist())
    if record[size].ndim != 1 or mask.ndim not in (2, 3) or mask.shape[:2] != expected:
        raise ValueError(
            f"`mask` must be of one image, (H, W) or (H, W, channels), and of the size of "
            f"`geometry[{size!r}]`. Received: mask of shape {mask.shape}, size {expected}"
        )
    rows, columns = record[result_size].astype(int)
    centers = [np.arange(n, dtype="float32") + np.float32(0.5) for n in (rows, columns)]
    return mask, record, centers
