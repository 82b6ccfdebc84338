"""The default coding: one box a cell, a score for each class, and dynamic assignment."""

import math

from keras import ops

from keras_cvx import plugins
from keras_cvx.codings.grid_coding import GridCoding
from keras_cvx.ops.assignment import near_cells, task_aligned
from keras_cvx.ops.iou import elementwise_iou, pairwise_iou

# A box of e^8 strides is larger than any image; the exponential stays finite in float32.
_MAX_LOG_SIZE = 8.0


@plugins.register("AnchorFreeCoding", kind="coding", alias="anchor_free")
class AnchorFreeCoding(GridCoding):
    """One box a cell and level, without anchors or objectness.

    The first four channels are the offset of the box's centre from the cell's, and the logarithm
    of its width and height, all in strides. The other C are logits, one a class; the score of a
    class is trained to be the IoU of the box with the object. In every step each object is
    assigned to the cells that agree with it best (`ops.assignment.task_aligned`).

    The loss of an image is the binary cross-entropy of its scores plus `box_weight` times the
    CIoU loss of the assigned boxes, each weighted by its target; both are divided by the sum of
    the image's targets, or by 1 if that is less.

    Args:
        top_k: Positive integer, the most cells that answer for one object.
        alpha: Positive float, exponent of the score in the alignment.
        beta: Positive float, exponent of the IoU in the alignment.
        box_weight: Non-negative float.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:
        - Ge et al. 2021, YOLOX, section 2.1 (one box a cell, no anchors).
        - Feng et al. 2021, TOOD, equations 1 to 5 (assignment, targets).
        - Zheng et al. 2020, Distance-IoU Loss, equation 10 (CIoU loss).
    """

    def __init__(self, top_k=7, alpha=0.5, *, beta=4.0, box_weight=2.0):
        if int(top_k) != top_k or top_k < 1:
            raise ValueError(f"`top_k` must be a positive integer. Received: top_k={top_k}")
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not value > 0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
        if not box_weight >= 0:
            raise ValueError(f"`box_weight` must be at least 0. Received: box_weight={box_weight}")
        self.top_k = top_k
        self.alpha = alpha
        self.beta = beta
        self.box_weight = box_weight

    def branches(self, num_classes):
        # Every score starts at 0.01, so that the many empty cells do not drown the first steps
        # (Lin et al. 2017, Focal Loss for Dense Object Detection, section 3.3).
        return [(4, 0.0), (num_classes, -math.log(99.0))]

    def decode(self, outputs, centers, strides):
        return self._boxes(outputs, centers, strides), ops.sigmoid(outputs[..., 4:])

    def loss(self, outputs, centers, strides, boxes, labels):
        logits = outputs[..., 4:]
        predicted = self._boxes(outputs, centers, strides)
        valid = labels >= 0
        classes = ops.one_hot(ops.maximum(labels, 0), logits.shape[-1], dtype="float32")
        assigned, targets = task_aligned(
            pairwise_iou(boxes, predicted),
            ops.matmul(classes, ops.swapaxes(ops.sigmoid(logits), 1, 2)),
            near_cells(boxes, valid, centers, strides),
            top_k=self.top_k,
            alpha=self.alpha,
            beta=self.beta,
        )
        assigned = ops.swapaxes(ops.cast(assigned, "float32"), 1, 2)  # (B, A, N)
        class_targets = ops.matmul(assigned, classes) * ops.expand_dims(targets, -1)
        class_loss = ops.sum(
            ops.binary_crossentropy(class_targets, logits, from_logits=True), axis=(1, 2)
        )
        overlap = elementwise_iou(predicted, ops.matmul(assigned, boxes), variant="ciou")
        box_loss = ops.sum(targets * (1.0 - overlap), axis=-1)
        normalizer = ops.maximum(ops.sum(targets, axis=-1), 1.0)
        return (class_loss + self.box_weight * box_loss) / normalizer

    def get_config(self):
        return {
            "top_k": self.top_k,
            "alpha": self.alpha,
            "beta": self.beta,
            "box_weight": self.box_weight,
        }

    @staticmethod
    def _boxes(outputs, centers, strides):
        middle = centers + outputs[..., :2] * strides
        half = ops.exp(ops.clip(outputs[..., 2:4], -_MAX_LOG_SIZE, _MAX_LOG_SIZE)) * strides / 2.0
        return ops.concatenate([middle - half, middle + half], axis=-1)
