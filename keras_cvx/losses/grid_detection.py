"""The loss of a detection grid."""

import keras

from keras_cvx import plugins
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.grids import detach_cells, image_size
from keras_cvx.ops.ground_truth import unpack_ground_truth


def grid_detection(boxes, labels, predictions, coding):
    """Loss of each image; assignment of objects to cells is part of it.

    Args:
        boxes: Float tensor `(B, N, 4)`, ground truth as corners `x0, y0, x1, y1` in pixels; finite
            in padded rows too.
        labels: Integer tensor `(B, N)`; −1 in padded rows.
        predictions: Float tensor `(B, A, 3 + channels)` of a `GridDetectionHead`.
        coding: A `keras_cvx.codings.GridCoding`, which defines the loss.

    Returns:
        Float32 tensor `(B,)`.
    """
    centers, strides, outputs = detach_cells(predictions)
    return coding.loss(outputs, centers, strides, boxes, labels)


@plugins.register("GridDetectionLoss", kind="loss")
class GridDetectionLoss(keras.losses.Loss):
    """Loss of a `GridDetectionHead`, as its coding defines it.

    Ground truth is a dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, or one packed
    tensor `(B, N, 5)` of box and label, which plain `keras.Model.compile` accepts. Padded rows
    have label −1. An image without objects has a finite loss.

    Args:
        coding: The head's coding, as name or object.
        bounding_box_format: Format of the ground-truth boxes, as Keras names it.
        reduction: As for every Keras loss.
        name: As for every Keras loss.

    Raises:
        ValueError: If the coding or the format is unknown, or `y_true` is of another structure.

    Example:
        >>> loss = GridDetectionLoss("yolov1")
        >>> truth = keras.ops.convert_to_tensor([[[6.0, 0.0, 10.0, 8.0, 0.0]]])
        >>> right, idle, wrong = [0.0, 0.5, 0.5, 1.0, 1.0], [0.0] * 5, [0.0, 0.0, 0.0, 0.0, 1.0]
        >>> cells = [[4.0, 4.0, 8.0, *wrong, *idle, 0.0], [12.0, 4.0, 8.0, *right, *idle, 1.0]]
        >>> float(loss(truth, keras.ops.convert_to_tensor([cells])))
        0.5
    """

    def __init__(
        self,
        coding="anchor_free",
        bounding_box_format="xyxy",
        *,
        reduction="sum_over_batch_size",
        name="grid_detection_loss",
    ):
        # Always float32: half precision would move a corner by pixels.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.coding = plugins.get(coding, kind="coding")
        self.bounding_box_format = check_format(bounding_box_format)

    def call(self, y_true, y_pred):
        boxes, labels = unpack_ground_truth(y_true)
        centers, strides, _ = detach_cells(y_pred)
        size = image_size(centers, strides)  # (B, 1, 2)
        boxes = convert(
            boxes, self.bounding_box_format, "xyxy", width=size[..., 0], height=size[..., 1]
        )
        return grid_detection(boxes, labels, y_pred, self.coding)

    def get_config(self):
        config = super().get_config()
        config.update(
            coding=keras.saving.serialize_keras_object(self.coding),
            bounding_box_format=self.bounding_box_format,
        )
        return config
