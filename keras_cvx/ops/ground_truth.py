"""Ground truth as users bring it: its two forms, and what is wrong with it."""

import numpy as np
from keras import ops

from keras_cvx.ops.arguments import shapes_agree, tensor_of_rows
from keras_cvx.ops.boxes import convert

# A box may leave its image by this share of the image, as rounding in relative formats makes it.
_SLACK = 1e-3


def unpack_ground_truth(y_true):
    """Boxes and labels of either form of ground truth.

    Args:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, or one packed tensor
            `(B, N, 5)` of box and label. Padded rows have label −1.

    Returns:
        Tuple `(boxes, labels)`: float32 `(B, N, 4)` and int32 `(B, N)`. The boxes of padded rows
        are zero, whatever they were.

    Raises:
        ValueError: If `y_true` is of another structure or its shapes do not go together.

    Example:
        >>> boxes, labels = unpack_ground_truth([[[0.0, 0.0, 4.0, 2.0, 7.0]]])
        >>> ops.convert_to_numpy(labels).tolist()
        [[7]]
    """
    if isinstance(y_true, dict):
        if not {"boxes", "labels"} <= set(y_true):
            raise ValueError(
                "`y_true` must have the keys 'boxes' and 'labels'. "
                f"Received: keys {sorted(map(str, y_true))}"
            )
        boxes, labels = (
            tensor_of_rows(y_true[key], f"y_true[{key!r}]") for key in ("boxes", "labels")
        )
    else:
        y_true = ops.convert_to_tensor(y_true)
        if len(y_true.shape) != 3 or y_true.shape[-1] != 5:
            raise ValueError(
                "`y_true` must be a dictionary of boxes and labels, or one tensor (B, N, 5) of "
                f"box and label. Received: shape {tuple(y_true.shape)}"
            )
        boxes, labels = y_true[..., :4], y_true[..., 4]
    together = len(boxes.shape) == 3 and boxes.shape[-1] == 4 and len(labels.shape) == 2
    if not together or not shapes_agree(boxes.shape[:2], labels.shape):
        raise ValueError(
            "`y_true` must hold boxes (B, N, 4) and labels (B, N). "
            f"Received: boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)}"
        )
    boxes, labels = ops.cast(boxes, "float32"), ops.cast(labels, "int32")
    # Padding can hold anything; a zero cannot leak NaN through a product with a mask.
    return ops.where(ops.expand_dims(labels >= 0, -1), boxes, ops.zeros_like(boxes)), labels


def present_rows(boxes):
    """Which rows are boxes, and not padding: all but those of four −1.

    Args:
        boxes: Float tensor `(..., 4)`, in the format in which the user gave them.

    Returns:
        Boolean tensor `(...)`.

    Example:
        >>> present = present_rows([[0.0, 0.0, 4.0, 2.0], [-1.0] * 4, [-1.0, -1.0, 4.0, 2.0]])
        >>> ops.convert_to_numpy(present).tolist()
        [True, False, True]
    """
    return ops.any(ops.convert_to_tensor(boxes) != -1.0, axis=-1)


def row_weights(present, sample_weight=None):
    """Weight of each row: that of its sample, or its own; 0 in padded rows.

    Args:
        present: Boolean tensor `(B, ...)`, as of `present_rows`.
        sample_weight: None for 1, or a float tensor that has the first axes of `present`, as
            `(B,)` has, or all of them, sizes of 1 standing for any; one more axis of size 1 may
            follow.

    Returns:
        Float32 tensor of the shape of `present`.

    Raises:
        ValueError: If `sample_weight` is of another shape.

    Example:
        >>> weights = row_weights([[True, False], [True, True]], [0.5, 2.0])
        >>> ops.convert_to_numpy(weights).tolist()
        [[0.5, 0.0], [2.0, 2.0]]
    """
    present = ops.convert_to_tensor(present)
    weights = ops.cast(present, "float32")
    if sample_weight is None:
        return weights
    sample_weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    shape, rank = tuple(sample_weight.shape), len(present.shape)
    if len(shape) == rank + 1 and shape[-1] == 1:
        sample_weight = ops.squeeze(sample_weight, axis=-1)
    for _ in range(rank - len(shape)):
        sample_weight = ops.expand_dims(sample_weight, axis=-1)
    if len(sample_weight.shape) != rank or any(
        size not in (1, rows, None) and rows is not None
        for size, rows in zip(sample_weight.shape, present.shape, strict=True)
    ):
        raise ValueError(
            "`sample_weight` must have one number for each sample or for each box. "
            f"Received: sample_weight of shape {shape} for boxes {tuple(present.shape)}"
        )
    # A selection and no product, for padding may weigh anything.
    return ops.where(present, weights * sample_weight, ops.zeros_like(weights))


def check_ground_truth(boxes, labels, *, num_images, image_size, num_classes, bounding_box_format):
    """Raises for the first row of ground truth on which no detector can be trained.

    Args:
        boxes: NumPy array `(B, N, 4)` in `bounding_box_format`; of one object an image, `(B, 4)`.
        labels: NumPy array `(B, N)` or `(B,)`; −1 in padded rows.
        num_images: Integer, the B of the images.
        image_size: Tuple of the images' height and width in pixels.
        num_classes: Integer C; labels are in `[0, C)`.
        bounding_box_format: Format of the boxes, as Keras names it.

    Raises:
        ValueError: If the shapes do not go together, a label is out of range, or a box is not
            finite, is all zeros as padding is, has its corners swapped or leaves its image. The
            message names image and row.

    Example:
        >>> box, like = np.float32([[[0, 0, 4, 2]]]), {"num_images": 1, "image_size": (8, 8)}
        >>> settings = {**like, "num_classes": 3, "bounding_box_format": "xyxy"}
        >>> check_ground_truth(box, np.int32([[2]]), **settings)
        >>> check_ground_truth(box, np.int32([[3]]), **settings)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `labels` must be integers from 0 to 2, or −1 where there is no object. ...
    """
    if labels.ndim not in (1, 2) or boxes.shape != (*labels.shape, 4):
        raise ValueError(
            "`y` must hold boxes (B, N, 4) and labels (B, N). "
            f"Received: boxes {boxes.shape}, labels {labels.shape}"
        )
    if len(boxes) != num_images:
        raise ValueError(
            f"`y` must hold boxes for each of the {num_images} images of `x`. "
            f"Received: boxes {boxes.shape}"
        )
    padded = labels == -1
    _refuse(
        labels, ~padded & ~((labels >= 0) & (labels < num_classes) & (labels == np.floor(labels))),
        "labels", f"be integers from 0 to {num_classes - 1}, or −1 where there is no object",
    )  # fmt: skip
    finite = np.isfinite(boxes).all(-1)
    _refuse(boxes, ~padded & ~finite, "boxes", "be finite")
    _refuse(
        boxes, ~padded & (boxes == 0).all(-1),
        "boxes", "have label −1 where there is no object, such as in rows of [0, 0, 0, 0]",
    )  # fmt: skip

    height, width = image_size
    corners = np.where((finite & ~padded)[..., None], boxes, 0.0).reshape(-1, 4)
    corners = convert(corners, bounding_box_format, "xyxy", height=height, width=width)
    corners = ops.convert_to_numpy(corners).reshape(boxes.shape)
    swapped = (corners[..., 2:] < corners[..., :2]).any(-1)
    _refuse(boxes, swapped, "boxes", f"be {bounding_box_format} with no negative side")
    size = np.asarray([width, height, width, height])
    outside = ((corners < -_SLACK * size) | (corners > (1 + _SLACK) * size)).any(-1)
    _refuse(
        boxes, outside,
        "boxes", f"lie in their image of height {height} and width {width} ({bounding_box_format})",
    )  # fmt: skip


def _refuse(array, wrong, name, requirement):
    """Raises if any row is wrong, naming the first of them and their number."""
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(
            f"`{name}` must {requirement}. Received: {name}{list(place)} = "
            f"{array[place].tolist()}, and {int(wrong.sum()) - 1} more such rows"
        )
