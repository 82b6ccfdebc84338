import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import FocalTversky


def by_hand(ids, p, alpha, beta, gamma):
    """Equations 3 and 4 for one image, pixel by pixel."""
    costs = []
    for c in range(p.shape[-1]):
        hit = missed = wrong = 0.0
        for truth, share in zip(ids.ravel() == c, p[..., c].ravel().astype("float64"), strict=True):
            hit += share * truth
            missed += (1 - share) * truth
            wrong += share * (not truth)
        costs.append((1 - hit / (hit + alpha * missed + beta * wrong)) ** (1 / gamma))
    return np.mean(costs)


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma"), [(0.7, 0.3, 4 / 3), (0.25, 1.5, 3), (1, 0.125, 1)]
)
def test_is_the_papers(segmentation, alpha, beta, gamma):
    ids, p, _ = segmentation(0)
    loss = FocalTversky(alpha=alpha, beta=beta, gamma=gamma, reduction=None)
    expected = [by_hand(*image, alpha, beta, gamma) for image in zip(ids, p, strict=True)]
    np.testing.assert_allclose(ops.convert_to_numpy(loss(ids, p)), expected, rtol=1e-5)


def test_with_gamma_1_it_is_keras_tversky(segmentation):
    ids, p, _ = segmentation(1)
    keras_loss = keras.losses.Tversky(alpha=0.7, beta=0.3, axis=(1, 2), reduction=None)
    expected = ops.convert_to_numpy(keras_loss(np.eye(4, dtype="float32")[ids], p)).mean(-1)
    got = FocalTversky(gamma=1.0, reduction=None)(ids, p)
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-5)


def test_one_foreground_and_perfect_predictions(segmentation):
    ids, _, _ = segmentation(2)
    truth = (ids > 1).astype("float32")
    assert float(FocalTversky()(truth, truth[..., None])) == 0
    assert float(FocalTversky()(0 * truth, 0 * truth[..., None])) == 0
    assert float(FocalTversky()(truth, 1 - truth[..., None])) == 1
    # Small regions keep their cost: nothing is added to a denominator.
    tiny = np.zeros((1, 1, 2, 1), "float32")
    tiny[0, 0, 0] = 1e-12
    assert float(FocalTversky(alpha=0.5, beta=0.5, gamma=1.0)(tiny, tiny)) == pytest.approx(1.0)


def test_numbers_of_numpy():
    loss = FocalTversky(alpha=np.float32(0.25), gamma=np.float64(2))
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(stored)
    assert (again.alpha, again.gamma) == (0.25, 2)
