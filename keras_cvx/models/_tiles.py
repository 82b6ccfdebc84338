"""Images of any size predicted tile by tile, and the tiles' results blended."""

from typing import Any

import keras
import numpy as np

from keras_cvx.layers.preprocessing.image_lists import as_array
from keras_cvx.models._any_size import any_size, check_image
from keras_cvx.ops.arguments import check_integers, shapes_agree, spatial_axes
from keras_cvx.ops.masks import most_probable
from keras_cvx.ops.pictures import is_picture

# A side of the tiles where the network takes images of any size.
_TILE = 512


def starts(side, tile, overlap, stride):
    """Where the tiles of a side begin: at multiples of a stride, the last one flush with the end.

    Args:
        side: Positive integer, pixels of the image.
        tile: Positive integer, at most `side`.
        overlap: Pixels that neighbours share, at least; less than `tile` by a stride or more.
        stride: The largest stride of the network.

    Returns:
        List of integers.

    Example:
        >>> starts(100, 40, 8, stride=16)
        [0, 32, 60]
    """
    if side == tile:
        # A smaller image than the tiles that were asked for, whole.
        return [0]
    step = (tile - overlap) // stride * stride
    return [*range(0, side - tile, step), side - tile]


def weights(tile, overlap, *, first, last):
    """How much each pixel of a tile counts along one axis.

    It rises from 0 to 1 in the middle half of the overlap, so that the outer quarter, where the
    network saw the tile's border, counts nothing, as long as there is a neighbour.

    Args:
        tile: Positive integer.
        overlap: None, or integer of at least 0.
        first: Whether the tile begins where the image begins.
        last: Whether it ends where the image ends.

    Returns:
        Float32 array `(tile,)` in `[0, 1]`.

    Example:
        >>> weights(8, 4, first=False, last=True).tolist()
        [0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    counted = np.ones(tile, "float32")
    if overlap:
        rising = (np.arange(tile, dtype="float32") + np.float32(0.5 - overlap / 4)) / (overlap / 2)
        rising = np.clip(rising, 0.0, 1.0)
        if not first:
            counted = rising
        if not last:
            counted = np.minimum(counted, rising[::-1])
    return counted


def tiled_masks(
    images, predict, input_shape, stride, tile_size, overlap, batch_size, classified=most_probable
):
    """Masks and confidence of images, each from its tiles.

    Args:
        images: Array of images, or list of arrays and paths of files.
        predict: As `blended` takes it, and `stride`.
        input_shape: Static shape of the network's images, None where any size will do.
        stride: Integer.
        tile_size: None, integer, or pair of integers.
        overlap: None, or integer of at least 0.
        batch_size: Positive integer.
        classified: Function from logits `(rows, W, C)` to masks and confidence.

    Returns:
        Dictionary of `"masks"`, a list of int32 arrays `(H, W)`, and `"confidence"`, of float32.

    Raises:
        ValueError: If an argument is out of its range, an image is of another shape, or a file
            cannot be decoded.
    """
    if is_picture(images):
        raise ValueError(
            "`x` must be an array of images, or a list of images and paths of files. Received: "
            f"x={str(images)!r}. Pass `[x]`."
        )
    check_integers(1, batch_size=batch_size)
    shape = any_size(input_shape)[1:]
    sides = tuple(input_shape[spatial_axes()])
    size, overlap = _checked_sizes(tile_size, overlap, stride, sides)
    result: dict[str, list] = {"masks": [], "confidence": []}
    for index, one in enumerate(images):
        image = np.asanyarray(as_array(one, index))
        check_image(image, index, shape)
        received = (1, *image.shape)[spatial_axes()]
        if any(n < (least or 1) for n, least in zip(received, sides, strict=True)):
            raise ValueError(
                f"`x[{index}]` must be as large as the images that the backbone takes, {sides}, or "
                f"larger. Received: shape {image.shape}. Pad it, or pass it to `predict` of a "
                "model with `preprocessing`."
            )
        bands = blended(image, predict, size, overlap, stride, batch_size)
        found = [classified(logits) for logits in bands]
        for name, arrays in result.items():
            arrays.append(np.concatenate([band[name] for band in found]))
    return result


def _checked_sizes(tile_size, overlap, stride, sides):
    """Height and width of the tiles, which must agree with the images' static sides; overlap."""
    if tile_size is None:
        tile_size = tuple(side or _TILE for side in sides)
    tile_size = tuple(tile_size) if isinstance(tile_size, (list, tuple)) else (tile_size,) * 2
    for side in tile_size:
        check_integers(1, tile_size=side)
    if not shapes_agree(tile_size, sides):
        raise ValueError(
            "`tile_size` must be the size of the images that the backbone takes, "
            f"{sides}. Received: tile_size={tile_size}"
        )
    if overlap is None:
        overlap = max(0, min(min(tile_size) // 4, min(tile_size) - stride))
    check_integers(0, overlap=overlap)
    if overlap > min(tile_size) - stride:
        raise ValueError(
            f"`overlap` must be less than `tile_size` by {stride} or more, the largest stride. "
            f"Received: overlap={overlap}, tile_size={tile_size}"
        )
    return tile_size, overlap


def blended(image, predict, tile_size, overlap, stride, batch_size):
    """Logits of an image from those of its tiles, a band of rows at a time.

    No more is held than the logits of one row of tiles.

    Args:
        image: NumPy array of one image, in Keras' data format. Of a memory-mapped one, tiles are
            read as needed.
        predict: Function from a batch of tiles, in that format, to logits `(B, height, width, C)`
            in NumPy arrays.
        tile_size: Pair of height and width; where the image is smaller, so is the tile.
        overlap: Pixels that neighbouring tiles share, at least.
        stride: The largest stride of the network.
        batch_size: Positive integer, the most tiles at once.

    Yields:
        Float32 arrays `(rows, W, C)`: the logits of the image, from the top down.
    """
    channels_first = keras.config.image_data_format() == "channels_first"
    if channels_first:
        image = np.moveaxis(image, 0, -1)
    size = image.shape[:2]
    height, width = (min(pair) for pair in zip(tile_size, size, strict=True))
    rows, columns = (
        starts(side, tile, overlap, stride)
        for side, tile in zip(size, (height, width), strict=True)
    )
    across = [
        weights(width, overlap, first=left == columns[0], last=left == columns[-1])
        for left in columns
    ]
    total: Any = None
    weight: Any = None
    for row, top in enumerate(rows):
        down = weights(height, overlap, first=row == 0, last=row == len(rows) - 1)[:, None, None]
        for first in range(0, len(columns), batch_size):
            lefts = columns[first : first + batch_size]
            tiles = np.stack([image[top : top + height, left : left + width] for left in lefts])
            logits = predict(np.moveaxis(tiles, -1, 1) if channels_first else tiles)
            if total is None:
                total = np.zeros((height, size[1], logits.shape[-1]), "float32")
                weight = np.zeros((height, size[1], 1), "float32")
            for left, found, share in zip(lefts, logits, across[first:], strict=False):
                counted = down * share[:, None]
                total[:, left : left + width] += counted * found
                weight[:, left : left + width] += counted
        done = (rows[row + 1] if row + 1 < len(rows) else size[0]) - top
        yield total[:done] / weight[:done]
        for band in (total, weight):
            band[: height - done] = band[done:].copy()
            band[height - done :] = 0.0
