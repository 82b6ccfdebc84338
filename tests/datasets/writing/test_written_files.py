import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import Dataset, DatasetError
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.writing.written_files import (
    check_class_names,
    check_data,
    check_names,
    check_new,
    checked_boxes,
    flat_names,
    new_file,
    new_folder,
    open_folder,
    save_image,
    whole_file,
)

pytestmark = pytest.mark.host


def data_of(images, boxes=(), ids=None):
    columns = {"boxes": boxes, "labels": [0] * len(boxes)}
    objects = grouped([0] * len(boxes), len(images), columns)
    return Dataset(Annotations("data", images, ("car",), objects, image_ids=ids))


def test_no_images():
    data = data_of([])
    check_data(data=data)
    assert flat_names(data) == []


def test_data_is_one_with_objects_and_each_image_once(tmp_path):
    data = data_of(Paths(tmp_path, ["a.png", "b.png"]))
    check_data(train=data, val=data[:1])
    with pytest.raises(ValueError, match=r"`val` must be a Dataset. Received: \['a"):
        check_data(train=data, val=["a.png"])
    with pytest.raises(
        ValueError, match=r"`val` must have each image once. .*3 images, of which 2"
    ):
        check_data(train=data, val=data[[0, 1, 0]])
    masks = Dataset(Annotations("m", [tmp_path], (), masks=[np.zeros((1, 1), "uint8")]))
    with pytest.raises(ValueError, match=r"`val` must have objects.*which has masks alone"):
        check_data(train=data, val=masks)


def test_a_new_file(tmp_path):
    path = new_file(str(tmp_path / "new" / "a.json"))
    assert path.parent.is_dir()
    assert not path.exists()
    path.write_text("mine")
    for there in (path, path.parent):
        with pytest.raises(ValueError, match=r"`path` must be that of a new file: none is overwr"):
            new_file(there)
    with pytest.raises(ValueError, match=r"`path` must be a path. Received: 3"):
        new_file(3)


def test_folders(tmp_path):
    folder = new_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert new_folder(folder) == open_folder(str(folder)) == folder
    (folder / "c").write_text("mine")
    with pytest.raises(ValueError, match=r"`folder` must be new or empty.*/b', which has files"):
        new_folder(folder)
    assert open_folder(folder) == folder
    for call in (new_folder, open_folder):
        with pytest.raises(ValueError, match=r"`folder` must be that of a folder. .*/c', a file"):
            call(folder / "c")
        with pytest.raises(ValueError, match=r"`folder` must be a path. Received: None"):
            call(None)


def test_files_that_must_not_be_there(tmp_path):
    paths = [tmp_path / name for name in "abcdefgh"]
    check_new(paths)
    for path in paths[2:]:
        path.write_text("")
    with pytest.raises(ValueError, match=r"none is overwritten. Received: a folder with 6: '.*/c'"):
        check_new(paths)


def test_a_file_has_its_name_once_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    with whole_file(path) as file:
        file.write("one")
        assert not path.exists()
    assert path.read_text() == "one"

    def write():
        with whole_file(tmp_path / "b.json") as file:
            file.write("half")
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        write()
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def test_names_in_one_folder(tmp_path):
    data = data_of(Paths(tmp_path, ["x/a.png", "y/b.tar.JPG"]))
    assert flat_names(data) == ["a.png", "b.tar.JPG"]
    arrays = [np.zeros((2, 2, 3), "uint8")] * 4
    ids = ["x/a.jpg", "y\\b", 7, "c.v2"]
    assert flat_names(data_of(arrays, ids=ids)) == ["a.png", "b.png", "7.png", "c.v2.png"]


@pytest.mark.parametrize("other", ["y/a.png", "y/a.jpg", "A.png"])
def test_names_by_which_annotations_cannot_be_told_apart(tmp_path, other):
    with pytest.raises(
        ValueError, match=rf"must have different names without suffix.*x/a\.png' and '.*{other}'"
    ):
        flat_names(data_of(Paths(tmp_path, ["x/a.png", "b.png", other])))


def test_images_are_copied_byte_by_byte_or_made(tmp_path):
    Image.new("RGB", (3, 2), (9, 8, 7)).save(tmp_path / "a.jpg", quality=50)
    [record] = data_of(Paths(tmp_path, ["a.jpg"]))
    save_image(record, tmp_path / "copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), "uint8")
    save_image(data_of([pixels])[0], tmp_path / "new.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new.png")), pixels)


def test_boxes_that_can_be_written():
    image = np.zeros((8, 9, 3), "uint8")
    boxes = [[0.1, 0, 3, 2], [4, 4, 4, 4], [-5, -5, 90, 90]]
    assert checked_boxes(data_of([image], boxes)[0]).tolist() == boxes
    for wrong in ([3, 0, 2, 1], [0, 3, 1, 2], [0, 0, np.nan, 1], [0, 0, np.inf, 1]):
        with pytest.raises(DatasetError, match=r"boxes must be finite, their far .*Received: \["):
            checked_boxes(data_of([image], [boxes[0], wrong])[0])


@pytest.mark.parametrize(
    "name", ["car", "Straßenbahn 5", "<&>'\"木", "\U0001f697", "a.b", "\ufffd"]
)
def test_names_that_files_can_hold(name):
    check_names("A class", [name])
    check_class_names((name, "other"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a\t",
        "a\nb",
        "a\0",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "\ud800",
        "\ufffe",
        3,
        None,
    ],
)
def test_names_that_files_cannot_hold(name):
    with pytest.raises(ValueError, match=r"^An image must have a name without control characters"):
        check_names("An image", ["good", name])


@pytest.mark.parametrize("names", [(), ("a", "b", "a")])
def test_classes_must_be_told_apart(names):
    with pytest.raises(
        ValueError, match=r"Classes must have different names, and there must be on"
    ):
        check_class_names(names)
