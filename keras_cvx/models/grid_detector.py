"""The assembled grid detector: backbone, head, loss, decoding, suppression and metric."""

import functools
import inspect

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.backbones.feature_extractor import FeatureExtractor
from keras_cvx.layers.heads.grid_detection import GridDetectionHead
from keras_cvx.layers.postprocessing.grid_decoding import GridDecoding
from keras_cvx.layers.postprocessing.non_max_suppression import NonMaxSuppression
from keras_cvx.ops.boxes import check_format
from keras_cvx.ops.ground_truth import check_ground_truth, unpack_ground_truth


@plugins.register("GridDetector", kind="model")
class GridDetector(keras.Model):
    """An object detector on any backbone, trained by `fit` on images and padded boxes.

    Called directly it gives the head's raw predictions, which the loss takes. `predict`,
    `inference_model` and `export` go on to decode and suppress, and give detections.

    Args:
        backbone: A functional `keras.Model` of images `(B, H, W, 3)`, which it gets as the
            user has them: its normalization is part of it.
        num_classes: Positive integer C.
        bounding_box_format: Format of ground truth and detections, as Keras names it.
        strides: List of positive integers: the backbone's feature maps that are used, by stride.
        coding: What a cell predicts: the name of a plugin of kind `"coding"`, or the object.
        head: A layer from the list of feature maps to the predictions of a `GridDetectionHead`;
            a `GridDetectionHead` of the default size if None. It must have the detector's coding,
            strides and number of classes.
        non_max_suppression: A layer from boxes and scores to detections, both in the detector's
            format; a `NonMaxSuppression` with its defaults if None. It can be replaced later.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Raises:
        ValueError: If the backbone has no such strides, an argument is out of its range, or an
            image's side is no multiple of the largest stride.

    Example:
        ```python
        detector = keras_cvx.models.GridDetector(backbone, num_classes=10)
        detector.compile(optimizer=keras.optimizers.AdamW(2e-3))
        detector.fit(images, {"boxes": boxes, "labels": labels}, epochs=8)
        detector.predict(images)["boxes"]
        ```
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
        **kwargs,
    ):
        check_format(bounding_box_format)
        coding = plugins.get(coding, kind="coding")
        strides = list(strides) if isinstance(strides, (list, tuple)) else [strides]
        extractor = FeatureExtractor(backbone, strides, name="feature_extractor")
        if head is None:
            head = GridDetectionHead(num_classes, strides, coding=coding, name="head")
        _check_agreement(head, "head", num_classes=num_classes, coding=coding, strides=strides)
        inputs = keras.Input(
            backbone.input_shape[1:], dtype=backbone.inputs[0].dtype, name="images"
        )
        _check_image_shape(inputs.shape, strides)
        super().__init__(inputs=inputs, outputs=head(extractor(inputs)), **kwargs)
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.strides = strides
        self.coding = coding
        self.head = head
        self.non_max_suppression = (
            NonMaxSuppression(bounding_box_format=bounding_box_format)
            if non_max_suppression is None
            else non_max_suppression
        )
        self.decoding = GridDecoding(coding, bounding_box_format, name="decoding")
        self._scores_detections = True

    @property
    def backbone(self):
        """The backbone, as it was given."""
        return self.get_layer("feature_extractor").backbone

    def __setattr__(self, name, value):
        if name == "non_max_suppression":
            value = plugins.get(value, kind="layer")
            _check_agreement(value, name, bounding_box_format=self.bounding_box_format)
            # What is compiled has the layer before it inside.
            self.__dict__.pop("inference_model", None)
            super().__setattr__("test_function", None)
        super().__setattr__(name, value)

    @functools.cached_property
    def inference_model(self):
        """Functional model from images to detections, which shares this detector's weights."""
        detections = self.detections(self.outputs[0])
        return keras.Model(self.input, detections, name=f"{self.name}_inference")

    def detections(self, predictions):
        """Detections from raw predictions: decoding, then suppression.

        Args:
            predictions: Float tensor `(B, A, 3 + channels)`, this model's output.

        Returns:
            The dictionary that `keras_cvx.layers.NonMaxSuppression` describes.
        """
        return self.non_max_suppression(*self.decoding(predictions))

    def call(self, inputs, training=None, mask=None):
        _check_image_shape(inputs.shape, self.strides)
        return super().call(inputs, training=training, mask=mask)

    def compile(self, optimizer="adamw", loss="auto", metrics="auto", **kwargs):
        """Configures training.

        Args:
            optimizer: As Keras takes it.
            loss: A loss of ground truth and raw predictions: an object, a function, or the name of
                a plugin, which is made for this detector; `"auto"` for `"GridDetectionLoss"`.
            metrics: List of metrics of ground truth and detections, objects or names likewise,
                computed by `evaluate` and at the end of each epoch's validation; `"auto"` for
                `["MeanAveragePrecision"]`.
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
            metrics = ["MeanAveragePrecision"]
        self.detection_loss = self._part(loss, "loss")
        # Past Keras' tracking, which would keep the metrics of an earlier `compile`.
        made = [self._part(metric, "metric") for metric in metrics or []]
        object.__setattr__(self, "detection_metrics", made)

    @property
    def metrics(self):
        """Keras' own metrics, then those of the detections."""
        return [*super().metrics, *getattr(self, "detection_metrics", [])]

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """As `keras.Model.fit`, on images and `{"boxes", "labels"}`; arrays are checked first.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of images and ground truth.
            y: Ground truth `{"boxes": (B, N, 4), "labels": (B, N)}`, or packed `(B, N, 5)`; padded
                rows have label −1.
            *args: As Keras' `fit` takes them.
            validation_data: Pair of images and ground truth, or a dataset.
            **kwargs: As Keras' `fit` takes them.

        Returns:
            The `History` of Keras.

        Raises:
            ValueError: If a label is out of range, or a box is not finite, has its corners
                swapped or leaves its image; the message names the image and the row. Or if there
                are more images to validate on than a metric has room for.
        """
        self._check_ground_truth(x, y)
        held_out = x if kwargs.get("validation_split") else None
        if isinstance(validation_data, (tuple, list)) and len(validation_data) > 1:
            held_out = validation_data[0]
            self._check_ground_truth(*validation_data[:2])
        self._check_room(held_out)
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, return_dict=False, **kwargs):
        """As `keras.Model.evaluate`; the metrics of the detections stand beside the loss.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: As Keras' `evaluate` takes them.
            return_dict: Whether to return a dictionary by name instead of a list.
            **kwargs: As Keras' `evaluate` takes them.

        Returns:
            Dictionary, or list of its values: the loss, then the metrics.

        Raises:
            ValueError: As in `fit`.
        """
        self._check_ground_truth(x, y)
        self._check_room(x)
        logs = super().evaluate(x, y, *args, return_dict=True, **kwargs)
        for metric in self.detection_metrics:
            result = metric.result()
            results = result if isinstance(result, dict) else {metric.name: result}
            logs.update({name: float(value) for name, value in results.items()})
        return logs if return_dict else list(logs.values())

    def predict(self, x, *args, **kwargs):
        """Detections as NumPy arrays.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of them.
            *args: As Keras' `predict` takes them.
            **kwargs: As Keras' `predict` takes them.

        Returns:
            Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)`, `"labels"` `(B, K)` and
            `"num_detections"` `(B,)`; see `keras_cvx.layers.NonMaxSuppression`.
        """
        return self.inference_model.predict(x, *args, **kwargs)

    def predict_on_batch(self, x):
        """As `predict`, on one batch of images.

        Args:
            x: Images `(B, H, W, 3)`.
        """
        return self.inference_model.predict_on_batch(x)

    def export(self, filepath, *args, **kwargs):
        """Exports the inference graph, from images to detections.

        Args:
            filepath: Where to write.
            *args: As Keras' `export` takes them.
            **kwargs: As Keras' `export` takes them.
        """
        self.inference_model.export(filepath, *args, **kwargs)

    # What Keras' training loop calls, the same on every backend.

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
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
        # The detections' metrics are read once, by `evaluate`: their results need the host.
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

    def compile_from_config(self, config):
        config = {k: keras.saving.deserialize_keras_object(v) for k, v in config.items()}
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "strides": list(self.strides),
            "coding": keras.saving.serialize_keras_object(self.coding),
            "head": keras.saving.serialize_keras_object(self.head),
            "non_max_suppression": keras.saving.serialize_keras_object(self.non_max_suppression),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(
            **{
                key: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
                if isinstance(value, dict)
                else value
                for key, value in config.items()
            }
        )

    def _part(self, part, kind):
        """A loss or metric; one that is asked for by name gets the detector's own settings."""
        settings = {
            name: getattr(self, name) for name in ("num_classes", "coding", "bounding_box_format")
        }
        if isinstance(part, str):
            made = plugins.lookup(part, kind)
            taken = inspect.signature(made).parameters
            if isinstance(made, type):
                made = made(**{name: x for name, x in settings.items() if name in taken})
            return made
        made = part if kind == "loss" and callable(part) else plugins.get(part, kind)
        _check_agreement(made, kind, **settings)
        return made

    def _check_room(self, images):
        """Raises before the work, and not after it, if a metric has no room for the images."""
        count = len(images) if hasattr(images, "shape") else 0
        for metric in self.detection_metrics if self.compiled else []:
            if count > getattr(metric, "max_images", count):
                raise ValueError(
                    f"`max_images` of the metric {metric.name!r} must be at least the number of "
                    f"images to evaluate. Received: max_images={metric.max_images}, and {count} "
                    "images. Compile with `metrics=[keras_cvx.metrics.MeanAveragePrecision("
                    f"num_classes, max_images={count})]`, for instance."
                )

    def _check_ground_truth(self, images, y):
        """Checks arrays for what only data can show; datasets are as their readers made them."""
        if isinstance(y, dict) and {"boxes", "labels"} <= set(y):
            boxes, labels = y["boxes"], y["labels"]
        elif getattr(y, "ndim", None) == 3 and y.shape[-1] == 5:
            boxes, labels = y[..., :4], y[..., 4]
        else:
            return
        if all(isinstance(x, np.ndarray) or ops.is_tensor(x) for x in (images, boxes, labels)):
            check_ground_truth(
                ops.convert_to_numpy(boxes),
                ops.convert_to_numpy(labels),
                num_images=len(images),
                image_size=tuple(images.shape[_spatial()]),
                num_classes=self.num_classes,
                bounding_box_format=self.bounding_box_format,
            )


def _check_agreement(part, argument, **settings):
    """Raises if a part that knows one of the detector's settings has it otherwise."""
    for name, expected in settings.items():
        received = getattr(part, name, expected)
        if isinstance(expected, list) and not isinstance(received, (list, tuple)):
            received = [received]
        if _settings_of(received) != _settings_of(expected):
            raise ValueError(
                f"`{argument}` must have the detector's {name}={expected!r}. "
                f"Received: {argument} with {name}={received!r}"
            )


def _settings_of(value):
    """What makes two values the same: class and configuration of an object."""
    return (type(value), value.get_config()) if hasattr(value, "get_config") else value


def _spatial():
    return slice(1, 3) if keras.config.image_data_format() == "channels_last" else slice(2, 4)


def _check_image_shape(shape, strides):
    for name, side in zip(("height", "width"), shape[_spatial()], strict=True):
        if side is not None and side % max(strides):
            raise ValueError(
                f"The images' {name} must be a multiple of {max(strides)}, the largest stride. "
                f"Received: {name}={side}. Pad to {-(-side // max(strides)) * max(strides)}, "
                "for instance with `keras.layers.ZeroPadding2D`."
            )
