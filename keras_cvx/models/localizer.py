"""The assembled localizer: backbone, head, losses and decoding for one object an image."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.backbones.checks import check_image_model
from keras_cvx.layers.heads.localization import LocalizationHead
from keras_cvx.layers.postprocessing.localization_decoding import LocalizationDecoding
from keras_cvx.models._checks import (
    check_object_keys,
    check_one_object,
    check_weights,
    checked_objects,
    image_weights,
)
from keras_cvx.models._parts import (
    agreeing_part,
    check_agreement,
    check_registered,
    is_of_keras,
    layer_of,
    outputs_of,
)
from keras_cvx.models._task_model import DetectionModel
from keras_cvx.ops.arguments import check_integers, shapes_agree
from keras_cvx.ops.boxes import check_format

_OUTPUTS = ("labels", "boxes")


@plugins.register("Localizer", kind="model")
class Localizer(DetectionModel):
    """Predicts the class and the box of the one object of an image, on any backbone.

    Called directly it gives `{"labels": (B, C + 1), "boxes": (B, 4)}`, float32: probabilities, of
    which the last is that of "no object", and a box that lies in the image. `predict`,
    `inference_model` and `export` give detections, at most one an image.

    `fit` and `evaluate` take ground truth `{"labels": (B,), "boxes": (B, 4)}`, integers and
    boxes. An image without an object has the label −1 and a box of four −1: it teaches the class
    output "no object" and counts in no box loss. One axis more, of size 1, is allowed:
    `(B, 1)` and `(B, 1, 4)`, the rows of data for detectors. `sample_weight` is one number an
    image, `(B,)`, or a dictionary `{"labels": (B,), "boxes": (B,)}`.

    `keras.models.clone_model` gives the graph alone, a plain functional model, as it does of every
    model with a constructor of its own; a copy is `Localizer.from_config(localizer.get_config())`.

    Args:
        backbone: A functional `keras.Model` from images `(B, H, W, 3)`, which it gets as the
            user has them, to a feature map of rank 4; of several outputs, the last is used. Its
            normalization is part of it, as of those of `keras_cvx.backbones.get`.
        num_classes: Positive integer C, "no object" not counted.
        bounding_box_format: Format of ground truth and detections, as Keras names it.
        head: A layer that is called on the feature map and the images and gives a dictionary of
            `"labels"` `(B, C + 1)`, probabilities, and `"boxes"` `(B, 4)` in the model's format, or
            the name of a plugin, which is made for the localizer with C + 1 classes;
            `LocalizationHead(C + 1, bounding_box_format=…)` if None.
        decoding: A layer from what the model gives to detections, or the name of a plugin, such as
            one with a threshold; a `LocalizationDecoding` if None. It can be replaced later.
        preprocessing: A layer such as `ResizeWithPad(224, 224)` that makes images of the
            backbone's size. Through it images of any size, and in lists files too, pass in
            `predict`, `inference_model` and `export`, so that the detections are in each original
            image, clipped to it. Training takes images that have passed through it. It can be
            replaced. Files are read as RGB, their EXIF orientation applied; arrays in a list are
            RGB.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Attributes:
        backbone: The backbone, as it was given.
        head: The head's layer.
        decoding: The layer that makes detections, which can be replaced.
        preprocessing: The layer through which images of any size pass, or None.
        inference_model: Functional model from images to detections; it shares all weights.

    Raises:
        ValueError: If the backbone gives no feature map, an argument is out of its range, or the
            class of a part is not registered.

    Example:
        >>> inputs = keras.Input((32, 32, 3))
        >>> backbone = keras.Model(inputs, keras.layers.Conv2D(8, 8, strides=8)(inputs))
        >>> localizer = Localizer(backbone, num_classes=10)
        >>> localizer.compile(optimizer=keras.optimizers.AdamW(1e-3))
        >>> images = keras.ops.zeros((1, 32, 32, 3))
        >>> boxes = keras.ops.convert_to_tensor([[0.0, 0.0, 16.0, 8.0]])
        >>> truth = {"labels": keras.ops.ones((1,)), "boxes": boxes}
        >>> history = localizer.fit(images, truth, epochs=1, verbose=0)
        >>> localizer.predict(images, verbose=0)["boxes"].shape
        (1, 1, 4)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        *,
        bounding_box_format="xyxy",
        head=None,
        decoding=None,
        preprocessing=None,
        **kwargs,
    ):
        check_integers(1, num_classes=num_classes)
        check_format(bounding_box_format)
        features = _feature_model(backbone)
        if head is None:
            head = LocalizationHead(
                num_classes + 1, bounding_box_format=bounding_box_format, name="head"
            )
        settings = {"bounding_box_format": bounding_box_format}
        if isinstance(head, str):
            head = agreeing_part(head, "layer", num_classes=num_classes + 1, **settings)
        check_registered(head, "head", "layer")
        received = getattr(head, "num_classes", num_classes + 1)
        if received != num_classes + 1:
            raise ValueError(
                f"`head` must have num_classes={num_classes + 1}, the {num_classes} of the "
                f"localizer and one for no object. Received: head with num_classes={received}"
            )
        check_agreement(
            head,
            "head",
            owner="localizer",
            data_format=keras.config.image_data_format(),
            **settings,
        )
        images = backbone.inputs[0]
        inputs = keras.Input(images.shape[1:], dtype=images.dtype, name="images")
        # A model may have its one output in a list or a dictionary.
        [feature_map] = keras.tree.flatten(features(inputs))
        outputs = outputs_of(head, "head", (feature_map, inputs), "a feature map and the images")
        outputs = _checked_outputs(outputs, num_classes)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        # Past Keras' tracking: layers behind the feature map would be weights without gradient.
        object.__setattr__(self, "backbone", backbone)
        self.num_classes = num_classes
        self.bounding_box_format = bounding_box_format
        self.head = head
        self.preprocessing = preprocessing
        self.decoding = LocalizationDecoding(name="decoding") if decoding is None else decoding

    _inference_parts = ("decoding", "preprocessing")

    def __setattr__(self, name, value):
        if name == "decoding":
            settings = "num_classes", "bounding_box_format"
            value = layer_of(self, value, name, *settings, owner="localizer")
        return super().__setattr__(name, value)

    def detections(self, predictions):
        """Detections from what the model gives when it is called.

        Args:
            predictions: Dictionary of `"labels"` `(B, C + 1)` and `"boxes"` `(B, 4)`.

        Returns:
            The dictionary that `keras_cvx.layers.LocalizationDecoding` describes.
        """
        return self.decoding(predictions)

    def checked_truth(self, x, y):
        """The ground truth with arrays for lists; a `ValueError` if it is none of the images.

        Args:
            x: Images, as `fit` takes them.
            y: Ground truth, likewise.
        """
        return checked_objects(x, y, self)

    def compile(
        self,
        optimizer="adamw",
        loss="auto",
        *,
        loss_weights=None,
        metrics="auto",
        weighted_metrics=None,
        **kwargs,
    ):
        """Configures training, as `keras.Model.compile` does for two outputs.

        Args:
            optimizer: As Keras takes it.
            loss: Dictionary from `"labels"` and `"boxes"` to losses as Keras takes them, or names
                of plugins, which are made for this model's format; `"auto"` for
                `{"labels": "sparse_categorical_crossentropy", "boxes": "GIoULoss"}`. The classes
                are integers, C + 1 of them, "no object" the last; their scores are probabilities.
                Whatever the box loss, images without an object have a weight of 0 in it.
            loss_weights: Dictionary of numbers by output, 1 where none is given, or None.
            metrics: Dictionary from outputs to metrics or lists of them; `"auto"` for
                `{"labels": "accuracy", "boxes": "BoxIoU"}`; None for none. A metric of boxes that
                does not know padding, as `BoxIoU` does, belongs into `weighted_metrics`.
            weighted_metrics: Likewise; there images without an object have a weight of 0 in those
                of boxes.
            **kwargs: As Keras' `compile` takes them.

        Raises:
            ValueError: If a loss, its weight or a metric is of an unknown output, or a loss or
                metric is unknown, of another box format than the model, or of logits.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = {"labels": "sparse_categorical_crossentropy", "boxes": "GIoULoss"}
        if isinstance(metrics, str) and metrics == "auto":
            metrics = {"labels": "accuracy", "boxes": "BoxIoU"}
        super().compile(
            optimizer=optimizer,
            loss=self._parts(loss, "loss", "loss"),
            loss_weights=_loss_weights(loss_weights, loss),
            metrics=self._parts(metrics, "metrics", "metric"),
            weighted_metrics=self._parts(weighted_metrics, "weighted_metrics", "metric"),
            **kwargs,
        )

    # What Keras' training loop calls.
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y, weights = self._targets(y, sample_weight)
        return super().compute_loss(x, y, y_pred, weights, training=training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y, weights = self._targets(y, sample_weight)
        return super().compute_metrics(x, y, y_pred, weights)

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
            "head": keras.saving.serialize_keras_object(self.head),
            "decoding": keras.saving.serialize_keras_object(self.decoding),
            "preprocessing": keras.saving.serialize_keras_object(self.preprocessing),
            "name": self.name,
            "trainable": self.trainable,
        }

    def _targets(self, y, sample_weight):
        """What Keras' losses and metrics take: classes with "no object", boxes, their weights."""
        labels, boxes = _unpacked(y)
        present = labels >= 0
        target = {
            "labels": ops.where(present, labels, ops.full_like(labels, self.num_classes)),
            # −1 whatever stood there: `BoxIoU` and the box losses know it for padding.
            "boxes": ops.where(ops.expand_dims(present, -1), boxes, -ops.ones_like(boxes)),
        }
        if not isinstance(sample_weight, dict):
            sample_weight = dict.fromkeys(_OUTPUTS, sample_weight)
        weights = {name: image_weights(sample_weight.get(name)) for name in _OUTPUTS}
        counted = ops.cast(present, "float32")
        if weights["boxes"] is not None:
            # A selection and no product, for an image without an object may weigh anything.
            counted = ops.where(present, weights["boxes"], ops.zeros_like(counted))
        return target, {**weights, "boxes": counted}

    def _parts(self, parts, argument, kind):
        """Losses or metrics by output; a plugin that is asked for by name gets the box format."""
        if _by_output(parts, argument) is None:
            return None
        return {
            name: [self._part(p, kind) for p in part]
            if isinstance(part, (list, tuple))
            else self._part(part, kind)
            for name, part in parts.items()
        }

    def _part(self, part, kind):
        settings = {"bounding_box_format": self.bounding_box_format}
        if isinstance(part, str):
            return part if is_of_keras(part, kind) else agreeing_part(part, kind, **settings)
        check_agreement(part, kind, owner="localizer", **settings)
        if getattr(part, "class_aware", False):
            raise ValueError(
                f"A {kind} of one output must not be class-aware, for it sees no classes. "
                f"Received: {part!r}. Update it with ground truth and the detections of "
                "`predict` instead."
            )
        if getattr(part, "from_logits", False):
            raise ValueError(
                f"A {kind} must take probabilities, which the localizer gives. Received: {part!r} "
                "with from_logits=True. Make it with from_logits=False."
            )
        return part

    def _check_weights(self, sample_weight):
        if not isinstance(sample_weight, dict):
            return check_weights(sample_weight)
        if set(sample_weight) != set(_OUTPUTS):
            raise ValueError(
                "`sample_weight`, if it is a dictionary, must have the keys 'labels' and 'boxes'. "
                f"Received: {sorted(map(str, sample_weight))}"
            )
        for weights in sample_weight.values():
            check_weights(weights)
        return None


def _feature_model(backbone):
    """The backbone, or the part of it that leads to its last output."""
    check_image_model(backbone)
    outputs = backbone.outputs
    rank = len(outputs[-1].shape)
    if rank != 4:
        mend = "Build it without its top and its pooling: `include_top=False, pooling=None`."
        if rank == 3:
            mend = (
                "Of a vision transformer, whose tokens these may be, pass "
                "`keras_cvx.backbones.FeatureExtractor(backbone, stride)`, the stride its patch "
                "size."
            )
        raise ValueError(
            "`backbone` must give a feature map of rank 4 as its last output. Received: a backbone "
            f"{backbone.name!r} whose output is of shape {tuple(outputs[-1].shape)}. {mend}"
        )
    if len(outputs) == 1:
        return backbone
    return keras.Model(backbone.inputs[0], outputs[-1], name="features")


def _checked_outputs(outputs, num_classes):
    shapes = {"labels": (None, num_classes + 1), "boxes": (None, 4)}
    received = keras.tree.map_structure(lambda x: tuple(x.shape), outputs)
    if (
        not isinstance(outputs, dict)
        or set(outputs) != set(shapes)
        or not all(shapes_agree(outputs[name].shape, shape) for name, shape in shapes.items())
    ):
        raise ValueError(
            f"`head` must give a dictionary of 'labels' (B, {num_classes + 1}), the last of them "
            f"for no object, and 'boxes' (B, 4). Received: {received}"
        )
    return {name: outputs[name] for name in _OUTPUTS}


def _by_output(parts, argument):
    """`parts` if they are None, or a dictionary of outputs of this model."""
    if parts is None:
        return None
    if not isinstance(parts, dict) or not set(parts) <= set(_OUTPUTS):
        what = sorted(map(str, parts)) if isinstance(parts, dict) else repr(parts)
        raise ValueError(
            f"`{argument}` must be None or a dictionary with the keys 'labels' and 'boxes'. "
            f"Received: {what}"
        )
    return parts


def _loss_weights(loss_weights, loss):
    """A weight for each output that has a loss, as Keras wants them; None of None."""
    if _by_output(loss_weights, "loss_weights") is None:
        return None
    weighed = sorted(name for name, part in (loss or {}).items() if part is not None)
    if not set(loss_weights) <= set(weighed):
        raise ValueError(
            f"`loss_weights` must be of outputs that have a loss, {weighed}. "
            f"Received: {sorted(loss_weights)}"
        )
    return {name: loss_weights.get(name, 1.0) for name in weighed}


def _unpacked(y):
    """Int32 labels `(B,)` and float32 boxes `(B, 4)` of ground truth in a step of training."""
    check_object_keys(y)
    labels, boxes = (ops.convert_to_tensor(y[name]) for name in _OUTPUTS)
    check_one_object(labels.shape, boxes.shape)
    labels, boxes = ops.reshape(labels, (-1,)), ops.reshape(boxes, (-1, 4))
    return ops.cast(labels, "int32"), ops.cast(boxes, "float32")
