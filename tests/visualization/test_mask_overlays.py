import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_cvx.visualization.mask_overlays import (
    FALSE,
    IGNORED,
    MISSED,
    RIGHT,
    STRIPES,
    error_map,
    overlay,
)

GREY = np.full((4, 6, 3), 255, "uint8")
RED, BLUE = (250, 0, 0), (0, 0, 250)
labels = hnp.arrays("int64", (3, 4), elements=st.sampled_from([-1, 0, 1, 2, 254, 255]))


def kind_of(truth, prediction, background, ignored):
    """The kind of one pixel, in the words of the documentation."""
    if truth in ignored:
        return IGNORED
    if background is not None and truth == background:
        return 0 if prediction in (background, -1, *ignored) else FALSE
    return RIGHT if prediction == truth else MISSED


def test_no_pixels():
    nothing = np.zeros((0, 4), int)
    assert error_map(nothing, nothing, 0, (255,)).shape == (0, 4)


@given(labels, labels, st.sampled_from([0, 1, None]), st.sampled_from([(), (255,), (255, 254)]))
def test_kinds_of_errors(truth, prediction, background, ignored):
    kinds = error_map(truth, prediction, background, ignored)
    for place in np.ndindex(3, 4):
        assert kinds[place] == kind_of(truth[place], prediction[place], background, ignored)


@given(labels, st.sampled_from([0, None]))
def test_a_perfect_prediction_has_no_errors(truth, background):
    kinds = error_map(truth, truth, background, (255,))
    assert set(np.unique(kinds)) <= {0, RIGHT, IGNORED}


def test_pixels_are_mixed_with_grey():
    image = np.zeros((1, 4, 3), "uint8")
    image[0] = [[255, 255, 255], [0, 0, 0], [0, 255, 0], [0, 0, 0]]
    mask = np.array([[1, 1, 0, 2]])
    pixels = overlay(image, mask, {1: RED, 2: BLUE}, (), opacity=0.5, scale=1)
    # Black is lightened to 60, and what lies between with it: 60 + 0.587 * 195 for green.
    assert pixels.tolist() == [[[252, 128, 128], [155, 30, 30], [174] * 3, [30, 30, 155]]]
    opaque = overlay(image, mask, {1: RED, 2: BLUE}, (), opacity=1.0, scale=1)
    assert opaque.tolist() == [[[*RED], [*RED], [174] * 3, [*BLUE]]]
    assert opaque.dtype == "uint8"
    assert image[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("scale", "side", "width"), [(1, 1, 5), (7, 7, 5), (0.5, 1, 10)])
def test_ignored_pixels_are_striped_in_dots(scale, side, width):
    image = np.full((30, 40, 3), 255, "uint8")
    mask = np.zeros((30, 40), int)
    mask[:, :20] = 255
    pixels = overlay(image, mask, {}, (255,), opacity=0.7, scale=scale)
    assert pixels.shape == (30 * side, 40 * side, 3)
    striped = pixels[:, : 20 * side]
    assert (pixels[:, 20 * side :] == 255).all()
    for row, column in ((0, 0), (3, 4), (2, 17), (20, 9)):
        expected = STRIPES[(row + column) // width % 2]
        assert (striped[row, column] == expected).all()


def test_small_images_are_enlarged():
    mask = np.arange(24).reshape(4, 6) % 3
    once = overlay(GREY, mask, {1: RED, 2: BLUE}, (), opacity=0.7, scale=1)
    larger = overlay(GREY, mask, {1: RED, 2: BLUE}, (), opacity=0.7, scale=3)
    np.testing.assert_array_equal(larger, once.repeat(3, 0).repeat(3, 1))
