import sys

import numpy as np
import pytest
from PIL import Image

from keras_cvx.ops.pictures import is_picture, picture, upright_size

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_a_header_tells_the_size_of_the_pixels(tmp_path, suffix, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    with Image.open(path) as opened:
        size = upright_size(opened)
    assert size == ((6, 4) if orientation in (5, 6, 7, 8) else (4, 6))
    assert picture(path).shape == (*size, 3)


def test_pictures_and_paths(tmp_path):
    assert [is_picture(x) for x in ("a.png", tmp_path, Image.fromarray(PIXELS))] == [True] * 3
    assert [is_picture(x) for x in (PIXELS, [PIXELS], None, 3)] == [False] * 4


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"`mine` must be an image.*Received: '.*none\.png' \("):
        picture(tmp_path / "none.png", "mine")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[vision\]"):
        picture(tmp_path / "none.png")
