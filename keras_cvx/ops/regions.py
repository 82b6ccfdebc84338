"""Regions of images in another size: crops as TensorFlow takes them, and RoIAlign."""

import math

import numpy as np

from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import (
    check_boxes,
    check_fill_value,
    check_integers,
    shapes_agree,
)
from keras_cvx.ops.resizing import check_interpolation, saturate

CROP_INTERPOLATIONS = ("nearest", "bilinear")
# A place so few pixels outside the image is there by rounding only, and counts as on its edge.
_ROUNDING = 2.0**-10


def crop_and_resize(images, boxes, size, *, interpolation="bilinear", fill_value=0.0):
    """Crops of regions of images, all in one size, as `tf.image.crop_and_resize` samples them.

    Row i of a crop lies at `y0 + (i + 0.5) * (y1 - y0) / height` of its image, where pixel k covers
    [k, k + 1), and columns likewise: a box of whole pixels in its own size is a copy, and
    `geometry.crop_and_resize` is the record of the crop. TensorFlow names the same places by the
    first and last of them, counts from the centre of the first pixel to that of the last one, and
    divides by that distance. Its box `[y1, x1, y2, x2]` is

        s = (y1 - y0) / height
        TensorFlow's y1 = (y0 + s / 2 - 1 / 2) / (H - 1)
        TensorFlow's y2 = (y1 - s / 2 - 1 / 2) / (H - 1)

    and in the other direction `s = (y2 - y1) * (H - 1) / (height - 1)`, or 0 for a crop of one
    row. As there, a place outside the centres of the outermost pixels gets `fill_value`, and so
    does the rim of an enlarged crop that reaches the image's edge, unless `fill_value` is None.

    Args:
        images: `(B, H, W, C)`, or `(H, W, C)`: a NumPy array, a tensor, or one of TensorFlow's
            under another backend. Integers are rounded and saturated.
        boxes: Float array or tensor `(B, R, 4)`, or `(R, 4)`, corners `x0, y0, x1, y1` in pixels.
            They may reach outside; one with `x1 < x0` or `y1 < y0` gives a mirrored crop.
        size: Height and width of the crops in pixels, positive integers.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: Number for places outside; None repeats the image's edge there.

    Returns:
        Crops `(B, R, height, width, C)`, or `(R, height, width, C)`, in the dtype of the images;
        differentiable with respect to images and boxes.

    Raises:
        ValueError: If a shape, the size or the interpolation is another.

    Example:
        >>> images = np.arange(16.0).reshape(4, 4, 1)
        >>> crop_and_resize(images, [[1.0, 2.0, 3.0, 4.0]], (2, 2))[0, ..., 0].tolist()
        [[9.0, 10.0], [13.0, 14.0]]
    """
    check_interpolation(interpolation, CROP_INTERPOLATIONS)
    xp, images, boxes, size = _prepared(images, boxes, size)
    # Nearest pixels stay what they are, labels beyond the precision of float32 included.
    sampled = images if interpolation == "nearest" else xp.cast(images, "float32")
    reach = math.inf if fill_value is None else _ROUNDING
    crops, inside = _sampled(xp, sampled, boxes, size, interpolation, reach)
    if fill_value is not None:
        check_fill_value(sampled.dtype, fill_value=fill_value)
        fill = saturate(xp.convert_to_tensor(np.float32(fill_value)), sampled.dtype)
        crops = xp.where(inside, crops, fill)
    return saturate(crops, images.dtype)


def roi_align(images, boxes, size, *, sampling_ratio=2, aligned=True, spatial_scale=1.0):
    """RoIAlign: regions of feature maps, divided into cells and averaged in each.

    A cell is the mean of `sampling_ratio` by `sampling_ratio` bilinear samples that lie evenly in
    it. A sample up to one pixel outside the outermost centres is that of the edge; farther out it
    is 0. Nothing is rounded to whole pixels.

    Args:
        images: Feature maps `(B, H, W, C)`, or `(H, W, C)`, as `crop_and_resize` takes them.
        boxes: Float array or tensor `(B, R, 4)`, or `(R, 4)`, corners `x0, y0, x1, y1` in pixels
            of the input image.
        size: Number of rows and columns of cells, positive integers.
        sampling_ratio: Positive integer, the samples of a cell in each direction.
        aligned: Whether pixel k covers [k, k + 1), as everywhere in this package. If not, its
            centre is at k, half a pixel off, and no side is shorter than 1, as first published.
        spatial_scale: Pixels of the feature map in one of the input image, `1 / stride`; positive.

    Returns:
        Features `(B, R, rows, columns, C)`, or `(R, rows, columns, C)`, in the dtype of the
        images; differentiable with respect to images and boxes.

    Raises:
        ValueError: If a shape or an argument is another.

    Example:
        >>> images = np.arange(16.0).reshape(4, 4, 1)
        >>> roi_align(images, [[0.0, 0.0, 4.0, 4.0]], (2, 2))[0, ..., 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]

    Reference:
        - He et al. 2017, Mask R-CNN, section 3.
        - Wu et al. 2019, Detectron2, for `aligned`.
    """
    check_integers(1, sampling_ratio=sampling_ratio)
    if not 0 < spatial_scale < math.inf:
        raise ValueError(
            f"`spatial_scale` must be positive. Received: spatial_scale={spatial_scale}"
        )
    xp, images, boxes, size = _prepared(images, boxes, size)
    boxes = boxes * spatial_scale
    if not aligned:
        first = boxes[..., :2]
        side = boxes[..., 2:] - first
        side = xp.maximum(side, xp.ones_like(side))
        boxes = xp.concatenate([first + 0.5, first + side + 0.5], -1)
    grid = tuple(n * sampling_ratio for n in size)
    samples, inside = _sampled(xp, xp.cast(images, "float32"), boxes, grid, "bilinear", 1.0)
    samples = xp.where(inside, samples, xp.zeros_like(samples))
    *regions, _, _, channels = xp.shape(samples)
    cells = (*regions, size[0], sampling_ratio, size[1], sampling_ratio, channels)
    return saturate(xp.mean(xp.reshape(samples, cells), axis=(-4, -2)), images.dtype)


def _prepared(images, boxes, size):
    """The namespace of both, and the arguments, if they go together."""
    height, width = size
    check_integers(1, height=height, width=width)
    xp = _arrays.namespace(images, boxes)
    images = xp.convert_to_tensor(images)
    boxes = xp.cast(xp.convert_to_tensor(boxes), "float32")
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or 0 in shape[-3:-1]:
        raise ValueError(
            "`images` must be of shape (H, W, C) or (B, H, W, C), with at least one row and one "
            f"column. Received: shape {shape}"
        )
    check_boxes(boxes, "boxes")
    if not shapes_agree(tuple(boxes.shape), (*shape[:-3], None, 4)):
        raise ValueError(
            "`boxes` must be of shape (R, 4) for one image and (B, R, 4) for a batch. "
            f"Received: boxes of shape {tuple(boxes.shape)}, and images of shape {shape}"
        )
    return xp, images, boxes, (int(height), int(width))


def _sampled(xp, images, boxes, size, interpolation, reach):
    """Values at evenly distributed places of each box, and which of the places are inside.

    One gather from all pixels of the batch for each neighbour: compiled by XLA it takes half the
    time of rows first and columns then, and a sixth of that of matrices of weights.

    Args:
        xp: Namespace.
        images: `(..., H, W, C)`, with one leading axis or none.
        boxes: `(..., R, 4)`, corners in pixels.
        size: Rows and columns of places in a box.
        interpolation: One of `CROP_INTERPOLATIONS`.
        reach: How far a place may lie from the outermost centres, in pixels, to be inside; it is
            moved to the nearest one.

    Returns:
        Tuple of values `(..., R, rows, columns, C)` of any kind outside, and a boolean tensor
        `(..., R, rows, columns, 1)`.
    """
    *batch, height, width, channels = xp.shape(images)
    rows, rows_inside = _places(xp, boxes, 1, size[0], height, reach)
    columns, columns_inside = _places(xp, boxes, 0, size[1], width, reach)
    pixels = xp.reshape(images, (-1, channels))
    # The row of each image's first pixel in one high image.
    start = xp.arange(batch[0], dtype="int32") * height if batch else None

    def at(row, column):
        row = xp.cast(row, "int32")
        if batch:
            row = row + xp.reshape(start, (-1, 1, 1))
        column = xp.cast(column, "int32")
        place = xp.expand_dims(row * width, -1) + xp.expand_dims(column, -2)
        # JAX forgets the shape of the places where there is no pixel.
        return xp.reshape(xp.take(pixels, place, 0), (*xp.shape(place), channels))

    inside = xp.logical_and(xp.expand_dims(rows_inside, -1), xp.expand_dims(columns_inside, -2))
    inside = xp.expand_dims(inside, -1)
    if interpolation == "nearest":
        return at(xp.floor(rows + 0.5), xp.floor(columns + 0.5)), inside
    above, left = xp.floor(rows), xp.floor(columns)
    # Rounded up rather than one more, so that no neighbour without weight is looked at.
    below, right = -xp.floor(-rows), -xp.floor(-columns)
    across = xp.expand_dims(xp.expand_dims(columns - left, -2), -1)
    down = xp.expand_dims(xp.expand_dims(rows - above, -1), -1)
    upper = _between(at(above, left), at(above, right), across)
    lower = _between(at(below, left), at(below, right), across)
    return _between(upper, lower, down), inside


def _between(first, second, share):
    return first + (second - first) * share


def _places(xp, boxes, axis, count, side, reach):
    """Places along an axis, 0 at the first pixel's centre, `(..., R, count)`; which are inside."""
    low, high = boxes[..., axis : axis + 1], boxes[..., axis + 2 : axis + 3]
    steps = xp.convert_to_tensor(np.arange(count, dtype="float32") + np.float32(0.5))
    places = low + steps * ((high - low) / count) - 0.5
    last = xp.cast(xp.convert_to_tensor(side - 1), "float32")
    inside = xp.logical_and(places >= -reach, places <= last + reach)
    zeros = xp.zeros_like(places)
    # A place that is no number, too, becomes one where there is a pixel.
    places = xp.where(inside, places, zeros)
    return xp.maximum(xp.minimum(places, last), zeros), inside
