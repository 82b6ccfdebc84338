import tempfile
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cvx.datasets import Dataset, DatasetError, voc, write_voc, write_voc_detections
from keras_cvx.datasets.annotations import Annotations, Paths, grouped

pytestmark = pytest.mark.host

CLASSES = ("car", "Straßen bahn", "<木>")
NAMES = ["a b.png", "leer.jpg", "ü/木 & co.png"]


@pytest.fixture
def street(tmp_path):
    """Three images of 20 by 10 pixels, two objects in the first, two in the last."""
    folder = tmp_path / "photos"
    (folder / "ü").mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (20, 10)).save(folder / name)
    boxes = [[2, 2, 8, 9], [2.5, 0.25, 9.75, 3], [10, 0, 20, 10], [0, 0, 1, 1]]
    flags = {"is_crowd": [0, 0, 0, 1], "ignored": [0, 1, 0, 0]}
    objects = grouped([0, 0, 2, 2], 3, {"boxes": boxes, "labels": [1, 0, 2, 2], **flags})
    return Dataset(Annotations("street", Paths(folder, NAMES), CLASSES, objects))


def texts_of(path):
    """All texts of an XML file by their place in it."""
    found: dict[str, list] = {}

    def walk(element, place):
        if len(element) == 0:
            found.setdefault(place, []).append(element.text)
        for child in element:
            walk(child, f"{place}/{child.tag}".lstrip("/"))

    walk(ElementTree.parse(path).getroot(), "")  # noqa: S314
    return found


def test_no_images(street, tmp_path):
    write_voc(street[:0], tmp_path / "new", split="val")
    assert (tmp_path / "new/ImageSets/Main/val.txt").read_text() == ""
    with pytest.raises(DatasetError, match=r"must have XML files"):
        voc(tmp_path / "new", split="val")


def test_what_stands_in_the_files(street, tmp_path):
    """As the development kit documents it: the top left pixel is (1, 1)."""
    write_voc(street, tmp_path / "VOC2012", split="trainval")
    folder = tmp_path / "VOC2012"
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == [
        "Annotations/a b.xml",
        "Annotations/leer.xml",
        "Annotations/木 & co.xml",
        "ImageSets/Main/trainval.txt",
        "JPEGImages/a b.png",
        "JPEGImages/leer.jpg",
        "JPEGImages/木 & co.png",
    ]
    listed = (folder / "ImageSets/Main/trainval.txt").read_text("utf-8")
    assert listed == "a b\nleer\n木 & co\n"
    assert texts_of(folder / "Annotations/a b.xml") == {
        "folder": ["VOC2012"],
        "filename": ["a b.png"],
        "size/width": ["20"],
        "size/height": ["10"],
        "size/depth": ["3"],
        "segmented": ["0"],
        "object/name": ["Straßen bahn", "car"],
        "object/pose": ["Unspecified"] * 2,
        "object/truncated": ["0"] * 2,
        "object/difficult": ["0", "1"],
        "object/bndbox/xmin": ["3", "3.5"],
        "object/bndbox/ymin": ["3", "1.25"],
        "object/bndbox/xmax": ["8", "9.75"],
        "object/bndbox/ymax": ["9", "3"],
    }
    assert "object" not in (folder / "Annotations/leer.xml").read_text("utf-8")
    third = texts_of(folder / "Annotations/木 & co.xml")
    assert third["filename"] == ["木 & co.png"]
    assert third["object/difficult"] == ["0", "1"]
    copied = (folder / "JPEGImages/leer.jpg").read_bytes()
    assert copied == street[1].path.read_bytes()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(random_data, drawn):
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "source", Path(name) / "voc"
        source.mkdir()
        data = random_data(drawn.draw, source)
        kept = [has_area(record.exact_boxes) for record in data]
        flat = sum(int((~some).sum()) for some in kept)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_voc(data, folder, split="train")
        assert [f"{flat} objects without area" in str(x.message) for x in caught] == [True] * (
            flat > 0
        )
        if not len(data):
            return
        read = voc(folder, split="train", class_names=list(data.class_names))
        assert read.class_names == data.class_names
        for ours, theirs, some in zip(data, read, kept, strict=True):
            assert theirs.path.name == ours.path.name
            assert theirs.size == theirs.stated_size == ours.size
            np.testing.assert_array_equal(theirs.image, ours.image)
            np.testing.assert_array_equal(theirs.labels, ours.labels[some])
            np.testing.assert_array_equal(theirs.ignored, (ours.ignored | ours.is_crowd)[some])
            boxes = ours.exact_boxes[some]
            np.testing.assert_allclose(theirs.exact_boxes, boxes, rtol=0, atol=1e-9)


def has_area(boxes):
    """By as much as a number near 1 can tell."""
    return (boxes[:, 2:] - ((boxes[:, :2] + 1) - 1) > 0).all(-1)


def test_splits_in_one_folder(street, tmp_path):
    write_voc(street[:1], tmp_path / "new", split="train")
    write_voc(street[1:], tmp_path / "new", split="val")
    names = list(CLASSES)
    assert len(voc(tmp_path / "new", split="train", class_names=names)) == 1
    assert len(voc(tmp_path / "new", split="val", class_names=names)) == 2
    assert len(voc(tmp_path / "new", class_names=names)) == 3


def test_nothing_is_overwritten(street, tmp_path):
    folder = tmp_path / "new"
    write_voc(street[:1], folder, split="train")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=r"`folder` must have none of the files that are writ"):
            write_voc(street, folder, split=split)
    with pytest.raises(ValueError, match=r"with 1: '.*train\.txt'$"):
        write_voc(street[1:], folder, split="train")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ValueError, match=r"`folder` must be that of a folder.*a file"):
        write_voc(street, folder / "Annotations" / "a b.xml")


def test_a_split_that_is_not_whole_has_no_list(street, tmp_path):
    street[2].path.unlink()
    with pytest.raises(DatasetError, match=r"木 & co\.png"):
        write_voc(street, tmp_path / "new")
    assert not list(tmp_path.rglob("train.txt"))


def test_images_without_file_are_saved(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")
    objects = grouped([0], 1, {"boxes": [[0.5, 0, 1, 0.5]], "labels": [2]}, relative=True)
    write_voc(Dataset(Annotations("t", [pixels], CLASSES, objects)), tmp_path / "new")
    [record] = voc(tmp_path / "new", class_names=list(CLASSES))
    assert record.path.name == "0.png"
    np.testing.assert_array_equal(record.image, pixels)
    assert record.boxes.tolist() == [[3, 0, 6, 2]]


def test_wrong_arguments(street, tmp_path):
    with pytest.raises(ValueError, match=r"`data` must be a Dataset. Received: None"):
        write_voc(None, tmp_path / "new")
    for split in ("a/b", "", "..", " x", "x\ny", 3, None):
        with pytest.raises(ValueError, match=r"A split must have a name without"):
            write_voc(street, tmp_path / "new", split=split)
        with pytest.raises(ValueError, match=r"A split must have a name without"):
            write_voc_detections(FOUND, street, tmp_path / "new", split=split)
    twice = Annotations("s", Paths(tmp_path / "photos", ["a b.png", "a b.jpg"]), CLASSES,
                        grouped([], 2, {"boxes": [], "labels": []}))  # fmt: skip
    with pytest.raises(ValueError, match=r"Images must have different names without suffix"):
        write_voc(Dataset(twice), tmp_path / "new")
    for name in ("a\x01.png", " a.png", "a\n.png"):
        spaced = Annotations("s", Paths(tmp_path, [name]), CLASSES,
                             grouped([], 1, {"boxes": [], "labels": []}))  # fmt: skip
        with pytest.raises(ValueError, match=r"An image must have a name without control"):
            write_voc(Dataset(spaced), tmp_path / "new")
    assert not (tmp_path / "new").exists()


FOUND = {
    "boxes": [[[2, 2, 8, 9], [-2, 0.5, 10, 5]], [], [[0, 0, 20, 10]]],
    "confidence": [[0.5, 0.25], [], [1.0]],
    "labels": [[2, 0], [], [2]],
}


@pytest.fixture
def roads(tmp_path):
    """Three images whose names have no spaces."""
    names = ["2007_1.png", "2007_2.png", "木.png"]
    for name in names:
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    objects = grouped([], 3, {"boxes": [], "labels": []})
    return Dataset(Annotations("roads", Paths(tmp_path, names), CLASSES, objects))


def test_detections(roads, tmp_path):
    folder = tmp_path / "results" / "Main"
    write_voc_detections(FOUND, roads, folder, split="val")
    assert {path.name: path.read_text("utf-8").splitlines() for path in folder.iterdir()} == {
        "comp4_det_val_car.txt": ["2007_1 0.25 -1 1.5 10 5"],
        "comp4_det_val_Straßen bahn.txt": [],
        "comp4_det_val_<木>.txt": ["2007_1 0.5 3 3 8 9", "木 1 1 1 20 10"],
    }
    with pytest.raises(ValueError, match=r"none of the files.*comp4_det_val_car"):
        write_voc_detections(FOUND, roads, folder, split="val")
    write_voc_detections({key: [] for key in FOUND}, roads[:0], folder, split="test")
    assert (folder / "comp4_det_test_car.txt").read_text() == ""


def test_wrong_detections_leave_no_files(roads, street, tmp_path):
    folder = tmp_path / "results"
    with pytest.raises(ValueError, match=r"An image must have a name without spaces.*'a b'"):
        write_voc_detections(FOUND, street, folder)
    other = Annotations("s", roads.annotations.images, ("a/b", "c", "d"), roads.annotations.objects)
    with pytest.raises(ValueError, match=r"A class must have a name without slashes.*'a/b'"):
        write_voc_detections(FOUND, Dataset(other), folder)
    with pytest.raises(ValueError, match=r"labels that are integers below 3"):
        write_voc_detections({**FOUND, "labels": [[2, 3], [], [2]]}, roads, folder)
    assert not folder.exists()
