import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.ndimage import distance_transform_edt

from keras_cvx.ops import distance, signed_distance


def by_scipy(mask):
    """As the code of the paper's authors."""
    if mask.all() or not mask.any():
        return np.zeros(mask.shape)
    outside = distance_transform_edt(~mask)
    return outside * ~mask - (distance_transform_edt(mask) - 1) * mask


def test_nothing():
    assert ops.convert_to_numpy(signed_distance(np.zeros((0, 3, 4), "bool"))).shape == (0, 3, 4)
    for mask in (np.zeros((2, 3, 4)), np.ones((2, 3, 4))):
        assert not ops.convert_to_numpy(signed_distance(mask)).any()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (1, 9), (13, 20), (20, 13)]),
    st.sampled_from([0.02, 0.3, 0.9]),
)
def test_is_scipys(seed, size, share):
    masks = np.random.default_rng(seed).uniform(size=(2, 3, *size)) < share
    expected = [[by_scipy(mask) for mask in row] for row in masks]
    got = ops.convert_to_numpy(signed_distance(masks))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_turns_with_the_mask(seed):
    mask = np.random.default_rng(seed).uniform(size=(7, 11)) < 0.2
    turned = ops.convert_to_numpy(signed_distance(np.rot90(mask).copy()))
    np.testing.assert_array_equal(turned, np.rot90(ops.convert_to_numpy(signed_distance(mask))))


def test_far_away_is_exact_and_compiles(compiled):
    mask = np.zeros((1, 4, 3000), "bool")
    mask[0, 3, 0] = True
    got = compiled(signed_distance)(ops.convert_to_tensor(mask))
    expected = by_scipy(mask[0])
    np.testing.assert_allclose(ops.convert_to_numpy(got)[0], expected, rtol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match=r"`masks` must be \(..., H, W\)"):
        signed_distance([True, False])


def test_many_masks_are_taken_in_parts(monkeypatch):
    """A part of two masks, one of a single mask, and masks larger than a part."""
    masks = np.random.default_rng(0).uniform(size=(5, 6, 7)) < 0.1
    whole = ops.convert_to_numpy(signed_distance(masks))
    for pixels in (84, 1):
        monkeypatch.setattr(distance, "PIXELS_AT_ONCE", pixels)
        np.testing.assert_array_equal(ops.convert_to_numpy(signed_distance(masks)), whole)
