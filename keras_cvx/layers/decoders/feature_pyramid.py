"""A light decoder for large images: a feature pyramid, of whose levels the sum is classified."""

import itertools
import numbers

import keras
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.layers.decoders.feature_maps import checked_levels
from keras_cvx.ops import fit_extent, resize


@plugins.register("FeaturePyramidDecoder", kind="decoder", alias="fpn")
class FeaturePyramidDecoder(layers.Layer):
    """From feature maps at several strides to the logits of every pixel, with few operations.

    Each map is brought to the same few channels by a 1×1 convolution; from the coarsest on, what is
    there is interpolated to the next finer map and added to it. Each level of this pyramid passes
    a separable 3×3 convolution, all are interpolated to the finest one and added, and their sum is
    scored there and interpolated to the image. Nothing is computed in more than `filters` channels,
    nor at the image's resolution but its logits.

    Args:
        num_classes: Positive integer C.
        strides: Positive integers in rising order, each a multiple of the one before: pixels of the
            image a cell of each feature map, in the order of the maps.
        filters: Positive integer, the channels of the pyramid.
        data_format: Of the maps and images: `"channels_last"` or `"channels_first"`; Keras'
            setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        features: List of float tensors `(B, H / stride, W / stride, channels)`, rounded up or
            down, one for each stride. With `"channels_first"`, `(B, channels, H / stride,
            W / stride)`.
        images: Tensor `(B, H, W, channels)` in the same data format, whose size the result has;
            nothing else is read.

    Returns:
        Float32 tensor `(B, H, W, C)`, logits, with the classes last in either data format.

    Raises:
        ValueError: If an argument is out of its range, or the maps are not one of rank 4 for each
            stride, of its size.

    Example:
        >>> decoder = FeaturePyramidDecoder(num_classes=11, strides=[8, 16])
        >>> maps = [ops.ones((2, 4, 6, 32)), ops.ones((2, 2, 3, 64))]
        >>> tuple(decoder(maps, ops.ones((2, 29, 45, 3))).shape)
        (2, 29, 45, 11)

    Reference:
        Kirillov et al. 2019, Panoptic Feature Pyramid Networks, section 3.
    """

    def __init__(
        self, num_classes, strides=(4, 8, 16, 32), *, filters=64, data_format=None, **kwargs
    ):
        super().__init__(**kwargs)
        for name, value in {"num_classes": num_classes, "filters": filters}.items():
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
        data_format = data_format or keras.config.image_data_format()
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "`data_format` must be 'channels_last' or 'channels_first'. "
                f"Received: data_format={data_format!r}"
            )
        self.num_classes = num_classes
        self.strides = list(strides) if isinstance(strides, (list, tuple)) else []
        self.filters = filters
        self.data_format = data_format
        steps = itertools.pairwise([1, *self.strides])
        if not self.strides or any(
            not isinstance(b, numbers.Integral) or b <= a or b % a for a, b in steps
        ):
            raise ValueError(
                "`strides` must be integers that rise from more than 1, each a multiple of the one "
                f"before. Received: strides={strides}"
            )
        options = {"data_format": "channels_last", "dtype": self.dtype_policy}
        self._lateral = [layers.Conv2D(filters, 1, **options) for _ in self.strides]
        self._smooth = [
            layers.SeparableConv2D(filters, 3, padding="same", activation="relu", **options)
            for _ in self.strides
        ]
        self._scorer = layers.Conv2D(num_classes, 1, **options)

    def build(self, features_shape, images_shape=None):
        for shape, lateral, smooth in zip(
            self._each_level(features_shape, images_shape), self._lateral, self._smooth, strict=True
        ):
            lateral.build((None, None, None, shape[self._channels]))
            smooth.build((None, None, None, self.filters))
        self._scorer.build((None, None, None, self.filters))
        self.built = True

    def call(self, features, images):
        self._each_level([x.shape for x in features], images.shape)
        if self.data_format == "channels_first":
            features = [ops.moveaxis(x, 1, -1) for x in features]
        finest = ops.shape(features[0])[1:3]
        x, total = None, None
        for i in reversed(range(len(features))):
            lateral = self._lateral[i](features[i])
            if x is not None:
                x = _enlarged(x, self.strides[i + 1] // self.strides[i], *ops.shape(lateral)[1:3])
                lateral += x
            x = lateral
            level = _enlarged(self._smooth[i](x), self.strides[i] // self.strides[0], *finest)
            total = level if total is None else total + level
        logits = _enlarged(self._scorer(total), self.strides[0], *ops.shape(images)[self._sides])
        return ops.cast(logits, "float32")

    def compute_output_spec(self, features, images):
        shapes = self._each_level([x.shape for x in features], images.shape)
        shape = (shapes[0][0], *images.shape[self._sides], self.num_classes)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            strides=list(self.strides),
            filters=self.filters,
            data_format=self.data_format,
        )
        return config

    @property
    def _channels(self):
        return 3 if self.data_format == "channels_last" else 1

    @property
    def _sides(self):
        return slice(1, 3) if self.data_format == "channels_last" else slice(2, 4)

    def _each_level(self, features_shape, images_shape):
        return checked_levels(features_shape, images_shape, self.strides, self.data_format)


def _enlarged(maps, factor, height, width):
    """Bilinear interpolation between the middles of cells, cut to an extent."""
    maps = fit_extent(maps, -(-height // factor), -(-width // factor))
    rows, columns = ops.shape(maps)[1:3]
    maps = resize(maps, (rows * factor, columns * factor))
    return fit_extent(maps, height, width)
