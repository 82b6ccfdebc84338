"""The assembled grid detector: backbone, head, loss, decoding, suppression and metric."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.backbones.feature_extractor import FeatureExtractor
from keras_cvx.layers.heads.grid_detection import GridDetectionHead
from keras_cvx.layers.postprocessing.grid_decoding import GridDecoding
from keras_cvx.layers.postprocessing.non_max_suppression import NonMaxSuppression
from keras_cvx.models._checks import check_image_shape, checked_rows, image_weights
from keras_cvx.models._parts import (
    agreeing_part,
    check_coding,
    check_registered,
    layer_of,
    outputs_of,
)
from keras_cvx.models._task_model import DetectionModel
from keras_cvx.ops.boxes import check_format
from keras_cvx.ops.ground_truth import unpack_ground_truth


@plugins.register("GridDetector", kind="model")
class GridDetector(DetectionModel):
    """An object detector on any backbone, trained by `fit` on images and padded boxes.

    Called directly it gives the head's raw predictions, which the loss takes. `predict`,
    `inference_model` and `export` go on to decode and suppress, and give detections.

    `fit` and `evaluate` take ground truth `{"boxes": (B, N, 4), "labels": (B, N)}`, or packed
    `(B, N, 5)`; padded rows have label −1. N may differ from one batch of a dataset to the next.
    `sample_weight` is one number an image, `(B,)`; it counts in the loss, for average precision
    knows no weights.

    Args:
        backbone: A functional `keras.Model` of images `(B, H, W, 3)`, which it gets as the
            user has them: its normalization is part of it.
        num_classes: Positive integer C.
        bounding_box_format: Format of ground truth and detections, as Keras names it.
        strides: List of positive integers: the backbone's feature maps that are used, by stride.
        coding: What a cell predicts: the name of a plugin of kind `"coding"`, or the object.
        head: A layer from the list of feature maps to the predictions of a `GridDetectionHead`, or
            the name of a plugin, which is made for the detector; a `GridDetectionHead` of the
            default size if None. It must have the detector's coding, strides and number of classes.
        non_max_suppression: A layer from boxes and scores to detections, both in the detector's
            format, or the name of a plugin; a `NonMaxSuppression` with its defaults if None. It can
            be replaced later.
        decoding: A layer from raw predictions to boxes, in the detector's format, and scores, or
            the name of a plugin; a `GridDecoding` if None. It can be replaced later.
        preprocessing: A layer such as `ResizeWithPad(128, 128)` that makes images of the backbone's
            size. Through it images of any size, and in lists files too, pass in `predict`,
            `inference_model` and `export`, so that the detections are in each original image,
            clipped to it. Training takes images that have passed through it. It can be replaced.
            Files are read as RGB, their EXIF orientation applied; arrays in a list are RGB.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Attributes:
        backbone: The backbone, as it was given.
        head: The head's layer.
        decoding: The layer from raw predictions to boxes and scores, which can be replaced.
        non_max_suppression: The suppression's layer, which can be replaced.
        preprocessing: The layer through which images of any size pass, or None.
        inference_model: Functional model from images to detections; it shares all weights.

    Raises:
        ValueError: If the backbone has no such strides, an argument is out of its range, the class
            of a part is not registered, or an image's side is no multiple of the largest stride.

    Example:
        >>> inputs = keras.Input((32, 32, 3))
        >>> fine = keras.layers.Conv2D(8, 8, strides=8, activation="relu")(inputs)
        >>> backbone = keras.Model(inputs, [fine, keras.layers.MaxPooling2D()(fine)])
        >>> detector = GridDetector(backbone, num_classes=10)
        >>> detector.compile(optimizer=keras.optimizers.AdamW(2e-3))
        >>> images = ops.zeros((1, 32, 32, 3))
        >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 16.0, 8.0]]])
        >>> truth = {"boxes": boxes, "labels": ops.ones((1, 1))}
        >>> history = detector.fit(images, truth, epochs=1, verbose=0)
        >>> detector.predict(images, verbose=0)["boxes"].shape
        (1, 100, 4)

        The trained backbone in a detector of other classes, frozen at first:

        >>> other = GridDetector(detector.backbone, num_classes=3)
        >>> other.backbone.trainable = False
        >>> other.compile()  # then `fit` for some epochs, and
        >>> other.backbone.trainable = True
        >>> other.compile(optimizer=keras.optimizers.AdamW(1e-4))  # again, or nothing changes
    """

    def __init__(
        self,
        backbone,
        num_classes,
        *,
        bounding_box_format="xyxy",
        strides=(8, 16),
        coding="anchor_free",
        head=None,
        non_max_suppression=None,
        decoding=None,
        preprocessing=None,
        **kwargs,
    ):
        check_format(bounding_box_format)
        coding = plugins.get(coding, kind="coding")
        strides = list(strides) if isinstance(strides, (list, tuple)) else [strides]
        extractor = FeatureExtractor(backbone, strides, name="feature_extractor")
        if head is None:
            head = GridDetectionHead(num_classes, strides, coding=coding, name="head")
        head = agreeing_part(
            head, "layer", argument="head", num_classes=num_classes, coding=coding, strides=strides
        )
        check_coding(coding)
        check_registered(head, "head", "layer")
        images = backbone.inputs[0]
        inputs = keras.Input(images.shape[1:], dtype=images.dtype, name="images")
        check_image_shape(inputs.shape, strides)
        maps = extractor(inputs)
        # Of one stride the extractor gives the map itself.
        outputs = _predictions(head, maps if isinstance(maps, list) else [maps])
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.strides = strides
        self.coding = coding
        self.head = head
        self.preprocessing = preprocessing
        self.non_max_suppression = (
            NonMaxSuppression(bounding_box_format=bounding_box_format)
            if non_max_suppression is None
            else non_max_suppression
        )
        self.decoding = (
            GridDecoding(coding, bounding_box_format, name="decoding")
            if decoding is None
            else decoding
        )
        self._scores_detections = True

    _inference_parts = ("non_max_suppression", "decoding", "preprocessing")
    # In which parts must agree with it.
    _settings = ("num_classes", "coding", "bounding_box_format")

    @property
    def backbone(self):
        """The backbone, as it was given."""
        return self.get_layer("feature_extractor").backbone

    @property
    def _required_strides(self):
        return self.strides

    def __setattr__(self, name, value):
        if name in ("non_max_suppression", "decoding"):
            value = layer_of(self, value, name, *self._settings)
            super().__setattr__("test_function", None)
        return super().__setattr__(name, value)

    def detections(self, predictions):
        """Detections from raw predictions: decoding, then suppression.

        Args:
            predictions: Float tensor `(B, A, 3 + channels)`, this model's output.

        Returns:
            The dictionary that `keras_cvx.layers.NonMaxSuppression` describes.
        """
        return self.non_max_suppression(*self.decoding(predictions))

    def checked_truth(self, x, y):
        """The ground truth with arrays for lists; a `ValueError` if it is none of the images.

        Args:
            x: Images, as `fit` takes them.
            y: Ground truth, likewise.
        """
        return checked_rows(x, y, self)

    def compile(self, optimizer="adamw", loss="auto", metrics="auto", **kwargs):
        """Configures training.

        Args:
            optimizer: As Keras takes it.
            loss: A loss of ground truth and raw predictions: an object, a function, or the name of
                a plugin, which is made for this detector; `"auto"` for `"GridDetectionLoss"`.
            metrics: A metric of ground truth and detections, or a list of them: objects or names
                likewise, but no functions. They are computed by `evaluate` and at the end of each
                epoch's validation. `"auto"` for `["MeanAveragePrecision"]`; None for none. A
                callback that watches one, such as `keras.callbacks.ModelCheckpoint` or
                `EarlyStopping` with `monitor="val_AP"`, needs `mode="max"`.
            **kwargs: As Keras' `compile` takes them.

        Raises:
            ValueError: If a loss or metric has another box format, coding or number of classes
                than the detector, or an argument has no meaning here.
        """
        for name in ("loss_weights", "weighted_metrics"):
            if kwargs.pop(name, None) is not None:
                raise ValueError(
                    f"`{name}` must be None: a detector has one loss. Received a value"
                )
        super().compile(optimizer=optimizer, loss=None, metrics=None, **kwargs)
        if isinstance(loss, str) and loss == "auto":
            loss = "GridDetectionLoss"
        if isinstance(metrics, str) and metrics == "auto":
            metrics = "MeanAveragePrecision"
        if metrics is not None and not isinstance(metrics, (list, tuple)):
            metrics = [metrics]
        self.detection_loss = self._part(loss, "loss")
        # Past Keras' tracking, which would keep the metrics of an earlier `compile`.
        made = [self._part(metric, "metric") for metric in metrics or []]
        object.__setattr__(self, "detection_metrics", made)

    @property
    def metrics(self):
        """Keras' own metrics, then those of the detections."""
        return [*super().metrics, *getattr(self, "detection_metrics", [])]

    def evaluate(self, x=None, y=None, *args, return_dict=False, **kwargs):
        """As `keras.Model.evaluate`, on what `fit` takes; it raises what `fit` raises.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: As Keras' `evaluate` takes them.
            return_dict: Whether to return a dictionary by name instead of a list.
            **kwargs: As Keras' `evaluate` takes them.

        Returns:
            Dictionary, or list of its values: the loss, then the metrics of the detections.
        """
        logs = super().evaluate(x, y, *args, return_dict=True, **kwargs)
        for metric in self.detection_metrics:
            result = metric.result()
            results = result if isinstance(result, dict) else {metric.name: result}
            logs.update({name: float(value) for name, value in results.items()})
        return logs if return_dict else list(logs.values())

    def export(self, filepath, *args, **kwargs):
        """Exports the inference graph, from images to detections.

        A SavedModel that was written under TensorFlow gives the detections of `predict`. One that
        was written under JAX cannot be served by TensorFlow 2.21, which does not know the operation
        that `top_k` becomes; under PyTorch the exporters to SavedModel and ONNX refuse the graph.

        Args:
            filepath: Where to write.
            *args: As Keras' `export` takes them.
            **kwargs: As Keras' `export` takes them.
        """
        super().export(filepath, *args, **kwargs)

    # What Keras' training loop calls.
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        sample_weight = image_weights(sample_weight)
        if isinstance(self.detection_loss, keras.losses.Loss):
            loss = self.detection_loss(y, y_pred, sample_weight=sample_weight)
        else:
            loss = self.detection_loss(y, y_pred)
            loss = ops.mean(loss if sample_weight is None else loss * sample_weight)
        return loss + sum(self.losses) if self.losses else loss

    def train_step(self, *args, **kwargs):
        # Suppression and matching in every step of training would cost time and tell nothing.
        self._scores_detections = False
        try:
            return super().train_step(*args, **kwargs)
        finally:
            self._scores_detections = True

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if self._scores_detections and self.detection_metrics:
            detections = self.detections(y_pred)
            truth = dict(zip(("boxes", "labels"), unpack_ground_truth(y), strict=True))
            for metric in self.detection_metrics:
                metric.update_state(truth, detections)
        return self.get_metrics_result()

    def get_metrics_result(self):
        # The detections' metrics are read once, by `evaluate`: not all can be read in a graph.
        late = {id(metric) for metric in self.detection_metrics}
        return {m.name: m.result() for m in self.metrics if id(m) not in late}

    def get_compile_config(self):
        if not self.compiled:
            return super().get_compile_config()
        return {
            **super().get_compile_config(),
            "loss": keras.saving.serialize_keras_object(self.detection_loss),
            "metrics": [keras.saving.serialize_keras_object(m) for m in self.detection_metrics],
        }

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "strides": list(self.strides),
            "coding": keras.saving.serialize_keras_object(self.coding),
            "head": keras.saving.serialize_keras_object(self.head),
            "non_max_suppression": keras.saving.serialize_keras_object(self.non_max_suppression),
            "decoding": keras.saving.serialize_keras_object(self.decoding),
            "preprocessing": keras.saving.serialize_keras_object(self.preprocessing),
            "name": self.name,
            "trainable": self.trainable,
        }

    def _part(self, part, kind):
        """A loss or metric; one that is asked for by name gets the detector's own settings."""
        return agreeing_part(part, kind, **{name: getattr(self, name) for name in self._settings})


def _predictions(head, maps):
    """What a head gives of feature maps; a `ValueError` that blames it if it is no grid's."""
    outputs = outputs_of(head, "head", (maps,), "a list of feature maps")
    if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) != 3:
        received = keras.tree.map_structure(lambda x: tuple(x.shape), outputs)
        raise ValueError(
            "`head` must give predictions (B, cells, 3 + channels), as `GridDetectionHead` does. "
            f"Received: {received}"
        )
    return outputs
