"""Images of several sizes in a list."""

import numpy as np

from keras_cvx import geometry
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import checked_data_format, dtype_name
from keras_cvx.ops.pictures import is_picture, picture


def batch_of(layer, data, *args, **kwargs):
    """One batch of a list of images, each moved on its own.

    Args:
        layer: A `GeometricLayer`.
        data: List of images, or a sample with one.
        *args: Further arguments of the layer.
        **kwargs: Likewise.

    Returns:
        What the layer gives for a batch.

    Raises:
        ValueError: If the list is empty, or the images or what belongs to them do not go together.
    """
    sample = data if isinstance(data, dict) else {"images": data}
    images = [
        as_array(image, index, layer.data_format) for index, image in enumerate(sample["images"])
    ]
    _check_images(images, -1 if layer.data_format == "channels_last" else -3)
    moved = [
        layer({"images": image, **_rest(sample, index, len(images))}, *args, **kwargs)
        for index, image in enumerate(images)
    ]
    xp = _arrays.namespace(*(one["images"] for one in moved))
    images = xp.stack([one["images"] for one in moved])
    if not isinstance(data, dict):
        return images
    batch = {**data, "images": images}
    if data.get("segmentation_masks") is not None:
        batch["segmentation_masks"] = xp.stack([one["segmentation_masks"] for one in moved])
    if data.get("bounding_boxes") is not None:
        boxes = [one["bounding_boxes"] for one in moved]
        batch["bounding_boxes"] = {
            name: _arrays.dense([one[name] for one in boxes]) for name in boxes[0]
        }
    records = [one["geometry"] for one in moved]
    batch["geometry"] = {
        name: xp.stack([xp.convert_to_tensor(record[name]) for record in records])
        for name in geometry.FIELDS
    }
    return batch


def _check_images(images, channels_axis):
    if not images:
        raise ValueError("`images` must hold at least one image. Received: an empty list")
    first = images[0]
    for index, image in enumerate(images):
        if len(image.shape) != 3:
            raise ValueError(
                "`images` in a list must be of rank 3, one image each. "
                f"Received: images[{index}] of shape {tuple(image.shape)}"
            )
        channels = [x.shape[channels_axis] for x in (first, image)]
        kinds = [dtype_name(x.dtype) for x in (first, image)]
        if channels[0] != channels[1] or kinds[0] != kinds[1]:
            raise ValueError(
                "`images` in a list must have the same channels and dtype. Received: images[0] "
                f"with {channels[0]} channels of {kinds[0]}, images[{index}] with {channels[1]} "
                f"channels of {kinds[1]}"
            )


def _rest(sample, index, count):
    """What belongs to one image of a list."""
    rest = {}
    for name in ("segmentation_masks", "bounding_boxes", "geometry"):
        given = sample.get(name)
        if given is None:
            continue
        if isinstance(given, dict):
            rest[name] = {
                key: _one_of(name, value, index, count, name == "geometry")
                for key, value in given.items()
            }
            continue
        rest[name] = _one_of(name, given, index, count, False)
        # A list of dictionaries, too.
        keys = [sorted(one) if isinstance(one, dict) else None for one in (given[0], rest[name])]
        if keys[0] != keys[1]:
            raise ValueError(
                f"`{name}` must have the same keys for every image. "
                f"Received: {keys[0]} for the first, and {keys[1]} for image {index}"
            )
    return rest


def _one_of(name, values, index, count, may_be_shared):
    if may_be_shared and len(np.shape(values[0])) == 0:
        # The one record of all images.
        return values
    if len(values) != count:
        raise ValueError(
            f"`{name}` must be as many as the images, {count}. Received: {len(values)}"
        )
    return values[index]


def as_array(image, index, data_format=None):
    """An image of a list: itself, or read if it is a path or a picture of Pillow's.

    Args:
        image: Array `(H, W, C)`, a path, or a picture.
        index: Its place in the list, for the error.
        data_format: What a picture is to have; Keras' setting by default.

    Returns:
        Array or tensor.

    Raises:
        ValueError: If it cannot be read.
    """
    if is_picture(image):
        return picture(image, f"images[{index}]", checked_data_format(data_format))
    return image if hasattr(image, "shape") else np.asarray(image)
