"""From a vision transformer's tokens to a feature map."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers, checked_data_format


@plugins.register("TokensToMap", kind="layer")
class TokensToMap(keras.layers.Layer):
    """Lays the tokens of a vision transformer out as the map of patches that they are of.

    Tokens at the beginning that are of no patch (class, distillation, registers) are dropped.

    Args:
        height: Positive integer, rows of patches.
        width: Positive integer, patches in a row.
        num_prefix_tokens: Integer of at least 0, tokens before that of the first patch.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        inputs: Float tensor `(B, num_prefix_tokens + height * width, C)`, patches row by row.

    Returns:
        Tensor `(B, height, width, C)`, or `(B, C, height, width)` of channels first.

    Raises:
        ValueError: If an argument is out of its range, or `inputs` is of another shape.

    Example:
        >>> tokens = ops.convert_to_tensor([[[9.0], [1.0], [2.0]]])
        >>> layer = TokensToMap(1, 2, num_prefix_tokens=1, data_format="channels_last")
        >>> ops.convert_to_numpy(layer(tokens)).tolist()
        [[[[1.0], [2.0]]]]
    """

    def __init__(self, height, width, *, num_prefix_tokens=0, data_format=None, **kwargs):
        super().__init__(**kwargs)
        check_integers(1, height=height, width=width)
        check_integers(0, num_prefix_tokens=num_prefix_tokens)
        self.height = height
        self.width = width
        self.num_prefix_tokens = num_prefix_tokens
        self.data_format = checked_data_format(data_format)

    def build(self, input_shape):
        count = self.num_prefix_tokens + self.height * self.width
        if len(input_shape) != 3 or input_shape[1] not in (count, None):
            raise ValueError(
                f"`inputs` must be tokens of shape (B, {count}, C), {self.height} × {self.width} "
                f"after the first {self.num_prefix_tokens}. Received: shape {tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs):
        patches = inputs[:, self.num_prefix_tokens :]
        maps = ops.reshape(patches, (-1, self.height, self.width, inputs.shape[-1]))
        return maps if self.data_format == "channels_last" else ops.transpose(maps, (0, 3, 1, 2))

    def compute_output_shape(self, input_shape):
        if self.data_format == "channels_last":
            return (input_shape[0], self.height, self.width, input_shape[2])
        return (input_shape[0], input_shape[2], self.height, self.width)

    def get_config(self):
        config = super().get_config()
        config.update(
            height=self.height,
            width=self.width,
            num_prefix_tokens=self.num_prefix_tokens,
            data_format=self.data_format,
        )
        return config
