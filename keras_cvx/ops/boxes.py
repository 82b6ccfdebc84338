"""Areas, clipping and formats of axis-aligned boxes."""

import keras
from keras import ops

from keras_cvx.ops.arguments import check_boxes

# Those of Keras that have a relative form.
_ABSOLUTE = ("xyxy", "yxyx", "xywh", "center_xywh")
FORMATS = (*_ABSOLUTE, *(f"rel_{name}" for name in _ABSOLUTE))


def area(boxes):
    """Area of each box; 0 for a box whose corners are swapped.

    Args:
        boxes: Float tensor `(..., 4)`, corners `x0, y0, x1, y1` in any unit.

    Returns:
        Float32 tensor `(...)` in that unit squared, at least 0.

    Raises:
        ValueError: If the last axis is not 4.

    Example:
        >>> ops.convert_to_numpy(area([[0.0, 0.0, 4.0, 2.0], [3.0, 0.0, 1.0, 2.0]])).tolist()
        [8.0, 0.0]
    """
    boxes = ops.cast(ops.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, "boxes")
    return ops.relu(boxes[..., 2] - boxes[..., 0]) * ops.relu(boxes[..., 3] - boxes[..., 1])


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
        >>> ops.convert_to_numpy(clip([[-1.0, 2.0, 9.0, 3.0]], height=4, width=8)).tolist()
        [[0.0, 2.0, 8.0, 3.0]]
    """
    boxes = ops.cast(ops.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, "boxes")
    limits = [ops.cast(limit, "float32") for limit in (width, height, width, height)]
    return ops.stack(
        [ops.maximum(ops.minimum(boxes[..., i], limits[i]), 0.0) for i in range(4)], axis=-1
    )


def check_format(bounding_box_format):
    """Returns `bounding_box_format` if it is the name of a format that the package takes.

    Args:
        bounding_box_format: Any object.

    Raises:
        ValueError: If it is none of `FORMATS`.
    """
    if bounding_box_format not in FORMATS:
        raise ValueError(
            f"`bounding_box_format` must be one of {FORMATS}. "
            f"Received: bounding_box_format={bounding_box_format!r}"
        )
    return bounding_box_format


def convert(boxes, source, target, *, height=None, width=None):
    """Boxes in another format, by Keras' own converter.

    Args:
        boxes: Float tensor `(..., 4)` in the format `source`.
        source: One of `FORMATS`.
        target: One of `FORMATS`.
        height: Height of the image in pixels; needed where exactly one format is relative.
        width: Width of the image in pixels; likewise.

    Returns:
        Float32 tensor `(..., 4)` in the format `target`.

    Raises:
        ValueError: If a format is unknown, the image's size is needed and missing, or the last
            axis is not 4.

    Example:
        >>> ops.convert_to_numpy(convert([[1.0, 2.0, 3.0, 4.0]], "xywh", "xyxy")).tolist()
        [[1.0, 2.0, 4.0, 6.0]]
    """
    boxes = ops.cast(ops.convert_to_tensor(boxes), "float32")
    check_boxes(boxes, "boxes")
    if check_format(source) == check_format(target):
        return boxes
    relative = source.startswith("rel_"), target.startswith("rel_")
    if all(relative):
        # Within the relative frame the arithmetic is that of the absolute one; no size is needed.
        source, target = source.removeprefix("rel_"), target.removeprefix("rel_")
    elif any(relative) and (height is None or width is None):
        raise ValueError(
            f"Boxes in {source!r} become {target!r} only with the image's `height` and `width`. "
            f"Received: height={height}, width={width}"
        )
    return keras.utils.bounding_boxes.convert_format(
        boxes, source=source, target=target, height=height, width=width
    )
