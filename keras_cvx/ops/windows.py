"""The windows of an image: where they are in it, and a function of each of them."""

import numpy as np
from keras import ops


def count_windows(size, window, strides):
    """How many windows lie wholly in an image, along each axis.

    Args:
        size: Height and width of the image.
        window: Height and width of a window.
        strides: Pixels from one window to the next, down and across.

    Returns:
        Tuple of two integers, rows and columns; `(0, 0)` where the window is larger.

    Example:
        >>> count_windows((9, 12), (4, 4), (2, 4))
        (3, 3)
    """
    counts = [(s - w) // step + 1 for s, w, step in zip(size, window, strides, strict=True)]
    return tuple(counts) if min(counts) > 0 else (0, 0)


def window_boxes(size, scaled, window, strides):
    """Boxes, in an image, of the windows that slide over the resized image, row by row.

    Args:
        size: Height and width of the image.
        scaled: Height and width to which it was resized.
        window: Height and width of a window, in pixels of the resized image.
        strides: Pixels of the resized image from one window to the next, down and across.

    Returns:
        Float32 NumPy array `(N, 4)`, corners `x0, y0, x1, y1` in pixels of the image.

    Example:
        >>> window_boxes((8, 24), (4, 8), (4, 4), (1, 4)).tolist()
        [[0.0, 0.0, 12.0, 8.0], [12.0, 0.0, 24.0, 8.0]]
    """
    rows, columns = np.indices(count_windows(scaled, window, strides)).reshape(2, -1)
    top, left = rows * strides[0], columns * strides[1]
    corners = np.stack([left, top, left + window[1], top + window[0]], axis=-1)
    scale = np.array(size[::-1]) / np.array(scaled[::-1])
    return (corners * np.tile(scale, 2)).astype("float32")


def map_windows(function, images, window, strides):
    """A function of every window of a batch of images; those of one row are held at a time.

    Args:
        function: From a tensor of windows `(B · columns, height, width, C)` to one
            `(B · columns, K)`.
        images: Tensor `(B, H, W, C)` with static sides.
        window: Height and width of a window.
        strides: Pixels from one window to the next, down and across.

    Returns:
        Tensor `(B, rows, columns, K)`.

    Example:
        >>> images = ops.reshape(ops.arange(6), (1, 2, 3, 1))
        >>> corner = map_windows(lambda windows: windows[:, 0, 0], images, (2, 2), (1, 1))
        >>> ops.convert_to_numpy(corner).tolist()
        [[[[0], [1]]]]
    """
    height, width, channels = images.shape[1:]
    counts = count_windows((height, width), window, strides)
    rows, columns = (
        (np.arange(count)[:, None] * step + np.arange(side)).astype("int32")
        for count, step, side in zip(counts, strides, window, strict=True)
    )

    def along(row):
        # (B, height, columns, width, C)
        crops = ops.take(ops.take(images, row, axis=1), columns, axis=2)
        crops = ops.reshape(ops.moveaxis(crops, 2, 1), (-1, *window, channels))
        values = function(crops)
        return ops.reshape(values, (-1, counts[1], values.shape[-1]))

    return ops.moveaxis(ops.map(along, ops.convert_to_tensor(rows)), 0, 1)
