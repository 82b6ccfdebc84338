"""What layers have in common that move images, boxes and masks by one record of geometry."""

import os

import keras
import numpy as np

from keras_cvx import geometry
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_integers, checked_data_format, shapes_agree
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.resizing import check_fill_value, check_interpolation, pad, resize


class GeometricLayer(keras.layers.Layer):
    """Moves the images, bounding boxes and masks of a sample together.

    A subclass implements `record`: from the size of an image, how it is moved. The layer is called
    with an image `(H, W, C)`, a batch `(B, H, W, C)`, or a list of images of any sizes, of which
    it makes a batch; or with a sample, a dictionary of those under `"images"` and, if there are,

    - `"bounding_boxes"`: a dictionary of `"boxes"` `(N, 4)` in `bounding_box_format` and
      `"labels"` `(N,)`, −1 in padded rows; with a leading axis for a batch, or as lists;
    - `"segmentation_masks"`: `(H, W)` or `(H, W, 1)`, likewise; resized by nearest neighbour;
    - `"geometry"`: the record of an earlier layer, with which this one's is composed.

    All else passes through. A sample comes back as a dictionary with `"geometry"`, the record that
    `keras_cvx.geometry` describes; a bare image or batch comes back bare.

    The answer is of the kind of the question: NumPy arrays give NumPy arrays, on the host, as the
    workers of a loader need it; tensors of TensorFlow in `tf.data` give such tensors on every
    backend; and in a model the layer is part of the graph. dtypes stay: integers are rounded and
    saturated. Boxes are float32 under every dtype policy.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether the kernel widens with the reduction.
        fill_value: Number for pixels that no image covers.
        mask_fill_value: Integer for such pixels of a mask; 255 is ignored by losses and metrics.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).
    """

    def __init__(
        self,
        height,
        width,
        *,
        interpolation="bilinear",
        antialias=False,
        fill_value=0.0,
        mask_fill_value=255,
        bounding_box_format=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integers(1, height=height, width=width)
        if bounding_box_format is not None:
            check_format(bounding_box_format)
        self.height = height
        self.width = width
        self.interpolation = check_interpolation(interpolation)
        self.antialias = antialias
        self.fill_value = fill_value
        self.mask_fill_value = mask_fill_value
        self.bounding_box_format = bounding_box_format
        self.data_format = checked_data_format(data_format)
        self.channels_axis = -1 if self.data_format == "channels_last" else -3
        # Images keep their dtype, and half precision would move a box.
        self.autocast = False
        self.built = True

    def record(self, source_size):
        """How an image of a size is moved, as a record of `keras_cvx.geometry`.

        Args:
            source_size: Pair of height and width in pixels: integers, or scalars of TensorFlow
                where it knows them only when it runs.
        """
        raise NotImplementedError

    def __call__(self, data, *args, **kwargs):
        images = _images(data)
        if isinstance(images, (list, tuple)):
            return self._batch_of(data, *args, **kwargs)
        if _arrays.is_ragged(images):
            return _arrays.map_ragged(lambda one: self(one, *args, **kwargs), data)
        if _arrays.is_of_keras(images):
            return super().__call__(data, *args, **kwargs)
        # On the host, as it came, and with no tensor of the backend.
        return self.call(data, *args, **kwargs)

    def call(self, data, *, training=False):
        return self._move(data, self._record_of)

    def _record_of(self, images):
        """The one record of images of one size, their channels last."""
        return self.record(_arrays.namespace(images).shape(images)[-3:-1])

    def _move(self, data, record_of):
        """An image, a batch or a sample, moved.

        Args:
            data: As `call` takes it.
            record_of: Function from the images, their channels last, to the record of all or to
                that of each.
        """
        sample = data if isinstance(data, dict) else {"images": data}
        xp = _arrays.namespace(sample["images"])
        images = xp.convert_to_tensor(sample["images"])
        self._check_images(tuple(images.shape))
        if self.channels_axis == -3:
            images = xp.moveaxis(images, -3, -1)
        record = record_of(images)
        moved = self._place(images, record, self.interpolation, self.antialias, self.fill_value)
        if self.channels_axis == -3:
            moved = xp.moveaxis(moved, -1, -3)
        if not isinstance(data, dict):
            return moved
        moved = {**data, "images": moved}
        if data.get("segmentation_masks") is not None:
            masks = data["segmentation_masks"]
            moved["segmentation_masks"] = self._move_masks(masks, images, record)
        record = {name: xp.convert_to_tensor(field) for name, field in record.items()}
        if data.get("bounding_boxes") is not None:
            moved["bounding_boxes"] = self._move_boxes(data["bounding_boxes"], images, record)
        if len(images.shape) == 4:
            shape = (xp.shape(images)[0], 2)
            record = {name: xp.broadcast_to(field, shape) for name, field in record.items()}
        if data.get("geometry") is not None:
            record = geometry.compose(data["geometry"], record)
        moved["geometry"] = record
        return moved

    def compute_output_spec(self, data, *, training=False):
        sample = data if isinstance(data, dict) else {"images": data}
        images = sample["images"]
        self._check_images(tuple(images.shape))
        batch, channels = images.shape[:-3], images.shape[self.channels_axis]
        sizes = images.shape[-3:-1] if self.channels_axis == -1 else images.shape[-2:]
        if None in sizes and not _arrays.compiles(self.interpolation, self.antialias):
            # Keras then compiles the model without XLA.
            self.supports_jit = False
        size = (self.height, self.width)
        shape = (*batch, *((*size, channels) if self.channels_axis == -1 else (channels, *size)))
        moved = {**sample, "images": keras.KerasTensor(shape, images.dtype)}
        if sample.get("segmentation_masks") is not None:
            masks = sample["segmentation_masks"]
            shape = (*batch, self.height, self.width, *masks.shape[len(batch) + 2 :])
            moved["segmentation_masks"] = keras.KerasTensor(shape, masks.dtype)
        if sample.get("bounding_boxes") is not None:
            boxes = sample["bounding_boxes"]
            boxes = {**boxes, "boxes": keras.KerasTensor(boxes["boxes"].shape, "float32")}
            if "labels" in boxes and boxes["labels"].dtype.startswith("uint"):
                boxes["labels"] = keras.KerasTensor(boxes["labels"].shape, "int32")
            moved["bounding_boxes"] = boxes
        moved["geometry"] = {
            name: keras.KerasTensor((*batch, 2), "float32") for name in geometry.FIELDS
        }
        if not isinstance(data, dict):
            return moved["images"]
        # What passes through is an output like all others.
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), moved)

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "fill_value": self.fill_value,
            "mask_fill_value": self.mask_fill_value,
            "bounding_box_format": self.bounding_box_format,
            "data_format": self.data_format,
        }

    def keep(self, boxes):
        """What remains of boxes in the target, and which of them stay; all of all, by default.

        Args:
            boxes: `(..., N, 4)`, corners in pixels of the target; they may reach outside.

        Returns:
            Tuple of the boxes, and a boolean array `(..., N)` or None.
        """
        return boxes, None

    def _check_images(self, shape):
        if len(shape) not in (3, 4):
            raise ValueError(
                "`images` must be of rank 3, one image, or of rank 4, a batch. "
                f"Received: shape {shape}"
            )
        size = shape[-3:-1] if self.channels_axis == -1 else shape[-2:]
        if 0 in size:
            raise ValueError(
                "`images` must have at least one row and one column. "
                f"Received: height={size[0]}, width={size[1]}"
            )

    def _batch_of(self, data, *args, **kwargs):
        """One batch of a list of images, each moved on its own."""
        sample = data if isinstance(data, dict) else {"images": data}
        count = len(sample["images"])
        if not count:
            raise ValueError("`images` must hold at least one image. Received: an empty list")
        moved = [self(_one_of(sample, index, count), *args, **kwargs) for index in range(count)]
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

    def _place(self, images, record, interpolation, antialias, fill_value):
        xp = _arrays.namespace(images)
        content, offset = (_whole(record[name]) for name in ("content_size", "offset"))
        resized = resize(images, content, interpolation=interpolation, antialias=antialias)
        placed = pad(resized, (self.height, self.width), offset, fill_value)
        # Sizes that TensorFlow did not know are known now.
        channels = xp.shape(images)[-1]
        batch = xp.shape(images)[:-3]
        return xp.reshape(placed, (*batch, self.height, self.width, channels))

    def _move_masks(self, masks, images, record):
        xp = _arrays.namespace(masks, images)
        masks = xp.convert_to_tensor(masks)
        flat = len(masks.shape) == len(images.shape) - 1
        if flat:
            masks = xp.expand_dims(masks, -1)
        check_fill_value(masks.dtype, mask_fill_value=self.mask_fill_value)
        if not shapes_agree(tuple(masks.shape[:-1]), tuple(images.shape[:-1])):
            raise ValueError(
                "`segmentation_masks` must be of the size of their images. Received: masks of "
                f"shape {tuple(masks.shape)} and images of shape {tuple(images.shape)}"
            )
        moved = self._place(masks, record, "nearest", False, self.mask_fill_value)
        return xp.squeeze(moved, -1) if flat else moved

    def _move_boxes(self, given, images, record):
        if self.bounding_box_format is None:
            raise ValueError(
                "`bounding_box_format` must be given for a sample with bounding boxes. "
                "Received: bounding_box_format=None. Make the layer with, for instance, "
                "`bounding_box_format='xyxy'`."
            )
        if not isinstance(given, dict) or "boxes" not in given:
            raise ValueError(
                "`bounding_boxes` must be a dictionary with the keys 'boxes' and 'labels'. "
                f"Received: {type(given).__name__}"
            )
        given = {name: _arrays.dense(value) for name, value in given.items()}
        xp = _arrays.namespace(given["boxes"], *record.values())
        boxes = xp.cast(xp.convert_to_tensor(given["boxes"]), "float32")
        if boxes.shape[-1] is None:
            # Of a tensor that was ragged in this axis too.
            boxes = xp.reshape(boxes, (*xp.shape(boxes)[:-1], 4))
        shape, batch = tuple(boxes.shape), tuple(images.shape[:-3])
        if not shapes_agree(shape[:-2], batch):
            raise ValueError(
                f"`bounding_boxes` must have boxes of shape {(*batch, 'N', 4)} for images of shape "
                f"{tuple(images.shape)}. Received: boxes of shape {shape}"
            )
        if "labels" in given:
            labels = xp.convert_to_tensor(given["labels"])
            if not shapes_agree(tuple(labels.shape), shape[:-1]):
                raise ValueError(
                    "`labels` must be one for each of the `boxes`. Received: labels of shape "
                    f"{tuple(labels.shape)} and boxes of shape {shape}"
                )
            if "uint" in str(labels.dtype):
                # Padding has −1.
                labels = xp.cast(labels, "int32")
            present = labels >= 0
        else:
            present = xp.logical_not(xp.all(boxes == -1.0, axis=-1))
        height, width = xp.shape(images)[-3:-1]
        corners = convert(boxes, self.bounding_box_format, "xyxy", height=height, width=width)
        corners = geometry.transform_boxes(corners, record)
        corners, visible = self.keep(corners)
        if visible is not None:
            present = xp.logical_and(present, visible)
        moved = convert(
            corners, "xyxy", self.bounding_box_format, height=self.height, width=self.width
        )
        moved = xp.where(xp.expand_dims(present, -1), moved, -xp.ones_like(moved))
        result = {**given, "boxes": moved}
        if "labels" in given:
            result["labels"] = xp.where(present, labels, -xp.ones_like(labels))
        return result


def _images(data):
    if isinstance(data, dict):
        if data.get("images") is None:
            raise ValueError(
                "`data` must be an image, a batch or a list of images, or a dictionary with the "
                f"key 'images'. Received: a dictionary with the keys {sorted(map(str, data))}"
            )
        return data["images"]
    return data


def _one_of(sample, index, count):
    """The sample of one image of a list."""
    one = {"images": decoded(sample["images"][index], index)}
    for name in ("segmentation_masks", "bounding_boxes", "geometry"):
        given = sample.get(name)
        if given is None:
            continue
        # A dictionary of lists, or a list of dictionaries.
        values = list(given.values()) if isinstance(given, dict) else [given]
        for value in values:
            if len(value) != count:
                raise ValueError(
                    f"`{name}` must be of the same number as the {count} images. "
                    f"Received: {len(value)}"
                )
        if isinstance(given, dict):
            one[name] = {key: value[index] for key, value in given.items()}
        else:
            one[name] = given[index]
    return one


def decoded(image, index):
    """An image, read if it is the path of a file; its orientation is applied.

    Args:
        image: Array `(H, W, C)`, or a path.
        index: Its place in the list, for the error.

    Returns:
        The array, or RGB uint8 of the file.

    Raises:
        ValueError: If the file cannot be decoded.
    """
    if not isinstance(image, (str, os.PathLike)):
        return image
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "Reading image files needs Pillow. Install it with `pip install keras-cvx[vision]`."
        ) from error
    try:
        with Image.open(image) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(
            f"`images[{index}]` must be an image, or the path of a file that can be decoded. "
            f"Received: {str(image)!r} ({error})"
        ) from error


def _whole(pair):
    """Two whole pixels: integers where they are known."""
    if isinstance(pair, np.ndarray):
        return tuple(pair.astype(int).tolist())
    return tuple(_arrays.namespace(pair).cast(pair[axis], "int32") for axis in range(2))
