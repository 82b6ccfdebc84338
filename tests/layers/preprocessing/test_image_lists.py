"""Images in lists, as pictures and as files."""

import io

import keras
import numpy as np
import pytest

from keras_cvx import geometry
from keras_cvx.layers import ResizeWithPad
from keras_cvx.layers.preprocessing.image_lists import picture

IMAGE = np.arange(6 * 9 * 3).reshape(6, 9, 3).astype("uint8")
SMALL = IMAGE[:4, :5]
BOX = [[1.0, 1.0, 4.0, 3.0]]


@pytest.fixture
def letterbox():
    return ResizeWithPad(8, 8, bounding_box_format="xyxy", data_format="channels_last")


def test_images_without_objects_may_be_empty_lists(letterbox):
    for images in ([IMAGE, SMALL], np.stack([IMAGE, IMAGE])):
        given = {"boxes": [[], BOX], "labels": [[], [1]]}
        moved = letterbox({"images": images, "bounding_boxes": given})["bounding_boxes"]
        assert moved["labels"].tolist() == [[-1], [1]]
        assert moved["boxes"][0].tolist() == [[-1.0] * 4]
        alone = letterbox({"images": images[1], "bounding_boxes": {"boxes": BOX, "labels": [1]}})[
            "bounding_boxes"
        ]
        np.testing.assert_array_equal(moved["boxes"][1], alone["boxes"])
    none = letterbox({"images": IMAGE, "bounding_boxes": {"boxes": [], "labels": []}})
    assert none["bounding_boxes"]["boxes"].shape == (0, 4)
    assert none["bounding_boxes"]["labels"].shape == (0,)


def test_padding_where_there_is_no_minus_one(letterbox):
    boxes = [np.float32(BOX), np.float32(BOX * 2)]
    for labels in (np.uint8, np.int32):
        given = {
            "boxes": boxes,
            "labels": [labels([1]), labels([1, 2])],
            "crowd": [np.array([True]), np.array([True, False])],
            "count": [np.uint8([1]), np.uint8([1, 3])],
        }
        for images in ([IMAGE, SMALL], np.stack([IMAGE, IMAGE])):
            moved = letterbox({"images": images, "bounding_boxes": given})["bounding_boxes"]
            assert moved["labels"].tolist() == [[1, -1], [1, 2]]
            assert moved["crowd"].tolist() == [[True, False], [True, False]]
            assert moved["count"].tolist() == [[1, 0], [1, 3]]


def test_one_record_of_all_images_or_one_of_each(letterbox):
    shared = geometry.resize((12, 18), (6, 9))
    each = {name: np.stack([field] * 2) for name, field in shared.items()}
    for record in (shared, each):
        moved = letterbox({"images": [IMAGE, IMAGE], "geometry": record})
        assert moved["geometry"]["source_size"].tolist() == [[12.0, 18.0]] * 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.stack([IMAGE] * 2)] * 2, r"images\[0\] of shape \(2, 6, 9, 3\)"),
        ([IMAGE, IMAGE[..., 0]], r"images\[1\] of shape \(6, 9\)"),
        ([IMAGE, IMAGE.astype("float32")], r"images\[1\] with 3 channels of float32"),
        ([IMAGE, IMAGE[..., :1]], r"images\[1\] with 1 channels of uint8"),
    ],
)
def test_images_that_do_not_go_together(letterbox, images, message):
    with pytest.raises(ValueError, match=message):
        letterbox(images)


@pytest.mark.parametrize("second", [{"boxes": BOX}, None, {"boxes": BOX, "other": [1]}])
def test_boxes_with_other_keys(letterbox, second):
    boxes = [{"boxes": BOX, "labels": [1]}, second]
    with pytest.raises(ValueError, match=r"`bounding_boxes` must have the same keys .* image 1"):
        letterbox({"images": [IMAGE, SMALL], "bounding_boxes": boxes})


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK"])
def test_a_picture_and_its_file_are_the_same(letterbox, tmp_path, mode):
    image = pytest.importorskip("PIL.Image")
    shown = image.fromarray(IMAGE).convert(mode)
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    shown.save(path)
    expected = letterbox(np.asarray(shown.convert("RGB")))
    for given in (shown, path, str(path)):
        np.testing.assert_array_equal(letterbox(given), expected)
        np.testing.assert_array_equal(letterbox({"images": given})["images"], expected)
        np.testing.assert_array_equal(letterbox([given, IMAGE])[0], expected)


def test_pictures_have_the_channels_where_the_layer_has_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "picture.png"
    image.fromarray(IMAGE).save(path)
    layer = ResizeWithPad(8, 12, data_format="channels_first")
    expected = layer(IMAGE.transpose(2, 0, 1))
    for given in (path, image.fromarray(IMAGE), [path]):
        moved = layer({"images": given})
        np.testing.assert_array_equal(moved["images"].reshape(expected.shape), expected)
        assert moved["geometry"]["source_size"].ravel().tolist() == list(IMAGE.shape[:2])


def test_the_orientation_of_a_photograph_is_applied(letterbox, tmp_path):
    image = pytest.importorskip("PIL.Image")
    shown = image.fromarray(IMAGE)
    exif = shown.getexif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    shown.save(path, exif=exif)
    for given in (path, image.open(path)):
        moved = letterbox({"images": [given]})
        assert moved["geometry"]["source_size"].tolist() == [[9.0, 6.0]]
        np.testing.assert_array_equal(picture(given), np.rot90(IMAGE, -1))


def test_sixteen_bits_become_eight():
    image = pytest.importorskip("PIL.Image")
    grey = np.linspace(0, 65535, 24).reshape(4, 6).astype("uint16")
    got = picture(image.fromarray(grey))
    np.testing.assert_array_equal(got, np.repeat(np.rint(grey / 257)[..., None], 3, -1))


def test_damaged_files_are_named(letterbox, tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    for kind in ("png", "ppm", "bmp", "jpeg"):
        buffer = io.BytesIO()
        image.fromarray(IMAGE).save(buffer, kind)
        for _ in range(40):
            data = bytearray(buffer.getvalue())
            for place in rng.integers(0, min(len(data), 60), 4):
                data[place] = rng.integers(256)
            path.write_bytes(bytes(data))
            try:
                letterbox([IMAGE, path])
            except ValueError as error:
                assert "images[1]" in str(error)  # noqa: PT017  Some are read all the same.
    with pytest.raises(ValueError, match=r"`images\[1\]` must be .*mode 'F' has no range"):
        letterbox([IMAGE, image.fromarray(np.zeros((3, 3), "float32"))])


def test_a_variable_stays_a_tensor(letterbox):
    given = keras.Variable(IMAGE.astype("float32"))
    moved = letterbox(given)
    assert keras.ops.is_tensor(moved)
