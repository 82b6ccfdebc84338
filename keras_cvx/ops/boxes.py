"""Areas, clipping and formats of axis-aligned boxes."""

from keras_cvx.ops._arrays import namespace
from keras_cvx.ops.arguments import check_boxes

# From the four numbers of a format to corners, and from corners to the four numbers.
CORNERS = {
    "xyxy": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "yxyx": lambda y0, x0, y1, x1: (x0, y0, x1, y1),
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "center_xywh": lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
    "center_yxhw": lambda y, x, h, w: (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
}
_NUMBERS = {
    "xyxy": lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    "yxyx": lambda x0, y0, x1, y1: (y0, x0, y1, x1),
    "xywh": lambda x0, y0, x1, y1: (x0, y0, x1 - x0, y1 - y0),
    "center_xywh": lambda x0, y0, x1, y1: ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    "center_yxhw": lambda x0, y0, x1, y1: ((y0 + y1) / 2, (x0 + x1) / 2, y1 - y0, x1 - x0),
}
# As Keras has them: all but the last in a relative form too.
FORMATS = (*CORNERS, *(f"rel_{name}" for name in CORNERS if name != "center_yxhw"))


def area(boxes):
    """Area of each box; 0 for a box whose corners are swapped.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in any unit.

    Returns:
        Float32 tensor `(...)` in that unit squared, at least 0.

    Raises:
        ValueError: If the last axis is not 4.

    Example:
        >>> area([[0.0, 0.0, 4.0, 2.0], [3.0, 0.0, 1.0, 2.0]]).tolist()
        [8.0, 0.0]
    """
    xp = namespace(boxes)
    boxes = xp.cast(xp.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, "boxes")
    width, height = (boxes[..., axis + 2] - boxes[..., axis] for axis in range(2))
    none = xp.zeros_like(width)
    return xp.maximum(width, none) * xp.maximum(height, none)


def clip(boxes, height, width):
    """Boxes cut to the image `(0, 0, width, height)`.

    A box that lies wholly outside becomes one of no area on the nearest edge.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in pixels.
        height: Height of the image in pixels: a number, or a tensor that broadcasts with `(...)`.
        width: Width of the image in pixels, likewise.

    Returns:
        Float32 tensor `(..., 4)`.

    Raises:
        ValueError: If the last axis of `boxes` is not 4.

    Example:
        >>> clip([[-1.0, 2.0, 9.0, 3.0]], height=4, width=8).tolist()
        [[0.0, 2.0, 8.0, 3.0]]
    """
    xp = namespace(boxes, height, width)
    boxes = xp.cast(xp.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, "boxes")
    limits = [xp.cast(xp.convert_to_tensor(limit), "float32") for limit in (width, height)]
    sides = [xp.minimum(boxes[..., i], limits[i % 2]) for i in range(4)]
    return xp.stack([xp.maximum(side, xp.zeros_like(side)) for side in sides], axis=-1)


def check_format(bounding_box_format):
    """Returns `bounding_box_format` if it is the name of a format that the package takes.

    Args:
        bounding_box_format: Any object.

    Raises:
        ValueError: If it is none of `keras_cvx.ops.FORMATS`.
    """
    if bounding_box_format not in FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {FORMATS}. "
            f"Received: bounding_box_format={bounding_box_format!r}"
        )
    return bounding_box_format


def corners(boxes, bounding_box_format):
    """Corners of boxes in their own frame, which needs no image size: relative ones stay relative.

    Args:
        boxes: As `convert` takes them.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`.

    Returns:
        Float32 tensor `(..., 4)` of `x0, y0, x1, y1`.

    Raises:
        ValueError: If the format is unknown, or the last axis is not 4.

    Example:
        >>> corners([[0.25, 0.5, 0.5, 0.25]], "rel_xywh").tolist()
        [[0.25, 0.5, 0.75, 0.75]]
    """
    frame = "rel_" if check_format(bounding_box_format).startswith("rel_") else ""
    return convert(boxes, bounding_box_format, f"{frame}xyxy")


def convert(boxes, source, target, *, height=None, width=None, dtype="float32"):
    """Boxes in another format; NumPy arrays and tensors of any library stay what they are.

    Args:
        boxes: Float tensor `(..., 4)` in the format `source`.
        source: One of `keras_cvx.ops.FORMATS`: `"xyxy"`, `"yxyx"`, `"xywh"`, `"center_xywh"` and
            `"center_yxhw"` in pixels; the first four, with `"rel_"` before the name, in fractions
            of the image.
        target: Likewise.
        height: Height of the image in pixels, needed where exactly one format is relative: a
            number, or a tensor that broadcasts with `(...)`.
        width: Width of the image in pixels, likewise.
        dtype: Type of the result. Float64 is for NumPy arrays that must equal, to the last bit,
            what others compute in it.

    Returns:
        Tensor `(..., 4)` of `dtype` in the format `target`.

    Raises:
        ValueError: If a format is unknown, the image's size is needed and missing, or the last
            axis is not 4.

    Example:
        >>> convert([[1.0, 2.0, 3.0, 4.0]], "xywh", "xyxy").tolist()
        [[1.0, 2.0, 4.0, 6.0]]
    """
    xp = namespace(boxes, height, width)
    boxes = xp.cast(xp.convert_to_tensor(boxes), dtype)
    check_boxes(boxes, "boxes")
    if check_format(source) == check_format(target):
        return boxes
    corners = list(CORNERS[source.removeprefix("rel_")](*(boxes[..., i] for i in range(4))))
    relative = source.startswith("rel_"), target.startswith("rel_")
    # Within the relative frame the arithmetic is that of the absolute one; no size is needed.
    if relative[0] != relative[1]:
        if height is None or width is None:
            raise ValueError(
                f"Boxes in {source!r} become {target!r} only with the image's `height` and "
                f"`width`. Received: height={height}, width={width}"
            )
        sides = [xp.cast(xp.convert_to_tensor(side), dtype) for side in (width, height)]
        corners = [
            corner * side if relative[0] else corner / side
            for corner, side in zip(corners, sides * 2, strict=True)
        ]
    return xp.stack(_NUMBERS[target.removeprefix("rel_")](*corners), axis=-1)
