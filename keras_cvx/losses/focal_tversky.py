"""The focal Tversky loss."""

import math
from numbers import Real

from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.segmentation_loss import SegmentationLoss
from keras_cvx.ops._quotients import SMALLEST, quotient


def focal_tversky(y_true, y_pred, *, alpha=0.7, beta=0.3, gamma=4 / 3):
    """Mean over classes of `(1 - T)^(1 / gamma)`, T a class's Tversky index in an image.

    Args:
        y_true: Float tensor `(B, N, C)` in `[0, 1]`.
        y_pred: Float tensor `(B, N, C)`, probabilities.
        alpha: Float, the weight of what was missed.
        beta: Float, the weight of what was found wrongly.
        gamma: Float.

    Returns:
        Float32 tensor `(B,)` in `[0, 1]`. A class that is neither in truth nor in predictions
        costs 0.
    """
    hit = ops.sum(y_true * y_pred, axis=1)
    wrong = ops.sum(
        alpha * y_true * (1.0 - y_pred) + beta * (1.0 - y_true) * y_pred, axis=1
    )  # (B, C)
    # The quotient of the mistakes: 1 minus that of the hits would cancel. A power below 1 has no
    # finite slope at 0. NaN is not 0, and stays.
    whole = hit + wrong
    empty = whole < SMALLEST
    share = quotient(ops.where(empty, 0.0, wrong), ops.where(empty, 1.0, whole))
    none = share < SMALLEST
    return ops.mean(ops.where(none, 0.0, ops.where(none, 1.0, share) ** (1.0 / gamma)), axis=-1)


@plugins.register("FocalTversky", kind="loss")
class FocalTversky(SegmentationLoss):
    """Focal Tversky loss: Tversky's index of each class, with a steeper slope for small regions.

    The mean over classes, of each image. With `gamma=1` it is the mean of `keras.losses.Tversky`
    of each class, without its epsilon.

    Args:
        from_logits: Whether `y_pred` is of logits; else of probabilities. Logits taken for
            probabilities raise no error: the loss is a number without meaning, often in `[0, 1]`.
        alpha: Float, at least 0: the weight of missed pixels.
        beta: Float, at least 0: the weight of pixels found wrongly.
        gamma: Float of at least 1.
        axis: The axis of classes.
        reduction: As for every Keras loss.
        name: As for every Keras loss.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot, of the shape of `y_pred`.
        y_pred: Float tensor `(B, H, W, C)`.

    Raises:
        ValueError: If an argument is out of its range, or the shapes do not go together.

    Example:
        >>> loss = FocalTversky(alpha=0.5, beta=0.5, gamma=2.0)
        >>> round(float(loss(ops.array([[1, 0]]), ops.array([[[1.0], [0.0]]]))), 6)
        0.0

    Reference:
        Abraham & Khan 2019, A novel focal Tversky loss function, equations 3 and 4, with the mean
        in place of the sum over classes.
    """

    def __init__(
        self,
        from_logits=False,
        *,
        alpha=0.7,
        beta=0.3,
        gamma=4 / 3,
        axis=-1,
        reduction="sum_over_batch_size",
        name="focal_tversky",
    ):
        super().__init__(from_logits, axis=axis, reduction=reduction, name=name)
        for argument, value, least in (("alpha", alpha, 0), ("beta", beta, 0), ("gamma", gamma, 1)):
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not (number and least <= value < math.inf):
                raise ValueError(
                    f"`{argument}` must be a finite number of at least {least}. "
                    f"Received: {argument}={value!r}"
                )
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def of_pixels(self, y_true, y_pred, mask):
        return focal_tversky(y_true, y_pred, alpha=self.alpha, beta=self.beta, gamma=self.gamma)

    def get_config(self):
        config = super().get_config()
        config.update(alpha=self.alpha, beta=self.beta, gamma=self.gamma)
        return config
