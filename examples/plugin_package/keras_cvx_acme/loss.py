import keras
from keras import ops

from keras_cvx import plugins


@plugins.register("LogarithmicBoxLoss", kind="loss", package="acme")
class LogarithmicBoxLoss(keras.losses.Loss):
    def __init__(self, scale=4.0, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        if not scale > 0:
            raise ValueError(f"`scale` must be positive, in pixels. Received: scale={scale}")
        self.scale = scale

    def call(self, y_true, y_pred):
        gaps = ops.abs(ops.cast(y_true, "float32") - ops.cast(y_pred, "float32"))
        return ops.mean(ops.log1p(gaps / self.scale), axis=-1)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "dtype": self.dtype}
