import numpy as np
import pytest

from keras_cvx.visualization import gallery, segmentation_gallery
from keras_cvx.visualization.pixels import as_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), "uint8")


@pytest.mark.host
def test_no_images():
    assert as_bytes([]) == []
    assert as_bytes([np.zeros((0, 2, 3))])[0].shape == (0, 2, 3)


@pytest.mark.host
def test_rounded_and_cut():
    values = np.array([-1.0, 0.4, 0.6, 254.6, 300.0], "float16")
    assert as_bytes([values])[0].tolist() == [0, 0, 1, 255, 255]
    assert as_bytes([np.array([-1, 256], "int64")])[0].tolist() == [0, 255]
    assert as_bytes([IMAGES])[0] is IMAGES


@pytest.mark.host
def test_what_is_dark_may_be():
    for dark in (IMAGES * 0.0, IMAGES % 2, IMAGES % 2 > 0):
        np.testing.assert_array_equal(as_bytes([dark])[0], dark)
    # One is dark, and another tells the scale.
    assert as_bytes([IMAGES / 255, IMAGES / 1.0])[0].max() == 1


@pytest.mark.parametrize("draw", [gallery, segmentation_gallery])
@pytest.mark.parametrize("change", [lambda x: x / 255, lambda x: x / 127.5 - 1])
def test_images_from_0_to_1_are_refused(draw, change):
    with pytest.raises(ValueError, match=r"floats of which none is above 1\..*`255 \* images`"):
        draw(change(IMAGES))
