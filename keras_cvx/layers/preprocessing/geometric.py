"""What layers have in common that move images, boxes and masks by one record of geometry."""

import keras
import numpy as np

from keras_cvx import geometry
from keras_cvx.layers.preprocessing.image_lists import batch_of
from keras_cvx.layers.preprocessing.samples import (
    check_format_given,
    check_geometry,
    check_masks,
    check_rows,
    dense_rows,
    images_of,
    output_shapes,
    size_of,
)
from keras_cvx.ops import _arrays, _kernels
from keras_cvx.ops.arguments import check_fill_value, check_integers, checked_data_format
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.pictures import is_picture, picture
from keras_cvx.ops.resizing import pad, resize


class GeometricLayer(keras.layers.Layer):
    """Moves the images, bounding boxes and masks of a sample together.

    A subclass implements `record`: from the size of an image, how it is moved. The layer is called
    with an image `(H, W, C)`, a batch `(B, H, W, C)`, or a list of images of any sizes, a
    `tf.RaggedTensor` of them too, of which it makes a batch; or with a sample, a dictionary of
    those under `"images"` and, if there are,

    - `"bounding_boxes"`: a dictionary of `"boxes"` `(N, 4)` in `bounding_box_format` and
      `"labels"` `(N,)`, −1 in padded rows; with a leading axis for a batch, or as lists, which are
      padded with −1;
    - `"segmentation_masks"`: `(H, W)` or `(H, W, 1)`, likewise; resized by nearest neighbour.
      Keras' own augmentation needs them with the last axis;
    - `"geometry"`: the record of an earlier layer, with which this one's is composed.

    All else passes through. A sample comes back as a dictionary with `"geometry"`, the record that
    `keras_cvx.geometry` describes; a bare image or batch comes back bare. Layers of others pass the
    record through as it is: where Keras' augmentation moves the image after it, it is of no more
    use, so let these come first.

    An image may also be a picture of Pillow's, or the path of a file. It becomes RGB, its
    orientation (EXIF) is applied, 16 bits become 8, and transparency is dropped.

    The answer is of the kind of the question: NumPy arrays give NumPy arrays, on the host, as the
    workers of a loader need it; tensors of TensorFlow in `tf.data` give such tensors on every
    backend; and in a model the layer is part of the graph. dtypes stay: integers are rounded and
    saturated. Boxes are float32 under every dtype policy.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Example:
        >>> class Stretch(GeometricLayer):
        ...     def record(self, source_size):
        ...         return geometry.resize(source_size, (self.height, self.width))
        >>> boxes = {"boxes": np.float32([[0, 0, 2, 1]]), "labels": np.int32([3])}
        >>> sample = {"images": np.ones((4, 4, 3)), "bounding_boxes": boxes}
        >>> moved = Stretch(2, 4, bounding_box_format="xyxy")(sample)
        >>> moved["images"].shape, moved["bounding_boxes"]["boxes"].tolist()
        ((2, 4, 3), [[0.0, 0.0, 2.0, 0.5]])
    """

    # For a layer that neither interpolates nor fills; one that does has arguments of these names.
    interpolation = "nearest"
    antialias = False
    fill_value = 0.0
    mask_fill_value = 255

    def __init__(self, height, width, *, bounding_box_format=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        check_integers(1, height=height, width=width)
        if bounding_box_format is not None:
            check_format(bounding_box_format)
        self.height = height
        self.width = width
        self.bounding_box_format = bounding_box_format
        self.data_format = checked_data_format(data_format)
        # Images keep their dtype, and half precision would move a box.
        self.autocast = False
        self.built = True

    def record(self, source_size):
        """How an image of a size is moved, as a record of `keras_cvx.geometry`.

        Its content size and offset are whole pixels, for the pixels move by no other.

        Args:
            source_size: Pair of height and width in pixels: integers, or scalars of TensorFlow
                where it knows them only when it runs.
        """
        raise NotImplementedError

    def move_boxes(self, boxes, record):
        """Where boxes lie in the target, and which of them stay: all, unless a subclass crops.

        Args:
            boxes: `(..., N, 4)`, corners in pixels of the source.
            record: Record of `(..., 2)`.

        Returns:
            Tuple of the boxes, corners in pixels of the target, and a boolean array `(..., N)` or
            None.
        """
        return geometry.transform_boxes(boxes, record), None

    def restore_maps(self, maps, source_size, *, fill_value=0.0):
        """Maps of moved images, logits for instance, interpolated at the pixels of the originals.

        What the padding holds has no part in it.

        Args:
            maps: Float array `(..., height, width, C)`, of the layer's size, its channels last
                whatever the data format.
            source_size: Pair of height and width in pixels, as `record` takes it.
            fill_value: Number for pixels of the image that the layer has cut off.

        Returns:
            Float array `(..., H, W, C)` in the size of the images.

        Example:
            >>> import keras_cvx
            >>> letterbox = keras_cvx.layers.ResizeWithPad(4, 4)
            >>> maps = np.float32([0, 1, 3, 0]).reshape(4, 1, 1) * np.ones((1, 4, 1), "float32")
            >>> letterbox.restore_maps(maps, (4, 8))[:, 0, 0].tolist()
            [1.0, 1.5, 2.5, 3.0]
        """
        record = self.record(source_size)
        content, offset = (_whole(record[name]) for name in ("content_size", "offset"))
        return resize(pad(maps, content, [-x for x in offset], fill_value), source_size)

    def __call__(self, data, *args, **kwargs):
        images = images_of(data)
        if is_picture(images):
            images = picture(images, data_format=self.data_format)
            data = {**data, "images": images} if isinstance(data, dict) else images
        if isinstance(images, (list, tuple)):
            return batch_of(self, data, *args, **kwargs)
        if _arrays.is_ragged(images):
            return _arrays.map_ragged(
                lambda one: self(one, *args, **kwargs), self.compute_output_spec, data
            )
        if _arrays.is_of_keras(images):
            return super().__call__(data, *args, **kwargs)
        # On the host, as it came, and with no tensor of the backend.
        return _arrays.untranslated(self.call, images)(data, *args, **kwargs)

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
        sample = dict(data) if isinstance(data, dict) else {"images": data}
        xp = _arrays.namespace(sample["images"])
        images = sample["images"] = xp.convert_to_tensor(sample["images"])
        batched = len(self._size_of(images)[0]) == 1
        if sample.get("bounding_boxes") is not None:
            sample["bounding_boxes"] = dense_rows(sample["bounding_boxes"], batched)
        if sample.get("segmentation_masks") is not None:
            masks = sample["segmentation_masks"]
            sample["segmentation_masks"] = _arrays.namespace(masks).convert_to_tensor(masks)
        self._check(sample)
        if self.data_format == "channels_first":
            images = xp.moveaxis(images, -3, -1)
        record = record_of(images)
        moved = self._place(images, record, self.interpolation, self.antialias, self.fill_value)
        if self.data_format == "channels_first":
            moved = xp.moveaxis(moved, -1, -3)
        if not isinstance(data, dict):
            return moved
        sample["images"] = moved
        if sample.get("segmentation_masks") is not None:
            sample["segmentation_masks"] = self._move_masks(
                sample["segmentation_masks"], images, record
            )
        record = {name: xp.convert_to_tensor(field) for name, field in record.items()}
        if sample.get("bounding_boxes") is not None:
            size = xp.shape(images)[-3:-1]
            sample["bounding_boxes"] = self._move_rows(sample["bounding_boxes"], size, record)
        if batched:
            shape = (xp.shape(images)[0], 2)
            record = {name: xp.broadcast_to(field, shape) for name, field in record.items()}
        if sample.get("geometry") is not None:
            record = geometry.compose(sample["geometry"], record)
        sample["geometry"] = record
        return sample

    def compute_output_shape(self, data_shape):
        return output_shapes(self.compute_output_spec, data_shape)

    def compute_output_spec(self, data, *, training=False):
        sample = data if isinstance(data, dict) else {"images": data}
        images = sample["images"]
        batch, *sizes = self._size_of(images)
        self._check(sample)
        channels = images.shape[-1 if self.data_format == "channels_last" else -3]
        if None in sizes and not _kernels.compiles(self.interpolation, self.antialias):
            # Keras then compiles the model without XLA.
            self.supports_jit = False
        size = (self.height, self.width)
        last = self.data_format == "channels_last"
        shape = (*batch, *((*size, channels) if last else (channels, *size)))
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
            "bounding_box_format": self.bounding_box_format,
            "data_format": self.data_format,
        }

    def _size_of(self, images):
        """The leading axes of images, none or that of the batch, their height and their width."""
        return size_of(images, self.data_format)

    def _check(self, sample):
        """Raises for parts of a sample that do not go together; symbolic ones will do."""
        batch, *size = self._size_of(sample["images"])
        if sample.get("segmentation_masks") is not None:
            check_masks(sample["segmentation_masks"], batch, size)
        if sample.get("bounding_boxes") is not None:
            check_format_given(self.bounding_box_format)
            check_rows(sample["bounding_boxes"], batch)
        if sample.get("geometry") is not None:
            check_geometry(sample["geometry"], batch)

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
        xp = _arrays.namespace(masks)
        check_fill_value(masks.dtype, mask_fill_value=self.mask_fill_value)
        flat = len(masks.shape) < len(images.shape)
        if flat:
            masks = xp.expand_dims(masks, -1)
        moved = self._place(masks, record, "nearest", False, self.mask_fill_value)
        return xp.squeeze(moved, -1) if flat else moved

    def _move_rows(self, given, size, record):
        """What belongs to the boxes, moved; rows that are padding, or cut off, are −1."""
        xp = _arrays.namespace(given["boxes"], *record.values())
        boxes = xp.cast(xp.convert_to_tensor(given["boxes"]), "float32")
        if boxes.shape[-1] is None:
            # Of a tensor that was ragged in this axis too.
            boxes = xp.reshape(boxes, (*xp.shape(boxes)[:-1], 4))
        height, width = size
        corners = convert(boxes, self.bounding_box_format, "xyxy", height=height, width=width)
        corners, stays = self.move_boxes(corners, record)
        labels = given.get("labels")
        if labels is None:
            present = xp.logical_not(xp.all(xp.equal(boxes, -1.0), axis=-1))
        else:
            labels = xp.convert_to_tensor(labels)
            present = labels >= 0
        if stays is not None:
            present = xp.logical_and(present, stays)
        moved = convert(
            corners, "xyxy", self.bounding_box_format, height=self.height, width=self.width
        )
        moved = xp.where(xp.expand_dims(present, -1), moved, -xp.ones_like(moved))
        result = {**given, "boxes": moved}
        if labels is not None:
            result["labels"] = xp.where(present, labels, -xp.ones_like(labels))
        return result


def _whole(pair):
    """Two whole pixels: integers where they are known."""
    if not isinstance(pair, np.ndarray):
        return tuple(_arrays.namespace(pair).cast(pair[axis], "int32") for axis in range(2))
    whole = pair.astype(int)
    if (whole != pair).any():
        raise ValueError(
            "`record` must give content sizes and offsets in whole pixels. "
            f"Received: {pair.tolist()}"
        )
    return tuple(whole.tolist())
