"""From a grid's raw predictions to boxes and scores."""

import keras

from keras_cvx import plugins
from keras_cvx.ops.boxes import check_format, clip, convert
from keras_cvx.ops.grids import detach_cells, image_size


@plugins.register("GridDecoding", kind="layer")
class GridDecoding(keras.layers.Layer):
    """Decodes the output of a `GridDetectionHead` into boxes, clipped to the image, and scores.

    Args:
        coding: What the channels mean; the head's own coding, as name or object.
        bounding_box_format: Format of the boxes, as Keras names it.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        predictions: Float tensor `(B, A, 3 + channels)`.

    Returns:
        Tuple `(boxes, scores)`: float32 `(B, P, 4)` in the format asked for, and float32
        `(B, P, C)` in `[0, 1]`, where P is A times the boxes that the coding has in a cell.

    Raises:
        ValueError: If the coding or the format is unknown, or `predictions` is of another shape.

    Example:
        >>> head = [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]  # centre, roots of the sides, confidence, class
        >>> predictions = keras.ops.convert_to_tensor([[[4.0, 4.0, 8.0, *head]]])
        >>> coding = plugins.lookup("yolov1", kind="coding")(boxes_per_cell=1)
        >>> boxes, scores = GridDecoding(coding)(predictions)
        >>> keras.ops.convert_to_numpy(boxes).tolist()
        [[[3.0, 0.0, 5.0, 8.0]]]
    """

    def __init__(self, coding="anchor_free", bounding_box_format="xyxy", **kwargs):
        super().__init__(**kwargs)
        self.coding = plugins.get(coding, kind="coding")
        self.bounding_box_format = check_format(bounding_box_format)
        # Coordinates in half precision would be off by pixels.
        self.autocast = False

    def call(self, predictions):
        centers, strides, outputs = detach_cells(predictions)
        boxes, scores = self.coding.decode(outputs, centers, strides)
        size = image_size(centers, strides)
        width, height = size[..., 0], size[..., 1]  # (B, 1)
        boxes = convert(
            clip(boxes, height, width),
            "xyxy",
            self.bounding_box_format,
            height=height,
            width=width,
        )
        return boxes, scores

    def get_config(self):
        config = super().get_config()
        config.update(
            coding=keras.saving.serialize_keras_object(self.coding),
            bounding_box_format=self.bounding_box_format,
        )
        return config
