import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import GeneralizedDice


def by_hand(ids, p):
    """The paper's formula for one image; an absent class has the largest weight of the others."""
    truth = ids[..., None] == np.arange(p.shape[-1])
    volumes = truth.sum((0, 1)).astype("float64")
    largest = 1 / volumes[volumes > 0].min() ** 2
    weights = [1 / v**2 if v else largest for v in volumes]
    above = sum(w * np.sum(truth[..., c] * p[..., c]) for c, w in enumerate(weights))
    below = sum(w * np.sum(truth[..., c] + p[..., c]) for c, w in enumerate(weights))
    return 1 - 2 * above / below


def test_is_the_papers(segmentation):
    ids, p, _ = segmentation(0)
    assert 1 not in ids[0]
    assert len(set(ids[1].ravel())) == 4
    expected = [by_hand(*image) for image in zip(ids, p.astype("float64"), strict=True)]
    got = GeneralizedDice(reduction=None)(ids, p)
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-5)


def test_of_equal_volumes_it_is_dice():
    rng = np.random.default_rng(1)
    ids = rng.permutation(np.arange(24) % 4).reshape(1, 4, 6)
    p = rng.dirichlet(np.ones(4), (1, 4, 6)).astype("float32")
    dice = 1 - 2 * np.sum(np.eye(4)[ids] * p) / (2 * ids.size)
    assert float(GeneralizedDice()(ids, p)) == pytest.approx(dice, rel=1e-5)


def test_best_and_worst(segmentation):
    ids, _, _ = segmentation(2)
    one_hot = np.eye(4, dtype="float32")[ids]
    assert float(GeneralizedDice()(ids, one_hot)) == 0
    assert float(GeneralizedDice()(ids, np.roll(one_hot, 1, axis=-1))) == 1
    # Finding what is not there costs, though the truth is empty.
    empty = np.zeros((1, 2, 2, 1), "float32")
    assert float(GeneralizedDice()(empty, empty)) == 0
    assert float(GeneralizedDice()(empty, empty + 0.25)) == 1
