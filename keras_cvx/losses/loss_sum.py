"""Several losses of one output, added."""

import keras
from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.ignore_class import made_loss
from keras_cvx.ops.arguments import check_numbers


@plugins.register("LossSum", kind="loss")
class LossSum(keras.losses.Loss):
    """The weighted sum of losses of one output, such as a cross-entropy and Dice.

    Keras adds the losses of several outputs, and has no sum for one. A function that adds them
    cannot be loaded from a model's file, nor hand `sample_weight` on.

    Args:
        losses: List of Keras losses, or of what `IgnoreClass` takes as one.
        weights: List of numbers, one for each, or None for 1 each.
        name: As for every Keras loss.

    Call arguments:
        y_true: What every one of them takes.
        y_pred: Likewise.
        sample_weight: Likewise.

    Returns:
        Float32 sum of what each loss gives by itself, a scalar where all are reduced.

    Raises:
        ValueError: If there is no loss, one is none, or the weights are not as many numbers.

    Example:
        >>> loss = LossSum([keras.losses.MeanSquaredError(), keras.losses.MeanAbsoluteError()],
        ...                weights=[0.5, 1.0])
        >>> float(loss([[0.0]], [[2.0]]))
        4.0
    """

    def __init__(self, losses, weights=None, *, name="loss_sum"):
        super().__init__(name=name, dtype="float32")
        if not isinstance(losses, (list, tuple)) or not losses:
            raise ValueError(f"`losses` must be a list of losses. Received: losses={losses!r}")
        self.losses = [made_loss(loss) for loss in losses]
        factors = [1.0] * len(losses) if weights is None else weights
        if not isinstance(factors, (list, tuple)) or len(factors) != len(losses):
            raise ValueError(
                f"`weights` must be a list of {len(losses)} numbers, one for each loss. Received: "
                f"weights={weights!r}"
            )
        check_numbers(**{f"weights[{i}]": factor for i, factor in enumerate(factors)})
        self.weights = weights
        self._factors = [float(factor) for factor in factors]

    def __call__(self, y_true, y_pred, sample_weight=None):
        return sum(
            factor * ops.cast(loss(y_true, y_pred, sample_weight=sample_weight), "float32")
            for factor, loss in zip(self._factors, self.losses, strict=True)
        )

    def get_config(self):
        return {
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "weights": self.weights,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})
