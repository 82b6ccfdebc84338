"""A metric of detectors that count: by how many objects an image's count is wrong."""

import keras
from keras import ops

from keras_cvx import plugins


@plugins.register("CountError", kind="metric", package="acme")
class CountError(keras.metrics.Mean):
    """Mean difference between the objects of an image and the confident detections in it.

    Args:
        min_confidence: Float in `[0, 1]`, from which on a detection counts.
        name: As for every metric of Keras.
        dtype: Likewise.
    """

    def __init__(self, min_confidence=0.5, name="count_error", dtype=None):
        super().__init__(name=name, dtype=dtype)
        if not 0 <= min_confidence <= 1:
            raise ValueError(
                f"`min_confidence` must be in [0, 1]. Received: min_confidence={min_confidence}"
            )
        self.min_confidence = min_confidence

    def update_state(self, y_true, y_pred, sample_weight=None):
        # Padded rows have the label and the confidence −1.
        objects = ops.sum(ops.cast(y_true["labels"] >= 0, "float32"), axis=-1)
        sure = ops.cast(y_pred["confidence"], "float32") >= self.min_confidence
        found = ops.sum(ops.cast(sure, "float32"), axis=-1)
        super().update_state(ops.abs(objects - found), sample_weight)

    def get_config(self):
        return {**super().get_config(), "min_confidence": self.min_confidence}
