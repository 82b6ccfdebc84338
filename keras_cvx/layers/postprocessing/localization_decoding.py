"""From the class and the box of an image's one object to a detection."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import shapes_agree


@plugins.register("LocalizationDecoding", kind="layer")
class LocalizationDecoding(keras.layers.Layer):
    """Turns the output of a `Localizer` into detections, at most one an image.

    The last of the classes is "no object": where it is the most probable, nothing is found.

    Args:
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        predictions: Dictionary of `"labels"`, float tensor `(B, C + 1)` of probabilities, and
            `"boxes"`, float tensor `(B, 4)` in any format.

    Returns:
        Dictionary of `"boxes"`, float32 `(B, 1, 4)` in that format; `"confidence"`, float32
        `(B, 1)`, the probability of the class; `"labels"`, int32 `(B, 1)`; and
        `"num_detections"`, int32 `(B,)`, 0 or 1. Where nothing was found, the rows are −1.

    Raises:
        ValueError: If `predictions` is of another structure.

    Example:
        >>> scores, box = [[0.25, 0.5, 0.25], [0.0, 0.25, 0.75]], [0.0, 0.0, 4.0, 2.0]
        >>> predictions = {"labels": scores, "boxes": [box, box]}
        >>> predictions = {k: ops.convert_to_tensor(v) for k, v in predictions.items()}
        >>> found = LocalizationDecoding()(predictions)
        >>> ops.convert_to_numpy(found["labels"]).tolist()
        [[1], [-1]]
        >>> ops.convert_to_numpy(found["boxes"]).tolist()
        [[[0.0, 0.0, 4.0, 2.0]], [[-1.0, -1.0, -1.0, -1.0]]]
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Coordinates in half precision would be off by pixels.
        self.autocast = False
        self.built = True

    def call(self, predictions):
        if not isinstance(predictions, dict) or not {"labels", "boxes"} <= set(predictions):
            what = sorted(predictions) if isinstance(predictions, dict) else type(predictions)
            raise ValueError(
                "`predictions` must be a dictionary with the keys 'labels' and 'boxes'. "
                f"Received: {what}"
            )
        scores, boxes = (ops.cast(predictions[key], "float32") for key in ("labels", "boxes"))
        if len(scores.shape) != 2 or not shapes_agree(boxes.shape, (scores.shape[0], 4)):
            raise ValueError(
                "`predictions` must hold labels (B, C + 1) and boxes (B, 4). Received: labels "
                f"{tuple(scores.shape)}, boxes {tuple(boxes.shape)}"
            )
        labels = ops.cast(ops.argmax(scores, axis=-1, keepdims=True), "int32")  # (B, 1)
        found = labels < scores.shape[-1] - 1
        # Not the maximum, which Keras takes of no empty batch.
        confidence = ops.take_along_axis(scores, labels, axis=-1)
        boxes = ops.expand_dims(boxes, 1)
        return {
            "boxes": ops.where(found[..., None], boxes, -ops.ones_like(boxes)),
            "confidence": ops.where(found, confidence, -ops.ones_like(confidence)),
            "labels": ops.where(found, labels, -ops.ones_like(labels)),
            "num_detections": ops.cast(found[:, 0], "int32"),
        }
