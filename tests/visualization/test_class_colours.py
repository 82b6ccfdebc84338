import numpy as np
import pytest

from keras_cvx.visualization.class_colours import FIRST, class_colours, oklab
from keras_cvx.visualization.mask_overlays import ERROR_COLOURS

# What dichromats see, in linear RGB: Machado, Oliveira and Fernandes, "A Physiologically-based
# Model for Simulation of Color Vision Deficiency", 2009, table 1 at severity 1.0.
EYES = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(colours, eye):
    """Colours as another eye sees them, from 0 to 255."""
    share = np.asarray(colours) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(EYES[eye]), 0, 1)
    share = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * share


def least_distance(colours):
    places = oklab(colours)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    return distances[~np.eye(len(places), dtype=bool)].min()


def test_no_colours():
    assert class_colours(0).shape == (0, 3)


def test_oklab_of_known_colours():
    """The values that the author's page gives for white, and for the primaries in its code."""
    expected = {
        (255, 255, 255): (1, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (255, 0, 0): (0.62796, 0.22486, 0.12585),
        (0, 255, 0): (0.86644, -0.23389, 0.17950),
        (0, 0, 255): (0.45201, -0.03246, -0.31153),
    }
    np.testing.assert_allclose(oklab(list(expected)), list(expected.values()), atol=1e-4)


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_can_tell_ten_classes_apart(eye):
    assert least_distance(seen(class_colours(10), eye)) > 0.14
    # Also through the grey of the image below: three tenths of it, and seven of the colours.
    for grey in (60, 150, 255):
        assert least_distance(seen(0.7 * class_colours(10) + 0.3 * grey, eye)) > 0.08


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_can_tell_errors_apart(eye):
    assert least_distance(seen(list(ERROR_COLOURS.values()), eye)) > 0.18


def test_no_class_is_grey():
    lightness, *hue = oklab(class_colours(150)).T
    assert np.hypot(*hue).min() > 0.055
    assert lightness.min() > 0.35


def test_a_class_has_one_colour_however_many_there_are():
    many = class_colours(150)
    for count in (1, 9, 10, 11, 60):
        np.testing.assert_array_equal(class_colours(count), many[:count])
    assert ["#" + bytes(colour).hex() for colour in many[:10].tolist()] == list(FIRST)
    assert many.dtype == "uint8"
    with pytest.raises(ValueError, match="read-only"):
        many[0] = 0


@pytest.mark.parametrize(("count", "distance"), [(20, 0.15), (60, 0.09), (150, 0.06)])
def test_many_classes_stay_apart(count, distance):
    assert least_distance(class_colours(count)) > distance


def test_errors_have_no_colour_of_a_class():
    places = oklab(class_colours(10))
    for colour in ERROR_COLOURS.values():
        assert np.linalg.norm(places - oklab(colour), axis=-1).min() > 0.08
