import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cvx.datasets import (
    Dataset,
    DatasetError,
    write_yolo,
    write_yolo_detections,
    yolo,
)
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.pixels.regions import RegionsBuilder

pytestmark = pytest.mark.host

CLASSES = ("car", "Straßenbahn: 5", "no")
NAMES = ["a b.png", "leer.jpg", "ü/木.png"]


def street_of(folder, names=NAMES, **changes):
    """Images of 20 by 10 pixels, two objects in the first, one in the last."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (20, 10)).save(folder / name)
    columns = {"boxes": [[2, 2, 8, 9], [2.5, 0.25, 9.75, 3], [10, 0, 20, 10]], "labels": [1, 0, 2]}
    objects = grouped([0, 0, len(names) - 1], len(names), {**columns, **changes})
    return Dataset(Annotations("street", Paths(folder, names), CLASSES, objects))


@pytest.fixture
def street(tmp_path):
    return street_of(tmp_path / "photos")


def lines_of(path):
    return [list(map(float, line.split())) for line in path.read_text("ascii").splitlines()]


def test_no_images(street, tmp_path):
    write_yolo({"train": street, "val": street[:0]}, tmp_path / "new")
    with pytest.raises(DatasetError, match=r"must have images"):
        yolo(tmp_path / "new", split="val")
    assert len(yolo(tmp_path / "new")) == 3


def test_what_stands_in_the_files(street, tmp_path):
    """As Ultralytics documents it."""
    folder = tmp_path / "deep" / "new"
    write_yolo({"val": street[1:], "train": street[:1]}, folder)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == [
        "data.yaml",
        "images/train/a b.png",
        "images/val/leer.jpg",
        "images/val/木.png",
        "labels/train/a b.txt",
        "labels/val/leer.txt",
        "labels/val/木.txt",
    ]
    assert yaml.safe_load((folder / "data.yaml").read_text("utf-8")) == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "car", 1: "Straßenbahn: 5", 2: "no"},
    }
    first = (folder / "labels/train/a b.txt").read_text().splitlines()
    assert first == ["1 0.25 0.55 0.3 0.7", "0 0.30625 0.1625 0.3625 0.275"]
    assert lines_of(folder / "labels/val/leer.txt") == []
    copied = folder / "images/val/木.png"
    assert copied.read_bytes() == street[2].path.read_bytes()
    assert yolo(folder / "data.yaml", split="val").class_names == CLASSES


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read(random_data, drawn):
    outlines = drawn.draw(st.booleans())
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "source", Path(name) / "yolo"
        source.mkdir()
        data = random_data(drawn.draw, source, "outline" if outlines else "any")
        expected = {record.path.name: told_objects(record, outlines) for record in data}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_yolo(data, folder, outlines=outlines)
        left_out = sum(len(r.labels) for r in data) - sum(len(x) for x in expected.values())
        assert told_count(caught) == left_out
        if not len(data):
            return
        for record in data:
            rows = rows_as_ultralytics_reads(folder, record.path.name)
            assert [row[0] for row in rows] == [label for label, _ in expected[record.path.name]]
        read = yolo(folder)
        assert read.class_names == data.class_names
        assert {record.path.name for record in read} == set(expected)
        for record in read:
            objects = expected[record.path.name]
            assert record.labels.tolist() == [label for label, _ in objects]
            boxes = [[*points.min(0), *points.max(0)] for _, points in objects]
            np.testing.assert_allclose(
                record.exact_boxes, np.reshape(boxes, (-1, 4)), rtol=0, atol=1e-9
            )
            if outlines:
                for [outline], (_, points) in zip(record.outlines, objects, strict=True):
                    np.testing.assert_allclose(outline, points, rtol=0, atol=1e-9)


def rows_as_ultralytics_reads(folder, name, split="train"):
    """The rows of an image's label file, by the rules of Ultralytics' `verify_image_label`."""
    settings = yaml.safe_load((folder / "data.yaml").read_text("utf-8"))
    image = str(folder / settings[split] / name)
    assert image.rsplit(".", 1)[1].lower() in {"bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"}
    # `img2label_paths`: the last folder of that name, the last suffix.
    label_path = "/labels/".join(image.rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
    rows = [line.split() for line in Path(label_path).read_text("utf-8").strip().splitlines()]
    # A row of more than six columns makes outlines of all rows in the file.
    outlines = any(len(row) > 6 for row in rows)
    assert all(len(row) % 2 == 1 and len(row) >= 7 if outlines else len(row) == 5 for row in rows)
    numbers = [(int(row[0]), np.array(row[1:], "float32")) for row in rows]
    for label, values in numbers:
        assert 0 <= label < len(settings["names"])
        assert values.min() >= 0
        assert values.max() <= 1
    return numbers


def told_objects(record, outlines):
    """Label and points of those that the format has a place for, cut at the border."""
    height, width = record.size
    objects = []
    for place, label in enumerate(record.labels.tolist()):
        points = record.outlines[place][0] if outlines else record.exact_boxes[place].reshape(2, 2)
        inside = np.stack([points[:, 0].clip(0, width), points[:, 1].clip(0, height)], axis=-1)
        empty = (inside.max(0) <= inside.min(0)).any()
        if not (record.is_crowd[place] or record.ignored[place] or empty):
            objects.append((label, inside))
    return objects


def told_count(caught):
    """How many objects a warning says were left out."""
    assert len(caught) <= 1
    words = str(caught[0].message).split() if caught else []
    return sum(int(word) for word in words if word.isdigit())


def test_what_is_left_out_is_counted(tmp_path):
    boxes = [[1, 1, 5, 5]] * 4 + [[3, 3, 3, 9], [-5, 1, 0, 3], [-5, 1, 2, 30]]
    flags = {"is_crowd": [1, 1, 0, 0, 0, 0, 0], "ignored": [0, 1, 1, 0, 0, 0, 0]}
    objects = grouped([0] * 7, 1, {"boxes": boxes, "labels": [0] * 7, **flags})
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    data = Dataset(Annotations("s", Paths(tmp_path, ["a.png"]), CLASSES, objects))
    message = "2 crowds, 1 ignored objects, 2 objects without area in their image.$"
    with pytest.warns(UserWarning, match=message):
        write_yolo(data, tmp_path / "new")
    assert yolo(tmp_path / "new")[0].boxes.tolist() == [[1, 1, 5, 5], [0, 1, 2, 10]]


def test_each_object_must_have_one_outline(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    builder = RegionsBuilder()
    for count in (1, 2, 0):
        builder.add([[1, 1, 5, 1, 5, 5]] * count)
    columns = {"boxes": [[1, 1, 5, 5]] * 3, "labels": [0] * 3}

    def data(is_crowd):
        objects = grouped([0] * 3, 1, {**columns, "is_crowd": is_crowd}, builder)
        return Dataset(Annotations("s", Paths(tmp_path, ["a.png"]), CLASSES, objects))

    message = r"False unless .* 2 objects of 'train' with none or more, first object 2 with 2 of <R"
    with pytest.raises(ValueError, match=message):
        write_yolo(data([0, 0, 0]), tmp_path / "new", outlines=True)
    assert not (tmp_path / "new").exists()
    with pytest.warns(UserWarning, match="2 crowds"):
        write_yolo(data([0, 1, 1]), tmp_path / "new", outlines=True)
    assert lines_of(tmp_path / "new/labels/train/a.txt") == [[0, 0.05, 0.1, 0.25, 0.1, 0.25, 0.5]]


def test_images_without_file_are_saved(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), "uint8")
    objects = grouped([1], 2, {"boxes": [[0.5, 0, 1, 0.5]], "labels": [2]}, relative=True)
    ids = ["2008/000008.jpg", 7]
    write_yolo(Dataset(Annotations("t", list(pixels), CLASSES, objects, ids)), tmp_path / "new")
    read = yolo(tmp_path / "new")
    assert [record.path.name for record in read] == ["000008.png", "7.png"]
    for record, image in zip(read, pixels, strict=True):
        np.testing.assert_array_equal(record.image, image)
    assert read[1].boxes.tolist() == [[3, 0, 6, 2]]


@pytest.mark.parametrize("names", [["a/1.png", "b/1.png"], ["1.jpg", "1.png"], ["x.png", "X.PNG"]])
def test_equal_names_are_an_error(tmp_path, names):
    data = street_of(tmp_path / "photos", names)
    message = r"different names without suffix.*photos/.*1\.[jp][pn]g' and '.*1\.png'|x\.png' and"
    with pytest.raises(ValueError, match=message):
        write_yolo(data, tmp_path / "new")
    with pytest.raises(ValueError, match=message):
        write_yolo_detections(found(2), data, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    # In different parts they are in different folders.
    write_yolo({"train": data[:1], "val": data[1:]}, tmp_path / "new")


@pytest.mark.parametrize("name", ["photo", "a.avif", ".a.png", "a.gif", "a.PPM"])
def test_names_that_are_of_no_image_are_an_error(tmp_path, name):
    Image.new("RGB", (20, 10)).save(tmp_path / name, format="PNG")
    objects = grouped([], 1, {"boxes": [], "labels": []})
    data = Dataset(Annotations("s", Paths(tmp_path, [name]), CLASSES, objects))
    with pytest.raises(ValueError, match=rf"Images must have names with a suffix.*'{name}'"):
        write_yolo(data, tmp_path / "new")


def test_nothing_is_overwritten(street, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    write_yolo(street, folder)
    for write in (write_yolo, lambda *x: write_yolo_detections(found(3), *x)):
        with pytest.raises(ValueError, match=r"`folder` must be new or empty.*new', which has fi"):
            write(street, folder)
        with pytest.raises(ValueError, match=r"`folder` must be that of a folder.*a file"):
            write(street, folder / "data.yaml")


def test_a_folder_that_is_not_whole_has_no_data_yaml(street, tmp_path):
    street[2].path.unlink()
    with pytest.raises(DatasetError, match=r"木\.png"):
        write_yolo(street, tmp_path / "new")
    assert (tmp_path / "new" / "images").is_dir()
    assert not (tmp_path / "new" / "data.yaml").exists()


def test_wrong_arguments(street, tmp_path):
    for wrong in ([street], {}, {"valid": street}, None):
        with pytest.raises(
            ValueError, match=r"`parts` must be a Dataset, or a dict of some by the"
        ):
            write_yolo(wrong, tmp_path / "new")
    with pytest.raises(ValueError, match=r"`parts\['val'\]` must be a Dataset. Received: 3"):
        write_yolo({"train": street, "val": 3}, tmp_path / "new")
    with pytest.raises(ValueError, match=r"`folder` must be a path. Received: None"):
        write_yolo(street, None)
    for names, message in (
        (("car",), r"the same classes. Received: .*'car', 'Str.* in 'train', \('car',\) in 'val'"),
        (("a", "b ", "c"), r"A class must have a name without .*Received: 'b '"),
        (("a", "b\u2028", "c"), r"A class must have a name without .*Received: 'b\\u2028'"),
        (("a", "b", "a"), r"Classes must have different names"),
    ):
        other = Annotations("s", street.annotations.images, names, street.annotations.objects)
        with pytest.raises(ValueError, match=message):
            write_yolo({"train": street, "val": Dataset(other)} if len(names) == 1
                       else Dataset(other), tmp_path / "new")  # fmt: skip
    with pytest.raises(ValueError, match=r"must have objects. .*masks alone"):
        write_yolo(Dataset(Annotations("m", street.annotations.images, CLASSES)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def found(count):
    """Detections in the first of some images."""
    return {
        "boxes": [[[2, 2, 8, 9], [-2, 0, 10, 5]], *[[]] * (count - 1)],
        "confidence": [[0.5, 0.25], *[[]] * (count - 1)],
        "labels": [[2, 0], *[[]] * (count - 1)],
    }


def test_detections(street, tmp_path):
    write_yolo_detections(found(3), street, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "a b.txt",
        "leer.txt",
        "木.txt",
    ]
    assert (tmp_path / "new" / "a b.txt").read_text().splitlines() == [
        "2 0.25 0.55 0.3 0.7 0.5",
        "0 0.2 0.25 0.6 0.5 0.25",
    ]
    assert (tmp_path / "new" / "木.txt").read_text() == ""


def test_no_detections(street, tmp_path):
    write_yolo_detections({key: [] for key in found(1)}, street[:0], tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_wrong_detections_leave_no_files(street, tmp_path):
    wrong = found(3)
    wrong["boxes"][0][1] = [0, 0, np.inf, 1]
    with pytest.raises(ValueError, match=r"boxes that are finite.*in image 0"):
        write_yolo_detections(wrong, street, tmp_path / "new")
    assert not (tmp_path / "new").exists()
