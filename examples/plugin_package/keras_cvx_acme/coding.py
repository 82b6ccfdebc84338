"""A grid coding: each cell in a box gives the box by its distances to the four sides."""

import math

from keras import ops

from keras_cvx import plugins
from keras_cvx.codings import GridCoding
from keras_cvx.ops import assigned_boxes, decode_distances, elementwise_iou, near_cells


@plugins.register("DistanceCoding", kind="coding", package="acme", alias="distances")
class DistanceCoding(GridCoding):
    """After Tian et al. 2019, FCOS: Fully Convolutional One-Stage Object Detection.

    Args:
        box_weight: Positive float, the weight of the boxes beside the classes.
    """

    def __init__(self, box_weight=2.0):
        if not box_weight > 0:
            raise ValueError(f"`box_weight` must be positive. Received: box_weight={box_weight}")
        self.box_weight = box_weight

    def branches(self, num_classes):
        # Every score starts at 0.01, for most cells are empty.
        return [(4, 0.0), (num_classes, -math.log(99.0))]

    def decode(self, outputs, centers, strides):
        distances = ops.softplus(ops.cast(outputs[..., :4], "float32"))
        scores = ops.sigmoid(ops.cast(outputs[..., 4:], "float32"))
        return decode_distances(distances, centers, strides), scores

    def loss(self, outputs, centers, strides, boxes, labels):
        found, _ = self.decode(outputs, centers, strides)
        logits = ops.cast(outputs[..., 4:], "float32")
        near = ops.cast(near_cells(boxes, labels >= 0, centers, strides), "int32")
        # Of several objects a cell answers for the first.
        assigned = ops.logical_and(near > 0, ops.cumsum(near, axis=1) == 1)  # (B, N, A)
        taken = ops.cast(ops.any(assigned, axis=1), "float32")
        classes = ops.one_hot(ops.maximum(labels, 0), logits.shape[-1], dtype="float32")
        targets = ops.sum(ops.cast(assigned, "float32")[..., None] * classes[:, :, None], axis=1)
        class_loss = ops.binary_crossentropy(targets, logits, from_logits=True)
        truth = assigned_boxes(assigned, ops.cast(boxes, "float32"))
        box_loss = taken * (1.0 - elementwise_iou(found, truth, variant="giou"))
        total = ops.sum(class_loss, axis=(1, 2)) + self.box_weight * ops.sum(box_loss, axis=1)
        return total / ops.maximum(ops.sum(taken, axis=1), 1.0)

    def get_config(self):
        return {"box_weight": self.box_weight}
