"""Non-maximum suppression in the detectors of KerasCV and KerasHub."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.layers import NonMaxSuppression
from keras_cvx.ops.arguments import check_choice

LABEL_KEYS = ("classes", "labels")


@plugins.register("PredictionDecoder", kind="layer")
class PredictionDecoder(NonMaxSuppression):
    """`NonMaxSuppression` as the `prediction_decoder` of KerasCV's and KerasHub's detectors.

    Each class is suppressed for itself, where the layers of KerasCV and KerasHub let a box of one
    class suppress those of all others.

    Args:
        iou_threshold: As for `NonMaxSuppression`, like all that is not named here.
        confidence_threshold: The same.
        from_logits: Whether scores are logits: of KerasCV's `RetinaNet` and of KerasHub's, unless
            its `activation` is the sigmoid; `YOLOV8Detector` has probabilities.
        label_key: Under which key the detector wants the labels: `"classes"`, KerasCV's, or
            `"labels"`, KerasHub's.
        **kwargs: As for `NonMaxSuppression`; `bounding_box_format` must be the detector's.

    Call arguments:
        boxes: Float tensor `(B, N, 4)`.
        scores: Float tensor `(B, N, C)`, probabilities or logits.
        images, image_shape: What the detectors hand over besides; not needed, for boxes of every
            format are compared as they are.

    Returns:
        Dictionary as of `NonMaxSuppression`, the labels under `label_key`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> decoder = PredictionDecoder(0.5, 0.25, from_logits=True, bounding_box_format="xywh")
        >>> boxes = ops.convert_to_tensor([[[2.0, 0.0, 4.0, 4.0]]])
        >>> found = decoder(boxes, ops.zeros((1, 1, 20)))  # 20 logits of 0
        >>> float(found["confidence"][0, 0]), int(found["num_detections"][0])
        (0.5, 20)

        KerasCV's `RetinaNet(backbone, 20, "xywh", prediction_decoder=decoder)` takes it, as do
        `YOLOV8Detector` and KerasHub's `RetinaNetObjectDetector`.
    """

    def __init__(
        self,
        iou_threshold=0.5,
        confidence_threshold=0.01,
        *,
        from_logits=False,
        label_key="classes",
        **kwargs,
    ):
        super().__init__(iou_threshold, confidence_threshold, **kwargs)
        self.from_logits = from_logits
        check_choice(LABEL_KEYS, label_key=label_key)
        self.label_key = label_key
        # It has no weights, and the detectors are built before it is called.
        self.built = True

    def call(self, boxes, scores, images=None, image_shape=None):
        scores = ops.sigmoid(ops.cast(scores, "float32")) if self.from_logits else scores
        return self._with_key(super().call(boxes, scores))

    def compute_output_spec(self, boxes, scores, images=None, image_shape=None):
        return self._with_key(super().compute_output_spec(boxes, scores))

    def _with_key(self, detections):
        detections[self.label_key] = detections.pop("labels")
        return detections

    def get_config(self):
        config = super().get_config()
        config.update(from_logits=self.from_logits, label_key=self.label_key)
        return config
