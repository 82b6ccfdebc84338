"""Resizing that keeps the aspect ratio, and pads what is left."""

import functools

from keras_cvx import geometry, plugins
from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.ops.arguments import check_numbers
from keras_cvx.ops.resizing import check_interpolation


@plugins.register("ResizeWithPad", kind="layer")
class ResizeWithPad(GeometricLayer):
    """Resizes images to fit a size, keeps their aspect ratio and pads the rest ("letterbox").

    The pixels are those of `tf.image.resize_with_pad`, on every backend; for some sizes its float32
    makes the content one pixel smaller than the target. Boxes and masks move by
    the very numbers by which the pixels do, and `keras_cvx.geometry.restore_boxes` moves
    predictions back. `GeometricLayer` describes what the layer can be called with.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether the kernel widens with the reduction.
        pad_position: Where the image lies: `"center"`, or the corner that it touches,
            `"top_left"`, `"top_right"`, `"bottom_left"` or `"bottom_right"`.
        fill_value: Number for the padded pixels.
        mask_fill_value: Integer for the padded pixels of a mask.
        allow_upscale: Whether an image smaller than the target is enlarged.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Raises:
        ValueError: If an argument is out of its range, an image or mask of another rank or size,
            or the sample has boxes and the layer no `bounding_box_format`.

    Example:
        >>> import numpy as np
        >>> letterbox = ResizeWithPad(4, 4, bounding_box_format="xyxy")
        >>> boxes = {"boxes": np.float32([[0, 0, 8, 4]]), "labels": np.int32([3])}
        >>> sample = letterbox({"images": np.ones((4, 8, 3)), "bounding_boxes": boxes})
        >>> sample["images"][..., 0].tolist()
        [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
        >>> sample["bounding_boxes"]["boxes"].tolist()
        [[0.0, 1.0, 4.0, 3.0]]
        >>> geometry.restore_boxes([[0.0, 0.0, 2.0, 2.0]], sample["geometry"]).tolist()
        [[0.0, 0.0, 4.0, 2.0]]
    """

    def __init__(
        self,
        height,
        width,
        *,
        interpolation="bilinear",
        antialias=False,
        pad_position="center",
        fill_value=0.0,
        mask_fill_value=255,
        allow_upscale=True,
        **kwargs,
    ):
        super().__init__(height, width, **kwargs)
        check_numbers(fill_value=fill_value, mask_fill_value=mask_fill_value)
        self.interpolation = check_interpolation(interpolation)
        self.antialias = antialias
        self.pad_position = pad_position
        self.fill_value = fill_value
        self.mask_fill_value = mask_fill_value
        self.allow_upscale = allow_upscale
        # An unknown position is refused here, and not at the first image.
        self.record((height, width))

    def record(self, source_size):
        target_size = (self.height, self.width)
        options = {"pad_position": self.pad_position, "allow_upscale": self.allow_upscale}
        if all(isinstance(side, int) for side in source_size):
            # A copy, for the caller's sample is his own.
            known = _of_known_size(*source_size, *target_size, **options)
            return {name: field.copy() for name, field in known.items()}
        return geometry.resize_with_pad(source_size, target_size, **options)

    def get_config(self):
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "antialias": self.antialias,
            "pad_position": self.pad_position,
            "fill_value": self.fill_value,
            "mask_fill_value": self.mask_fill_value,
            "allow_upscale": self.allow_upscale,
        }


@functools.lru_cache(maxsize=4096)
def _of_known_size(height, width, target_height, target_width, **options):
    """The record, which on the host takes a fifth of the time of a photograph's resizing."""
    return geometry.resize_with_pad((height, width), (target_height, target_width), **options)
