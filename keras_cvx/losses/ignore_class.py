"""One way to leave ignored pixels out of any loss of masks."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.segmentation_loss import SegmentationLoss, check_image_weights
from keras_cvx.ops.arguments import (
    check_axis,
    checked_axis,
    ignored_ids,
    shapes_agree,
)
from keras_cvx.ops.masks import kept_pixels, weights_of_pixels


@plugins.register("IgnoreClass", kind="loss")
class IgnoreClass(keras.losses.Loss):
    """Any loss of masks, of which pixels with certain ids are cut out.

    It takes masks of ids for every loss, Keras' own included, and makes of them what the loss
    needs: ids for `SparseCategoricalCrossentropy` and the losses of this package, one-hot for
    others, and the mask itself, as floats, where there is one class.

    A loss with a value for each pixel, such as a cross-entropy, becomes its mean over the pixels
    that are kept; `sample_weight` `(B,)` then weighs images, `(B, H, W)` pixels. Other losses get
    truth and predictions that are 0 in the pixels that are not: of Dice, Tversky and whatever else
    is made of sums of products, they are gone. They have no gradient. If no pixel of what a value
    stands for is kept, it is 0.

    Args:
        loss: A Keras loss, the name of its class, in Keras or among the plugins, or its
            configuration. Its reduction becomes that of the whole.
        ignore_class: Integer, sequence of integers, or None for no id.
        axis: The axis of classes of `y_pred`.
        name: As for every Keras loss.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`. One that is neither ignored nor a class means
            what the loss makes of it: with a sparse cross-entropy, an error or any number.
        y_pred: Float tensor `(B, H, W, C)`; where C is 1 ids are 0 or 1. What the loss takes as
            logits only if it is a cross-entropy or a loss of this package.

    Raises:
        ValueError: If an argument is of another kind, or the shapes do not go together.

    Example:
        >>> loss = IgnoreClass(keras.losses.Dice(), ignore_class=(255, 254))
        >>> y_true = ops.array([[[0, 1, 255, 254]]])
        >>> y_pred = ops.array([[[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]]])
        >>> round(float(loss(y_true, y_pred)), 6)
        0.0
    """

    def __init__(self, loss, ignore_class=255, *, axis=-1, name="ignore_class"):
        loss = made_loss(loss)
        if getattr(loss, "ignore_class", None) is not None:
            raise ValueError(
                "`loss` must ignore no class itself, for its ignored pixels would count as without "
                f"cost. Received: {type(loss).__name__} with ignore_class={loss.ignore_class!r}. "
                "Give all ids to `IgnoreClass`."
            )
        super().__init__(name=name, reduction=loss.reduction, dtype="float32")
        self.loss = loss
        self._ignored = ignored_ids(ignore_class)
        self.ignore_class = ignore_class
        self.axis = checked_axis(axis)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = ops.convert_to_tensor(y_true, dtype="float32")
        y_pred = ops.convert_to_tensor(y_pred)
        check_axis(self.axis, y_pred, "y_pred")
        weighted = sample_weight is not None or self.reduction == "mean_with_sample_weight"
        if isinstance(self.loss, SegmentationLoss):
            check_image_weights(sample_weight)
        elif weighted and self._is_of_pixels(y_pred.shape):
            sample_weight = self._weights(self._ids(y_true, y_pred), sample_weight)
        return super().__call__(y_true, y_pred, sample_weight=sample_weight)

    def call(self, y_true, y_pred):
        y_true, classes = self._ids(y_true, y_pred), y_pred.shape[self.axis]
        kept = kept_pixels(y_true, self._ignored)
        y_true = ops.where(kept, y_true, 0.0)
        if isinstance(self.loss, SegmentationLoss):
            values = self.loss.call(y_true, y_pred, mask=kept)
            return self._of_regions(values, kept)
        spread = ops.expand_dims(kept, self.axis)
        if self._is_of_pixels(y_pred.shape):
            # The same for every class: harmless as logits and as probabilities, also to a gradient.
            y_pred = ops.where(spread, y_pred, 1.0 / max(classes, 2))
            values = self.loss.call(self._truth(y_true, classes), y_pred)
            return self._mean_of_kept(ops.where(kept, values, 0.0), kept)
        truth = ops.where(spread, self._truth(y_true, classes), 0.0)
        return self._of_regions(self.loss.call(truth, ops.where(spread, y_pred, 0.0)), kept)

    def _ids(self, y_true, y_pred):
        """The ids as `(B, H, W)`."""
        pixels = list(y_pred.shape)
        del pixels[self.axis]
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, axis=-1)
        if not shapes_agree(y_true.shape, tuple(pixels)):
            raise ValueError(
                "`y_true` must be ids (B, H, W) or (B, H, W, 1) for `y_pred` (B, H, W, C). "
                f"Received: shapes {tuple(y_true.shape)} and {tuple(y_pred.shape)}, classes on "
                f"axis {self.axis}"
            )
        return y_true

    def get_config(self):
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "ignore_class": self.ignore_class,
            "axis": self.axis,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})

    def _truth(self, y_true, classes):
        """What the loss takes for ids `(B, H, W)`."""
        if isinstance(self.loss, keras.losses.SparseCategoricalCrossentropy):
            return y_true
        if classes == 1:
            return ops.expand_dims(y_true, self.axis)
        return ops.one_hot(ops.cast(y_true, "int32"), classes, axis=self.axis, dtype="float32")

    def _is_of_pixels(self, shape):
        """Whether the loss has a value for each pixel; tried on two images of two pixels a side."""
        small = [2] * len(shape)
        small[self.axis] = shape[self.axis]
        rank = len(shape) - 1
        truth = self._truth(ops.zeros((2,) * rank), shape[self.axis])
        values = self.loss.call(truth, ops.full(small, 0.5, dtype="float32"))
        return len(values.shape) == rank

    def _weights(self, ids, weights):
        """Weights of the pixels of a loss of pixels."""
        if weights is not None:
            weights = weights_of_pixels(weights, ids)
        if self.reduction != "mean_with_sample_weight":
            return weights
        # Keras divides by their sum, in which ignored pixels have no part.
        return ops.where(kept_pixels(ids, self._ignored), 1.0 if weights is None else weights, 0.0)

    def _mean_of_kept(self, values, kept):
        """Values whose mean over all pixels is their mean over those that are kept."""
        if self.reduction not in ("sum_over_batch_size", "mean"):
            return values
        kept = ops.cast(kept, "float32")
        total, number = ops.sum(ops.ones_like(kept)), ops.sum(kept)
        return values * (total / ops.maximum(number, 1.0))

    def _of_regions(self, values, kept):
        """The loss of images or of the batch; 0 where nothing of them is kept."""
        values = ops.convert_to_tensor(values)
        if not values.shape:
            return ops.where(ops.any(kept), values, 0.0)
        some = ops.any(kept, axis=tuple(range(1, len(kept.shape))))
        some = ops.reshape(some, (-1,) + (1,) * (len(values.shape) - 1))
        return ops.where(some, values, 0.0)


def made_loss(loss):
    """The loss itself, of whatever form a user gives it in.

    Args:
        loss: A Keras loss, the name of its class, in Keras or among the plugins, or its
            configuration.

    Raises:
        ValueError: If it is none.
    """
    required = (
        "`loss` must be a `keras.losses.Loss`, or the name of its class, such as 'Dice' or "
        f"'LovaszSoftmax'. Received: loss={loss!r}"
    )
    try:
        if isinstance(loss, str) and not hasattr(keras.losses, loss):
            made = plugins.get(loss, kind="loss")
        else:
            made = keras.losses.get(loss)
    except (TypeError, ValueError) as error:
        # Of a name it says which is the nearest.
        raise ValueError(f"{required}. {error}" if isinstance(loss, str) else required) from error
    if not isinstance(made, keras.losses.Loss):
        raise ValueError(required)
    return made
