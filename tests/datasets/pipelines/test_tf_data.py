import sys

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import Dataset
from keras_cvx.datasets.annotations import Annotations, Paths

tf = pytest.importorskip("tensorflow")
SIZE = (24, 36)


def natural():
    """Smooth colours with noise, as photographs have."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    smooth = np.stack([5 * x, 9 * y, 3 * (x + y)], -1) % 256
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype("uint8")


@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_are_those_of_the_record(tmp_path, orientation):
    """Of every kind of file, whether TensorFlow decodes it or not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(natural())
    kinds = {
        "a.jpg": (picture, {"quality": 85}),
        "b.jpg": (picture.convert("L"), {}),
        "c.jpg": (picture.convert("CMYK"), {}),
        "d.jpg": (picture, {"quality": 95, "subsampling": 0, "progressive": True}),
        "e.png": (picture, {}),
        "f.png": (picture.convert("P"), {}),
        "g.png": (picture.convert("RGBA"), {}),
        "h.png": (Image.fromarray(natural()[..., 0].astype("uint16") * 257), {}),
        "i.bmp": (picture, {}),
        "j.webp": (picture, {}),
        "k.tif": (picture, {}),
        "l.gif": (picture.convert("P"), {}),
    }
    for name, (image, options) in kinds.items():
        told = {} if name[-3:] in ("bmp", "gif") else {"exif": exif}
        image.save(tmp_path / name, **options, **told)
    names = sorted(kinds)
    upright = [name[-3:] in ("bmp", "gif") or orientation == 1 for name in names]
    masks = [np.zeros(SIZE if known else SIZE[::-1], "uint8") for known in upright]
    data = Dataset(Annotations("kinds", Paths(tmp_path, names), (), masks=masks))
    pipeline = data.to_tf_data(1)
    for record, (images, _) in zip(data, pipeline.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(images[0], record.image, err_msg=record.path.name)


def test_a_missing_tensorflow_is_named(photographs, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"`to_tf_data` needs TensorFlow"):
        photographs.to_tf_data(2)
