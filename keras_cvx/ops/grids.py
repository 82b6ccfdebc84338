"""The cells of a detection grid: where they are, and how predictions carry them along."""

import numpy as np
from keras import ops

GEOMETRY_CHANNELS = 3


def cell_centers(height, width, stride):
    """Centres of the cells of a feature map, row by row, each with its stride.

    Args:
        height: Rows of the feature map, an integer of Python or a scalar tensor.
        width: Columns of the feature map, likewise.
        stride: Pixels of the image from one cell to the next.

    Returns:
        Float32 tensor `(height * width, 3)`: centre x, centre y and stride, in pixels.

    Example:
        >>> ops.convert_to_numpy(cell_centers(1, 2, stride=8)).tolist()
        [[4.0, 4.0, 8.0], [12.0, 4.0, 8.0]]
    """
    if isinstance(height, int) and isinstance(width, int):
        # A constant of the graph, which XLA need not compute in every step.
        rows, columns = np.mgrid[:height, :width].astype("float32")
        rows, columns = rows.reshape(-1), columns.reshape(-1)
        centers = [(columns + 0.5) * stride, (rows + 0.5) * stride, np.full_like(rows, stride)]
        return ops.convert_to_tensor(np.stack(centers, axis=-1), "float32")
    y = (ops.cast(ops.arange(height), "float32") + 0.5) * stride
    x = (ops.cast(ops.arange(width), "float32") + 0.5) * stride
    y, x = ops.meshgrid(y, x, indexing="ij")
    y, x = ops.reshape(y, (-1,)), ops.reshape(x, (-1,))
    return ops.stack([x, y, ops.full_like(x, stride)], axis=-1)


def attach_cells(outputs, cells):
    """Puts each cell's centre and stride before its channels.

    Args:
        outputs: Float tensor `(B, A, channels)`, a row for each of the A cells.
        cells: Float tensor `(A, 3)` of `cell_centers`, of all levels one after the other.

    Returns:
        Float32 tensor `(B, A, 3 + channels)`.

    Example:
        >>> outputs = attach_cells([[[0.5], [0.25]]], cell_centers(1, 2, stride=8))
        >>> ops.convert_to_numpy(outputs).tolist()
        [[[4.0, 4.0, 8.0, 0.5], [12.0, 4.0, 8.0, 0.25]]]
    """
    outputs = ops.cast(outputs, "float32")
    # Broadcasting by multiplication keeps an unknown batch size unknown on every backend.
    cells = ops.ones_like(outputs[..., :1]) * ops.expand_dims(cells, 0)
    return ops.concatenate([cells, outputs], axis=-1)


def detach_cells(predictions):
    """Inverse of `attach_cells`.

    Args:
        predictions: Float tensor `(B, A, 3 + channels)`.

    Returns:
        Tuple `(centers, strides, outputs)`: float32 tensors `(B, A, 2)` and `(B, A, 1)` in pixels,
        and `(B, A, channels)`.

    Raises:
        ValueError: If there is no channel beside the three of the cell.

    Example:
        >>> centers, strides, outputs = detach_cells([[[4.0, 4.0, 8.0, 0.5]]])
        >>> [ops.convert_to_numpy(x).tolist() for x in (centers, strides, outputs)]
        [[[[4.0, 4.0]]], [[[8.0]]], [[[0.5]]]]
    """
    predictions = ops.cast(ops.convert_to_tensor(predictions), "float32")
    if len(predictions.shape) != 3 or predictions.shape[-1] <= GEOMETRY_CHANNELS:
        raise ValueError(
            "`predictions` must be a `GridDetectionHead`'s output `(batch, cells, 3 + channels)`. "
            f"Received: shape {predictions.shape}"
        )
    return predictions[..., :2], predictions[..., 2:3], predictions[..., 3:]


def image_size(centers, strides):
    """Extent of the grid, which is that of the image.

    Args:
        centers: Float tensor `(B, A, 2)`, centres x, y in pixels.
        strides: Float tensor `(B, A, 1)` in pixels.

    Returns:
        Float32 tensor `(B, 1, 2)`: width and height in pixels.

    Example:
        >>> cells = cell_centers(2, 4, stride=8)[None]
        >>> ops.convert_to_numpy(image_size(cells[..., :2], cells[..., 2:])).tolist()
        [[[32.0, 16.0]]]
    """
    extents = centers + strides / 2.0
    if extents.shape[0] == 0:
        return extents[:, :1]
    # With an initial value, which is below every extent, an empty batch has a maximum.
    return ops.max(extents, axis=1, keepdims=True, initial=0.0)


def fit_extent(maps, height, width):
    """Feature maps cut, or continued by their last row and column; their cells stay in place.

    A map of stride s that covers an image has as many cells as the image has strides, rounded up;
    pooling without padding leaves one fewer.

    Args:
        maps: Tensor `(B, H, W, channels)`.
        height: Rows of the result, an integer of Python or a scalar tensor.
        width: Columns of the result, likewise.

    Returns:
        Tensor `(B, height, width, channels)`.

    Raises:
        ValueError: If there is no cell that could be continued.

    Example:
        >>> maps = ops.reshape(ops.arange(6), (1, 2, 3, 1))
        >>> ops.convert_to_numpy(fit_extent(maps, 1, 5))[0, 0, :, 0].tolist()
        [0, 1, 2, 2, 2]
    """
    for axis, target in ((1, height), (2, width)):
        side = ops.shape(maps)[axis]
        if isinstance(side, int) and isinstance(target, int) and side >= target:
            maps = maps[:, :target] if axis == 1 else maps[:, :, :target]
            continue
        if isinstance(side, int) and side == 0:
            raise ValueError(
                "`maps` must have at least one row and one column. Received: shape "
                f"{tuple(maps.shape)}. Of a backbone, this is too small an image: pad it."
            )
        maps = ops.take(maps, ops.minimum(ops.arange(target), side - 1), axis=axis)
    return maps
