import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import GeneralizedDice, IgnoreClass, LossSum

RNG = np.random.default_rng(0)
MASKS = RNG.integers(0, 3, (4, 5, 6)).astype("int32")
LOGITS = RNG.normal(size=(4, 5, 6, 3)).astype("float32")


def losses():
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [IgnoreClass(entropy, 2), IgnoreClass(GeneralizedDice(from_logits=True), 2)]


def test_nothing():
    with pytest.raises(ValueError, match="`losses` must be a list of losses"):
        LossSum([])


@pytest.mark.parametrize("sample_weight", [None, np.float32([1, 0, 2, 0.5])])
def test_is_the_sum(sample_weight):
    """With what is ignored left out of each, and images weighted in each."""
    values = [float(loss(MASKS, LOGITS, sample_weight=sample_weight)) for loss in losses()]
    for weights, factors in ((None, (1, 1)), ([0.25, 2], (0.25, 2)), ([0.0, 1.0], (0, 1))):
        got = LossSum(losses(), weights)(MASKS, LOGITS, sample_weight)
        assert float(got) == pytest.approx(np.dot(factors, values), rel=1e-6)


def test_of_one_it_is_that_one():
    entropy, _ = losses()
    assert float(LossSum([entropy])(MASKS, LOGITS)) == float(entropy(MASKS, LOGITS))


def test_names():
    loss = LossSum(["MeanSquaredError", "GeneralizedDice"])
    assert [type(one).__name__ for one in loss.losses] == ["MeanSquaredError", "GeneralizedDice"]
    with pytest.raises(ValueError, match=r"`loss` must be a `keras\.losses\.Loss`"):
        LossSum([lambda y_true, y_pred: ops.mean(y_pred)])
