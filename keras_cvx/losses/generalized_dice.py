"""The generalized Dice loss."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.segmentation_loss import SegmentationLoss
from keras_cvx.ops._quotients import SMALLEST, quotient


def generalized_dice(y_true, y_pred):
    """One minus Dice over all classes, each weighted by `1 / volume²`, of each image.

    Args:
        y_true: Float tensor `(B, N, C)` in `[0, 1]`.
        y_pred: Float tensor `(B, N, C)`, probabilities.

    Returns:
        Float32 tensor `(B,)` in `[0, 1]`; 0 where truth and predictions are empty.
    """
    volume = ops.sum(y_true, axis=1)  # (B, C)
    absent = volume <= 0
    # Weights in units of the largest, so that no square overflows; that of an absent class has no
    # end, and is the largest of the others.
    infinity = float("inf")
    smallest = ops.min(ops.where(absent, infinity, volume), axis=1, keepdims=True, initial=infinity)
    weights = ops.where(absent, 1.0, ops.square(smallest / ops.where(absent, 1.0, volume)))
    whole = ops.sum(weights * (volume + ops.sum(y_pred, axis=1)), axis=1)
    # 1 minus twice the hits would cancel.
    apart = ops.sum(y_true * (1.0 - y_pred) + y_pred * (1.0 - y_true), axis=1)
    # NaN is not empty, and stays.
    empty = whole < SMALLEST
    apart = ops.where(empty, 0.0, ops.sum(weights * apart, axis=1))
    return quotient(apart, ops.where(empty, 1.0, whole))


@plugins.register("GeneralizedDice", kind="loss")
class GeneralizedDice(SegmentationLoss):
    """Generalized Dice loss: small classes weigh as much as large ones.

    Of each image. A class that the truth lacks has no weight by the paper; it gets the largest of
    the others, as in the code of the paper's authors, so that finding it wrongly costs something.

    Args:
        from_logits: Whether `y_pred` is of logits; else of probabilities. Logits taken for
            probabilities raise no error: the loss is no Dice, and leaves `[0, 1]`.
        axis: The axis of classes.
        reduction: As for every Keras loss.
        name: As for every Keras loss.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot, of the shape of `y_pred`.
        y_pred: Float tensor `(B, H, W, C)`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> loss = GeneralizedDice()
        >>> float(loss(ops.array([[0, 1]]), ops.array([[[1.0, 0.0], [0.5, 0.5]]])))
        0.25

    Reference:
        Sudre et al. 2017, Generalised Dice overlap as a deep learning loss function for highly
        unbalanced segmentations, section 2.
    """

    default_name = "generalized_dice"

    def of_pixels(self, y_true, y_pred, mask):
        return generalized_dice(y_true, y_pred)
