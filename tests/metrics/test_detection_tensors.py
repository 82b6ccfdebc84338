import numpy as np
import pytest
from keras import ops

from keras_cvx.metrics.detection_tensors import (
    crowd_overlaps,
    detection_tensors,
    most_confident,
    truth_tensors,
    unpack_batch,
)

BOXES = np.float32([[[0, 0, 4, 2], [2, 0, 2, 2]], [[1, 1, 3, 3], [-1, -1, -1, -1]]])
TRUTH = {"boxes": BOXES, "labels": np.int32([[1, 0], [2, -1]])}
FOUND = {**TRUTH, "confidence": np.float32([[0.25, 0.75], [0.5, 0.9]])}


def lists(parts):
    return {name: ops.convert_to_numpy(part).tolist() for name, part in parts.items()}


def test_no_rows():
    nothing = {"boxes": np.zeros((2, 0, 4)), "labels": np.zeros((2, 0), int)}
    truth, found = unpack_batch(nothing, {**nothing, "confidence": np.zeros((2, 0))}, None, "xyxy")
    overlaps, ignored = crowd_overlaps(truth, found)
    assert tuple(overlaps.shape) == (2, 0, 0)
    assert tuple(ignored.shape) == (2, 0)


def test_boxes_become_corners_and_relative_ones_stay_relative():
    assert lists(truth_tensors(TRUTH, "xywh"))["boxes"][0] == [[0, 0, 4, 2], [2, 0, 4, 2]]
    relative = {**FOUND, "boxes": BOXES / 8}
    got = lists(detection_tensors(relative, "rel_xywh"))["boxes"][0]
    assert got == [[0, 0, 0.5, 0.25], [0.25, 0, 0.5, 0.25]]


def test_what_belongs_to_objects():
    given = {**TRUTH, "is_crowd": np.int32([[0, 1], [0, 0]]), "areas": np.float64([[3, 4], [5, 6]])}
    truth = lists(truth_tensors(given, "xyxy"))
    assert truth["is_crowd"] == [[False, True], [False, False]]
    assert truth["areas"] == [[3, 4], [5, 6]]
    assert "ignored" not in truth
    given = {**TRUTH, "is_crowd": None, "areas": None, "ignored": None}
    assert set(truth_tensors(given, "xyxy")) == {"boxes", "labels"}


def test_the_most_confident_come_first_and_padding_last():
    found = most_confident(detection_tensors(FOUND, "xyxy"))
    assert lists(found)["labels"] == [[0, 1], [2, -1]]
    assert lists(found)["boxes"][0] == BOXES[0, ::-1].tolist()


def test_only_the_most_confident_of_a_class_have_a_label():
    labels = ops.convert_to_tensor(np.int32([[2, 1, 2, 2, -1, 1], [0, 0, 0, 0, 0, 0]]))
    confidence = np.float32([[0.25, 0.5, 0.75, 0.5, 1, 0.125], [0.5, 0.75, 0.5, 0.25, 0, 1]])
    found = {
        "boxes": ops.zeros((2, 6, 4)),
        "confidence": ops.convert_to_tensor(confidence),
        "labels": labels,
    }
    assert lists(most_confident(found, 2))["labels"] == [[2, 1, 2, -1, 1, -1], [0, 0] + [-1] * 4]
    assert lists(most_confident(found, 6))["labels"] == [[2, 1, 2, 2, 1, -1], [0] * 6]


def test_no_number_stands_behind_the_numbers_and_before_padding():
    """On TensorFlow a single NaN would leave the whole row unsorted."""
    confidence = np.float32([[np.nan, 0.2, 0.9, np.nan, 0.5, 0.1, np.nan, 0.8]])
    found = {
        "boxes": ops.zeros((1, 8, 4)),
        "confidence": ops.convert_to_tensor(confidence),
        "labels": ops.convert_to_tensor(np.int32([[0, 1, 2, 3, -1, 5, 6, 7]])),
    }
    assert lists(most_confident(found))["labels"] == [[2, 7, 1, 5, 0, 3, 6, -1]]


def test_a_crowd_covers_a_share_of_the_detection():
    truth = {"boxes": [[[0, 0, 4, 4], [0, 0, 4, 4]]], "labels": [[0, 0]]}
    found = {"boxes": [[[3, 0, 5, 4], [8, 8, 8, 9]]], "labels": [[0, 0]], "confidence": [[0.5] * 2]}
    flags = {"is_crowd": [[False, True]], "ignored": [[False, False]]}
    truth, found = unpack_batch({**truth, **flags}, found, None, "xyxy")
    overlaps, ignored = (ops.convert_to_numpy(x).tolist() for x in crowd_overlaps(truth, found))
    # 4 of 20, and 4 of 8; and a detection without area.
    assert overlaps == [[[pytest.approx(0.2), pytest.approx(0.5)], [0.0, 0.0]]]
    assert ignored == [[False, True]]


# A detection 20 wide, of which a crowd of any size covers 10 to 19: on each threshold exactly.
@pytest.mark.parametrize("twentieths", range(10, 20))
def test_the_share_in_a_crowd_is_exact(compiled, twentieths):
    sides = np.stack(np.meshgrid(np.arange(20, 400, 7), np.arange(5, 90, 9)), -1).reshape(-1, 2)
    corner = np.tile(np.float32([20 - twentieths, 0]), (len(sides), 1))
    truth = {
        "boxes": np.concatenate([corner, corner + sides], -1, dtype="float32")[None],
        "labels": np.zeros((1, len(sides)), int),
        "is_crowd": np.ones((1, len(sides)), bool),
    }
    found = {"boxes": [[[0.0, 0.0, 20.0, 5.0]]], "labels": [[0]], "confidence": [[0.5]]}
    given = unpack_batch(truth, found, None, "xyxy")
    for overlaps in (crowd_overlaps(*given)[0], compiled(crowd_overlaps)(*given)[0]):
        assert (ops.convert_to_numpy(overlaps) == np.float32(twentieths / 20)).all()


def test_bad_batches():
    with pytest.raises(ValueError, match=r"`sample_weight` must be None.*ndarray"):
        unpack_batch(TRUTH, FOUND, np.ones(2), "xyxy")
    one = {name: part[:1] for name, part in TRUTH.items()}
    with pytest.raises(ValueError, match=r"for the B images of `y_pred`.*and B=2"):
        unpack_batch(one, FOUND, None, "xyxy")
    with pytest.raises(ValueError, match="`y_pred` must be a dictionary"):
        detection_tensors(TRUTH, "xyxy")
    with pytest.raises(ValueError, match=r"`y_true\['areas'\]` must be of the shape"):
        truth_tensors({**TRUTH, "areas": np.ones(2)}, "xyxy")
    with pytest.raises(ValueError, match=r"`y_true\['areas'\]` must be one array.*label −1"):
        truth_tensors({**TRUTH, "areas": [[1.0], [2.0, 3.0]]}, "xyxy")
    with pytest.raises(ValueError, match=r"`y_pred\['labels'\]` must be one array.*label −1"):
        detection_tensors({**FOUND, "labels": [[1], [2, 3]]}, "xyxy")
