import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_cvx.datasets.pixels.orientation import (
    ORIENTATIONS,
    upright_boxes,
    upright_pixels,
    upright_points,
    upright_shape,
)

pytestmark = pytest.mark.host


def test_no_boxes():
    for orientation in ORIENTATIONS:
        assert upright_boxes(np.zeros((0, 4)), (3, 5), orientation).shape == (0, 4)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_pixels_are_those_of_pillow(orientation):
    stored = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3), "uint8")
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(upright_pixels(stored, orientation), expected)
    assert upright_shape((4, 6), orientation) == expected.shape[:2]
    np.testing.assert_array_equal(upright_pixels(stored[..., 0], orientation), expected[..., 0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_move_with_their_pixels(orientation):
    rng = np.random.default_rng(orientation)
    for _ in range(20):
        height, width = rng.integers(2, 9, 2)
        x0, y0 = rng.integers(width), rng.integers(height)
        x1, y1 = rng.integers(x0 + 1, width + 1), rng.integers(y0 + 1, height + 1)
        stored = np.zeros((height, width))
        stored[y0:y1, x0:x1] = 1
        ys, xs = np.nonzero(upright_pixels(stored, orientation))
        [box] = upright_boxes(np.array([[x0, y0, x1, y1]]), (height, width), orientation)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        fractions = np.array([[x0 / width, y0 / height, x1 / width, y1 / height]])
        upright = upright_pixels(stored, orientation).shape
        [relative] = upright_boxes(fractions, (1, 1), orientation)
        np.testing.assert_allclose(relative * np.tile(upright[::-1], 2), box, atol=1e-12)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_points_move_with_boxes(orientation):
    corners = np.array([[1.0, 0.5, 4.0, 2.25]])
    [box] = upright_boxes(corners, (5, 7), orientation)
    points = upright_points(corners.reshape(2, 2), (5, 7), orientation)
    assert [*points.min(0), *points.max(0)] == box.tolist()
    assert upright_points(np.zeros((0, 2)), (5, 7), orientation).shape == (0, 2)
