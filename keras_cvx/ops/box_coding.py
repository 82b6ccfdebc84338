"""Boxes as regression targets of a grid's cells, and back."""

from keras import ops


def encode_distances(boxes, centers, strides):
    """Distances from a cell's centre to the sides of a box, in strides.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels.
        centers: Float tensor `(..., 2)`, the cells' centres in pixels.
        strides: Float tensor `(..., 1)` in pixels.

    Returns:
        Float tensor `(..., 4)`: to the left, upper, right and lower side; negative where the
        centre lies outside the box.

    Example:
        >>> box, cell = (ops.convert_to_tensor(x) for x in ([0.0, 2.0, 8.0, 4.0], [4.0, 4.0, 8.0]))
        >>> distances = encode_distances(box, cell[:2], cell[2:])
        >>> ops.convert_to_numpy(distances).tolist()
        [0.5, 0.25, 0.5, 0.0]

    Reference:
        Tian et al. 2019, FCOS: Fully Convolutional One-Stage Object Detection, equation 1.
    """
    reach = [centers - boxes[..., :2], boxes[..., 2:] - centers]
    return ops.concatenate(reach, axis=-1) / strides


def decode_distances(distances, centers, strides):
    """Inverse of `encode_distances`.

    Args:
        distances: Float tensor `(..., 4)` in strides.
        centers: Float tensor `(..., 2)` in pixels.
        strides: Float tensor `(..., 1)` in pixels.

    Returns:
        Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels.

    Example:
        >>> distances = ops.convert_to_tensor([0.5, 0.25, 0.5, 0.0])
        >>> cell = ops.convert_to_tensor([4.0, 4.0, 8.0])
        >>> ops.convert_to_numpy(decode_distances(distances, cell[:2], cell[2:])).tolist()
        [0.0, 2.0, 8.0, 4.0]
    """
    reach = distances * strides
    return ops.concatenate([centers - reach[..., :2], centers + reach[..., 2:]], axis=-1)


def encode_places(boxes, centers, strides, size):
    """A box's centre relative to a cell, and the roots of its sides relative to the image.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels.
        centers: Float tensor `(..., 2)`, the cells' centres in pixels.
        strides: Float tensor `(..., 1)` in pixels.
        size: Float tensor `(..., 2)`, width and height of the image in pixels.

    Returns:
        Float tensor `(..., 4)`: x and y, from the cell's upper left corner in strides, in `[0, 1]`
        if the cell holds the box's centre, and the roots of width and height, in `[0, 1]`.

    Example:
        >>> box, cell = (ops.convert_to_tensor(x) for x in ([0.0, 2.0, 8.0, 4.0], [4.0, 4.0, 8.0]))
        >>> places = encode_places(box, cell[:2], cell[2:], ops.convert_to_tensor([32.0, 32.0]))
        >>> ops.convert_to_numpy(places).tolist()
        [0.5, 0.375, 0.5, 0.25]

    Reference:
        Redmon et al. 2016, You Only Look Once, section 2.
    """
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    roots = ops.sqrt(ops.relu(boxes[..., 2:] - boxes[..., :2]) / size)
    return ops.concatenate([(middle - centers) / strides + 0.5, roots], axis=-1)


def decode_places(places, centers, strides, size):
    """Inverse of `encode_places`; a negative root has no meaning and gives an empty box.

    Args:
        places: Float tensor `(..., 4)`.
        centers: Float tensor `(..., 2)` in pixels.
        strides: Float tensor `(..., 1)` in pixels.
        size: Float tensor `(..., 2)`, width and height of the image in pixels.

    Returns:
        Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels.

    Example:
        >>> places = ops.convert_to_tensor([0.5, 0.375, 0.5, 0.25])
        >>> cell = ops.convert_to_tensor([4.0, 4.0, 8.0])
        >>> box = decode_places(places, cell[:2], cell[2:], ops.convert_to_tensor([32.0, 32.0]))
        >>> ops.convert_to_numpy(box).tolist()
        [0.0, 2.0, 8.0, 4.0]
    """
    middle = centers + (places[..., :2] - 0.5) * strides
    half = ops.square(ops.relu(places[..., 2:])) * size / 2.0
    return ops.concatenate([middle - half, middle + half], axis=-1)
