"""The head that predicts boxes and classes in every cell of one or several feature maps."""

import keras
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers, checked_data_format, spatial_axes
from keras_cvx.ops.grids import GEOMETRY_CHANNELS, attach_cells, cell_centers


@plugins.register("GridDetectionHead", kind="layer")
class GridDetectionHead(keras.layers.Layer):
    """Convolutions that predict, in every cell of a grid, where an object is and of which class.

    Each prediction carries the place of its cell, so that the loss and the decoding need neither
    the image's size nor the strides, and one tensor serves levels and images of any size. The
    grid's extent is taken for the image's: height and width must be multiples of the strides.

    Args:
        num_classes: Positive integer C.
        strides: Positive integer, or a list of them: pixels of the image a cell of each feature
            map, in the order of the maps.
        coding: What the channels mean: the name of a plugin of kind `"coding"`
            (`"anchor_free"`, `"yolov1"`, …) or a `keras_cvx.codings.GridCoding`.
        filters: Positive integer, the width of the towers.
        depth: Non-negative integer, the number of 3×3 convolutions of each tower.
        activation: Activation of the towers, as Keras layers take it.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        inputs: Float tensor `(B, H, W, channels)`, or a list of one for each stride. With
            `"channels_first"`, `(B, channels, H, W)`.

    Returns:
        Float32 tensor `(B, A, 3 + channels)`: of each of the A cells, level by level and row by
        row, its centre x and y and its stride in pixels, then the channels of the coding.

    Raises:
        ValueError: If an argument is out of its range, the coding is unknown, or the feature maps
            are not as many as the strides, or not of rank 4.

    Example:
        >>> head = GridDetectionHead(num_classes=10, strides=[8, 16])
        >>> head([ops.ones((2, 4, 4, 32)), ops.ones((2, 2, 2, 64))]).shape[1:] == (20, 77)
        True

    Reference:
        Redmon et al. 2016, You Only Look Once, section 2.
    """

    def __init__(
        self,
        num_classes,
        strides,
        *,
        coding="anchor_free",
        filters=64,
        depth=1,
        activation="swish",
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integers(1, num_classes=num_classes, filters=filters)
        check_integers(0, depth=depth)
        levels = list(strides) if isinstance(strides, (list, tuple)) else [strides]
        if not levels:
            raise ValueError(f"`strides` must name at least one stride. Received: {strides}")
        for stride in levels:
            check_integers(1, strides=stride)
        self.num_classes = num_classes
        self.strides = strides
        self.coding = plugins.get(coding, kind="coding")
        self.filters = filters
        self.depth = depth
        self.activation = keras.activations.get(activation)
        self.data_format = checked_data_format(data_format)
        self._levels = levels
        self._spatial = spatial_axes(self.data_format)
        self._towers = [[self._tower(*branch) for branch in self._branches()] for _ in levels]

    def build(self, input_shape):
        for shape, towers in zip(self._each_level(input_shape), self._towers, strict=True):
            for tower in towers:
                tower.build(shape)
        self.built = True

    def call(self, inputs, training=None):
        features = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        self._each_level([tuple(feature.shape) for feature in features])
        outputs, cells = [], []
        for feature, stride, towers in zip(features, self._levels, self._towers, strict=True):
            channels = [tower(feature, training=training) for tower in towers]
            if self.data_format == "channels_first":
                channels = [ops.transpose(x, (0, 2, 3, 1)) for x in channels]
            # The tensor's own shape where it is static, so that the cells are constants.
            height, width = ops.shape(channels[0])[1:3]
            level = ops.concatenate(channels, axis=-1)
            outputs.append(ops.reshape(level, (-1, height * width, level.shape[-1])))
            cells.append(cell_centers(height, width, stride))
        return attach_cells(ops.concatenate(outputs, axis=1), ops.concatenate(cells, axis=0))

    def compute_output_shape(self, input_shape):
        shapes = self._each_level(input_shape)
        sides = [shape[self._spatial] for shape in shapes]
        known = all(None not in side for side in sides)
        cells = sum(height * width for height, width in sides) if known else None
        channels = sum(channels for channels, _ in self._branches())
        return (shapes[0][0], cells, GEOMETRY_CHANNELS + channels)

    def compute_output_spec(self, inputs, training=None):
        shape = self.compute_output_shape(keras.tree.map_structure(lambda x: x.shape, inputs))
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            strides=self.strides,
            coding=keras.saving.serialize_keras_object(self.coding),
            filters=self.filters,
            depth=self.depth,
            activation=keras.activations.serialize(self.activation),
            data_format=self.data_format,
        )
        return config

    def _check_extents(self, shapes):
        """Levels that cover different extents would disagree on where the image ends."""
        extents = {
            tuple(side * stride for side in shape[self._spatial])
            for shape, stride in zip(shapes, self._levels, strict=True)
            # What is unknown, or a symbol of an exporter, shows when the model runs.
            if all(isinstance(side, int) for side in shape[self._spatial])
        }
        if len(extents) > 1:
            raise ValueError(
                "`inputs` must cover one image: height and width of each feature map times its "
                f"stride must be the same. Received: shapes {shapes} at strides "
                f"{self._levels}. Pad the image to a multiple of {max(self._levels)}."
            )

    def _branches(self):
        return self.coding.branches(self.num_classes)

    def _tower(self, channels, bias):
        tower = keras.Sequential()
        for _ in range(self.depth):
            tower.add(
                layers.Conv2D(
                    self.filters,
                    3,
                    padding="same",
                    use_bias=False,
                    kernel_initializer="he_normal",
                    data_format=self.data_format,
                    dtype=self.dtype_policy,
                )
            )
            axis = 1 if self.data_format == "channels_first" else -1
            # Faster than Keras' 0.99, which lags behind in the first epochs.
            tower.add(layers.BatchNormalization(axis, momentum=0.97, dtype=self.dtype_policy))
            tower.add(layers.Activation(self.activation, dtype=self.dtype_policy))
        # float32 whatever the policy: half precision cannot place a corner in a large image.
        tower.add(
            layers.Conv2D(
                channels,
                1,
                bias_initializer=keras.initializers.Constant(bias),
                data_format=self.data_format,
                dtype="float32",
            )
        )
        return tower

    def _each_level(self, input_shape):
        """The shapes of the feature maps: one a stride, of rank 4, of one image."""
        several = bool(input_shape) and isinstance(input_shape[0], (tuple, list))
        shapes = list(input_shape) if several else [input_shape]
        if len(shapes) != len(self._levels):
            raise ValueError(
                f"`inputs` must be one feature map for each of the strides {self._levels}. "
                f"Received: shapes {shapes}"
            )
        for shape in shapes:
            if len(shape) != 4:
                raise ValueError(
                    f"`inputs` must be feature maps of rank 4. Received: shapes {shapes}"
                )
        shapes = [tuple(shape) for shape in shapes]
        self._check_extents(shapes)
        return shapes
