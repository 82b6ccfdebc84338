"""A segmentation decoder: one feature map is scored, and its scores enlarged."""

import keras

from keras_cvx import plugins


@plugins.register("OneMapDecoder", kind="decoder", package="acme", alias="one_map")
class OneMapDecoder(keras.layers.Layer):
    """Logits `(B, H, W, C)` of the feature map at stride 8.

    Args:
        num_classes: Positive integer C.
    """

    strides = (8,)

    def __init__(self, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.scores = keras.layers.Conv2D(num_classes, 1)
        self.enlarged = keras.layers.UpSampling2D(8, interpolation="bilinear")

    def build(self, maps_shape, images_shape):
        self.scores.build(maps_shape[0])
        self.built = True

    def call(self, maps, images):
        return self.enlarged(self.scores(maps[0]))

    def compute_output_shape(self, maps_shape, images_shape):
        return (*images_shape[:3], self.num_classes)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
