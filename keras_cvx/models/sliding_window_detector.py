"""A classifier of windows as a detector of objects: pyramid, scores, boxes, suppression."""

import functools
import math

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.backbones.convolutionalize import check_classifier, convolutionalize
from keras_cvx.layers.postprocessing.non_max_suppression import NonMaxSuppression
from keras_cvx.models._any_size import any_size, image_of_list, images_of_batch, written
from keras_cvx.models._checks import check_no_sample
from keras_cvx.models._parts import check_probabilities, layer_of
from keras_cvx.models._task_model import with_parts
from keras_cvx.ops.arguments import (
    check_choice,
    check_integers,
    check_numbers,
    shapes_agree,
    spatial_axes,
)
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.pictures import is_picture
from keras_cvx.ops.resizing import resize, saturate
from keras_cvx.ops.windows import count_windows, map_windows, window_boxes

METHODS = ("convolutional", "crops")
# Sizes of images whose compiled models are kept.
_MOST_MODELS = 16


@plugins.register("SlidingWindowDetector", kind="model")
class SlidingWindowDetector(keras.Model):
    """Finds objects in images of any size with a classifier of images of one size.

    The image is resized to each scale, and the classifier scores a window at every `strides` of its
    pixels; overlapping windows of one class are suppressed, over all scales together. Nothing is
    trained here: what the classifier learns, the detector knows.

    The windows begin in the upper left corner of the image and end at its last whole stride, so
    that up to a stride of pixels on the right and below may be seen by none. A scale at which an
    image is smaller than the window has no windows.

    Args:
        classifier: A functional or built sequential `keras.Model` from images of one size, the
            window's, to scores `(B, C)` in `[0, 1]`, such as softmax or sigmoid gives.
        scales: List of positive numbers, the image pyramid. At 0.5 an object is found that is twice
            as large as the window, above 1 one that is smaller.
        method: `"convolutional"`: one pass over the whole image, by
            `keras_cvx.backbones.convolutionalize`. `"crops"`: each window is cut out and
            classified, which is far slower, but right for any classifier. Where the network pads
            nowhere, both give the same; else see `convolutionalize` for the difference.
        strides: Pixels of the scaled image from one window to the next, a positive integer or a
            pair of them, down and across: multiples of the classifier's total stride, which is the
            default. With `"crops"` any, and required if it cannot be made convolutional.
        background_classes: List of class ids that are no objects. The others keep their ids.
        bounding_box_format: Format of the detections, as Keras names it, in the image's pixels.
        non_max_suppression: A layer from boxes and scores to detections, in the detector's format;
            it has the thresholds of confidence and overlap. `NonMaxSuppression(0.3, 0.5)` if None.
            It can be replaced later.
        **kwargs: As for every Keras model (`name`, `trainable`).

    Call arguments:
        images: Tensor `(B, H, W, channels)` with static sides, or as Keras' data format has it.

    Returns:
        The dictionary of detections that `keras_cvx.layers.NonMaxSuppression` describes. A box is
        the whole window.

    Raises:
        ValueError: If the classifier takes images of no fixed size, gives more than one vector, or
            ends in a layer without an activation, so that its scores are logits; if it cannot be
            made convolutional, where it must be; if another argument is out of its range; or if
            images are smaller than the window at every scale.

    Example:
        >>> inputs = keras.Input((8, 8, 3))  # and trained, of a real one
        >>> x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, strides=2)(inputs))
        >>> scores = keras.layers.Dense(3, activation="softmax")(x)
        >>> detector = SlidingWindowDetector(
        ...     keras.Model(inputs, scores), scales=[1.0, 0.5], background_classes=[2]
        ... )
        >>> photographs = keras.ops.zeros((1, 24, 32, 3))
        >>> detector.predict(photographs, verbose=0)["boxes"].shape
        (1, 100, 4)

    Reference:
        Sermanet et al. 2014, OverFeat, sections 3.3 and 3.5.
    """

    def __init__(
        self,
        classifier,
        scales=(1.0,),
        *,
        method="convolutional",
        strides=None,
        background_classes=(),
        bounding_box_format="xyxy",
        non_max_suppression=None,
        **kwargs,
    ):
        check_classifier(classifier)
        check_probabilities(classifier)
        check_format(bounding_box_format)
        check_choice(METHODS, method=method)
        if not isinstance(background_classes, (list, tuple, set, np.ndarray)):
            raise ValueError(
                "`background_classes` must be a list of class ids. "
                f"Received: background_classes={background_classes!r}"
            )
        scales = _checked_scales(scales)
        super().__init__(**kwargs)
        self.autocast = False
        self.classifier = classifier
        self.scales = scales
        self.method = method
        self.strides = strides
        self.background_classes = np.asarray(list(background_classes)).tolist()
        self.bounding_box_format = bounding_box_format
        self._channels_first = keras.config.image_data_format() == "channels_first"
        shape = classifier.inputs[0].shape
        self._window = tuple(shape[spatial_axes()])
        self._num_classes = max(classifier.outputs[0].shape[1:])
        self._is_object = _objects(self.background_classes, self._num_classes)
        self.non_max_suppression = (
            NonMaxSuppression(0.3, 0.5, bounding_box_format=bounding_box_format)
            if non_max_suppression is None
            else non_max_suppression
        )
        self._strides = _checked_strides(strides)
        if method == "convolutional" or strides is None:
            try:
                network = convolutionalize(classifier)
            except ValueError as error:
                raise ValueError(f"{error}. Or pass method='crops' and `strides`.") from error
            self._slide_over(network)
        # All weights are there.
        self.built = True

    def __setattr__(self, name, value):
        if name == "non_max_suppression":
            value = layer_of(self, value, name, "bounding_box_format")
            # Built for any number of windows, so that its configuration is that of all images.
            value(keras.Input((None, 4)), keras.Input((None, self._num_classes)))
            # By size of the images. In a function, for Keras would find the detector, which every
            # model has inside, once more when it saves.
            self._model_of = functools.lru_cache(_MOST_MODELS)(self._made_model)
            # Past Keras' tracking, which takes no layers once a model is built.
            return object.__setattr__(self, name, value)
        return super().__setattr__(name, value)

    def call(self, images, training=None):
        size = self._size_of(images.shape)
        if self._channels_first:
            images = ops.moveaxis(images, 1, -1)
        images = ops.cast(images, "float32")
        boxes, scores = [], []
        for scaled, counts in self._levels(size):
            level = resize(images, scaled, antialias=True)
            level = saturate(level, self.classifier.inputs[0].dtype)
            rows, columns = counts
            scores.append(ops.reshape(self._scores(level), (-1, rows * columns, self._num_classes)))
            boxes.append(window_boxes(size, scaled, self._window, self._strides))
        height, width = size
        target = self.bounding_box_format
        boxes = convert(np.concatenate(boxes), "xyxy", target, height=height, width=width)
        scores = ops.cast(ops.concatenate(scores, axis=1), "float32")
        # No threshold lets a score below 0 through.
        scores = ops.where(self._is_object, scores, -1.0)
        boxes = ops.convert_to_tensor(boxes) + ops.zeros_like(scores[..., :1])
        return self.non_max_suppression(boxes, scores)

    def inference_model(self, height, width):
        """Functional model of images of one size, to be called in other models or exported.

        It is made once, and kept as long as few other sizes are asked for.

        Args:
            height: Positive integer, in pixels.
            width: Likewise.
        """
        return self._model_of(height, width)

    def predict(self, x, *args, **kwargs):
        """Detections as NumPy arrays.

        For each size of images a model is compiled, which takes longer than to run it; the last 16
        are kept. Pad photographs of many sizes to few of them.

        Args:
            x: Images `(B, H, W, channels)`; a list of images of any sizes, arrays `(H, W,
                channels)` and paths of files; or a dataset of batches, alone or before their truth.
            *args: As Keras' `predict` takes them.
            **kwargs: As Keras' `predict` takes them.

        Returns:
            Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)`, `"labels"` `(B, K)` and
            `"num_detections"` `(B,)`, each image's boxes in its own pixels.

        Raises:
            ValueError: If images are of another shape, or smaller than the window at every scale.
        """
        check_no_sample(x, "bounding_boxes")
        if is_picture(x):
            raise ValueError(
                f"`x` must be images, a list or a dataset. Received: x={str(x)!r}. Pass `[x]`."
            )
        if hasattr(x, "shape"):
            model = self.inference_model(*self._size_of(x.shape))
            if not x.shape[0]:
                # Keras would fail, and under JAX not recover from it.
                raise ValueError("`x` must hold at least one image. Received: none")
            return model.predict(x, *args, **kwargs)
        if isinstance(x, (list, tuple)):
            shape = any_size(self.classifier.inputs[0].shape)[1:]
            batches = (image_of_list(image, index, shape)[None] for index, image in enumerate(x))
        else:
            batches = (np.asarray(images_of_batch(batch)) for batch in x)
        found = [self.predict(batch, *args, **kwargs) for batch in batches]
        if not found:
            raise ValueError("`x` must hold at least one image. Received: none")
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *found)

    def predict_on_batch(self, x):
        """As `predict`, on one batch.

        Args:
            x: Images `(B, H, W, channels)`.
        """
        size = self._size_of(getattr(x, "shape", ()))
        return self.inference_model(*size).predict_on_batch(x)

    def fit(self, *args, **kwargs):
        """Raises `NotImplementedError`: the classifier is trained, on images of its own size."""
        raise NotImplementedError(
            "A `SlidingWindowDetector` is not trained itself: call `fit` of its `classifier`, on "
            f"images of {self._window[0]} × {self._window[1]} pixels"
        )

    def compile(self, *args, **kwargs):
        """Raises `NotImplementedError`: metrics are updated with the detections of `predict`."""
        raise NotImplementedError(
            "A `SlidingWindowDetector` is not trained and so not compiled: compile its "
            "`classifier`. To score detections, update a metric with those of `predict`."
        )

    def export(self, *args, **kwargs):
        """Raises `NotImplementedError`: the inference model of one size of images is exported."""
        raise NotImplementedError(
            "A `SlidingWindowDetector` takes images of any size, and a graph those of one: call "
            "`inference_model(height, width).export(...)`"
        )

    def compute_output_spec(self, images, training=None):
        self._levels(self._size_of(images.shape))
        boxes = keras.KerasTensor((images.shape[0], None, 4), "float32")
        scores = keras.KerasTensor((images.shape[0], None, self._num_classes), "float32")
        return self.non_max_suppression.compute_output_spec(boxes, scores)

    def get_config(self):
        return {
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "scales": list(self.scales),
            "method": self.method,
            "strides": list(self.strides)
            if isinstance(self.strides, (list, tuple))
            else self.strides,
            "background_classes": list(self.background_classes),
            "bounding_box_format": self.bounding_box_format,
            "non_max_suppression": keras.saving.serialize_keras_object(self.non_max_suppression),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_parts(config, custom_objects))

    def _made_model(self, *size):
        channels = self.classifier.inputs[0].shape[1 if self._channels_first else 3]
        shape = (channels, *size) if self._channels_first else (*size, channels)
        images = keras.Input(shape, dtype="float32", name="images")
        return keras.Model(images, self(images), name=f"{self.name}_inference")

    def _slide_over(self, network):
        """Takes the strides of a convolutional network, and itself if the method wants it."""
        own = network.get_layer("windows").strides
        self._strides = self._strides or own
        steps = [stride / least for stride, least in zip(self._strides, own, strict=True)]
        if any(step != int(step) for step in steps):
            raise ValueError(
                f"`strides` must be multiples of the classifier's own, {own[0]} down and {own[1]} "
                f"across, with method='convolutional'. Received: strides={self.strides}. Take a "
                "classifier whose poolings and strides are smaller, or method='crops'."
            )
        down, across = (slice(None, None, int(step)) for step in steps)
        # In a function, for its weights are the classifier's, and are to be found there alone.
        self._slide = lambda images: network(images, training=False)[:, down, across]

    def _size_of(self, shape):
        """Height and width of images of a static shape."""
        expected = any_size(self.classifier.inputs[0].shape)
        if not shapes_agree(tuple(shape), expected):
            mend = " Of one image, pass `x[None]`." if len(shape) == 3 else ""
            raise ValueError(
                f"`images` must be of shape {written(expected)}. "
                f"Received: shape {tuple(shape)}.{mend}"
            )
        size = tuple(shape[spatial_axes()])
        if None in size:
            raise ValueError(
                "`images` must have a known height and width, for the windows are laid out when "
                f"the graph is built. Received: shape {tuple(shape)}"
            )
        return size

    def _levels(self, size):
        """Of each scale that has windows: size of the image, and numbers of windows."""
        if 0 in size:
            raise ValueError(f"`images` must have pixels. Received: {size[0]} × {size[1]} pixels")
        scaled = [tuple(max(1, round(side * scale)) for side in size) for scale in self.scales]
        levels = [(s, count_windows(s, self._window, self._strides)) for s in scaled]
        levels = [level for level in levels if level[1] != (0, 0)]
        if not levels:
            height, width = self._window
            least = math.ceil(100 * max(height / size[0], width / size[1])) / 100
            raise ValueError(
                f"`images` must be at least as large as the window, {height} × {width} pixels, at "
                f"one of the scales {list(self.scales)}. Received: {size[0]} × {size[1]} pixels. "
                f"Pad them, or add {least} to `scales`."
            )
        return levels

    def _scores(self, images):
        """Scores of the windows, `(B, rows, columns, C)`."""
        if self.method == "crops":
            return map_windows(self._classified, images, self._window, self._strides)
        return self._slide(self._as_the_network_has_it(images))

    def _classified(self, crops):
        found = self.classifier(self._as_the_network_has_it(crops), training=False)
        return ops.reshape(found, (-1, self._num_classes))

    def _as_the_network_has_it(self, images):
        return ops.moveaxis(images, -1, 1) if self._channels_first else images


def _checked_scales(scales):
    scales = scales.tolist() if isinstance(scales, np.ndarray) else scales
    scales = list(scales) if isinstance(scales, (list, tuple)) else [scales]
    for scale in scales:
        check_numbers(scales=scale)
    if not scales or min(scales) <= 0:
        raise ValueError(f"`scales` must be positive numbers, one or more. Received: {scales}")
    return scales


def _checked_strides(strides):
    """A pair, or None for None."""
    if strides is None:
        return None
    pair = strides if isinstance(strides, (list, tuple)) else (strides, strides)
    if len(pair) != 2:
        raise ValueError(
            "`strides` must be a positive integer, or a pair of them, down and across. "
            f"Received: strides={strides}"
        )
    for stride in pair:
        check_integers(1, strides=stride)
    return tuple(int(stride) for stride in pair)


def _objects(background_classes, num_classes):
    """Whether each class is one of objects, `(C,)`."""
    for index in background_classes:
        check_integers(0, background_classes=index)
    if not set(background_classes) < set(range(num_classes)):
        raise ValueError(
            f"`background_classes` must be ids of the classifier's {num_classes} classes, and "
            f"leave one of objects. Received: background_classes={background_classes}"
        )
    return np.isin(np.arange(num_classes), background_classes, invert=True)
