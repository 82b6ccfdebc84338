"""The decoder of fully convolutional networks and of the U-Net: transposed convolutions."""

import itertools

import keras
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.initializers import BilinearUpsampling
from keras_cvx.layers.decoders.feature_maps import checked_levels
from keras_cvx.ops.arguments import (
    check_choice,
    check_integers,
    check_numbers,
    checked_data_format,
    spatial_axes,
)
from keras_cvx.ops.grids import fit_extent
from keras_cvx.ops.resizing import resize

_FUSIONS = ("sum", "concat")
_UPSAMPLINGS = ("bilinear", "learned", "fixed")
# Of a block of the U-Net, by the stride at which it works: 32 at stride 2, as published 64 · 2 / 4.
_FILTERS_PER_STRIDE, _MOST_FILTERS = 16, 256


@plugins.register("TransposedConvDecoder", kind="decoder")
class TransposedConvDecoder(layers.Layer):
    """From feature maps at several strides to the logits of every pixel.

    From the coarsest map on, what is there is upsampled by a transposed convolution to the next
    finer map and fused with it, and at last to the image. With `fusion="sum"` each map is scored
    by a 1×1 convolution and scores are added, as in FCN-32s (`strides=[32]`), FCN-16s
    (`[16, 32]`) and FCN-8s (`[8, 16, 32]`); plugins of kind `"decoder"` have these settings under
    the names `"fcn32s"`, `"fcn16s"` and `"fcn8s"`. With `fusion="concat"` maps are concatenated and
    pass two 3×3 convolutions, as in the U-Net; `"unet"` is that at the strides 2 to 32.

    The cell i of a map of stride s is taken for the pixels from i · s to (i + 1) · s. A map that
    reaches past the image is cut there, and one that ends before it (as pooling leaves it) is
    continued by its last cells; so images of any size do. At the borders maps are continued by
    their outermost cells, so that scores do not fade there.

    Args:
        num_classes: Positive integer C.
        strides: Positive integers in rising order, each a multiple of the one before: pixels of the
            image a cell of each feature map, in the order of the maps. Or one, for one map.
        fusion: `"sum"` or `"concat"`.
        upsampling: `"bilinear"`: transposed convolutions that begin as bilinear interpolation;
            `"learned"`: such that begin at random; `"fixed"`: bilinear interpolation, without
            weights. `"bilinear"` if None and maps are summed, `"learned"` if they are concatenated.
        kernel_sizes: Sides of the transposed convolutions' kernels, in the order of the strides,
            the first of the one to the image. Each is a multiple of its stride, for otherwise
            pixels would get unequally many contributions, a checkerboard; and an odd multiple of an
            odd one, for otherwise all would be half a pixel off. By default twice the stride, or
            three times an odd one.
        filters: Channels of the convolutions of `"concat"`, for each stride but the last; by
            default 16 times the stride, at most 256.
        skip_scales: Numbers by which the maps of `"sum"` but the last are multiplied before they
            are scored; 1 by default. The authors' FCN-8s that is trained at once has
            `[0.0001, 0.01]`.
        data_format: Of the maps and images: `"channels_last"` or `"channels_first"`; Keras'
            setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        features: List of float tensors `(B, H / stride, W / stride, channels)`, rounded up or
            down, one for each stride; of a single stride, the tensor itself is taken too. With
            `"channels_first"`, `(B, channels, H / stride, W / stride)`.
        images: Tensor `(B, H, W, channels)` in the same data format, whose size the result has;
            nothing else is read.

    Returns:
        Float32 tensor `(B, H, W, C)`, logits, with the classes last in either data format.

    Raises:
        ValueError: If an argument is out of its range, or the maps are not one of rank 4 for each
            stride, of its size.

    Example:
        >>> decoder = TransposedConvDecoder(num_classes=11, strides=[8, 16])
        >>> maps = [ops.ones((2, 4, 6, 32)), ops.ones((2, 2, 3, 64))]
        >>> tuple(decoder(maps, ops.ones((2, 29, 45, 3))).shape)
        (2, 29, 45, 11)

    Reference:
        Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation,
        section 4.2. Ronneberger, Fischer and Brox 2015, U-Net. Odena, Dumoulin and Olah 2016,
        Deconvolution and Checkerboard Artifacts, for the sizes of kernels.
    """

    def __init__(
        self,
        num_classes,
        strides,
        *,
        fusion="sum",
        upsampling=None,
        kernel_sizes=None,
        filters=None,
        skip_scales=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integers(1, num_classes=num_classes)
        levels = _checked_strides(strides)
        check_choice(_FUSIONS, fusion=fusion)
        if upsampling is None:
            upsampling = "bilinear" if fusion == "sum" else "learned"
        check_choice(_UPSAMPLINGS, upsampling=upsampling)
        unused = ("filters", filters) if fusion == "sum" else ("skip_scales", skip_scales)
        if unused[1] is not None:
            raise ValueError(
                f"`{unused[0]}` must be None with fusion={fusion!r}, which does not use it. "
                f"Received: {unused[0]}={unused[1]}"
            )
        if kernel_sizes is not None and upsampling == "fixed":
            raise ValueError(
                "`kernel_sizes` must be None with upsampling='fixed', which has no kernels. "
                f"Received: kernel_sizes={kernel_sizes}"
            )
        self.num_classes = num_classes
        self.strides = strides
        self.fusion = fusion
        self.upsampling = upsampling
        self.kernel_sizes = kernel_sizes
        self.filters = filters
        self.skip_scales = skip_scales
        self.data_format = checked_data_format(data_format)
        self._levels = levels
        # Of each map to the next finer one, the first to the image.
        self._factors = [b // a for a, b in itertools.pairwise([1, *levels])]
        self._kernels = self._checked_kernels()
        self._widths = _of_each_skip("filters", filters, levels) or [
            min(_FILTERS_PER_STRIDE * stride, _MOST_FILTERS) for stride in levels[:-1]
        ]
        check_integers(1, **{f"filters[{i}]": width for i, width in enumerate(self._widths)})
        self._scales = _of_each_skip("skip_scales", skip_scales, levels) or [1.0] * len(levels[:-1])
        check_numbers(**{f"skip_scales[{i}]": scale for i, scale in enumerate(self._scales)})

    def build(self, features_shape, images_shape=None):
        axis = 1 if self.data_format == "channels_first" else 3
        channels = [shape[axis] for shape in self._each_level(features_shape, images_shape)]
        classes, learned = self.num_classes, self.upsampling == "learned"
        # Channels that go into the upsampling of each level, and that come out of it.
        if self.fusion == "sum":
            self._scorers = [self._scorer(count) for count in channels]
            self._blocks = []
            steps = [(classes, classes)] * len(channels)
        else:
            widths = [*self._widths, channels[-1]]
            steps = [(w, finer if learned else w) for finer, w in itertools.pairwise(widths)]
            self._blocks = [
                self._block(count + arriving, width)
                for count, (_, arriving), width in zip(channels, steps, widths, strict=False)
            ]
            # A transposed convolution that learns can give the classes itself.
            direct = learned and self._levels[0] > 1
            self._scorers = [] if direct else [self._scorer(widths[0])]
            steps = [(widths[0] if direct else classes, classes), *steps]
        self._upsamplers = [self._upsampler(i, *step) for i, step in enumerate(steps)]
        self.built = True

    def call(self, features, images, training=None):
        features = list(features) if isinstance(features, (list, tuple)) else [features]
        self.compute_output_shape([x.shape for x in features], images.shape)
        if self.data_format == "channels_first":
            features = [ops.transpose(x, (0, 2, 3, 1)) for x in features]
        summed = self.fusion == "sum"
        x = self._scorers[-1](features[-1]) if summed else features[-1]
        for i in reversed(range(len(features) - 1)):
            skip = features[i]
            x = self._upsampled(i + 1, x, *ops.shape(skip)[1:3])
            if summed:
                x += self._scorers[i](skip * self._scales[i])
            else:
                x = self._blocks[i](ops.concatenate([skip, x], axis=-1), training=training)
        if self._scorers and not summed:
            x = self._scorers[0](x)
        x = self._upsampled(0, x, *ops.shape(images)[self._spatial])
        return ops.cast(x, "float32")

    def compute_output_shape(self, features_shape, images_shape):
        shapes = self._each_level(features_shape, images_shape)
        return (shapes[0][0], *images_shape[self._spatial], self.num_classes)

    def compute_output_spec(self, features, images, training=None):
        shapes = keras.tree.map_structure(lambda x: x.shape, features)
        return keras.KerasTensor(self.compute_output_shape(shapes, images.shape), dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            strides=self.strides,
            fusion=self.fusion,
            upsampling=self.upsampling,
            kernel_sizes=self.kernel_sizes,
            filters=self.filters,
            skip_scales=self.skip_scales,
            data_format=self.data_format,
        )
        return config

    @property
    def _spatial(self):
        return spatial_axes(self.data_format)

    def _upsampled(self, i, x, height, width):
        """The map of a level, at the next finer stride and of that extent."""
        factor = self._factors[i]
        if factor == 1:
            return fit_extent(x, height, width)
        x = fit_extent(x, -(-height // factor), -(-width // factor))
        if self.upsampling == "fixed":
            rows, columns = ops.shape(x)[1:3]
            return resize(x, (rows * factor, columns * factor))[:, :height, :width]
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        x = ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)
        # What the kernel reaches beyond the cells, and one more cell of border.
        first = factor + (self._kernels[i] - factor) // 2
        x = self._upsamplers[i](x)
        return x[:, first : first + height, first : first + width]

    def _upsampler(self, i, channels, filters):
        factor = self._factors[i]
        if factor == 1 or self.upsampling == "fixed":
            return layers.Identity(dtype=self.dtype_policy)
        bilinear = self.upsampling == "bilinear"
        layer = layers.Conv2DTranspose(
            filters,
            self._kernels[i],
            factor,
            use_bias=not bilinear,
            kernel_initializer=BilinearUpsampling(factor) if bilinear else "glorot_uniform",
            data_format="channels_last",
            dtype=self.dtype_policy,
        )
        layer.build((None, None, None, channels))
        return layer

    def _scorer(self, channels):
        layer = layers.Conv2D(
            self.num_classes, 1, data_format="channels_last", dtype=self.dtype_policy
        )
        layer.build((None, None, None, channels))
        return layer

    def _block(self, channels, filters):
        block = keras.Sequential()
        for _ in range(2):
            block.add(
                layers.Conv2D(
                    filters,
                    3,
                    padding="same",
                    use_bias=False,
                    kernel_initializer="he_normal",
                    data_format="channels_last",
                    dtype=self.dtype_policy,
                )
            )
            # Faster than Keras' 0.99, which lags behind in the first epochs.
            block.add(layers.BatchNormalization(momentum=0.97, dtype=self.dtype_policy))
            block.add(layers.Activation("relu", dtype=self.dtype_policy))
        block.build((None, None, None, channels))
        return block

    def _each_level(self, features_shape, images_shape):
        return checked_levels(features_shape, images_shape, self._levels, self.data_format)

    def _checked_kernels(self):
        if self.kernel_sizes is None:
            # Wide enough to interpolate between two cells, and an even number more than the
            # stride, so that pixels keep their place.
            return [factor * (3 if factor % 2 else 2) for factor in self._factors]
        kernels = list(self.kernel_sizes) if isinstance(self.kernel_sizes, (list, tuple)) else []
        if len(kernels) != len(self._factors):
            raise ValueError(
                f"`kernel_sizes` must be a list of {len(self._factors)} integers, one for each of "
                f"the strides {self._levels}. Received: kernel_sizes={self.kernel_sizes}"
            )
        for kernel, factor in zip(kernels, self._factors, strict=True):
            check_integers(1, kernel_sizes=kernel)
            least = 2 * factor - 1 if self.upsampling == "bilinear" else 1
            if kernel % factor or (kernel - factor) % 2 or kernel < least:
                raise ValueError(
                    f"`kernel_sizes` must be multiples of the factors {self._factors} by which "
                    "the maps are enlarged, or the result would have a checkerboard pattern; odd "
                    "multiples of odd factors, or it would be half a pixel off; and for bilinear "
                    "interpolation at least twice as large. "
                    f"Received: kernel_sizes={self.kernel_sizes}"
                )
        return kernels


def _checked_strides(strides):
    levels = list(strides) if isinstance(strides, (list, tuple)) else [strides]
    for stride in levels:
        check_integers(1, strides=stride)
    if not levels or any(b <= a or b % a for a, b in itertools.pairwise(levels)):
        raise ValueError(
            f"`strides` must rise, each a multiple of the one before. Received: strides={strides}"
        )
    return levels


def _of_each_skip(name, values, levels):
    """Values for all strides but the last, or the default of each."""
    if values is None:
        return None
    if not isinstance(values, (list, tuple)) or len(values) != len(levels) - 1:
        raise ValueError(
            f"`{name}` must be a list of {len(levels) - 1} numbers, one for each of the strides "
            f"{levels} but the last. Received: {name}={values}"
        )
    return list(values)


@plugins.register("fcn32s", kind="decoder")
def fcn32s(num_classes, **kwargs):
    """`TransposedConvDecoder` of FCN-32s: scores at stride 32, upsampled at once."""
    return TransposedConvDecoder(num_classes, [32], **kwargs)


@plugins.register("fcn16s", kind="decoder")
def fcn16s(num_classes, **kwargs):
    """`TransposedConvDecoder` of FCN-16s: scores at strides 16 and 32 are added."""
    return TransposedConvDecoder(num_classes, [16, 32], **kwargs)


@plugins.register("fcn8s", kind="decoder")
def fcn8s(num_classes, **kwargs):
    """`TransposedConvDecoder` of FCN-8s: scores at strides 8, 16 and 32 are added."""
    return TransposedConvDecoder(num_classes, [8, 16, 32], **kwargs)


@plugins.register("unet", kind="decoder")
def unet(num_classes, **kwargs):
    """`TransposedConvDecoder` of a U-Net: maps at strides 2 to 32 are concatenated."""
    return TransposedConvDecoder(num_classes, [2, 4, 8, 16, 32], fusion="concat", **kwargs)
