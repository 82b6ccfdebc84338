"""COCO's average precision, collected inside the compiled step and read on the host."""

from fractions import Fraction

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.metrics.average_precision import IOU_THRESHOLDS, average_precision
from keras_cvx.ops.arguments import check_integers, shapes_agree
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.ground_truth import unpack_ground_truth
from keras_cvx.ops.iou import pairwise_iou
from keras_cvx.ops.matching import match_detections


def _float32_threshold(threshold):
    """The float32 that a float32 ratio must reach where pycocotools' float64 must reach another.

    Boxes with whole corners have IoUs like 3/5 that lie exactly on a threshold. Whether these pass
    is decided by the rounding of the float64 threshold, and reproduced here, also where another
    NumPy rounds `linspace` otherwise.
    """
    ratio = float(Fraction(round(threshold * 100), 100))
    nearest = np.float32(ratio)
    return nearest if ratio >= threshold else np.nextafter(nearest, np.float32(2.0))


_THRESHOLDS = np.array([_float32_threshold(t) for t in IOU_THRESHOLDS], "float32")
_BITS = 2 ** np.arange(len(_THRESHOLDS))


def hits_of(truth_boxes, truth_labels, boxes, labels):
    """Which detections are right, at each of COCO's ten IoU thresholds.

    Args:
        truth_boxes: Float tensor `(B, N, 4)`, corners in the frame of `boxes`.
        truth_labels: Integer tensor `(B, N)`; −1 in padded rows.
        boxes: Float tensor `(B, K, 4)`, corners, sorted by falling confidence.
        labels: Integer tensor `(B, K)`; −1 in padded rows.

    Returns:
        Int32 tensor `(B, K)`: bit t is set where the detection is right at the t-th threshold.
    """
    taken = match_detections(pairwise_iou(boxes, truth_boxes), labels, truth_labels, _THRESHOLDS)
    bits = ops.convert_to_tensor(_BITS[:, None], "int32")
    return ops.sum(ops.cast(taken >= 0, "int32") * bits, axis=1)


@plugins.register("MeanAveragePrecision", kind="metric")
class MeanAveragePrecision(keras.metrics.Metric):
    """COCO's mean average precision of detections: AP, AP50 and AP75.

    `update_state` can be compiled; its state has a fixed shape and holds, for every image, the
    confidence, the class and the hits of its detections: `12 * max_images * max_detections` bytes,
    and 20 for 12 on TensorFlow.

    `result` works on the host in float64, and equals pycocotools as long as no image has more than
    `max_detections` detections and no IoU lies within 1e-7 of a threshold, or of a rival's, without
    being equal to it: IoUs are float32. Ties are judged as pycocotools judges them for boxes in
    whole pixels whose union is below 2**24 / 20, some 838,000 pixels.

    Args:
        num_classes: Positive integer C.
        bounding_box_format: Format of ground truth and detections, as Keras names it. Relative
            boxes need no image size, for IoU does not change with the scale of an axis; their
            rounding may decide an exact tie with a threshold otherwise.
        max_detections: Positive integer. Of each image only the most confident count.
        max_images: Positive integer, the room for images between two resets.
        name: As for every Keras metric.
        dtype: As for every Keras metric; the result is of Python floats all the same.

    Call arguments:
        y_true: Dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, or packed `(B, N, 5)`;
            padded rows have label −1.
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` and `"labels"`
            `(B, K)`; padded rows have label −1. Other keys, such as `"num_detections"`, are not
            read. K may be smaller or larger than `max_detections`.
        sample_weight: None; COCO's precision knows no weights.

    Returns:
        From `result`: `{"AP", "AP50", "AP75"}`, floats in `[0, 1]`: means over the classes that
        have ground truth, and 0 if none has (pycocotools says −1). AP is the mean over
        IoU 0.5, 0.55, … 0.95.

    Raises:
        ValueError: If an argument is out of its range, or the shapes or keys of `y_true` and
            `y_pred` do not go together; from `result`, if there were more images than
            `max_images`.
        RuntimeError: From `result` inside a compiled function.

    Example:
        >>> metric = MeanAveragePrecision(num_classes=2, max_images=8)
        >>> box = [[[0.0, 0.0, 8.0, 8.0]]]
        >>> found = {"boxes": box, "labels": [[1]], "confidence": [[0.5]]}
        >>> metric.update_state({"boxes": box, "labels": [[1]]}, found)
        >>> round(metric.result()["AP50"], 6)
        1.0

    Reference:
        Lin et al. 2014, Microsoft COCO: Common Objects in Context, and its evaluation code.
    """

    def __init__(
        self,
        num_classes,
        *,
        bounding_box_format="xyxy",
        max_detections=100,
        max_images=5000,
        name="mean_average_precision",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        check_integers(
            1, num_classes=num_classes, max_detections=max_detections, max_images=max_images
        )
        self.num_classes = int(num_classes)
        self.bounding_box_format = check_format(bounding_box_format)
        self.max_detections = int(max_detections)
        self.max_images = int(max_images)
        room = (self.max_images, self.max_detections)
        self.confidence = self.add_variable(room, "zeros", dtype="float32", name="confidence")
        # "int" is int64 on TensorFlow, which keeps int32 variables on the host, out of reach of a
        # step that XLA compiles for a GPU; elsewhere it is int32.
        # One more than the class: 0 is no detection, so that Keras' reset to zeros empties it.
        self.classes = self.add_variable(room, "zeros", dtype="int", name="classes")
        self.hits = self.add_variable(room, "zeros", dtype="int", name="hits")
        self.truths = self.add_variable((self.num_classes,), "zeros", dtype="int", name="truths")
        self.images = self.add_variable((), "zeros", dtype="int", name="images")

    def update_state(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` must be None: average precision knows no weights. "
                f"Received: sample_weight of type {type(sample_weight).__name__}"
            )
        truth_boxes, truth_labels = unpack_ground_truth(y_true)
        boxes, confidence, labels = self._most_confident(y_pred)
        batch = labels.shape[0]
        if not shapes_agree(truth_labels.shape, (batch, truth_boxes.shape[1])):
            raise ValueError(
                "`y_true` must hold boxes (B, N, 4) and labels (B, N) for the B images of "
                f"`y_pred`. Received: boxes {tuple(truth_boxes.shape)}, labels "
                f"{tuple(truth_labels.shape)}, and B={batch}"
            )
        frame = "rel_xyxy" if self.bounding_box_format.startswith("rel_") else "xyxy"
        hits = hits_of(
            convert(truth_boxes, self.bounding_box_format, frame),
            truth_labels,
            convert(boxes, self.bounding_box_format, frame),
            labels,
        )
        seen, batch = ops.cast(ops.convert_to_tensor(self.images), "int32"), ops.shape(labels)[0]
        # Beyond the room rows are written over or left out; `result` then raises.
        row = ops.maximum(ops.minimum(seen, self.max_images - batch), 0)
        start = ops.stack([row, ops.zeros_like(row)])
        for variable, rows in (
            (self.confidence, confidence),
            (self.classes, labels + 1),
            (self.hits, hits),
        ):
            padded = ops.pad(
                ops.cast(rows[: self.max_images], variable.dtype),
                ((0, 0), (0, self.max_detections - rows.shape[1])),
            )
            variable.assign(ops.slice_update(ops.convert_to_tensor(variable), start, padded))
        # A label of −1 has no place among the classes and counts nowhere.
        counted = truth_labels[..., None] == ops.arange(self.num_classes)
        self.truths.assign(self.truths + ops.sum(ops.cast(counted, "int32"), axis=(0, 1)))
        self.images.assign(seen + batch)

    def result(self):
        count = int(self._on_host(self.images))
        if count > self.max_images:
            raise ValueError(
                f"`max_images` must be at least the number of images between two resets. "
                f"Received: max_images={self.max_images}, and {count} images. "
                f"Construct the metric with max_images={count} or more."
            )
        hits = self._on_host(self.hits)[:count].reshape(-1)
        labels = self._on_host(self.classes)[:count].reshape(-1) - 1
        found = labels >= 0
        precision = average_precision(
            self._on_host(self.confidence)[:count].reshape(-1)[found],
            labels[found],
            (hits[found, None] & _BITS) > 0,
            self._on_host(self.truths),
        )
        precision = precision[~np.isnan(precision[:, 0])]
        if not len(precision):
            precision = np.zeros((1, len(IOU_THRESHOLDS)))
        return {
            "AP": float(precision.mean()),
            "AP50": float(precision[:, 0].mean()),
            "AP75": float(precision[:, 5].mean()),
        }

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            bounding_box_format=self.bounding_box_format,
            max_detections=self.max_detections,
            max_images=self.max_images,
        )
        return config

    def _most_confident(self, y_pred):
        """Boxes, confidences and labels `(B, at most max_detections)`, sorted; padding is −1."""
        if not isinstance(y_pred, dict) or not {"boxes", "confidence", "labels"} <= set(y_pred):
            what = f"keys {sorted(map(str, y_pred))}" if isinstance(y_pred, dict) else type(y_pred)
            raise ValueError(
                "`y_pred` must be a dictionary, and must have the keys 'boxes', 'confidence' and "
                f"'labels'. Received: {what}"
            )
        boxes, confidence, labels = (
            ops.convert_to_tensor(y_pred[key]) for key in ("boxes", "confidence", "labels")
        )
        if (
            len(labels.shape) != 2
            or labels.shape[1] is None
            or not shapes_agree(confidence.shape, labels.shape)
            or not shapes_agree(boxes.shape, (*labels.shape, 4))
        ):
            raise ValueError(
                "`y_pred` must hold boxes (B, K, 4), confidence (B, K) and labels (B, K), with K "
                "known when the step is traced. Received: "
                f"{[tuple(x.shape) for x in (boxes, confidence, labels)]}"
            )
        labels = ops.cast(labels, "int32")
        confidence = ops.cast(confidence, "float32")
        last = ops.where(labels >= 0, confidence, ops.full_like(confidence, -float("inf")))
        order = ops.argsort(-last, axis=-1)[:, : self.max_detections]
        return (
            ops.take_along_axis(ops.cast(boxes, "float32"), order[..., None], axis=1),
            ops.take_along_axis(confidence, order, axis=1),
            ops.take_along_axis(labels, order, axis=1),
        )

    def _on_host(self, variable):
        try:
            return ops.convert_to_numpy(variable)
        except Exception as error:
            raise RuntimeError(
                "`MeanAveragePrecision.result()` works on the host and cannot be compiled: "
                "update it in the step, and call `result()` after the loop."
            ) from error
