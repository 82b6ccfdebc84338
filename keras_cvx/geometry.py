"""How an image was moved: an exact record of it, and the way there and back.

A record is a dictionary of four float32 arrays `(..., 2)`, height before width, in pixels:

- `"source_size"`: the size of the original image;
- `"content_size"`: the size to which all of the original image was resized;
- `"offset"`: where its upper left corner then lies in the target, negative if it was cut off there;
- `"target_size"`: the size of the result.

Whatever resizes, pads and crops is of this form, and so is one after another. The leading axes are
those of the images, none for a single one. Being a dictionary of arrays, a record goes through
`tf.data`, batching and a functional model like any other part of a sample.

The functions take NumPy arrays, numbers, and tensors of any backend, TensorFlow's under another
one included, and answer in kind; those of masks answer in NumPy arrays. Arithmetic is in float32:
there and back a coordinate is right to some units in the last place of its larger neighbour, the
target's coordinate or the offset, times the reduction: 1e-3 pixels for common sizes, 1e-2 where
2000 pixels become 14.
"""

import numpy as np

from keras_cvx.ops._arrays import HOST, namespace
from keras_cvx.ops.arguments import FIELDS, check_boxes, check_choice, check_record, shapes_agree
from keras_cvx.ops.masks import mask_and_centers, take_pixels

# Rows and columns that are left before the image, as shares of those that are free.
POSITIONS = {
    "center": (0.5, 0.5),
    "top_left": (0.0, 0.0),
    "top_right": (0.0, 1.0),
    "bottom_left": (1.0, 0.0),
    "bottom_right": (1.0, 1.0),
}


def resize(source_size, target_size):
    """Record of an image that is stretched to another size.

    Args:
        source_size: Height and width in pixels: a pair, or an array `(..., 2)`.
        target_size: Likewise.

    Returns:
        The record.

    Example:
        >>> transform_boxes([[2.0, 2.0, 4.0, 4.0]], resize((4, 8), (8, 8))).tolist()
        [[2.0, 4.0, 4.0, 8.0]]
    """
    xp, source, target = _sizes(source_size=source_size, target_size=target_size)
    return _record(xp, source, target, xp.zeros_like(target), target)


def resize_with_pad(source_size, target_size, *, pad_position="center", allow_upscale=True):
    """Record of an image that is resized to fit, its aspect ratio kept, and padded.

    The content has the size and, in the centre, the place that `tf.image.resize_with_pad` gives
    it, to the last bit: its arithmetic is in float32, which for some sizes makes the content one
    pixel smaller than the target. Unlike there it has at least one row and one column.

    Args:
        source_size: Height and width in pixels: a pair, or an array `(..., 2)`.
        target_size: Likewise.
        pad_position: Where the image lies: `"center"`, or the corner that it touches,
            `"top_left"`, `"top_right"`, `"bottom_left"` or `"bottom_right"`.
        allow_upscale: Whether an image smaller than the target is enlarged.

    Returns:
        The record.

    Raises:
        ValueError: If the position is unknown.

    Example:
        >>> resize_with_pad((50, 100), (64, 64))["offset"].tolist()
        [16.0, 0.0]
    """
    check_choice(tuple(POSITIONS), pad_position=pad_position)
    xp, source, target = _sizes(source_size=source_size, target_size=target_size)
    # The target as it is, but no constant, whose reciprocal compilers multiply by: 40 / (40 / 24)
    # would be less than 24 in a graph, and the content of one image another there than elsewhere.
    # Nor is the ratio one number for both axes, for compilers do the same with what is repeated.
    ratio = source / xp.maximum(target, xp.minimum(target, source))
    ratio = xp.maximum(ratio, xp.flip(ratio, -1))
    if not allow_upscale:
        ratio = xp.maximum(ratio, xp.ones_like(ratio))
    fitted = source / ratio
    content = xp.maximum(xp.floor(fitted), xp.ones_like(fitted))
    # TensorFlow centres the content before it rounds its size down; the corners touch it after.
    free = target - (fitted if pad_position == "center" else content)
    before = xp.floor(free * _float32(POSITIONS[pad_position], xp))
    return _record(xp, source, content, xp.maximum(before, xp.zeros_like(before)), target)


def crop_or_pad(source_size, target_size, *, offset=None):
    """Record of an image that keeps its scale and is cropped or padded, each axis as it needs.

    Args:
        source_size: Height and width in pixels: a pair, or an array `(..., 2)`.
        target_size: Likewise.
        offset: Row and column of the target where the image's upper left corner lies, whole
            pixels, negative where it is cropped. None centres the image, as
            `tf.image.resize_with_crop_or_pad` does.

    Returns:
        The record.

    Example:
        >>> crop_or_pad((5, 2), (2, 6))["offset"].tolist()
        [-1.0, 2.0]
    """
    xp, source, target = _sizes(offset, source_size=source_size, target_size=target_size)
    if offset is None:
        free = target - source
        # Half of what is missing or too much, rounded towards zero.
        offset = xp.where(free < 0, -xp.floor(-free / 2), xp.floor(free / 2))
    return _record(xp, source, source, _float32(offset, xp), target)


def crop_and_resize(source_size, box, target_size):
    """Record of a region of an image that becomes the whole of the target.

    Args:
        source_size: Height and width in pixels: a pair, or an array `(..., 2)`.
        box: The region `(..., 4)`, corners `x0, y0, x1, y1` in pixels of the source, of a positive
            area. It may reach outside the image.
        target_size: As `source_size`.

    Returns:
        The record.

    Example:
        >>> crop = crop_and_resize((8, 8), (4.0, 0.0, 8.0, 4.0), (8, 8))
        >>> transform_points([[4.0, 4.0], [8.0, 0.0]], crop).tolist()
        [[0.0, 8.0], [8.0, 0.0]]
    """
    xp, source, target = _sizes(box, source_size=source_size, target_size=target_size)
    box = _float32(box, xp)
    check_boxes(box, "box")
    low, high = (xp.stack([box[..., i + 1], box[..., i]], -1) for i in (0, 2))
    side = high - low
    if isinstance(side, np.ndarray) and not side.all():
        raise ValueError(f"`box` must have an area. Received: box={box.tolist()}")
    return _record(xp, source, source * target / side, -low * target / side, target)


def compose(first, second):
    """Record of two movements, one after the other.

    Args:
        first: The record of the earlier one.
        second: The record of the later one, whose source is the target of the first.

    Returns:
        The record from the source of the first to the target of the second.

    Raises:
        ValueError: If one is no record, both are of batches of different lengths, or NumPy arrays
            show that the source of the second is not the target of the first.

    Example:
        >>> both = compose(resize((4, 8), (8, 8)), crop_or_pad((8, 8), (4, 4)))
        >>> both["content_size"].tolist(), both["offset"].tolist()
        ([8.0, 8.0], [-2.0, -2.0])
    """
    check_record(first)
    check_record(second)
    xp = namespace(*first.values(), *second.values())
    first, second = (
        {name: _float32(record[name], xp) for name in FIELDS} for record in (first, second)
    )
    images, others = (tuple(record["offset"].shape)[:-1] for record in (first, second))
    if images and others and not shapes_agree(images, others):
        raise ValueError(
            "`geometry` can only be composed with that of as many images. "
            f"Received: records of {images} and of {others}"
        )
    content, source = second["content_size"], second["source_size"]
    between = first["target_size"]
    if isinstance(source, np.ndarray) and (source != between).any():
        raise ValueError(
            "The second record of `geometry` must be of images of the first's target size. "
            f"Received: source_size={source.tolist()} after target_size={between.tolist()}"
        )
    return {
        "source_size": first["source_size"],
        "content_size": first["content_size"] * content / source,
        "offset": first["offset"] * content / source + second["offset"],
        "target_size": second["target_size"],
    }


def transform_points(points, geometry):
    """Where points of the source lie in the target.

    Args:
        points: Float array `(..., N, 2)`, x and y in pixels.
        geometry: Record of `(..., 2)`.

    Returns:
        Float32 array `(..., N, 2)`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> record = resize_with_pad((50, 100), (64, 64), allow_upscale=False)
        >>> transform_points([[100.0, 50.0]], record).tolist()
        [[64.0, 48.0]]
    """
    _, points, source, content, offset = _prepared(points, "points", 2, geometry)
    return points * content / source + offset


def restore_points(points, geometry):
    """Where points of the target lie in the source: the inverse of `transform_points`.

    Args:
        points: Float array `(..., N, 2)`, x and y in pixels.
        geometry: Record of `(..., 2)`.

    Returns:
        Float32 array `(..., N, 2)`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> record = resize_with_pad((50, 100), (64, 64), allow_upscale=False)
        >>> restore_points([[64.0, 48.0]], record).tolist()
        [[100.0, 50.0]]
    """
    _, points, source, content, offset = _prepared(points, "points", 2, geometry)
    return (points - offset) * source / content


def transform_boxes(boxes, geometry):
    """Where boxes of the source lie in the target; they may reach outside it.

    Args:
        boxes: Float array `(..., N, 4)`, corners `x0, y0, x1, y1` in pixels. Padded rows, whose
            numbers are all −1, stay as they are.
        geometry: Record of `(..., 2)`.

    Returns:
        Float32 array `(..., N, 4)`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> record = resize_with_pad((50, 100), (64, 64), allow_upscale=False)
        >>> transform_boxes([[0.0, 0.0, 100.0, 50.0]], record).tolist()
        [[0.0, 16.0, 64.0, 48.0]]
    """
    xp, boxes, source, content, offset = _prepared(boxes, "boxes", 4, geometry)
    return _except_padding(xp, boxes, boxes * content / source + offset)


def restore_boxes(boxes, geometry, *, clip=True):
    """Where boxes of the target, detections for instance, lie in the source.

    Args:
        boxes: Float array `(..., N, 4)`, corners `x0, y0, x1, y1` in pixels. Padded rows, whose
            numbers are all −1, stay as they are.
        geometry: Record of `(..., 2)`.
        clip: Whether boxes are cut to the source image.

    Returns:
        Float32 array `(..., N, 4)`. Without `clip`, the inverse of `transform_boxes`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> record = resize_with_pad((50, 100), (64, 64))
        >>> restore_boxes([[0.0, 8.0, 32.0, 32.0]], record).tolist()
        [[0.0, 0.0, 50.0, 25.0]]
    """
    xp, boxes, source, content, offset = _prepared(boxes, "boxes", 4, geometry)
    restored = (boxes - offset) * source / content
    if clip:
        restored = xp.maximum(xp.minimum(restored, source), xp.zeros_like(restored))
    return _except_padding(xp, boxes, restored)


def transform_mask(mask, geometry, *, fill_value=255):
    """A mask of the source, moved to the target pixel by pixel (nearest neighbour).

    Args:
        mask: NumPy array `(H, W)` or `(H, W, channels)` of one image.
        geometry: Record of one image, `(2,)`.
        fill_value: What pixels get that come from outside the source.

    Returns:
        NumPy array of the target's size and the mask's dtype.

    Raises:
        ValueError: If the mask is not of the source's size, or cannot hold `fill_value`.

    Example:
        >>> transform_mask(np.array([[7, 1]]), resize((1, 2), (2, 4))).tolist()
        [[7, 7, 1, 1], [7, 7, 1, 1]]
    """
    mask, record, centers = mask_and_centers(mask, geometry, "source_size", "target_size")
    scale = record["source_size"] / record["content_size"]
    places = [(centers[i] - record["offset"][i]) * scale[i] for i in range(2)]
    return take_pixels(mask, places, fill_value)


def restore_mask(mask, geometry, *, fill_value=255):
    """A mask of the target, a segmentation for instance, moved back to the source.

    Args:
        mask: NumPy array `(H, W)` or `(H, W, channels)` of one image.
        geometry: Record of one image, `(2,)`.
        fill_value: What pixels get that the target does not show.

    Returns:
        NumPy array of the source's size and the mask's dtype.

    Raises:
        ValueError: If the mask is not of the target's size, or cannot hold `fill_value`.

    Example:
        >>> restore_mask(np.array([[7, 7, 1, 1], [7, 7, 1, 1]]), resize((1, 2), (2, 4))).tolist()
        [[7, 1]]
    """
    mask, record, centers = mask_and_centers(mask, geometry, "target_size", "source_size")
    scale = record["content_size"] / record["source_size"]
    places = [centers[i] * scale[i] + record["offset"][i] for i in range(2)]
    return take_pixels(mask, places, fill_value)


def _float32(x, xp):
    if isinstance(x, (list, tuple)) and not all(isinstance(side, HOST) for side in x):
        # A pair of which a library knows one only when it runs.
        return xp.stack([_float32(side, xp) for side in x])
    if isinstance(x, HOST):
        return xp.convert_to_tensor(np.asarray(x, "float32"))
    return xp.cast(xp.convert_to_tensor(x), "float32")


def _sizes(*others, **sizes):
    """The namespace of all, and the sizes as float32 arrays `(..., 2)`."""
    given = (*others, *sizes.values())
    pairs = (x if isinstance(x, (list, tuple)) else [x] for x in given)
    xp = namespace(*(side for pair in pairs for side in pair))
    arrays = [_float32(size, xp) for size in sizes.values()]
    for name, array in zip(sizes, arrays, strict=True):
        if not array.shape or array.shape[-1] != 2:
            raise ValueError(
                f"`{name}` must be a height and a width, or an array (..., 2) of them. "
                f"Received: shape {tuple(array.shape)}"
            )
        if isinstance(array, np.ndarray) and not (array > 0).all():
            raise ValueError(f"`{name}` must be positive. Received: {name}={array.tolist()}")
    return xp, *arrays


def _record(xp, *fields):
    """A record of its fields, in a common shape."""
    if len({tuple(field.shape) for field in fields}) > 1:
        # A zero with the leading axes of all.
        common = sum(xp.zeros_like(field) for field in fields)
        fields = tuple(field + common for field in fields)
    return dict(zip(FIELDS, fields, strict=True))


def _prepared(coordinates, name, width, geometry):
    """The namespace, coordinates `(..., N, width)`, and a record's fields in their order of axes.

    The fields are source size, content size and offset, `(..., 1, width)` as x, y or x, y, x, y.
    """
    check_record(geometry)
    xp = namespace(coordinates, *geometry.values())
    coordinates = _float32(coordinates, xp)
    shape = tuple(coordinates.shape)
    if len(shape) < 2 or shape[-1] != width:
        raise ValueError(f"`{name}` must be of shape (..., N, {width}). Received: {shape}")
    fields = [_float32(geometry[field], xp) for field in FIELDS[:3]]
    images = tuple(fields[2].shape)[:-1]
    if images and not shapes_agree(images, shape[:-2]):
        raise ValueError(
            "`geometry` must hold one record, or one for each of the images of "
            f"`{name}`. Received: records of {images}, and {name} of shape {shape}"
        )
    axes = (1, 0) * (width // 2)
    stacked = [xp.stack([field[..., axis] for axis in axes], -1) for field in fields]
    return xp, coordinates, *(xp.expand_dims(field, -2) for field in stacked)


def _except_padding(xp, boxes, moved):
    padding = xp.expand_dims(xp.all(xp.equal(boxes, -1.0), axis=-1), -1)
    return xp.where(padding, -xp.ones_like(moved), moved)
