"""Crops of given regions of images, all in one size."""

import keras

from keras_cvx import geometry, plugins
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import (
    check_boxes,
    check_integers,
    check_numbers,
    checked_data_format,
    shapes_agree,
)
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.regions import CROP_INTERPOLATIONS, crop_and_resize
from keras_cvx.ops.resizing import check_interpolation


@plugins.register("CropAndResize", kind="layer")
class CropAndResize(keras.layers.Layer):
    """Crops several boxes of each image, in one size: detections for a second stage, for instance.

    `keras_cvx.ops.crop_and_resize` says where the pixels are sampled; they are TensorFlow's. The
    layer is called with images and boxes: NumPy arrays, which give NumPy arrays; tensors of
    TensorFlow in `tf.data`, on every backend; or tensors of the backend and symbolic ones. What is
    found in a crop comes back to the image by its record: `record` gives those of all crops.

    Args:
        height: Positive integer, the height of the crops in pixels.
        width: Positive integer, their width.
        interpolation: `"bilinear"` or `"nearest"`.
        fill_value: Number for places outside the image; None repeats its edge there.
        bounding_box_format: Format of the boxes, as Keras names it.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        images: `(B, H, W, C)`, or one image `(H, W, C)`, or with the channels first.
        boxes: Float `(B, R, 4)`, or `(R, 4)`. They may reach outside. A padded row of −1 is one
            like all others: no pixel of the image is in it.

    Returns:
        Crops `(B, R, height, width, C)`, or `(R, height, width, C)`, or with the channels before
        the height; in the dtype of the images.

    Raises:
        ValueError: If an argument is out of its range, or images or boxes of another shape.

    Example:
        >>> import numpy as np
        >>> crop = CropAndResize(2, 2, bounding_box_format="xywh", data_format="channels_last")
        >>> images, boxes = np.arange(16.0).reshape(4, 4, 1), np.float32([[1, 2, 2, 2]])
        >>> crop(images, boxes)[0, ..., 0].tolist()
        [[9.0, 10.0], [13.0, 14.0]]
        >>> geometry.restore_points([[[1.0, 1.0]]], crop.record((4, 4), boxes)).tolist()
        [[[2.0, 3.0]]]
    """

    def __init__(
        self,
        height,
        width,
        *,
        interpolation="bilinear",
        fill_value=0.0,
        bounding_box_format=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integers(1, height=height, width=width)
        self.height = height
        self.width = width
        self.interpolation = check_interpolation(interpolation, CROP_INTERPOLATIONS)
        if fill_value is not None:
            check_numbers(fill_value=fill_value)
        self.fill_value = fill_value
        self.bounding_box_format = check_format(bounding_box_format)
        self.data_format = checked_data_format(data_format)
        # Images keep their dtype, and half precision would move a box.
        self.autocast = False
        self.built = True

    def __call__(self, images, boxes, *args, **kwargs):
        if _arrays.is_of_keras(images) or _arrays.is_of_keras(boxes):
            return super().__call__(images, boxes, *args, **kwargs)
        # On the host, as it came, and with no tensor of the backend.
        return self.call(images, boxes)

    def call(self, images, boxes):
        xp = _arrays.namespace(images, boxes)
        images = xp.convert_to_tensor(images)
        self._check_images(tuple(images.shape))
        if self.data_format == "channels_first":
            images = xp.moveaxis(images, -3, -1)
        crops = crop_and_resize(
            images,
            self._corners(boxes, xp.shape(images)[-3:-1]),
            (self.height, self.width),
            interpolation=self.interpolation,
            fill_value=self.fill_value,
        )
        return xp.moveaxis(crops, -1, -3) if self.data_format == "channels_first" else crops

    def record(self, source_size, boxes):
        """How each crop came about, as records of `keras_cvx.geometry`.

        A padded row of −1 and a box without an area show nothing from which one could come back;
        their record is that of the whole image.

        Args:
            source_size: Height and width of the images in pixels.
            boxes: As the layer is called with them, `(..., R, 4)`.

        Returns:
            The records, of arrays `(..., R, 2)`.
        """
        corners = self._corners(boxes, source_size)
        xp = _arrays.namespace(corners)
        height, width = (xp.cast(xp.convert_to_tensor(side), "float32") for side in source_size)
        zeros = xp.zeros_like(corners[..., 0])
        whole = xp.stack([zeros, zeros, zeros + width, zeros + height], -1)
        shown = xp.logical_and(
            xp.all(corners[..., 2:] != corners[..., :2], axis=-1),
            xp.any(xp.convert_to_tensor(boxes) != -1, axis=-1),
        )
        region = xp.where(xp.expand_dims(shown, -1), corners, whole)
        return geometry.crop_and_resize((height, width), region, (self.height, self.width))

    def compute_output_spec(self, images, boxes):
        self._check_images(tuple(images.shape))
        check_boxes(boxes, "boxes")
        if not shapes_agree(boxes.shape, (*images.shape[:-3], None, 4)):
            raise ValueError(
                "`boxes` must be of shape (R, 4) for one image and (B, R, 4) for a batch. "
                f"Received: boxes of shape {boxes.shape}, and images of shape {images.shape}"
            )
        size = (self.height, self.width)
        if self.data_format == "channels_first":
            crop = (images.shape[-3], *size)
        else:
            crop = (*size, images.shape[-1])
        batch = images.shape[:-3]
        return keras.KerasTensor((*batch, boxes.shape[-2], *crop), images.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
            "bounding_box_format": self.bounding_box_format,
            "data_format": self.data_format,
        }

    def _corners(self, boxes, size):
        height, width = size
        return convert(boxes, self.bounding_box_format, "xyxy", height=height, width=width)

    def _check_images(self, shape):
        if len(shape) not in (3, 4):
            raise ValueError(
                "`images` must be of rank 3, one image, or of rank 4, a batch. "
                f"Received: shape {shape}"
            )
