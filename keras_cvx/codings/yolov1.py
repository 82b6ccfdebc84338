"""The coding of the first YOLO, as published."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.codings.grid_coding import GridCoding
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.assignment import assigned_boxes, containing_cell
from keras_cvx.ops.box_coding import decode_places, encode_places
from keras_cvx.ops.grids import image_size
from keras_cvx.ops.iou import elementwise_iou


@plugins.register("YOLOv1Coding", kind="coding", alias="yolov1")
class YOLOv1Coding(GridCoding):
    """Several boxes a cell, each with a confidence, and one class distribution for all of them.

    A cell answers for the object whose centre it holds; of several, for the first. The channels
    of each box are its centre relative to the cell, in `[0, 1]` from the upper left corner, the
    square roots of its width and height relative to the image, and its confidence, which is
    trained to be the IoU with the object. The last C channels are the class probabilities. As
    published, all are linear and trained by squared error: a confidence or a probability can
    leave `[0, 1]` and is clipped when it is decoded.

    Which cell answers for an object, and by what loss, are part of what was published, and so no
    arguments: `AnchorFreeCoding` takes an assigner and a box loss, and a subclass may differ.

    Args:
        boxes_per_cell: Positive integer.
        coordinate_weight: Non-negative float, the published lambda_coord.
        no_object_weight: Non-negative float, the published lambda_noobj.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> coding = YOLOv1Coding(boxes_per_cell=2)
        >>> [channels for channels, _ in coding.branches(num_classes=20)]
        [30]
        >>> plugins.get("yolov1", kind="coding").no_object_weight
        0.5

    Reference:
        Redmon et al. 2016, You Only Look Once, section 2 and equations 1 (score) and 3 (loss).
    """

    def __init__(self, boxes_per_cell=2, *, coordinate_weight=5.0, no_object_weight=0.5):
        check_integers(1, boxes_per_cell=boxes_per_cell)
        for name, value in (
            ("coordinate_weight", coordinate_weight),
            ("no_object_weight", no_object_weight),
        ):
            if not value >= 0:
                raise ValueError(f"`{name}` must be at least 0. Received: {name}={value}")
        self.boxes_per_cell = boxes_per_cell
        self.coordinate_weight = coordinate_weight
        self.no_object_weight = no_object_weight

    def branches(self, num_classes):
        return [(5 * self.boxes_per_cell + num_classes, 0.0)]

    def decode(self, outputs, centers, strides):
        places, confidence, probabilities = self._split(outputs)
        boxes = self._boxes(places, centers, strides)
        scores = ops.clip(confidence, 0.0, 1.0)[..., None] * ops.clip(
            ops.expand_dims(probabilities, 2), 0.0, 1.0
        )  # (B, A, boxes, C)
        cells = outputs.shape[1]
        rows = -1 if cells is None else cells * self.boxes_per_cell
        batch = ops.shape(outputs)[0] if rows == -1 else -1
        return (
            ops.reshape(boxes, (batch, rows, 4)),
            ops.reshape(scores, (batch, rows, probabilities.shape[-1])),
        )

    def loss(self, outputs, centers, strides, boxes, labels):
        places, confidence, probabilities = self._split(outputs)
        size = image_size(centers, strides)
        answers = containing_cell(boxes, labels >= 0, centers, strides, size)
        truth = assigned_boxes(answers, boxes)
        answers = ops.swapaxes(ops.cast(answers, "float32"), 1, 2)  # (B, A, N)
        has_object = ops.sum(answers, axis=-1)  # (B, A), 0 or 1

        overlap = ops.stop_gradient(
            elementwise_iou(self._boxes(places, centers, strides), ops.expand_dims(truth, 2))
        )
        responsible = ops.one_hot(
            ops.argmax(overlap, axis=-1), self.boxes_per_cell, dtype="float32"
        ) * ops.expand_dims(has_object, -1)  # (B, A, boxes)

        target = encode_places(truth, centers, strides, size)
        place_error = ops.sum(ops.square(places - ops.expand_dims(target, 2)), axis=-1)
        classes = ops.one_hot(ops.maximum(labels, 0), probabilities.shape[-1], dtype="float32")
        class_error = ops.sum(ops.square(probabilities - ops.matmul(answers, classes)), axis=-1)
        terms = [
            self.coordinate_weight * ops.sum(responsible * place_error, axis=(1, 2)),
            ops.sum(responsible * ops.square(confidence - overlap), axis=(1, 2)),
            self.no_object_weight
            * ops.sum((1.0 - responsible) * ops.square(confidence), axis=(1, 2)),
            ops.sum(has_object * class_error, axis=1),
        ]
        return sum(terms)

    def get_config(self):
        return {
            "boxes_per_cell": self.boxes_per_cell,
            "coordinate_weight": self.coordinate_weight,
            "no_object_weight": self.no_object_weight,
        }

    def _split(self, outputs):
        """Places `(B, A, boxes, 4)`, confidences `(B, A, boxes)`, probabilities `(B, A, C)`."""
        self._check_channels(outputs, 5 * self.boxes_per_cell)
        predictors = ops.stack(
            [outputs[..., 5 * i : 5 * i + 5] for i in range(self.boxes_per_cell)], axis=2
        )
        return predictors[..., :4], predictors[..., 4], outputs[..., 5 * self.boxes_per_cell :]

    @staticmethod
    def _boxes(places, centers, strides):
        """Corners in pixels `(B, A, boxes, 4)`."""
        cells = (centers, strides, image_size(centers, strides))
        return decode_places(places, *(ops.expand_dims(x, 2) for x in cells))
