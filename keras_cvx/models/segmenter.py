"""The assembled segmenter: backbone, decoder, loss and metric, at any size of images."""

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.backbones.feature_extractor import FeatureExtractor
from keras_cvx.layers.postprocessing.segmentation_decoding import SegmentationDecoding
from keras_cvx.models._any_size import any_size, preprocessed
from keras_cvx.models._checks import (
    check_images,
    check_no_sample,
    checked_class_weight,
    checked_masks,
)
from keras_cvx.models._parts import (
    layer_of,
    logits_of,
    loss_of_masks,
    loss_of_regions,
    made_decoder,
    metrics_of_masks,
)
from keras_cvx.models._task_model import TaskModel
from keras_cvx.models._tiles import tiled_masks
from keras_cvx.ops.arguments import check_integers, ignored_ids, spatial_axes
from keras_cvx.ops.masks import weights_of_classes, weights_of_pixels


@plugins.register("Segmenter", kind="model")
class Segmenter(TaskModel):
    """Predicts the class of every pixel, on any backbone, for images of any size.

    Called directly it gives the logits `(B, H, W, C)`, float32, classes last in either data
    format, which the loss takes. `predict`, `inference_model` and `export` give masks and their
    confidence. Background is a class like others. A copy is `from_config(get_config())`, for
    `keras.models.clone_model` makes a plain functional model of a subclass.

    `fit` and `evaluate` take masks of class ids, integers `(B, H, W)` or `(B, H, W, 1)`, and
    `sample_weight` of images, `(B,)`, or of pixels, `(B, H, W)`.

    Args:
        backbone: A functional `keras.Model` of images `(B, H, W, 3)`, which it gets as the user has
            them: its normalization is part of it. It must have the decoder's strides.
        num_classes: Integer C of at least 2, background counted.
        decoder: Name of a plugin of kind `"decoder"`, which is called with C and a `name`:
            `"fcn32s"`, `"fcn16s"`, `"fcn8s"`, `"unet"`, `"fpn"` or that of another package. Or a
            layer with the attribute `strides`, which is called with the list of the backbone's
            feature maps of these strides and the images, and gives logits `(B, H, W, C)`.
        ignore_class: Integer, sequence of integers, or None: ids of pixels that count neither in
            the loss nor in the metric.
        classification: As for `SegmentationDecoding`: what makes masks of logits, in place of the
            most probable class. It can be replaced.
        preprocessing: A layer such as `ResizeWithPad(256, 256)` that makes images of one size.
            Through it images of any size, and in lists files too, pass in `predict`,
            `inference_model` and `export`, so that each mask has the size of its original image.
            Training takes images and masks that have passed through it. It can be replaced.
            Files are read as RGB, their EXIF orientation applied; arrays in a list are RGB.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Attributes:
        backbone: The backbone, as it was given.
        decoder: The decoder's layer.
        preprocessing: The layer through which images of any size pass, or None.
        inference_model: Functional model from images to masks; it shares all weights.

    Raises:
        ValueError: If the backbone lacks a stride, there is no such decoder, an argument is out of
            its range, or the class of a part is not registered.

    Example:
        >>> inputs = keras.Input((None, None, 3))
        >>> x = keras.layers.Conv2D(8, 8, strides=8)(inputs)
        >>> x = keras.layers.MaxPooling2D()(keras.layers.MaxPooling2D()(x))
        >>> backbone = keras.Model(inputs, x)
        >>> segmenter = Segmenter(backbone, num_classes=11, decoder="fcn8s")
        >>> segmenter.compile(optimizer=keras.optimizers.AdamW(1e-3))
        >>> images, masks = ops.zeros((1, 32, 32, 3)), ops.zeros((1, 32, 32), "int32")
        >>> history = segmenter.fit(images, masks, epochs=1, class_weight={0: 0.5}, verbose=0)
        >>> segmenter.predict(images, verbose=0)["masks"].shape
        (1, 32, 32)

        A decoder of one's own is a layer with `strides`, as that of `examples/plugin_package`.

    Reference:
        Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation.
    """

    _truth_key = "segmentation_masks"
    # Weights by class of the current `fit`, or None.
    _class_weight = None

    def __init__(
        self,
        backbone,
        num_classes,
        *,
        decoder="fcn8s",
        ignore_class=255,
        classification=None,
        preprocessing=None,
        **kwargs,
    ):
        check_integers(2, num_classes=num_classes)
        ignored_ids(ignore_class)
        decoder = made_decoder(decoder, num_classes)
        try:
            extractor = FeatureExtractor(backbone, decoder.strides, name="feature_extractor")
        except ValueError as error:
            raise ValueError(
                f"`decoder` uses the strides {decoder.strides} of `backbone`: {error}. For others "
                "there is `decoder=keras_cvx.layers.TransposedConvDecoder("
                f"{num_classes}, strides=[...])`."
            ) from error
        images = backbone.inputs[0]
        inputs = keras.Input(images.shape[1:], dtype=images.dtype, name="images")
        maps = extractor(inputs)
        maps = maps if isinstance(maps, list) else [maps]
        logits = logits_of(decoder, maps, inputs, num_classes)
        super().__init__(inputs=inputs, outputs=logits, **kwargs)
        self.num_classes = num_classes
        self.decoder = decoder
        self.ignore_class = ignore_class
        self.classification = classification
        self.preprocessing = preprocessing

    _inference_parts = ("classification", "preprocessing")

    def __setattr__(self, name, value):
        if name == "classification" and value is not None:
            value = layer_of(self, value, name, "num_classes", owner="segmenter")
        return super().__setattr__(name, value)

    @property
    def _largest_stride(self):
        return int(np.max(self.decoder.strides))

    @property
    def backbone(self):
        """The backbone, as it was given."""
        return self.get_layer("feature_extractor").backbone

    def _decoded(self, predictions):
        return self._decoding(None)(predictions)

    def _restored(self, images):
        logits = keras.Model(self.input, self.output)(self.preprocessing(images, training=False))
        return self._decoding(self.preprocessing)(logits, images=images)

    def _decoding(self, preprocessing):
        return SegmentationDecoding(preprocessing, self.classification, name="decoding")

    def checked_truth(self, x, y):
        """The masks as an array; a `ValueError` if they are none of the images.

        Args:
            x: Images, as `fit` takes them.
            y: Masks, likewise.
        """
        return checked_masks(x, y, self)

    def compile(
        self,
        optimizer="adamw",
        loss="auto",
        loss_weights=None,
        metrics="auto",
        weighted_metrics=None,
        **kwargs,
    ):
        """Configures training.

        Args:
            optimizer: As Keras takes it.
            loss: A loss of masks of ids and logits: an object, a function, or the name of a class
                of Keras or of a plugin, such as `"LovaszSoftmax"`, which is made for logits.
                `"auto"` for `"SparseCategoricalCrossentropy"`. The ids that the model ignores are
                cut out by `IgnoreClass`, but for functions, objects with an `ignore_class` of their
                own, and those of other packages, which are taken as they are. Of a list, the sum,
                as in `["auto", "GeneralizedDice"]`.
            loss_weights: List of the factors of a list of losses, 1 each if None.
            metrics: A metric of masks of ids and logits, or a list of them: objects, or names of
                plugins, which are made for this model, or names that Keras knows; `"auto"` for
                `"SegmentationIoU"`; None for none. Keras' `"accuracy"` counts ignored pixels as
                wrong; the `pixel_accuracy` of `"SegmentationIoU"` leaves them out.
            weighted_metrics: Likewise; in these `sample_weight` counts.
            **kwargs: As Keras' `compile` takes them.

        Raises:
            ValueError: If a loss takes probabilities, or a metric has another number of classes or
                other ignored ids.
        """
        if isinstance(metrics, str) and metrics == "auto":
            metrics = "SegmentationIoU"
        settings = {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "sparse_y_pred": False,
        }
        super().compile(
            optimizer=optimizer,
            loss=loss_of_masks(loss, self.ignore_class, loss_weights),
            metrics=metrics_of_masks(metrics, **settings),
            weighted_metrics=metrics_of_masks(weighted_metrics, **settings),
            **kwargs,
        )

    def fit(self, x=None, y=None, *args, class_weight=None, **kwargs):
        """As `keras.Model.fit`, on images and masks; arrays are checked first.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of images and masks, whose values are taken as
                they are.
            y: Masks of class ids, integers `(B, H, W)` or `(B, H, W, 1)`.
            *args: As Keras' `fit` takes them.
            class_weight: Dictionary from class ids to the weights of their pixels in the loss of
                training, 1 for those that are not in it; for a loss with a value for each pixel.
                The loss is not divided by their sum.
            **kwargs: As Keras' `fit` takes them; `sample_weight` `(B,)`, or `(B, H, W)`.

        Returns:
            The `History` of Keras.

        Raises:
            ValueError: If the arrays are not of this structure; if masks are not of integers, or an
                id is out of range; the message names the image.
        """
        weights = checked_class_weight(class_weight, self.num_classes)
        loss = loss_of_regions(getattr(self, "loss", None))
        if weights is not None and loss is not None:
            raise ValueError(
                "`class_weight` must be None with a loss that has no value for each pixel, such as "
                f"{type(loss).__name__}. Received: class_weight={class_weight!r}"
            )
        # Whatever was traced has the weights of its time in it.
        self._set_class_weight(weights)
        try:
            return super().fit(x, y, *args, **kwargs)
        finally:
            self._set_class_weight(None)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, **kwargs):
        """As `keras.Model.train_on_batch`; classes are weighted by `sample_weight` of pixels.

        Args:
            x: Images `(B, H, W, 3)`.
            y: Masks `(B, H, W)`.
            sample_weight: Weights `(B,)`, or `(B, H, W)`.
            class_weight: None: only `fit` takes it.
            **kwargs: As Keras' `train_on_batch` takes them.
        """
        if class_weight is not None:
            raise ValueError(
                "`class_weight` must be None here. `fit` takes it; for a batch, pass the weights "
                "of its pixels as `sample_weight` (B, H, W). Received: "
                f"class_weight={class_weight!r}"
            )
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """Masks and their confidence as NumPy arrays, in the size of the images.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of them; with `preprocessing` also images of any
                sizes: a list of arrays `(H, W, 3)` and paths of files, or ragged ones.
            batch_size: Images at once, 32 if None.
            **kwargs: As Keras' `predict` takes them; without effect for images of several sizes.

        Returns:
            Dictionary of `"masks"`, int32 `(B, H, W)`, class ids, and `"confidence"`, float32
            `(B, H, W)`, in `[0, 1]`. Of images of several sizes, lists of `(H, W)`. An id is −1
            where `preprocessing` has cut a pixel off, or a logit is NaN. `SegmentationIoU` and
            `segmentation_gallery` take these masks, beside lists of such as truth. The
            probabilities of all classes are `keras.ops.softmax(model(images))`, and in the size of
            an image before `preprocessing` the softmax of
            `preprocessing.restore_maps(model(preprocessing(images)), size)`.

        Raises:
            ValueError: If images are of another shape than the model takes.
        """
        if self.preprocessing is not None:
            sample = preprocessed(x, self.preprocessing, self.input)
            if sample is not None:
                return self._of_several_sizes(sample, batch_size or 32)
        return super().predict(x, batch_size=batch_size, **kwargs)

    def predict_tiled(self, x, tile_size=None, overlap=None, batch_size=1):
        """As `predict`, of large images at their own size, tile by tile.

        The logits of neighbouring tiles are blended where they overlap; the outer quarter of the
        overlap, where the network saw a tile's border, does not count. So where that quarter is
        wider than what a pixel's logits depend on, and the sides of tiles and images are
        multiples of the largest stride, the result is that of the whole image. Memory holds one
        row of tiles and the result. `preprocessing` is not used.

        Args:
            x: Images `(B, H, W, 3)`, or a list of arrays `(H, W, 3)`, memory-mapped ones for
                instance, and paths of files. A side shorter than the tile is predicted whole, if
                the backbone takes it.
            tile_size: Positive integer, or a pair of height and width in pixels. The size of the
                backbone's images if None, or 512 if that is unknown.
            overlap: Pixels that neighbouring tiles share, at least; less than the tile by the
                largest stride or more. A quarter of the tile if None.
            batch_size: Positive integer, tiles at once; more take more memory.

        Returns:
            Dictionary of `"masks"`, int32 `(B, H, W)`, and `"confidence"`, float32 `(B, H, W)`; of
            a list, lists of `(H, W)`.

        Raises:
            ValueError: If an argument is out of its range, or an image of another shape.
        """
        check_no_sample(x, self._truth_key)
        if hasattr(x, "shape"):
            check_images(x, any_size(self.input_shape))
        shape, stride = self.input_shape, self._largest_stride
        sizes = tile_size, overlap, batch_size
        classified = self._decoding(None).classified
        found = tiled_masks(x, self._logits, shape, stride, *sizes, classified)
        if isinstance(x, (list, tuple)):
            return found
        size = (len(x), *x.shape[spatial_axes()])
        return {
            name: np.asarray(arrays, dtype).reshape(size)
            for (name, arrays), dtype in zip(found.items(), ("int32", "float32"), strict=True)
        }

    # What Keras' training loop calls.
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        y = _of_known_rank(y, y_pred)
        if training and self._class_weight is not None:
            weights = weights_of_classes(self._class_weight, y)
            if sample_weight is not None:
                weights *= weights_of_pixels(sample_weight, weights)
            sample_weight = weights
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, _of_known_rank(y, y_pred), y_pred, sample_weight)

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "ignore_class": self.ignore_class,
            "classification": keras.saving.serialize_keras_object(self.classification),
            "preprocessing": keras.saving.serialize_keras_object(self.preprocessing),
            "name": self.name,
            "trainable": self.trainable,
        }

    def _check_weights(self, sample_weight):
        """Nothing: weights of images and of pixels are right, and the loss knows their shapes."""

    def _set_class_weight(self, weights):
        if self._class_weight is not weights:
            # Past Keras' tracking. What was traced before has the earlier weights in it.
            object.__setattr__(self, "_class_weight", weights)
            self.train_function = None

    def _of_several_sizes(self, samples, batch_size):
        """What `predict` gives of one preprocessed sample, or of a dataset of such."""
        decoding = self._decoding(self.preprocessing)
        masks, confidence = [], []
        for sample in [samples] if isinstance(samples, dict) else samples:
            images = np.asarray(sample["images"])
            sizes = np.asarray(sample["geometry"]["source_size"]).astype(int).tolist()
            for first in range(0, len(images), batch_size):
                # Not all at once, for the logits are many times as large as the images.
                batch = slice(first, first + batch_size)
                for logits, size in zip(self._logits(images[batch]), sizes[batch], strict=True):
                    found = decoding.at_size(logits, tuple(size))
                    masks.append(found["masks"])
                    confidence.append(found["confidence"])
        return {"masks": masks, "confidence": confidence}

    def _logits(self, images):
        """The logits of one batch as a NumPy array."""
        return ops.convert_to_numpy(keras.Model.predict_on_batch(self, images))


def _of_known_rank(masks, logits):
    if masks is None:
        raise ValueError("`x` must be a dataset of images and masks. Received: images alone")
    # TensorFlow forgets the rank once it has seen both, and either is right.
    if getattr(masks.shape, "rank", 0) is None:
        return ops.reshape(masks, ops.shape(logits)[:-1])
    return masks
