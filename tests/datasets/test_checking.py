import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import Dataset, masks
from keras_cvx.datasets.annotations import Annotations, Paths, grouped

pytestmark = pytest.mark.host

SIZE = (8, 10)


@pytest.fixture
def data(tmp_path):
    """Function of boxes and labels by image: a data set of files that all differ."""

    def make(*objects, start=0, **changes):
        names = []
        for place in range(len(objects)):
            names.append(f"{start + place}.png")
            pixels = np.full((*SIZE, 3), start + place, "uint8")
            Image.fromarray(pixels).save(tmp_path / names[-1])
        rows = [place for place, some in enumerate(objects) for _ in some]
        columns = {
            "boxes": [box for some in objects for box, _ in some],
            "labels": [label for some in objects for _, label in some],
        }
        found = grouped(rows, len(objects), columns)
        annotations = Annotations("t", Paths(tmp_path, names), ("cat", "dog"), found, **changes)
        return Dataset(annotations)

    return make


CAT, DOG = ([1, 1, 5, 5], 0), ([2, 2, 9, 8], 1)


def found(report):
    return {finding.what: finding.count for finding in report.findings}


def test_an_empty_data_set(data):
    report = data().check()
    assert report.ok
    assert report.num_images == 0
    assert found(report) == {"classes without objects": 2}


def test_nothing_is_wrong(data):
    report = data([CAT], [DOG, CAT]).check()
    assert report.ok
    assert report.findings == []
    assert report.label_counts == {"cat": 2, "dog": 1}
    assert str(report).splitlines() == [
        "2 images, 3 labels in 2 classes",
        "  cat  2",
        "  dog  1",
        "nothing wrong was found",
    ]


def test_boxes(data):
    report = data(
        [
            ([-3, 1, 5.1, 5], 0),
            ([1, 1, 12, 5], 0),
            ([1, -2.5, 5, 9.5], 1),
            ([-0.5, 0, 10.5, 8.5], 1),
        ],
        [([1, 1, 1, 5], 0), ([4, 4, 2, 6], 1)],
        [CAT, CAT, DOG, CAT, ([1, 1, 5, 5], 1)],
        [],
    ).check()
    assert not report.ok
    assert found(report) == {
        "boxes outside of their image": 3,
        "boxes without area": 2,
        "objects that are there twice": 2,
        "images without objects": 1,
    }
    [outside, *_] = report.findings
    assert outside.examples[0].startswith("cat [-3.0, 1.0, 5.1, 5.0] in ")
    assert outside.examples[0].endswith("0.png")
    assert "note: 1 images without objects: " in str(report)
    assert "error: 3 boxes outside of their image: " in str(report)


def test_images(data, tmp_path):
    whole = data(*[[CAT, DOG]] * 5)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    (tmp_path / "2.png").unlink()
    # The same pixels in another file.
    Image.open(tmp_path / "3.png").save(tmp_path / "4.png", compress_level=0)
    report = whole.check()
    assert found(report) == {"images that cannot be read": 2, "images that are there twice": 1}
    assert report.label_counts == {"cat": 3, "dog": 3}
    twice = report.findings[1].examples
    assert twice == [f"{tmp_path / '4.png'} as {tmp_path / '3.png'}"]


def test_images_of_another_size(data):
    sizes = np.array([SIZE, (9, 10)], "int32")
    report = data([CAT, DOG], [CAT], sizes=sizes).check()
    assert found(report) == {"images of another size than their annotations are for": 1}


def test_leakage(data):
    train, valid = data([CAT], [DOG], [CAT]), data([CAT, DOG], [DOG], start=2)
    assert train.check().ok
    assert valid.check().ok
    report = train.check(valid)
    assert found(report) == {"images that are in two parts": 1}
    assert report.num_images == 5
    assert report.label_counts == {"cat": 3, "dog": 3}


def test_what_was_skipped_is_told(data):
    some = data([CAT, DOG])
    report = Dataset(some.annotations, skipped=["a: no box", "b: no label"]).check()
    assert found(report) == {"records that were skipped": 2}
    assert report.findings[0].examples == ["a: no box", "b: no label"]


def test_what_was_skipped_is_told_once_for_all_parts_of_it(data):
    whole = Dataset(data(*[[CAT, DOG]] * 4).annotations, skipped=["a: no box", "b: no label"])
    train, valid = whole.split(0.5)
    assert found(train.check(valid))["records that were skipped"] == 2
    other = Dataset(data([CAT], [DOG], start=4).annotations, skipped=["c: no box"])
    assert found(train.check(valid, other))["records that were skipped"] == 3


def test_examples_are_the_first_five(data):
    report = data(*[[([0, 0, 50, 5], 0), DOG]] * 7).check()
    [finding] = report.findings
    assert finding.count == 7
    assert [example[-5:] for example in finding.examples] == [f"{i}.png" for i in range(5)]
    assert str(finding).endswith("4.png, ...")


def test_classes_of_one_name(data):
    some = data([CAT], [DOG]).annotations
    report = Dataset(dataclasses.replace(some, class_names=("cat", "cat"))).check()
    assert report.ok
    assert found(report) == {"names of several classes": 1}
    assert report.findings[0].examples == ["cat of 2"]


def test_frames_that_nothing_tells(data, tmp_path):
    turned = data([CAT], [DOG])
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(tmp_path / "1.png").save(tmp_path / "1.png", exif=exif)
    report = turned.check()
    assert report.ok
    assert found(report) == {"turned images whose annotations may be of either frame": 1}
    told = data([CAT], frame="stored")
    Image.open(tmp_path / "0.png").save(tmp_path / "0.png", exif=exif)
    assert found(told.check()) == {"classes without objects": 1}


def test_masks(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for place, value in enumerate([0, 1, 7, 255]):
        mask = np.zeros(SIZE, "uint8")
        mask[:2] = value
        Image.fromarray(np.full((*SIZE, 3), place, "uint8")).save(tmp_path / f"images/{place}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{place}.png")
    named = masks(tmp_path / "images", tmp_path / "masks", class_names=("sky", "tree", "road"))
    report = named.check()
    assert found(report) == {"ids in masks that are no class": 1, "classes without objects": 1}
    assert report.findings[0].examples[0].startswith("7 (20 pixels) in ")
    pixels = SIZE[0] * SIZE[1]
    assert report.label_counts == {"sky": 4 * pixels - 60, "tree": 20, "road": 0, 255: 20}
    bare = masks(tmp_path / "images", tmp_path / "masks").check()
    assert bare.ok
    assert bare.label_counts == {0: 4 * pixels - 60, 1: 20, 7: 20, 255: 20}


def test_masks_tell_their_frame_by_their_size(tmp_path):
    exif = Image.Exif()
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for place, orientation in enumerate((6, 6, 3)):
        exif[0x0112] = orientation
        stored = np.full((*SIZE, 3), place, "uint8")
        Image.fromarray(stored).save(tmp_path / f"images/{place}.png", exif=exif)
        shape = SIZE[::-1] if place == 0 else SIZE
        Image.fromarray(np.zeros(shape, "uint8")).save(tmp_path / f"masks/{place}.png")
    report = masks(tmp_path / "images", tmp_path / "masks").check()
    assert found(report) == {"turned images whose annotations may be of either frame": 1}
    assert report.findings[0].examples == [str(tmp_path / "images" / "2.png")]


def test_a_bar_is_shown_on_long_scans(data, capsys, monkeypatch):
    monkeypatch.setattr("keras_cvx.datasets.checking._LONG", 2)
    data(*[[CAT, DOG]] * 3).check()
    assert "3/3" in capsys.readouterr().out
    data(*[[CAT, DOG]] * 3).check(progress=False)
    data(*[[CAT, DOG]] * 2).check()
    assert capsys.readouterr().out == ""
