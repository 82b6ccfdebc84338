"""Photographs that are stored turned: the orientation that EXIF tells, for boxes and masks."""

import numpy as np

# EXIF's orientations: whether rows and columns are swapped, then whether the columns are reversed,
# then whether the rows are. (CIPA DC-008, Exif 2.32, tag 0x0112.)
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
ORIENTATIONS = tuple(_TURNS)


def upright_shape(size, orientation):
    """Height and width of an image once it is turned upright.

    Args:
        size: Pair of height and width as stored.
        orientation: EXIF's, 1 to 8.
    """
    return size[::-1] if _TURNS[orientation][0] else size


def upright_boxes(boxes, size, orientation):
    """Boxes of the stored image as boxes of the upright one.

    Args:
        boxes: Float array `(N, 4)`, corners `x0, y0, x1, y1`.
        size: Height and width of the stored image in the boxes' unit; `(1, 1)` for fractions.
        orientation: EXIF's, 1 to 8.

    Returns:
        Array of the same shape and dtype.

    Example:
        >>> upright_boxes(np.array([[1.0, 0.0, 3.0, 1.0]]), (2, 4), 6).tolist()
        [[1.0, 1.0, 2.0, 3.0]]
    """
    swapped, columns, rows = _TURNS[orientation]
    height, width = upright_shape(size, orientation)
    x0, y0, x1, y1 = boxes[:, [1, 0, 3, 2] if swapped else [0, 1, 2, 3]].T
    if columns:
        x0, x1 = width - x1, width - x0
    if rows:
        y0, y1 = height - y1, height - y0
    return np.stack([x0, y0, x1, y1], axis=-1)


def upright_points(points, size, orientation):
    """Points of the stored image as points of the upright one.

    Args:
        points: Float array `(N, 2)`, x and y.
        size: Height and width of the stored image in the points' unit; `(1, 1)` for fractions.
        orientation: EXIF's, 1 to 8.

    Returns:
        Array of the same shape and dtype.

    Example:
        >>> upright_points(np.array([[1.0, 0.0]]), (2, 4), 6).tolist()
        [[2.0, 1.0]]
    """
    swapped, columns, rows = _TURNS[orientation]
    height, width = upright_shape(size, orientation)
    x, y = points[:, [1, 0] if swapped else [0, 1]].T
    return np.stack([width - x if columns else x, height - y if rows else y], axis=-1)


def upright_pixels(pixels, orientation):
    """Pixels of the stored image as those of the upright one.

    Args:
        pixels: Array `(H, W, ...)`.
        orientation: EXIF's, 1 to 8.

    Returns:
        Array `(H, W, ...)` or `(W, H, ...)`; a view.

    Example:
        >>> upright_pixels(np.array([[1, 2], [3, 4]]), 6).tolist()
        [[3, 1], [4, 2]]
    """
    swapped, columns, rows = _TURNS[orientation]
    turned = pixels.swapaxes(0, 1) if swapped else pixels
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]
