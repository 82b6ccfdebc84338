import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.models._tiles import blended, starts, tiled_masks, weights


@st.composite
def tilings(draw):
    """Side, tile, overlap and stride that go together."""
    stride = draw(st.integers(1, 16))
    tile = draw(st.integers(stride, 64))
    return (
        draw(st.integers(tile, 300)), tile, draw(st.integers(0, tile - stride)), stride,
    )  # fmt: skip


def test_no_images():
    assert tiled_masks([], None, (None, None, None, 3), 8, None, 0, 1) == {
        "masks": [], "confidence": [],
    }  # fmt: skip


@given(tilings())
def test_tiles_cover_a_side_and_overlap(tiling):
    side, tile, overlap, stride = tiling
    found = starts(*tiling)
    assert (found[0], found[-1]) == (0, side - tile)
    assert all(start % stride == 0 for start in found[:-1])
    steps = np.diff(found)
    assert (steps > 0).all()
    assert (steps <= tile - overlap).all()


@given(tilings())
def test_every_pixel_counts(tiling):
    """Where tiles share pixels as asked for their weights sum to 1, and nowhere to 0."""
    side, tile, overlap, _ = tiling
    found = starts(*tiling)
    total = np.zeros(side)
    for start in found:
        share = weights(tile, overlap, first=start == 0, last=start == found[-1])
        assert ((share >= 0) & (share <= 1)).all()
        total[start : start + tile] += share
    assert (total > 0).all()
    exact = len(found) > 1 and 2 * overlap <= tile and (set(np.diff(found)) == {tile - overlap})
    if exact:
        np.testing.assert_allclose(total, 1.0, atol=1e-5)


def test_the_outer_quarter_of_the_overlap_does_not_count():
    share = weights(64, 32, first=False, last=False)
    assert not share[:8].any()
    assert not share[-8:].any()
    assert (share[8:-8] > 0).all()
    np.testing.assert_array_equal(share[24:-24], 1.0)
    np.testing.assert_array_equal(weights(64, 32, first=True, last=True), 1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(0, 8), st.integers(1, 4))
def test_a_network_that_sees_one_pixel_sees_the_whole_image(height, width, overlap, batch_size):
    image = np.random.default_rng(0).normal(size=(height, width, 2)).astype("float32")
    bands = list(blended(image, lambda tiles: tiles * 2.0, (12, 10), overlap, 2, batch_size))
    # No more rows at once than a tile has.
    assert max(len(band) for band in bands) <= 12
    np.testing.assert_allclose(np.concatenate(bands), 2.0 * image, rtol=1e-5, atol=1e-6)


def test_no_more_is_read_at_once_than_a_batch_of_tiles():
    read = []

    def predict(tiles):
        read.append(tiles.shape)
        return tiles

    list(blended(np.zeros((40, 70, 1)), predict, (16, 16), 4, 4, 2))
    # Down at 0, 12 and 24, across at 0, 12, 24, 36, 48 and 54, two by two.
    assert read == [(2, 16, 16, 1)] * 9


def test_tiles_blend_without_a_seam():
    """Tiles that disagree: the result goes from one to the other without a jump."""

    def predict(tiles):
        # A tile's logits are its leftmost pixel, wherever one looks.
        return np.broadcast_to(tiles[:, :1, :1], tiles.shape).astype("float32")

    image = np.broadcast_to(np.arange(160.0)[:, None], (48, 160, 1))
    whole = np.concatenate(list(blended(image, predict, (48, 64), 32, 8, 3)))
    assert whole.shape == image.shape
    row = whole[0, :, 0]
    np.testing.assert_allclose(row[[0, 39, 90, 159]], [0, 0, 64, 96])
    assert np.abs(np.diff(row)).max() <= 32 / 16 + 1e-4
    assert (np.diff(row) >= -1e-4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((8, 0, 0, 1), "`tile_size` must be"),
        ((8, 32, 25, 1), "`overlap` must be less than `tile_size` by 8 or more"),
        ((8, 32, -1, 1), "`overlap` must be"),
        ((8, 32, 0, 0), "`batch_size` must be"),
    ],
)
def test_bad_tilings(options, message):
    with pytest.raises(ValueError, match=message):
        tiled_masks([], None, (None, None, None, 3), *options)
