"""A detection head whose convolutions all levels share."""

import keras
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.ops import attach_cells, cell_centers


@plugins.register("SharedHead", kind="layer", package="acme", alias="shared")
class SharedHead(keras.layers.Layer):
    """After Lin et al. 2017, Focal Loss for Dense Object Detection, section 4.

    Args:
        num_classes: Positive integer C.
        strides: List of positive integers, the stride of each feature map.
        coding: What the channels mean: the name of a plugin of kind `"coding"`, or the object.
        filters: Positive integer, the width of the shared convolution.
        **kwargs: As for every layer of Keras.

    Call arguments:
        maps: List of float tensors `(B, H, W, channels)`, one for each stride.

    Returns:
        Float32 tensor `(B, A, 3 + channels)`: of each cell its centre and stride, then the channels
        of the coding.
    """

    def __init__(self, num_classes, strides, *, coding="anchor_free", filters=64, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.strides = strides
        self.coding = plugins.get(coding, kind="coding")
        self.filters = filters
        same = {"dtype": self.dtype_policy, "data_format": "channels_last"}
        self.lateral = [layers.Conv2D(filters, 1, **same) for _ in strides]
        self.tower = layers.Conv2D(filters, 3, padding="same", activation="relu", **same)
        # float32 whatever the policy: half precision cannot place a corner in a large image.
        self.outputs = [
            layers.Conv2D(
                channels,
                1,
                bias_initializer=keras.initializers.Constant(bias),
                **{**same, "dtype": "float32"},
            )
            for channels, bias in self.coding.branches(num_classes)
        ]

    def build(self, maps_shape):
        for layer, shape in zip(self.lateral, maps_shape, strict=True):
            layer.build(shape)
        for layer in (self.tower, *self.outputs):
            layer.build((None, None, None, self.filters))
        self.built = True

    def call(self, maps):
        outputs, cells = [], []
        for features, lateral, stride in zip(maps, self.lateral, self.strides, strict=True):
            shared = self.tower(lateral(features))
            level = ops.concatenate([layer(shared) for layer in self.outputs], axis=-1)
            height, width = ops.shape(level)[1:3]
            outputs.append(ops.reshape(level, (-1, height * width, level.shape[-1])))
            cells.append(cell_centers(height, width, stride))
        return attach_cells(ops.concatenate(outputs, axis=1), ops.concatenate(cells, axis=0))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "strides": self.strides,
            "coding": keras.saving.serialize_keras_object(self.coding),
            "filters": self.filters,
        }
