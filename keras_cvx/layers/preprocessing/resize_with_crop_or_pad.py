"""A centred crop where an image is too large, padding where it is too small."""

from keras_cvx import geometry, plugins
from keras_cvx.layers.preprocessing.cropping import CroppingLayer
from keras_cvx.ops.arguments import check_numbers


@plugins.register("ResizeWithCropOrPad", kind="layer")
class ResizeWithCropOrPad(CroppingLayer):
    """Crops or pads each axis of an image around its centre; nothing is scaled.

    The pixels are those of `tf.image.resize_with_crop_or_pad`. Boxes are clipped to what is left,
    and one that keeps less than `min_visible` of its area becomes a padded row of −1.
    `GeometricLayer` describes what the layer can be called with.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep. One that
            keeps nothing never stays.
        fill_value: Number for the padded pixels.
        mask_fill_value: Integer for the padded pixels of a mask.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Raises:
        ValueError: If an argument is out of its range, an image or mask of another rank or size,
            or the sample has boxes and the layer no `bounding_box_format`.

    Example:
        >>> import numpy as np
        >>> image = np.arange(5.0).reshape(1, 5, 1)
        >>> ResizeWithCropOrPad(2, 3)(image)[..., 0].tolist()
        [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self, height, width, *, min_visible=0.0, fill_value=0.0, mask_fill_value=255, **kwargs
    ):
        super().__init__(height, width, min_visible=min_visible, **kwargs)
        check_numbers(fill_value=fill_value, mask_fill_value=mask_fill_value)
        self.fill_value = fill_value
        self.mask_fill_value = mask_fill_value

    def record(self, source_size):
        return geometry.crop_or_pad(source_size, (self.height, self.width))

    def get_config(self):
        return {
            **super().get_config(),
            "fill_value": self.fill_value,
            "mask_fill_value": self.mask_fill_value,
        }
