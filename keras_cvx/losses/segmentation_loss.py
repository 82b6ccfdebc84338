"""What segmentation losses share: the way from masks and scores to pixels of classes."""

import keras
from keras import ops

from keras_cvx.ops.arguments import check_axis, checked_axis, shapes_agree


def flat_pixels(y_true, y_pred, axis, mask=None):
    """Truth and predictions as pixels of classes, image by image.

    Args:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or the share of each class, of the shape of
            `y_pred`. With one class, 1 in the foreground and 0 elsewhere.
        y_pred: Float tensor `(B, H, W, C)`, classes on `axis`; other numbers of axes will do.
        axis: Integer, the axis of classes.
        mask: Boolean tensor `(B, H, W)`, or None; what is false is to be 0.

    Returns:
        Float32 tensors `(B, H·W, C)`: truth, predictions; and boolean `(B, H·W, 1)` or None.

    Raises:
        ValueError: If the shapes do not go together.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    check_axis(axis, y_pred, "y_pred")
    y_pred = ops.moveaxis(ops.cast(y_pred, "float32"), axis, -1)
    classes, pixels = y_pred.shape[-1], y_pred.shape[:-1]
    dense = ops.moveaxis(y_true, axis, -1) if len(y_true.shape) == len(y_pred.shape) else None
    if dense is not None and shapes_agree(dense.shape, y_pred.shape):
        truth = ops.cast(dense, "float32")
    else:
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, axis=-1)
        if not shapes_agree(y_true.shape, pixels):
            raise ValueError(
                "`y_true` must be ids (B, H, W) or of the shape of `y_pred` (B, H, W, C). "
                f"Received: shapes {tuple(y_true.shape)} and {tuple(y_pred.shape)}, the axis of "
                "classes last"
            )
        truth = ops.expand_dims(y_true, -1)
        if classes > 1:
            truth = ops.cast(truth, "int32") == ops.arange(classes, dtype="int32")
        truth = ops.cast(truth, "float32")
    shape = (ops.shape(y_pred)[0], _product(pixels[1:]), classes)
    truth, y_pred = ops.reshape(truth, shape), ops.reshape(y_pred, shape)
    if mask is None:
        return truth, y_pred, None
    mask = ops.reshape(ops.cast(mask, "bool"), (*shape[:2], 1))
    return truth, y_pred, mask


def _product(sizes):
    """Number of pixels; −1, found by the reshape, where a size is unknown."""
    count = 1
    for size in sizes:
        if size is None:
            return -1
        count *= size
    return count


def probabilities(y_pred, from_logits):
    """Softmax over the last axis, or a sigmoid if it is of one class; nothing without logits.

    Args:
        y_pred: Float tensor `(..., C)`.
        from_logits: Boolean.

    Returns:
        Float tensor `(..., C)` in `[0, 1]`.
    """
    if not from_logits:
        return y_pred
    return ops.sigmoid(y_pred) if y_pred.shape[-1] == 1 else ops.softmax(y_pred, axis=-1)


def check_image_weights(sample_weight):
    """Raises for weights of pixels, where a loss has one value an image.

    Args:
        sample_weight: None, a number, or a tensor `(B,)`; axes of size 1 may follow.
    """
    shape = tuple(getattr(sample_weight, "shape", ()))
    if any(size not in (1, None) for size in shape[1:]):
        raise ValueError(
            "`sample_weight` must be one number an image, (B,), for the loss has one value an "
            f"image. Received: shape {shape}. To leave pixels out, give them an id of their own "
            "and use `keras_cvx.losses.IgnoreClass`."
        )


class SegmentationLoss(keras.losses.Loss):
    """Base of the losses of masks; a subclass gives `of_pixels`.

    Args:
        from_logits: Whether `y_pred` is of logits: the softmax is taken over `axis`, or the
            sigmoid if there is one class. Else it is of probabilities.
        axis: The axis of classes.
        reduction: As for every Keras loss.
        name: As for every Keras loss.
    """

    takes_probabilities = True
    default_name: str | None = None

    def __init__(self, from_logits=False, *, axis=-1, reduction="sum_over_batch_size", name=None):
        # Always float32: half precision cannot count the pixels of an image.
        super().__init__(name=name or self.default_name, reduction=reduction, dtype="float32")
        self.from_logits = from_logits
        self.axis = checked_axis(axis)

    def __call__(self, y_true, y_pred, sample_weight=None):
        check_image_weights(sample_weight)
        return super().__call__(y_true, y_pred, sample_weight=sample_weight)

    def call(self, y_true, y_pred, mask=None):
        """Loss before the reduction.

        Args:
            y_true: As `flat_pixels` takes it.
            y_pred: As `flat_pixels` takes it.
            mask: Boolean tensor of the pixels that count, or None for all.
        """
        y_true, y_pred, mask = flat_pixels(y_true, y_pred, self.axis, mask)
        if self.takes_probabilities:
            y_pred = probabilities(y_pred, self.from_logits)
        if mask is not None:
            # What is 0 in both has no part in any sum of theirs, nor a gradient.
            y_true = ops.where(mask, y_true, 0.0)
            y_pred = ops.where(mask, y_pred, 0.0)
        return self.of_pixels(y_true, y_pred, mask)

    def of_pixels(self, y_true, y_pred, mask):
        """Loss of the pixels of each image in a row.

        Args:
            y_true: Float tensor `(B, N, C)`, 0 where `mask` is false.
            y_pred: Float tensor `(B, N, C)`, likewise.
            mask: Boolean tensor `(B, N)`, the pixels that count.
        """
        raise NotImplementedError

    def get_config(self):
        config = super().get_config()
        config.update(from_logits=self.from_logits, axis=self.axis)
        return config
