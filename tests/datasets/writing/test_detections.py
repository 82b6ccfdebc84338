import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_cvx.datasets import Dataset
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.writing.detections import detections_by_image

BOXES = np.array([[[1, 2, 3, 4], [0, 0, 8, 4]], [[2, 1, 5, 3], [-1, -1, -1, -1]]], "float32")
FOUND = {
    "boxes": BOXES,
    "confidence": np.array([[0.75, 0.5], [0.25, -1]], "float32"),
    "labels": np.array([[1, 0], [1, -1]], "int32"),
}
EXPECTED = [
    ([[1, 2, 3, 4], [0, 0, 8, 4]], [0.75, 0.5], [1, 0]),
    ([[2, 1, 5, 3]], [0.25], [1]),
]


@pytest.fixture
def data(tmp_path):
    """Two images of 8 by 4 pixels."""
    names = ["a.png", "b.png"]
    for name in names:
        Image.new("RGB", (8, 4)).save(tmp_path / name)
    objects = grouped([], 2, {"boxes": [], "labels": []})
    return Dataset(Annotations("s", Paths(tmp_path, names), ("car", "bus"), objects))


def listed(found, data, bounding_box_format="xyxy"):
    rows = list(detections_by_image(found, data, bounding_box_format))
    assert [record.index for record, *_ in rows] == list(range(len(data)))
    return [tuple(columns) for _, *columns in rows]


@pytest.mark.host
def test_no_images_and_no_rows(data):
    nothing = {"boxes": [[], []], "confidence": [[], []], "labels": [[], []]}
    assert listed(nothing, data) == [([], [], [])] * 2
    assert listed({key: [] for key in nothing}, data[:0]) == []


def test_arrays_tensors_and_lists(data):
    assert listed(FOUND, data) == EXPECTED
    tensors = {key: ops.convert_to_tensor(value) for key, value in FOUND.items()}
    assert listed(tensors, data) == EXPECTED
    ragged = {key: [value[0], value[1, :1]] for key, value in FOUND.items()}
    assert listed(ragged, data) == EXPECTED
    fewer = {**tensors, "num_detections": ops.convert_to_tensor(np.array([1, 1], "int32"))}
    assert listed(fewer, data) == [([[1, 2, 3, 4]], [0.75], [1]), EXPECTED[1]]


@pytest.mark.parametrize(
    ("bounding_box_format", "boxes"),
    [("xywh", [2, 1, 3, 2]), ("rel_yxyx", [0.25, 0.25, 0.75, 0.625])],
)
def test_other_formats(data, bounding_box_format, boxes):
    one = {"boxes": [[boxes]], "confidence": [[0.5]], "labels": [[0]]}
    assert listed(one, data[:1], bounding_box_format) == [([[2, 1, 5, 3]], [0.5], [0])]


@pytest.mark.host
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": [[1, np.nan], [1, -1]]}, r"labels that are integers below 2, .*nan in image 0"),
        ({"labels": [[1, 2], [1, -1]]}, r"labels that are integers below 2, .*: 2.0 in image 0"),
        ({"labels": [[1, 0.5], [1, -1]]}, r"labels that are integers below 2, .*: 0.5 in image 0"),
        ({"confidence": [[1, 1], [np.inf, 0]]}, r"confidences that are finite.*inf in image 1"),
        ({"boxes": BOXES[:, :, [2, 1, 0, 3]]}, r"boxes that are finite, their far.*in image 0"),
        ({"confidence": [[1], [1]]}, r"in image 0 2, 1 and 2 rows"),
        ({"score": [[1], [1]]}, r"must have no other keys"),
        ({"num_detections": [2]}, r"`detections\['num_detections'\]` must be of the 2 images"),
    ],
)
def test_what_is_wrong_is_named(data, changed, message):
    with pytest.raises(ValueError, match=message):
        listed({**FOUND, **changed}, data)
