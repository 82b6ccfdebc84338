import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import lovasz_jaccard
from keras_cvx.ops.lovasz import rounded_lovasz_jaccard


def by_hand(errors, truth):
    """Algorithm 1 of the paper, one mask, in float64."""
    order = np.argsort(-errors.astype("float64"), kind="stable")
    errors, truth = errors[order].astype("float64"), truth[order].astype("float64")
    cost, before = 0.0, 0.0
    intersection = union = truth.sum()
    for error, inside in zip(errors, truth, strict=True):
        intersection, union = intersection - inside, union + 1 - inside
        jaccard = 1 - intersection / union
        cost += error * (jaccard - before)
        before = jaccard
    return cost


def rows(seed, count, pixels, levels):
    rng = np.random.default_rng(seed)
    errors = rng.integers(0, levels + 1, (count, pixels)) / levels
    truth = rng.uniform(size=errors.shape) < rng.uniform(size=(count, 1))
    return errors.astype("float32"), truth.astype("int32")


def cost(errors, truth):
    return ops.convert_to_numpy(lovasz_jaccard(errors, truth))


def test_no_masks_and_no_pixels():
    assert cost(np.zeros((0, 5), "float32"), np.zeros((0, 5), "int32")).shape == (0,)
    assert cost(np.zeros((2, 0), "float32"), np.zeros((2, 0), "int32")).tolist() == [0, 0]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (3, 2), (3, 300)]),
    st.sampled_from([1, 4, 2**20]),
)
def test_is_the_papers_algorithm(seed, size, levels):
    count, pixels = size
    errors, truth = rows(seed, count, pixels, levels)
    expected = [by_hand(*row) for row in zip(errors, truth, strict=True)]
    np.testing.assert_allclose(cost(errors, truth), expected, rtol=2e-6, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_of_zeros_and_ones_it_is_the_jaccard_loss(seed):
    errors, truth = rows(seed, 3, 17, 1)
    found = np.abs(truth - errors) > 0.5
    for got, p, t in zip(cost(errors, truth), found, truth > 0, strict=True):
        union = np.sum(p | t)
        assert got == pytest.approx(1 - np.sum(p & t) / union if union else 0.0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 1e4])
def test_scales_and_sees_the_last_bit(scale):
    """It is positively homogeneous; of 70,000 pixels some errors differ by 2**-24."""
    errors, truth = rows(3, 2, 70_000, 2**24)
    expected = [by_hand(*row) for row in zip(errors, truth, strict=True)]
    np.testing.assert_allclose(cost(errors * np.float32(scale), truth) / scale, expected, rtol=1e-5)


def test_slope_is_the_weight_of_the_order(gradient):
    errors, truth = rows(4, 1, 40, 2**20)
    _, slope = gradient(lambda x: ops.sum(lovasz_jaccard(x, truth)), errors)
    for i in range(0, 40, 3):
        step = np.zeros_like(errors, "float64")
        step[0, i] = 1e-7
        rise = by_hand((errors + step)[0], truth[0]) - by_hand((errors - step)[0], truth[0])
        assert slope[0, i] == pytest.approx(rise / 2e-7, abs=1e-4)


def test_compiled(compiled):
    errors, truth = rows(5, 3, 200, 64)
    got = compiled(lovasz_jaccard)(ops.convert_to_tensor(errors), ops.convert_to_tensor(truth))
    np.testing.assert_allclose(ops.convert_to_numpy(got), cost(errors, truth), rtol=1e-5)


def scene(seed, images, pixels, sharpness=1.0):
    """One-hot truth, and probabilities half of which lean to it."""
    rng = np.random.default_rng(seed)
    truth = np.eye(3, dtype="float32")[rng.integers(0, 3, (images, pixels))]
    logits = rng.normal(size=truth.shape) + 2 * truth * (
        rng.uniform(size=(images, pixels, 1)) < 0.5
    )
    odds = np.exp(sharpness * logits)
    return truth, (odds / odds.sum(-1, keepdims=True)).astype("float32")


def rounded(*arguments):
    tensors = [ops.cast(ops.convert_to_tensor(x), "float32") for x in arguments]
    return ops.convert_to_numpy(rounded_lovasz_jaccard(*tensors))


def exact(truth, found):
    """Loss of each class, the pixels of all images as one."""
    return [
        by_hand(np.abs(t - p), t)
        for t, p in zip(truth.reshape(-1, 3).T, found.reshape(-1, 3).T, strict=True)
    ]


def test_rounded_of_nothing():
    assert rounded(np.zeros((0, 4, 3)), np.zeros((0, 4, 3)), np.zeros((0, 3))).shape == (0,)
    empty = np.zeros((2, 0, 3), "float32")
    assert rounded(empty, empty, np.ones((2, 3))).tolist() == [0, 0]
    assert rounded(empty, empty, np.ones((1, 3))).tolist() == [0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 30]), st.sampled_from([1, 16, 256]))
def test_rounded_is_exact_where_bins_hold_one_error(seed, pixels, levels):
    """Ties too; empty masks cost their largest error; pixels that are 0 in both cost nothing."""
    rng = np.random.default_rng(seed)
    truth, found = scene(seed, 2, pixels)
    found = np.round(found * levels).astype("float32") / levels
    truth[..., 0] *= rng.integers(0, 2)
    shares = rng.uniform(size=(2, 3)).astype("float32")
    each = [np.dot(exact(t, p), s) for t, p, s in zip(truth, found, shares, strict=True)]
    np.testing.assert_allclose(rounded(truth, found, shares), each, rtol=2e-6)
    whole = [np.dot(exact(truth, found), shares[0])]
    np.testing.assert_allclose(rounded(truth, found, shares[:1]), whole, rtol=2e-6)
    more = [np.concatenate([x, np.zeros_like(x)], axis=1) for x in (truth, found)]
    np.testing.assert_allclose(rounded(*more, shares[:1]), whole, rtol=2e-6)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_rounded_is_close_to_the_exact(gradient, sharpness):
    """In value to 2e-6, and never above; in the logits' slope to 3e-3 of its length."""
    truth, found = scene(7, 2, 10_000, sharpness)
    share = 0.25
    y_true, shares = ops.convert_to_tensor(truth), ops.full((1, 3), share)

    def by_bins(logits):
        return ops.sum(rounded_lovasz_jaccard(y_true, ops.softmax(logits), shares))

    def by_sort(logits):
        rows = [
            ops.reshape(ops.transpose(x, (2, 0, 1)), (3, -1))
            for x in (ops.abs(ops.softmax(logits) - y_true), y_true)
        ]
        return share * ops.sum(lovasz_jaccard(*rows))

    logits = np.log(found)
    value, slope = gradient(by_bins, logits)
    assert -2e-6 < value - share * sum(exact(truth, found)) < 2e-7
    _, expected = gradient(by_sort, logits)
    assert np.linalg.norm(slope - expected) < 3e-3 * np.linalg.norm(expected)


def test_rounded_compiled(compiled):
    truth, found = scene(8, 2, 50)
    arguments = [ops.convert_to_tensor(x) for x in (truth, found, np.full((2, 3), 0.5, "float32"))]
    got = compiled(rounded_lovasz_jaccard)(*arguments)
    np.testing.assert_allclose(ops.convert_to_numpy(got), rounded(*arguments), rtol=1e-6)
