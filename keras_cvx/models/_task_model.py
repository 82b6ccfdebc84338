"""What the task models share: checked data, predictions of images of any size, files."""

import functools
import inspect

import keras

from keras_cvx import geometry
from keras_cvx.layers.postprocessing.restore_detections import RestoreDetections
from keras_cvx.models._any_size import any_size, preprocessed, written
from keras_cvx.models._checks import (
    check_image_shape,
    check_images,
    check_no_sample,
    check_preprocessing,
    check_weights,
)
from keras_cvx.ops.arguments import check_keys


class TaskModel(keras.Model):
    """A functional model that is trained on what its graph gives, and predicts what people use.

    Called directly it gives what the losses take. `predict`, `inference_model` and `export` go on
    to detections, or to masks. A subclass sets `preprocessing` and has the methods `_decoded`,
    `_restored`, `checked_truth` and `get_config`; it overrides `_required_strides` where a side of
    the images must be a multiple of something.
    """

    # Where the ground truth is in a sample.
    _truth_key: str
    # What `inference_model` has inside; when one is replaced, the model is made anew.
    _inference_parts: tuple[str, ...] = ("preprocessing",)

    def __init__(self, inputs, outputs, **kwargs):
        # Keras' functional models pass over keywords that they do not know. The constructor below
        # this one has taken its own; they are what a misspelt one was meant to be.
        ours = type(self).__mro__[: type(self).__mro__.index(TaskModel)]
        below = next(cls for cls in reversed(ours) if "__init__" in vars(cls))
        taken = set(inspect.signature(vars(below)["__init__"]).parameters) - {"self", "kwargs"}
        check_keys(kwargs, f"{type(self).__name__}(...)", {"name", "trainable", *taken})
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    @property
    def _required_strides(self):
        """Integers of the largest of which a side of the images must be a multiple."""
        return (1,)

    def __setattr__(self, name, value):
        if name in self._inference_parts:
            for model in ("inference_model", "_restoring_model"):
                self.__dict__.pop(model, None)
        if name == "preprocessing":
            check_preprocessing(value, self.input_shape, self._required_strides)
            # Past Keras' tracking: it is in no graph of training, and decides nothing for one.
            return object.__setattr__(self, name, value)
        return super().__setattr__(name, value)

    @functools.cached_property
    def inference_model(self):
        """Functional model from images to what `predict` gives; it shares this model's weights."""
        name = f"{self.name}_inference"
        if self.preprocessing is None:
            return keras.Model(self.input, self._decoded(self.output), name=name)
        images = keras.Input(any_size(self.input_shape)[1:], dtype=self.input.dtype, name="images")
        return keras.Model(images, self._restored(images), name=name)

    def _decoded(self, predictions):
        """What people use, from what the model gives when it is called."""
        raise NotImplementedError

    def _restored(self, images):
        """The same in the frame of images of any size, which pass through `preprocessing`."""
        raise NotImplementedError

    def checked_truth(self, x, y):
        """The ground truth with arrays for lists; a `ValueError` if it is none of the images."""
        raise NotImplementedError

    def call(self, inputs, training=None, mask=None):
        check_no_sample(inputs, self._truth_key)
        check_image_shape(inputs.shape, self._required_strides)
        return super().call(inputs, training=training, mask=mask)

    def fit(self, x=None, y=None, *args, validation_data=None, class_weight=None, **kwargs):
        """As `keras.Model.fit`, on images and the class' ground truth; arrays are checked first.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of images and ground truth, whose values are
                taken as they are.
            y: Ground truth, as the class describes it.
            *args: As Keras' `fit` takes them.
            validation_data: Pair of images and ground truth, the same with weights, or a dataset.
            class_weight: None: an image has no class of its own.
            **kwargs: As Keras' `fit` takes them; `sample_weight` as the class describes it.

        Returns:
            The `History` of Keras.

        Raises:
            ValueError: If the arrays are not of this structure; if a label is out of range, or a
                box is not finite, has its corners swapped or leaves its image; the message names
                the image and the row.
        """
        if class_weight is not None:
            raise ValueError(
                "`class_weight` must be None: an image has no class of its own. Received: "
                f"class_weight={class_weight!r}. To weight images, pass `sample_weight` (B,)."
            )
        y = self._checked(x, y)
        self._check_weights(kwargs.get("sample_weight"))
        if isinstance(validation_data, (tuple, list, dict)):
            held_out, *rest = keras.utils.unpack_x_y_sample_weight(validation_data)
            rest[0] = self._checked(held_out, rest[0])
            self._check_weights(rest[1])
            validation_data = (held_out, *rest)
        return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, on what `fit` takes; it raises what `fit` raises.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            *args: As Keras' `evaluate` takes them.
            **kwargs: As Keras' `evaluate` takes them.

        Returns:
            What Keras returns: the loss, then the metrics; by name, with `return_dict=True`.
        """
        y = self._checked(x, y)
        self._check_weights(kwargs.get("sample_weight"))
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """What the inference model gives, as NumPy arrays.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of them.
            *args: As Keras' `predict` takes them.
            **kwargs: As Keras' `predict` takes them.

        Raises:
            ValueError: If images are of another shape than the model takes.
        """
        self._check_batch(x)
        return self.inference_model.predict(x, *args, **kwargs)

    def predict_on_batch(self, x):
        """As `predict`, on one batch.

        Args:
            x: Images `(B, H, W, 3)`.
        """
        self._check_batch(x)
        return self.inference_model.predict_on_batch(x)

    def export(self, filepath, *args, **kwargs):
        """Exports the inference graph, from images to what `predict` gives.

        Args:
            filepath: Where to write.
            *args: As Keras' `export` takes them.
            **kwargs: As Keras' `export` takes them.

        Raises:
            ValueError: Under JAX, if the images are of any size, as they are with `preprocessing`,
                and a layer needs to know it.
        """
        shape = self.inference_model.input_shape
        try:
            self.inference_model.export(filepath, *args, **kwargs)
        except Exception as error:
            if keras.backend.backend() != "jax" or None not in shape[1:]:
                raise
            raise ValueError(
                "`export` under JAX must be of images of one size, for a layer asks for it. "
                f"Received: images {written(shape)}. Give the backbone an input of one size, and "
                "no `preprocessing` to the model; or save it, and load and export it under "
                f"TensorFlow. ({error})"
            ) from error

    def compile_from_config(self, config):
        config = {k: keras.saving.deserialize_keras_object(v) for k, v in config.items()}
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**with_parts(config, custom_objects))

    def _checked(self, x, y):
        """`y` as Keras takes it. A dataset is as its reader made it; arrays are looked at."""
        check_no_sample(x, self._truth_key)
        check_images(x, self.input_shape, self._required_strides)
        return self.checked_truth(x, y) if hasattr(x, "shape") else y

    def _check_weights(self, sample_weight):
        check_weights(sample_weight)

    def _check_batch(self, x):
        """Raises for what cannot be predicted; under JAX, Keras would not recover from it."""
        if self.preprocessing is None:
            check_images(x, self.input_shape, self._required_strides)
        else:
            check_images(x, any_size(self.input_shape))


class DetectionModel(TaskModel):
    """A task model that predicts detections.

    A subclass sets `bounding_box_format` and has the method `detections`.
    """

    _truth_key = "bounding_boxes"

    @functools.cached_property
    def _restoring_model(self):
        """From preprocessed images, and how they were moved, to detections in the originals."""
        record = {name: keras.Input((2,), dtype="float32", name=name) for name in geometry.FIELDS}
        found = self.detections(self.output)
        found = RestoreDetections(self.bounding_box_format)(found, record)
        return keras.Model({"images": self.input, "geometry": record}, found, name="restoring")

    def _decoded(self, predictions):
        return self.detections(predictions)

    def _restored(self, images):
        return self._restoring_model(self.preprocessing({"images": images}, training=False))

    def detections(self, predictions):
        """Detections from what the model gives when it is called."""
        raise NotImplementedError

    def predict(self, x, *args, **kwargs):
        """Detections as NumPy arrays; a `ValueError` for images of another shape than it takes.

        Args:
            x: Images `(B, H, W, 3)`, or a dataset of them; with `preprocessing` also images of any
                sizes: a list of arrays `(H, W, 3)` and paths of files, or ragged ones.
            *args: As Keras' `predict` takes them.
            **kwargs: As Keras' `predict` takes them.

        Returns:
            Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)`, `"labels"` `(B, K)` and
            `"num_detections"` `(B,)`; −1 in padded rows.
        """
        if self.preprocessing is not None:
            sample = preprocessed(x, self.preprocessing, self.input)
            if sample is not None:
                return self._restoring_model.predict(sample, *args, **kwargs)
        return super().predict(x, *args, **kwargs)


def with_parts(config, custom_objects=None):
    """A model's configuration, its serialized parts made objects again.

    Args:
        config: Dictionary, of which each dictionary is a part.
        custom_objects: As Keras takes them.
    """
    return {
        key: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }
