"""The layers that a classifier's head becomes when it slides over a map: nothing is copied."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers, checked_data_format, spatial_axes


@plugins.register("WholeWindows", kind="layer")
class WholeWindows(keras.layers.Layer):
    """Images without the pixels, on the right and below, that are in no whole window.

    So the sides exceed a window's by multiples of the strides: a network that pads does so as on
    the window alone, and has no cell whose window reaches past the image.

    Args:
        height: Positive integer, a window's height in pixels.
        width: Likewise.
        strides: Pair of positive integers, from one window to the next, down and across.
        data_format: Of the images, `"channels_last"` or `"channels_first"`; Keras' setting by
            default.
        **kwargs: As for every Keras layer (`name`).

    Call arguments:
        images: Tensor `(B, H, W, C)`, or with channels first, of any dtype, at least as large as a
            window.

    Returns:
        Tensor of the same dtype, its height `height + n · strides[0]` for a whole n, and its width
        likewise.

    Raises:
        ValueError: If a number is not positive, or images are known to be smaller than a window.

    Example:
        >>> WholeWindows(4, 4, (2, 3))(keras.Input((9, 12, 3))).shape
        (None, 8, 10, 3)
    """

    def __init__(self, height, width, strides, *, data_format=None, **kwargs):
        check_integers(1, height=height, width=width)
        if not isinstance(strides, (list, tuple)) or len(strides) != 2:
            raise ValueError(
                "`strides` must be a pair of positive integers, down and across. "
                f"Received: strides={strides}"
            )
        for stride in strides:
            check_integers(1, strides=stride)
        super().__init__(**kwargs)
        self.height = height
        self.width = width
        self.strides = tuple(strides)
        self.data_format = checked_data_format(data_format)
        self.autocast = False
        self.built = True

    def call(self, images):
        height, width = self._kept(ops.shape(images))
        if self.data_format == "channels_first":
            return images[:, :, :height, :width]
        return images[:, :height, :width]

    def compute_output_shape(self, images_shape):
        sides = self._kept(images_shape)
        if self.data_format == "channels_first":
            return (*images_shape[:2], *sides)
        return (images_shape[0], *sides, images_shape[3])

    def compute_output_spec(self, images):
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype=images.dtype)

    def _kept(self, shape):
        """Height and width of the result for those of the images, which may be unknown."""
        if len(shape) != 4:
            raise ValueError(f"`images` must be of rank 4. Received: shape {tuple(shape)}")
        sides = shape[spatial_axes(self.data_format)]
        window = (self.height, self.width)
        if any(isinstance(n, int) and n < least for n, least in zip(sides, window, strict=True)):
            raise ValueError(
                f"`images` must be at least as large as the window, {self.height} × {self.width} "
                f"pixels. Received: {sides[0]} × {sides[1]} pixels. Pad or enlarge them."
            )
        return [
            None if n is None else least + (n - least) // stride * stride
            for n, least, stride in zip(sides, window, self.strides, strict=True)
        ]

    def get_config(self):
        config = super().get_config()
        config.update(
            height=self.height,
            width=self.width,
            strides=list(self.strides),
            data_format=self.data_format,
        )
        return config


@plugins.register("DenseConvolution", kind="layer")
class DenseConvolution(keras.layers.Layer):
    """A dense layer on flattened maps, applied to every window of a larger map as a convolution.

    It has no weights of its own: the dense layer's kernel, in another shape, is the convolution's,
    so that training the one trains the other.

    Args:
        dense: A built `keras.layers.Dense` whose inputs are maps `(height, width, C)`, flattened.
        height: Positive integer, the rows of a window.
        width: Positive integer, its columns.
        **kwargs: As for every Keras layer (`name`); the dtype is the dense layer's.

    Call arguments:
        maps: Float tensor `(B, H, W, C)`, at least as large as a window.

    Returns:
        Tensor `(B, H - height + 1, W - width + 1, units)`.

    Raises:
        ValueError: If a size is not positive, or the dense layer is of another class, has another
            number of inputs, or is quantized.

    Example:
        >>> dense = keras.layers.Dense(3)
        >>> dense.build((None, 2 * 2 * 4))
        >>> DenseConvolution(dense, 2, 2)(keras.Input((5, 3, 4))).shape
        (None, 4, 2, 3)
    """

    def __init__(self, dense, height, width, **kwargs):
        check_integers(1, height=height, width=width)
        if type(dense) is not keras.layers.Dense or not dense.built:
            raise ValueError(
                "`dense` must be a built `keras.layers.Dense`, and of no class derived from it, "
                f"whose `call` is not known. Received: {dense!r}"
            )
        _check_floating_point(dense)
        super().__init__(**{"dtype": dense.dtype_policy, **kwargs})
        self.dense = dense
        self.height = height
        self.width = width

    def build(self, maps_shape):
        if len(maps_shape) != 4:
            raise ValueError(
                f"`maps` must be of shape (B, H, W, C). Received: shape {tuple(maps_shape)}"
            )
        inputs = self.height * self.width * maps_shape[-1]
        if self.dense.kernel.shape[0] != inputs:
            raise ValueError(
                f"`maps` must be of shape (B, H, W, C) where {self.height} · {self.width} · C is "
                f"{self.dense.kernel.shape[0]}, the inputs of {self.dense.name!r}. "
                f"Received: shape {tuple(maps_shape)}"
            )
        self.built = True

    def call(self, maps):
        # The model that has it may have been quantized since.
        _check_floating_point(self.dense)
        kernel = ops.reshape(self.dense.kernel, (self.height, self.width, maps.shape[-1], -1))
        x = ops.conv(maps, kernel, 1, "valid", data_format="channels_last")
        if self.dense.use_bias:
            x = x + self.dense.bias
        return self.dense.activation(x)

    def compute_output_shape(self, maps_shape):
        batch, height, width, _ = maps_shape
        sides = ((height, self.height), (width, self.width))
        return (
            batch,
            *(None if side is None else side - window + 1 for side, window in sides),
            self.dense.units,
        )

    def get_config(self):
        config = super().get_config()
        config.update(
            dense=keras.saving.serialize_keras_object(self.dense),
            height=self.height,
            width=self.width,
        )
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "dense": keras.saving.deserialize_keras_object(config["dense"])})


def _check_floating_point(dense):
    if dense.quantization_mode is not None:
        raise ValueError(
            "`dense` must not be quantized, for its kernel is not all of its weights then. "
            f"Received: {dense.name!r}, quantized to {dense.quantization_mode!r}. Keep that layer "
            "of the classifier in floating point."
        )


@plugins.register("CellwiseHead", kind="layer")
class CellwiseHead(keras.layers.Layer):
    """A model of single vectors, applied to the vector in each cell of a map.

    Args:
        head: A functional `keras.Model` of one or several vectors `(C,)`, or maps of one cell, to
            one vector `(K,)`. Its weights are shared.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        maps: Tensor `(B, H, W, C)`, or a list of them with the same sides, one for each of the
            model's inputs.

    Returns:
        Tensor `(B, H, W, K)`.

    Raises:
        ValueError: If `head` is not functional.

    Example:
        >>> vector = keras.Input((4,))
        >>> head = keras.Model(vector, keras.layers.Dense(3)(vector))
        >>> CellwiseHead(head)(keras.Input((5, 2, 4))).shape
        (None, 5, 2, 3)
    """

    def __init__(self, head, **kwargs):
        if not isinstance(head, keras.Model) or not getattr(head, "inputs", None):
            raise ValueError(f"`head` must be a functional `keras.Model`. Received: {head!r}")
        super().__init__(**kwargs)
        self.head = head
        # The model casts what it gets as its own layers have it.
        self.autocast = False

    def build(self, maps_shape):
        self.built = True

    def call(self, maps, training=None):
        maps = list(maps) if isinstance(maps, (list, tuple)) else [maps]
        batch, height, width, _ = ops.shape(maps[0])
        vectors = [
            ops.reshape(x, (batch * height * width, *vector.shape[1:]))
            for x, vector in zip(maps, self.head.inputs, strict=True)
        ]
        found = self.head(vectors if len(vectors) > 1 else vectors[0], training=training)
        return ops.reshape(found, (batch, height, width, self._channels))

    @property
    def _channels(self):
        # One vector, or a map of one cell.
        return max(self.head.outputs[0].shape[1:])

    def compute_output_spec(self, maps, training=None):
        first = maps[0] if isinstance(maps, (list, tuple)) else maps
        return keras.KerasTensor(
            (*first.shape[:3], self._channels), dtype=self.head.outputs[0].dtype
        )

    def get_config(self):
        config = super().get_config()
        config["head"] = keras.saving.serialize_keras_object(self.head)
        return config

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})
