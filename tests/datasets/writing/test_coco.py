import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_cvx.datasets import (
    Dataset,
    DatasetError,
    coco,
    write_coco,
    write_coco_detections,
)
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.pixels.orientation import ORIENTATIONS
from keras_cvx.datasets.pixels.regions import RegionsBuilder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CLASSES = ("car", "bottle", "brush")


@pytest.fixture
def street(tmp_path):
    """Three images of 20 by 10 pixels, two objects in the first, one in the last."""
    names = ["a b.png", "leer.png", "ü/木.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    columns = {
        "boxes": [[1, 2, 8, 9], [2.5, 0.25, 9.75, 3], [10, 0, 20, 10]],
        "labels": [1, 0, 2],
        "ids": [4, 9, 2],
    }
    return Dataset(
        Annotations(
            "street", Paths(tmp_path, names), CLASSES, grouped([0, 0, 2], 3, columns),
            image_ids=[30, 10, 20], category_ids=(3, 44, 90),
        )
    )  # fmt: skip


def content_of(path):
    return json.loads(path.read_text("ascii"))


def test_no_images(street, tmp_path):
    write_coco(street[:0], tmp_path / "new" / "none.json")
    assert content_of(tmp_path / "new" / "none.json") == {
        "annotations": [],
        "images": [],
        "categories": [
            {"id": 3, "name": "car"},
            {"id": 44, "name": "bottle"},
            {"id": 90, "name": "brush"},
        ],
    }
    read = coco(tmp_path / "new" / "none.json", tmp_path)
    assert len(read) == 0
    assert read.class_names == CLASSES


def test_what_stands_in_the_file(street, tmp_path):
    write_coco(street[[2, 0]], tmp_path / "a.json")
    content = content_of(tmp_path / "a.json")
    assert content["images"] == [
        {"id": 20, "file_name": "ü/木.png", "height": 10, "width": 20},
        {"id": 30, "file_name": "a b.png", "height": 10, "width": 20},
    ]
    assert content["annotations"][1] == {
        "id": 4,
        "image_id": 30,
        "category_id": 44,
        "bbox": [1, 2, 7, 7],
        "area": 49,
        "iscrowd": 0,
        "segmentation": [],
    }
    assert [one["id"] for one in content["annotations"]] == [2, 4, 9]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a b.png",
        "a.json",
        "leer.png",
        "ü",
    ]


@pytest.mark.host
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_what_is_written_is_read(random_data, capsys, drawn):
    regions = drawn.draw(st.sampled_from(["any", "all"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = random_data(drawn.draw, folder, regions)
        write_coco(data, folder / "a.json")
        read, reference = coco(folder / "a.json", folder), COCO(folder / "a.json")
        capsys.readouterr()
        assert read.class_names == data.class_names
        assert read.annotations.category_ids == (data.annotations.category_ids or (1, 2, 3))
        np.testing.assert_array_equal(read.annotations.objects.ids, data.annotations.objects.ids)
        assert len(read) == len(data)
        for ours, theirs in zip(data, read, strict=True):
            assert theirs.path == ours.path
            assert theirs.size == ours.size
            for key in ("labels", "is_crowd", "ignored", "areas"):
                np.testing.assert_array_equal(getattr(theirs, key), getattr(ours, key))
            np.testing.assert_allclose(theirs.exact_boxes, ours.exact_boxes, rtol=0, atol=1e-9)
            if regions == "all":
                np.testing.assert_array_equal(theirs.masks, ours.masks)
                objects = reference.loadAnns(reference.getAnnIds(imgIds=[theirs.image_id]))
                assert len(objects) == len(ours.masks)
                for one, mask in zip(objects, ours.masks, strict=True):
                    np.testing.assert_array_equal(reference.annToMask(one), mask)


@pytest.mark.host
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 14), st.floats(0, 9)), min_size=3, max_size=6),
    st.sampled_from(ORIENTATIONS),
    st.booleans(),
)
def test_any_outline_is_turned(points, orientation, relative):
    """Its mask is that which is turned, but for pixels at its edge."""
    with tempfile.TemporaryDirectory() as name:
        folder, builder = Path(name), RegionsBuilder()
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (14, 9)).save(folder / "a.png", exif=exif)
        builder.add([(np.array(points) / ((14, 9) if relative else 1)).ravel().tolist()])
        columns = {"boxes": [[0, 0, 1, 1]], "labels": [0]}
        objects = grouped([0], 1, columns, builder, relative=relative)
        images = Paths(folder, ["a.png"])
        data = Dataset(Annotations("one", images, ("car",), objects, frame="stored"))
        write_coco(data, folder / "a.json")
        [before], [after] = data[0].masks, coco(folder / "a.json", folder)[0].masks
    assert before.shape == after.shape
    different = before != after
    assert not (different & ~(edge_of(before) | edge_of(after))).any()
    if orientation == 1:
        assert not different.any()


def edge_of(mask):
    """Pixels that are not, in all directions, within others of the same value."""
    padded = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.any(around, axis=0) != np.all(around, axis=0)


def test_ids_that_are_none_are_numbered(street, tmp_path):
    columns = {"boxes": [[0, 0, 1, 1]] * 2, "labels": [0, 2], "ids": [0, 0]}
    images = street.annotations.images
    for place, ids in enumerate((["x", "y", "z"], [5, 5, 6], [1, "2", 3])):
        objects = grouped([0, 1], 3, columns)
        path = tmp_path / f"{place}.json"
        write_coco(Dataset(Annotations("s", images, CLASSES, objects, ids))[1:], path)
        content = content_of(path)
        assert [image["id"] for image in content["images"]] == [2, 3]
        assert [one["image_id"] for one in content["annotations"]] == [2]
        assert [one["id"] for one in content["annotations"]] == [1]
        assert content["annotations"][0]["category_id"] == 3


def test_boxes_as_far_as_other_formats_have_them_are_read(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    far = 2.0**31
    columns = {"boxes": [[-1 - far, 0, far, 10], [far, 3, far, 5]], "labels": [0, 1]}
    objects = grouped([0, 0], 1, columns)
    data = Dataset(Annotations("s", Paths(tmp_path, ["a.png"]), CLASSES, objects))
    write_coco(data, tmp_path / "a.json")
    [record] = coco(tmp_path / "a.json", tmp_path)
    assert record.exact_boxes.tolist() == columns["boxes"]


def test_nothing_is_overwritten_and_nothing_half_written(street, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"`path` must be that of a new file.*a\.json', which is"):
        write_coco(street, path)
    with pytest.raises(ValueError, match=r"`path` must be that of a new file"):
        write_coco_detections({}, street, path)
    assert path.read_text() == "mine"
    path.unlink()
    (tmp_path / "ü" / "木.png").write_text("no image")
    with pytest.raises(DatasetError, match="cannot identify"):
        write_coco(street, path)
    assert not list(tmp_path.glob("*.json*"))


def test_wrong_arguments(street, tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"`data` must be a Dataset. Received: \[\]"):
        write_coco([], path)
    with pytest.raises(ValueError, match=r"`path` must be a path. Received: 3"):
        write_coco(street, 3)
    with pytest.raises(ValueError, match=r"`data` must have each image once. Received: 4 im"):
        write_coco(street[[0, 1, 2, 1]], path)
    alone = Annotations("m", street.annotations.images, CLASSES, masks=[np.zeros((10, 20))] * 3)
    with pytest.raises(ValueError, match=r"`data` must have objects. .*masks alone"):
        write_coco(Dataset(alone), path)
    arrays = Annotations("a", [np.zeros((2, 2, 3), "uint8")], CLASSES, grouped([], 1, NONE))
    with pytest.raises(ValueError, match=r"images that are files.*`write_voc` or `write_yolo`"):
        write_coco(Dataset(arrays), path)
    assert not path.exists()


NONE: dict = {"boxes": [], "labels": []}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": [[0, 0, 1, np.nan]]}, r"a b\.png'.*boxes must be finite.*1.0, nan\]"),
        (
            {"boxes": [[3, 0, 1, 5]]},
            r"boxes must be finite, their far corner not be.*\[3.0, 0",
        ),
        ({"areas": [np.inf]}, r"areas must be finite. Received: \[inf\]"),
    ],
)
def test_wrong_objects(street, tmp_path, changed, message):
    columns = {"boxes": [[0, 0, 1, 1]], "labels": [0], **changed}
    images = street.annotations.images
    data = Dataset(Annotations("s", images, CLASSES, grouped([0], 3, columns)))
    with pytest.raises(DatasetError, match=message):
        write_coco(data, tmp_path / "a.json")


PERFECT = {
    "boxes": [[[1, 2, 8, 9], [2.5, 0.25, 9.75, 3]], [], [[10, 0, 20, 10]]],
    "confidence": [[0.5, 0.75], [], [0.25]],
    "labels": [[1, 0], [], [2]],
}


def scores(truth, results, capsys):
    reference = COCO(truth)
    evaluation = COCOeval(reference, reference.loadRes(str(results)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    return evaluation.stats


def test_perfect_detections_score_1(street, tmp_path, capsys):
    write_coco(street, tmp_path / "truth.json")
    write_coco_detections(PERFECT, street, tmp_path / "found.json")
    assert content_of(tmp_path / "found.json")[0] == {
        "image_id": 30, "category_id": 44, "bbox": [1, 2, 7, 7], "score": 0.5,
    }  # fmt: skip
    precision, *_ = scores(tmp_path / "truth.json", tmp_path / "found.json", capsys)
    assert precision == pytest.approx(1, abs=1e-12)
    moved = {**PERFECT, "labels": [[1, 0], [], [1]]}
    write_coco_detections(moved, street, tmp_path / "moved.json")
    precision, *_ = scores(tmp_path / "truth.json", tmp_path / "moved.json", capsys)
    assert 0 < precision < 0.9


@pytest.mark.parametrize("kind", ["numpy", "backend"])
def test_padded_rows_are_left_out(street, tmp_path, kind):
    padded = {
        "boxes": [[*boxes, *[[-1] * 4] * (3 - len(boxes))] for boxes in PERFECT["boxes"]],
        "confidence": [[*some, *[-1] * (3 - len(some))] for some in PERFECT["confidence"]],
        "labels": [[*some, *[-1] * (3 - len(some))] for some in PERFECT["labels"]],
    }
    convert = keras.ops.convert_to_tensor if kind == "backend" else np.asarray
    arrays = {key: convert(np.array(value, "float32")) for key, value in padded.items()}
    write_coco_detections(PERFECT, street, tmp_path / "lists.json")
    write_coco_detections(arrays, street, tmp_path / "arrays.json")
    assert content_of(tmp_path / "arrays.json") == content_of(tmp_path / "lists.json")
    arrays["num_detections"] = convert(np.array([1, 0, 0], "int32"))
    write_coco_detections(arrays, street, tmp_path / "fewer.json")
    assert content_of(tmp_path / "fewer.json") == content_of(tmp_path / "lists.json")[:1]


@pytest.mark.parametrize(
    ("bounding_box_format", "box"),
    [
        ("xywh", [1, 2, 7, 7]),
        ("yxyx", [2, 1, 9, 8]),
        ("rel_xyxy", [0.05, 0.2, 0.4, 0.9]),
        ("center_xywh", [4.5, 5.5, 7, 7]),
    ],
)
def test_formats_of_boxes(street, tmp_path, bounding_box_format, box):
    found = {"boxes": [[box]], "confidence": [[0.5]], "labels": [[1]]}
    write_coco_detections(
        found, street[:1], tmp_path / "a.json", bounding_box_format=bounding_box_format
    )
    [one] = content_of(tmp_path / "a.json")
    np.testing.assert_allclose(one["bbox"], [1, 2, 7, 7], atol=1e-12)


def test_no_detections(street, tmp_path):
    nothing = {
        "boxes": np.zeros((3, 0, 4)),
        "confidence": np.zeros((3, 0)),
        "labels": np.zeros((3, 0)),
    }
    write_coco_detections(nothing, street, tmp_path / "a.json")
    write_coco_detections({key: [] for key in PERFECT}, street[:0], tmp_path / "b.json")
    assert content_of(tmp_path / "a.json") == content_of(tmp_path / "b.json") == []


ONE = {"boxes": [[[1, 2, 8, 9]]], "confidence": [[0.5]], "labels": [[1]]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": [[[1, 2, 8, np.nan]]]}, r"boxes that are finite.*8.0, nan\] in image 0"),
        ({"boxes": [[[9, 2, 8, 9]]]}, r"far corner not before the near one. Rec.*\[9.0, 2.0, 8"),
        (
            {"boxes": [[[9, 2, 8]]]},
            r"`detections\['boxes'\]` must be \('rows', 4\).*shape \(1, 3",
        ),
        ({"boxes": [[[1, 2, 8, 9]] * 2]}, r"one row of each key.* in image 0 2, 1 and 1 rows"),
        ({"confidence": [[np.inf]]}, r"confidences that are finite. Received: inf in image 0"),
        ({"labels": [[3]]}, r"labels that are integers below 3.*Received: 3.0 in image 0"),
        ({"labels": [[0.5]]}, r"labels that are integers below 3.*Received: 0.5 in image 0"),
        ({"labels": [[1], [1]]}, r"`detections\['labels'\]` must be of the 1 images.*2 images"),
        ({"label": [[1]]}, r"no other keys than .*Did you mean 'labels'"),
    ],
)
def test_wrong_detections(street, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        write_coco_detections({**ONE, **changed}, street[:1], tmp_path / "a.json")
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize("wrong", [[ONE], {"boxes": [], "labels": []}])
def test_what_are_no_detections(street, tmp_path, wrong):
    with pytest.raises(ValueError, match=r"`detections` must be a dict with the keys \('boxes'"):
        write_coco_detections(wrong, street[:1], tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"`bounding_box_format` must be one of"):
        write_coco_detections(ONE, street[:1], tmp_path / "a.json", bounding_box_format="corners")
