import io
import struct

import numpy as np
import pytest
from PIL import Image

from keras_cvx.ops import jpeg_files, pictures
from keras_cvx.ops.jpeg_files import plain_pixels, plain_size, plain_size_of_file

pytestmark = pytest.mark.host


def photograph(height, width):
    """Smooth colours with noise."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([5 * x, 9 * y, 3 * (x + y)], -1) % 256
    noise = np.random.default_rng(0).normal(0, 12, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype("uint8"))


def encoded(picture, **options):
    content = io.BytesIO()
    picture.save(content, "JPEG", **options)
    return content.getvalue()


def with_segment(content, kind, data):
    """The file with one more segment at its beginning."""
    return content[:2] + struct.pack(">BBH", 0xFF, kind, 2 + len(data)) + data + content[2:]


@pytest.fixture
def by_pillow(tmp_path, monkeypatch):
    """Function from a file's bytes to what Pillow alone makes of them: pixels, or None."""

    def read(content):
        (tmp_path / "a.jpg").write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "plain_pixels", lambda path: None)
            return found(tmp_path / "a.jpg")

    return read


def found(path):
    try:
        return pictures.picture(path)
    except ValueError:
        return None


@pytest.mark.parametrize("size", [(1, 1), (5, 17), (24, 36), (67, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 98, "subsampling": 0},
        {"quality": 60, "subsampling": 1, "progressive": True},
        {"optimize": True, "restart_marker_blocks": 1},
        {"icc_profile": b"some profile", "comment": b"some words"},
    ],
)
def test_plain_files_are_as_pillow_has_them(tmp_path, by_pillow, size, mode, options):
    content = encoded(photograph(*size).convert(mode), **options)
    expected = by_pillow(content)
    assert plain_size(content) == plain_size_of_file(tmp_path / "a.jpg") == size
    pixels = plain_pixels(tmp_path / "a.jpg")
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == "uint8"


def test_other_files_are_left_to_pillow(tmp_path, monkeypatch):
    picture = photograph(24, 36)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(picture)
    frame = plain.index(b"\xff\xc0")
    others = {
        "nothing": b"",
        "half a marker": b"\xff\xd8\xff",
        "no image": b"no picture",
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(30),
        "EXIF": encoded(picture, exif=exif),
        "XMP": with_segment(plain, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        "several pictures": with_segment(plain, 0xE2, b"MPF\0"),
        "four colours": encoded(picture.convert("CMYK")),
        "Adobe's colours": with_segment(plain, 0xEE, b"Adobe" + bytes(7)),
        "lossless": plain[: frame + 1] + b"\xc3" + plain[frame + 2 :],
        "arithmetic coding": plain[: frame + 1] + b"\xc9" + plain[frame + 2 :],
        "12 bits": plain[: frame + 4] + b"\x0c" + plain[frame + 5 :],
        "rows that are told later": plain[: frame + 5] + bytes(2) + plain[frame + 7 :],
        "a segment without length": plain[:4] + bytes(2) + plain[6:],
        "no frame": plain[:frame],
        "half a frame": plain[: frame + 8],
    }
    for name, content in others.items():
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
        assert plain_size(content) is None, name
        assert plain_size_of_file(path) is None, name
        assert plain_pixels(path) is None, name
    assert plain_size(plain) == (24, 36)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 36 - 1)
    assert plain_size(plain) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert plain_size(plain) == (24, 36)


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(encoded(photograph(24, 36)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(ValueError, match=r"a\.jpg.*exceeds limit of 800 pixels"):
        pictures.picture(tmp_path / "a.jpg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_what_is_cut_off_is_an_error(tmp_path, options):
    content = encoded(photograph(24, 36), **options)
    path = tmp_path / "a.jpg"
    for length in range(0, len(content) - 2, 7):
        path.write_bytes(content[:length])
        assert plain_pixels(path) is None
        if length < 0.9 * len(content):
            with pytest.raises(ValueError, match=r"a\.jpg"):
                pictures.picture(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True, "subsampling": 0}])
def test_damaged_files_are_as_pillow_has_them(tmp_path, by_pillow, options):
    content = encoded(photograph(24, 36), **options)
    random, read = np.random.default_rng(0), 0
    for _ in range(200):
        damaged = bytearray(content)
        for place in random.integers(len(content), size=random.integers(1, 4)):
            damaged[place] = random.integers(256)
        expected = by_pillow(bytes(damaged))
        pixels = found(tmp_path / "a.jpg")
        assert (pixels is None) == (expected is None)
        if expected is not None:
            read += 1
            np.testing.assert_array_equal(pixels, expected)
    assert 0 < read < 200


def test_a_missing_file_and_a_missing_opencv(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="No such file"):
        plain_size_of_file(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(encoded(photograph(24, 36)))
    monkeypatch.setattr(jpeg_files, "_opencv", lambda: None)
    assert plain_pixels(tmp_path / "a.jpg") is None
    assert pictures.picture(tmp_path / "a.jpg").shape == (24, 36, 3)
