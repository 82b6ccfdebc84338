"""The parts of a sample: where they are, and whether they go together."""

import keras
import numpy as np

from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_record, shapes_agree, static_shape

# The shape of a row and the dtype of the entries of `bounding_boxes`, where a list tells neither.
_ROWS = {"boxes": ((4,), "float32"), "labels": ((), "int32")}


def images_of(data):
    """The images of a sample, or what was given bare.

    Args:
        data: Dictionary, or an image, a batch or a list of images.

    Raises:
        ValueError: If a dictionary has no images.
    """
    if isinstance(data, dict):
        if data.get("images") is None:
            raise ValueError(
                "`data` must be an image, a batch or a list of images, or a dictionary with the "
                f"key 'images'. Received: a dictionary with the keys {sorted(map(str, data))}"
            )
        return data["images"]
    return data


def size_of(images, data_format):
    """The leading axes of images, none or that of the batch, their height and their width.

    Args:
        images: Array or tensor, symbolic ones too.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        Tuple of a tuple and two integers, None where unknown.

    Raises:
        ValueError: If they are no image and no batch, or have no pixels.
    """
    if getattr(images.shape, "rank", 0) is None:
        raise ValueError(
            "`images` must be of a known rank. Received: a tensor of unknown rank. Where "
            "`tf.io.decode_image` made it, give it `expand_animations=False`."
        )
    shape = tuple(images.shape)
    if len(shape) not in (3, 4):
        raise ValueError(
            "`images` must be of rank 3, one image, or of rank 4, a batch; those of several "
            f"sizes come in a list. Received: shape {shape}"
        )
    height, width = shape[-3:-1] if data_format == "channels_last" else shape[-2:]
    if 0 in (height, width):
        raise ValueError(
            "`images` must have at least one row and one column. "
            f"Received: height={height}, width={width}"
        )
    return shape[:-3], height, width


def output_shapes(compute_output_spec, data_shape):
    """The shapes of what a layer makes of a sample.

    Args:
        compute_output_spec: The layer's.
        data_shape: Shape of the images, or dictionary of the shapes of a sample's parts.

    Returns:
        The same of the result.
    """

    def symbolic(shape):
        if isinstance(shape, dict):
            return {name: symbolic(part) for name, part in shape.items()}
        return keras.KerasTensor(shape)

    return keras.tree.map_structure(lambda x: x.shape, compute_output_spec(symbolic(data_shape)))


def check_masks(masks, batch, size):
    """Raises for masks that are not of the size of their images.

    Args:
        masks: Array or tensor, symbolic ones too.
        batch: The leading axes of the images.
        size: Their height and width.

    Raises:
        ValueError: If the shape is another.
    """
    shape, expected = tuple(masks.shape), (*batch, *size)
    if not any(shapes_agree(shape, (*expected, *last)) for last in ((), (None,))):
        raise ValueError(
            "`segmentation_masks` must be of the size of their images, "
            f"{expected} or {(*expected, 1)}. Received: masks of shape {shape}"
        )


def check_geometry(record, batch):
    """Raises for what is no record, or records of other images.

    Args:
        record: Any object.
        batch: The leading axes of the images.

    Raises:
        ValueError: If it holds neither one record nor one for each image.
    """
    check_record(record)
    shape = static_shape(record["offset"])
    if len(shape) > 1 and not shapes_agree(shape, (*batch, 2)):
        raise ValueError(
            "`geometry` must hold one record, or one for each image. Received: records of "
            f"{shape[:-1]} for images of {batch}"
        )


def check_format_given(bounding_box_format):
    """Raises where a sample has boxes, and a layer does not know their format.

    Args:
        bounding_box_format: The layer's.

    Raises:
        ValueError: If it is None.
    """
    if bounding_box_format is None:
        raise ValueError(
            "`bounding_box_format` must be given for a sample with bounding boxes. "
            "Received: bounding_box_format=None. Make the layer with, for instance, "
            "`bounding_box_format='xyxy'`."
        )


def check_rows(given, batch):
    """Raises for bounding boxes of another structure or shape.

    Args:
        given: Any object.
        batch: The leading axes of the images.

    Raises:
        ValueError: If it is no dictionary of boxes and labels for these images.
    """
    if not isinstance(given, dict) or "boxes" not in given:
        raise ValueError(
            "`bounding_boxes` must be a dictionary with the keys 'boxes' and 'labels'. "
            f"Received: {type(given).__name__}"
        )
    shape = tuple(given["boxes"].shape)
    if not shapes_agree(shape, (*batch, None, 4)):
        mend = ""
        if shapes_agree(shape, (*batch, 4)):
            mend = ". Of one object an image, pass `boxes[..., None, :]`, `labels[..., None]`."
        raise ValueError(
            f"`boxes` of `bounding_boxes` must be of shape {(*batch, 'N', 4)}. "
            f"Received: boxes of shape {shape}{mend}"
        )
    labels = given.get("labels")
    if labels is not None and not shapes_agree(tuple(labels.shape), shape[:-1]):
        raise ValueError(
            "`labels` must be one for each of the `boxes`. Received: labels of shape "
            f"{tuple(labels.shape)} and boxes of shape {shape}"
        )


def dense_rows(given, batched):
    """What belongs to the boxes in arrays, where it came in lists or ragged tensors.

    Args:
        given: Dictionary; what is none is left to `check_rows`.
        batched: Whether it is of a batch.

    Returns:
        Dictionary of arrays or tensors, padded with −1.
    """
    if not isinstance(given, dict):
        return given
    return {name: _dense_entry(name, value, batched) for name, value in given.items()}


def _dense_entry(name, value, batched):
    if isinstance(value, (list, tuple)) and batched:
        value = [_dense_entry(name, row, False) for row in value]
    elif isinstance(value, (list, tuple)):
        shape, dtype = _ROWS.get(name, ((), None))
        value = np.asarray(value, dtype) if value else np.zeros((0, *shape), dtype)
    return _arrays.dense(value, signed=name == "labels")
