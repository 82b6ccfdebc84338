import numpy as np
import pytest
from keras import ops

from keras_cvx.metrics.detection_records import read_detections, read_truths, take

BOXES = np.float64([[[0, 0, 4, 2], [2, 0, 3, 2]], [[1, 1, 3, 3], [9, 9, 9, 9]]])
LABELS = np.array([[1, 0], [2, -1]])
TRUTH = {"boxes": BOXES, "labels": LABELS}
FOUND = {**TRUTH, "confidence": np.array([[0.25, 0.75], [0.5, np.nan]])}


def test_nothing():
    count, truths = read_truths({"boxes": [], "labels": []}, 3, "xyxy")
    assert (count, truths.boxes.shape) == (0, (0, 4))
    count, found = read_detections(
        {"boxes": [[], []], "labels": [[], []], "confidence": [[], []]}, 3, "xyxy"
    )
    assert (count, found.boxes.shape, found.images.tolist()) == (2, (0, 4), [])


def test_columns_without_padding():
    count, truths = read_truths(TRUTH, 3, "xyxy")
    assert count == 2
    assert truths.images.tolist() == [0, 0, 1]
    assert truths.labels.tolist() == [1, 0, 2]
    assert truths.boxes.tolist() == [[0, 0, 4, 2], [2, 0, 1, 2], [1, 1, 2, 2]]
    assert truths.areas.tolist() == [8, 2, 4]
    assert not truths.ignored.any() | truths.is_crowd.any()
    # The padded row may hold no number at all.
    _, found = read_detections(FOUND, 3, "xyxy")
    assert found.confidence.tolist() == [0.25, 0.75, 0.5]
    assert take(found, found.confidence > 0.3).labels.tolist() == [0, 2]


def test_lists_and_tensors_are_read_alike():
    ragged = {"boxes": [BOXES[0], BOXES[1, :1]], "labels": [[1, 0], [2]]}
    tensors = {name: ops.convert_to_tensor(part.astype("float32")) for name, part in TRUTH.items()}
    expected = read_truths(TRUTH, 3, "xyxy")[1]
    for given in (ragged, tensors):
        for one, other in zip(read_truths(given, 3, "xyxy")[1], expected, strict=True):
            assert one.tolist() == other.tolist()


def test_what_belongs_to_objects():
    flags = {"is_crowd": [[0, 1], [0, 0]], "ignored": [[True, False], [False, True]]}
    _, truths = read_truths({**TRUTH, **flags, "areas": [[7, 5], [3, 1]]}, 3, "xyxy")
    assert truths.is_crowd.tolist() == [False, True, False]
    assert truths.ignored.tolist() == [True, False, False]
    assert truths.areas.tolist() == [7, 5, 3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": [[1, 0], [3, -1]]}, r"`y_true\['labels'\]` .* 3\.0|3 in row 0 of image 1"),
        ({"labels": [[1, 0.5], [2, -1]]}, r"be integers from 0 to 2.*0\.5 in row 1 of image 0"),
        ({"boxes": np.where(BOXES == 3, np.inf, BOXES)}, r"be finite.*in row 1 of image 0"),
        ({"areas": [[1, np.nan], [1, 1]]}, r"`y_true\['areas'\]` must be finite"),
        ({"is_crowd": [[0, 2], [0, 0]]}, r"`y_true\['is_crowd'\]` must be true or false"),
        ({"labels": [[1, 0], [2]]}, "in image 1 1 rows of 'labels' and 2 of 'boxes'"),
        ({"labels": [[1, 0]]}, "1 images of 'labels', 2 of 'boxes'"),
        ({"boxes": BOXES[..., :3]}, r"`y_true\['boxes'\]` must be \(B, N, 4\)"),
    ],
)
def test_wrong_rows_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        read_truths({**TRUTH, **wrong}, 3, "xyxy")


def test_keys_and_confidence():
    with pytest.raises(ValueError, match="`y_pred` must be a dictionary, and must have the keys"):
        read_detections(TRUTH, 3, "xyxy")
    confidence = np.array([[0.25, np.nan], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"be numbers, not NaN.*row 1 of image 0"):
        read_detections({**FOUND, "confidence": confidence}, 3, "xyxy")


def test_keys_that_nothing_reads():
    """COCO's own names among them, whose crowds would count as objects."""
    assert read_truths({**TRUTH, "image_ids": [7, 8]}, 3, "xyxy")[0] == 2
    read_detections({**FOUND, "confidence": LABELS, "num_detections": [2, 1]}, 3, "xyxy")
    for key, near in (("iscrowd", "is_crowd"), ("area", "areas"), ("ignore", "ignored")):
        with pytest.raises(ValueError, match=f"no other keys.*'{key}'.*Did you mean '{near}'"):
            read_truths({**TRUTH, key: LABELS}, 3, "xyxy")
    with pytest.raises(ValueError, match=r"`y_pred` must have no other keys.*\['image_ids'\]"):
        read_detections({**FOUND, "image_ids": [8, 7]}, 3, "xyxy")
