import json

import numpy as np
import pytest
from PIL import Image

from keras_cvx import datasets, plugins
from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.reading.formats import read_parts

pytestmark = pytest.mark.host


@pytest.fixture
def folder(tmp_path):
    """A folder with one image, in `images/`."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (10, 8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def coco(folder):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    (folder / "images" / "a.json").write_text(json.dumps(content))
    return folder / "images" / "a.json"


def csv(folder):
    path = folder / "images" / "a.csv"
    path.write_text("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,10,8,cat,1,2,4,6\n")
    return path


def voc(folder):
    (folder / "annotations").mkdir()
    (folder / "annotations" / "a.xml").write_text(
        "<annotation><object><name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax>"
        "<ymax>6</ymax></bndbox></object></annotation>"
    )
    return folder


def yolo(folder):
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.25 0.5 0.3 0.5\n")
    (folder / "classes.txt").write_text("cat")
    return folder


def data_yaml(folder):
    for split in ("train", "val"):
        (folder / split / "images").mkdir(parents=True)
        (folder / split / "labels").mkdir()
        Image.new("RGB", (10, 8)).save(folder / split / "images" / "a.png")
        (folder / split / "labels" / "a.txt").write_text("0 0.25 0.5 0.3 0.5\n")
    (folder / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [cat]\n")
    return folder / "data.yaml"


@pytest.mark.parametrize("make", [coco, csv, voc, yolo, data_yaml])
def test_a_guess(folder, make):
    path = make(folder)
    parts = read_parts(path)
    assert len(parts) == (2 if make is data_yaml else 1)
    for name, part in parts.items():
        assert path.name in name
        assert part.class_names[part[0].labels[0]] == "cat"
        np.testing.assert_allclose(part[0].boxes, [[1, 2, 4, 6]], atol=1e-6)


def test_a_folder_with_a_data_yaml(folder):
    data_yaml(folder)
    assert list(read_parts(folder)) == [
        f"{folder / 'data.yaml'}, {split}" for split in ("train", "val")
    ]


def test_masks(folder):
    (folder / "masks").mkdir()
    Image.new("L", (10, 8), color=3).save(folder / "masks" / "a.png")
    [part] = read_parts(folder).values()
    assert (part[0].mask == 3).all()


def test_images_of_another_folder(folder):
    path = coco(folder).rename(folder / "a.txt")
    with pytest.raises(ValueError, match=r"a\.txt' must be a COCO JSON file, .*--format"):
        read_parts(path)
    [part] = read_parts(path, kind="coco", images=folder / "images").values()
    assert part[0].image.shape == (8, 10, 3)
    with pytest.raises(DatasetError, match=r"a\.png'. Is `images` its folder"):
        read_parts(path, kind="coco")


@pytest.mark.parametrize(
    ("name", "found"),
    [("", "none of these. Tell"), ("no", "nothing is"), ("no.json", "nothing is")],
)
def test_what_is_no_data_set(folder, name, found):
    (folder / "images" / "a.png").unlink()
    with pytest.raises(ValueError, match=rf"must be a COCO JSON file, .*Received: {found}"):
        read_parts(folder / name)


def test_the_packages_own_readers():
    own = [plugin.name for plugin in plugins.registered("reader")]
    assert own == [f"keras_cvx>{name}" for name in ("coco", "csv", "masks", "voc", "yolo")]


def test_a_reader_of_ones_own(folder):
    def named_files(path, images, on_error):
        assert (path, images, on_error) == (folder, None, "skip")
        return datasets.coco(coco(folder), folder / "images")

    [(name, part)] = read_parts(folder, kind=named_files, on_error="skip").items()
    assert name == str(folder)
    assert list(part.class_names) == ["cat"]
    parts = {"train": part, "valid": part}
    assert read_parts(folder, kind=lambda *_, **__: parts) == parts


@pytest.mark.parametrize("given", [None, [], {}, {"train": 3}])
def test_a_reader_that_gives_no_data_set(folder, given):
    with pytest.raises(ValueError, match=r"A reader must give .*Received: .*from .*<lambda>"):
        read_parts(folder, kind=lambda *_, **__: given)


def test_an_unknown_reader(folder):
    with pytest.raises(ValueError, match=r"of kind 'reader' named 'coca'\. Did you mean 'coco'"):
        read_parts(folder, kind="coca")
    with pytest.raises(ValueError, match="'yolov1' must be a plugin of kind 'reader'"):
        read_parts(folder, kind="yolov1")


def test_a_data_yaml_without_splits(folder):
    (folder / "data.yaml").write_text("names: [cat]\n")
    with pytest.raises(DatasetError, match=r"data\.yaml' must have a split, .*Received: none$"):
        read_parts(folder)


def test_images_are_no_argument_of_other_formats(folder):
    with pytest.raises(ValueError, match=r"`images` must be None but for COCO and CSV.* is of voc"):
        read_parts(voc(folder), images=folder)


@pytest.mark.parametrize("name", ["a.json", "annotations/a.json", "boxes.CSV"])
def test_a_folder_of_what_is_a_file_names_it(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=rf"Give the file, with `--images` .* 1: '.*/{name}'\.$"):
        read_parts(tmp_path)
