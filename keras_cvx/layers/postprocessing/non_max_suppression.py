"""Non-maximum suppression as a layer of the inference graph."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.boxes import check_format, corners
from keras_cvx.ops.nms import check_shapes, non_max_suppression, take_rows


@plugins.register("NonMaxSuppression", kind="layer")
class NonMaxSuppression(keras.layers.Layer):
    """Keeps the most confident of overlapping boxes, class by class.

    Every pair of a box and a class is a candidate; see `keras_cvx.ops.non_max_suppression`.

    Args:
        iou_threshold: Float in `[0, 1]`. Overlap above it suppresses.
        confidence_threshold: Float. Only scores above it are detections.
        max_detections: Positive integer K, the most detections of an image over all classes.
        max_candidates: Positive integer, the candidates of an image that are visited at most.
        bounding_box_format: Format of the boxes, as Keras names it. Relative boxes are as good as
            absolute ones: IoU does not change with the scale of an axis.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        boxes: Float tensor `(B, N, 4)`.
        scores: Float tensor `(B, N, C)`, the confidence of each box in each class.

    Returns:
        Dictionary of `"boxes"` float32 `(B, K, 4)`, `"confidence"` float32 `(B, K)`, `"labels"`
        int32 `(B, K)` and `"num_detections"` int32 `(B,)`, sorted by falling confidence; rows
        after the last detection are −1.

    Raises:
        ValueError: If an argument is out of its range, or the shapes of `boxes` and `scores` do
            not go together.

    Example:
        >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]]])
        >>> scores = ops.convert_to_tensor([[[0.5], [0.75]]])
        >>> detections = NonMaxSuppression(max_detections=2)(boxes, scores)
        >>> ops.convert_to_numpy(detections["confidence"]).tolist()
        [[0.75, -1.0]]
    """

    def __init__(
        self,
        iou_threshold=0.5,
        confidence_threshold=0.01,
        *,
        max_detections=100,
        max_candidates=1000,
        bounding_box_format="xyxy",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= iou_threshold <= 1:
            raise ValueError(
                f"`iou_threshold` must be in [0, 1]. Received: iou_threshold={iou_threshold}"
            )
        if not confidence_threshold >= 0:
            raise ValueError(
                "`confidence_threshold` must be at least 0. "
                f"Received: confidence_threshold={confidence_threshold}"
            )
        check_integers(1, max_detections=max_detections, max_candidates=max_candidates)
        self.iou_threshold = iou_threshold
        self.confidence_threshold = confidence_threshold
        self.max_detections = max_detections
        self.max_candidates = max_candidates
        self.bounding_box_format = check_format(bounding_box_format)
        self.autocast = False

    def build(self, boxes_shape, scores_shape):
        check_shapes(tuple(boxes_shape), tuple(scores_shape))
        self.built = True

    def call(self, boxes, scores):
        check_shapes(tuple(boxes.shape), tuple(scores.shape))
        boxes = ops.cast(boxes, "float32")
        indices, labels, confidence, num_detections = non_max_suppression(
            corners(boxes, self.bounding_box_format),
            scores,
            iou_threshold=self.iou_threshold,
            score_threshold=self.confidence_threshold,
            max_detections=self.max_detections,
            max_candidates=self.max_candidates,
        )
        if not isinstance(boxes.shape[1], int) or not boxes.shape[1]:
            # Perhaps no box at all: one row more, so that there is something to take.
            boxes = ops.pad(boxes, ((0, 0), (0, 1), (0, 0)))
        found = ops.expand_dims(indices >= 0, -1)
        kept = take_rows(boxes, ops.maximum(indices, 0))
        return {
            "boxes": ops.where(found, kept, ops.full_like(kept, -1.0)),
            "confidence": confidence,
            "labels": labels,
            "num_detections": num_detections,
        }

    def compute_output_spec(self, boxes, scores):
        batch, rows = boxes.shape[0], self.max_detections
        return {
            "boxes": keras.KerasTensor((batch, rows, 4), "float32"),
            "confidence": keras.KerasTensor((batch, rows), "float32"),
            "labels": keras.KerasTensor((batch, rows), "int32"),
            "num_detections": keras.KerasTensor((batch,), "int32"),
        }

    def get_config(self):
        config = super().get_config()
        config.update(
            iou_threshold=self.iou_threshold,
            confidence_threshold=self.confidence_threshold,
            max_detections=self.max_detections,
            max_candidates=self.max_candidates,
            bounding_box_format=self.bounding_box_format,
        )
        return config
