"""The normalisation that the models of `keras.applications` expect of their images."""

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_choice, checked_data_format

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# Scale and offset of pixels of 0 to 255; for Caffe those of blue, green and red.
_MODES = {
    "tf": (1 / 127.5, -1.0),
    "torch": (1 / (255 * _DEVIATION), -_MEAN / _DEVIATION),
    "caffe": (1.0, np.array([-103.939, -116.779, -123.68])),
}
MODES = tuple(_MODES)


@plugins.register("InputNormalization", kind="layer")
class InputNormalization(keras.layers.Layer):
    """Normalises images as `keras.applications.imagenet_utils.preprocess_input` does.

    In the graph of a model it is saved with it, so that the model takes images as they are. It
    computes in float32 under every dtype policy and gives the policy's dtype.

    Args:
        mode: `"tf"`, to −1 to 1; `"torch"`, by ImageNet's mean and deviation of each channel;
            `"caffe"`, from RGB to BGR, less ImageNet's mean.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        images: Tensor `(B, H, W, C)` of any dtype, values 0 to 255; C is 3 except in the mode
            `"tf"`. `(B, C, H, W)` of channels first.

    Returns:
        Float tensor of the same shape.

    Raises:
        ValueError: If the mode or the data format is unknown, or `images` is of another shape.

    Example:
        >>> images = ops.convert_to_tensor([[[[0, 255, 255]]]])
        >>> ops.convert_to_numpy(InputNormalization("tf")(images)).tolist()
        [[[[-1.0, 1.0, 1.0]]]]
    """

    def __init__(self, mode, data_format=None, **kwargs):
        super().__init__(**kwargs)
        check_choice(MODES, mode=mode)
        self.mode = mode
        self.data_format = checked_data_format(data_format)
        # 255 distinct greys are more than half precision tells apart after an offset.
        self.autocast = False

    def build(self, images_shape):
        channels = images_shape[self._axis] if len(images_shape) == 4 else None
        if len(images_shape) != 4 or (self.mode != "tf" and channels != 3):
            raise ValueError(
                f"`images` must be of rank 4, with 3 channels in the mode {self.mode!r}. Received: "
                f"shape {tuple(images_shape)}, data_format={self.data_format!r}"
            )
        self.built = True

    def call(self, images):
        images = ops.cast(images, "float32")
        if self.mode == "caffe":
            images = ops.flip(images, self._axis)
        scale, offset = (self._by_channel(value) for value in _MODES[self.mode])
        return ops.cast(images * scale + offset, self.compute_dtype)

    @property
    def _axis(self):
        return 1 if self.data_format == "channels_first" else 3

    def _by_channel(self, values):
        values = np.asarray(values, "float32")
        if values.ndim and self.data_format == "channels_first":
            values = values[:, None, None]
        return ops.convert_to_tensor(values)

    def compute_output_shape(self, images_shape):
        return images_shape

    def get_config(self):
        config = super().get_config()
        config.update(mode=self.mode, data_format=self.data_format)
        return config
