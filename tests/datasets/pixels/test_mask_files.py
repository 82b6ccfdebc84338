import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cvx.datasets.pixels.mask_files import fault_of, ids_of, opened_file, table_of

pytestmark = pytest.mark.host

IDS = np.arange(24, dtype="uint8").reshape(4, 6)
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")


def save_png(path, rows, *, depth, colour_type=0, palette=None, size=None):
    """A PNG written bit by bit, from the specification."""
    rows = np.asarray(rows)
    lines = b"".join(
        b"\0" + np.packbits([int(bit) for x in row for bit in f"{x:0{depth}b}"]).tobytes()
        for row in rows
    )
    width, height = size or rows.shape[::-1]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", np.array(palette, "uint8").tobytes()))
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.png"


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_give_their_indices(path, depth):
    indices = np.arange(24).reshape(4, 6) % 2**depth
    # Colours that are neither grey nor in order.
    palette = np.random.default_rng(1).integers(0, 256, (2**depth, 3))
    save_png(path, indices, depth=depth, colour_type=3, palette=palette)
    np.testing.assert_array_equal(ids_of(path), indices)
    assert ids_of(path).dtype == "uint8"


@pytest.mark.parametrize(
    ("depth", "dtype"), [(1, "uint8"), (2, "uint8"), (4, "uint8"), (8, "uint8"), (16, "int32")]
)
def test_grey_values_are_not_stretched(path, depth, dtype):
    """Pillow gives 255 for the 3 of a PNG with two bits a pixel."""
    values = (np.arange(24).reshape(4, 6) * 2741) % 2**depth
    save_png(path, values, depth=depth)
    np.testing.assert_array_equal(ids_of(path), values)
    assert ids_of(path).dtype == dtype


@pytest.mark.parametrize(
    ("ids", "suffix"),
    [
        (IDS, ".bmp"),
        (IDS, ".gif"),
        (IDS, ".pgm"),
        (IDS, ".tiff"),
        (IDS.astype("uint16") * 2741, ".tif"),
        (IDS.astype("int32") * 2741, ".tif"),
        (IDS % 2 > 0, ".png"),
    ],
)
def test_other_formats_without_loss(path, ids, suffix):
    path = path.with_suffix(suffix)
    Image.fromarray(ids).save(path)
    np.testing.assert_array_equal(ids_of(path), ids)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 2**16 - 1), st.integers(0, 999), min_size=1, max_size=9))
def test_every_id_has_its_own_label(path, ids):
    Image.fromarray(np.array([list(ids)], "uint16")).save(path)
    labels = ids_of(path, table_of(ids))
    assert labels.tolist() == [list(ids.values())]
    assert labels.dtype == ("uint8" if max(ids.values()) < 256 else "int32")


def test_ids_without_a_label_are_counted(path):
    path = path.with_suffix(".tif")
    Image.fromarray(np.int32([[-1, 5, 9, 9]])).save(path)
    with pytest.raises(
        ValueError, match=r"a\.tif' with 2 others: -1 \(1 pixels\), 9 \(2 pixels\). Give such pix"
    ):
        ids_of(path, table_of({5: 0, 0: 1}))


@pytest.mark.parametrize("ids", [{}, [1], {"7": 1}, {7: -1}, {7: 1.0}, {2**16: 1}, {True: 1}, 3])
def test_wrong_tables_are_named(ids):
    with pytest.raises(ValueError, match=r"`ids` must be a dict from ids.*Received: ids="):
        table_of(ids)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_colours_are_no_ids(path, mode):
    Image.fromarray(COLOURS).convert(mode).save(path, "TIFF" if mode == "F" else "PNG")
    with opened_file(path) as opened:
        assert f"a.png' has the mode {mode!r}" in fault_of(opened)
    with pytest.raises(ValueError, match=rf"a\.png' has the mode '{mode}'.*Turn each colour into"):
        ids_of(path)


def test_what_is_compressed_with_loss_has_no_ids(path):
    Image.fromarray(IDS).save(path, "JPEG")
    with pytest.raises(ValueError, match=r"a\.png' is JPEG, which may change ids. Save masks as P"):
        ids_of(path)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_what_is_no_picture_is_named(path, content):
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(ValueError, match=r"files that can be decoded. Received: '.*a\.png' \("),
        opened_file(path),
    ):
        pytest.fail("opened")


def test_a_bomb_is_not_unpacked(path):
    save_png(path, IDS, depth=8, size=(30000, 30000))
    with pytest.raises(ValueError, match=r"Received: '.*a\.png' \(.*decompression bomb"):
        ids_of(path)
