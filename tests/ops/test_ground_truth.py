import re

import numpy as np
import pytest
from hypothesis import given, settings
from keras import ops

from keras_cvx.ops import check_ground_truth, convert, unpack_ground_truth
from keras_cvx.ops.boxes import FORMATS
from keras_cvx.ops.ground_truth import present_rows, row_weights
from keras_cvx.testing import labelled_boxes

SIZE = HEIGHT, WIDTH = 32, 48
BOXES = np.array(
    [[[0, 0, 48, 32], [4, 5, 4, 9], [-1, -1, -1, -1]], [[1, 2, 3, 4], [-1] * 4, [30, 8, 47, 9]]],
    "float32",
)
LABELS = np.array([[0, 2, -1], [1, -1, 0]], "int32")


def check(boxes=BOXES, labels=LABELS, **changes):
    arguments = {
        "num_images": 2,
        "image_size": SIZE,
        "num_classes": 3,
        "bounding_box_format": "xyxy",
    }
    check_ground_truth(boxes, labels, **{**arguments, **changes})


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_no_objects(shape):
    boxes, labels = np.zeros((*shape, 4), "float32"), np.zeros(shape, "int32")
    check(boxes, labels, num_images=shape[0])
    for y_true in ({"boxes": boxes, "labels": labels}, np.zeros((*shape, 5), "float32")):
        unpacked = unpack_ground_truth(y_true)
        assert [tuple(x.shape) for x in unpacked] == [(*shape, 4), shape]


def test_all_rows_padded():
    boxes = np.full((2, 3, 4), np.nan, "float32")
    check(boxes, np.full((2, 3), -1))
    unpacked, labels = unpack_ground_truth({"boxes": boxes, "labels": np.full((2, 3), -1)})
    assert not ops.convert_to_numpy(unpacked).any()
    assert (ops.convert_to_numpy(labels) == -1).all()


@settings(max_examples=25, deadline=None)
@given(truth=labelled_boxes(2, 3, inside=False))
def test_both_forms_are_the_same(truth):
    boxes, labels = truth["boxes"], truth["labels"]
    packed = np.concatenate([boxes, labels[..., None]], axis=-1).astype("float32")
    for y_true in (packed, {**truth, "areas": None}):
        unpacked = [ops.convert_to_numpy(x) for x in unpack_ground_truth(y_true)]
        assert [x.dtype for x in unpacked] == ["float32", "int32"]
        np.testing.assert_array_equal(unpacked[0], np.where(labels[..., None] < 0, 0, boxes))
        np.testing.assert_array_equal(unpacked[1], labels)


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint8"])
def test_other_widths(dtype):
    y_true = {"boxes": BOXES[:, :1].astype(dtype), "labels": LABELS[:, :1].astype(dtype)}
    boxes, labels = (ops.convert_to_numpy(x) for x in unpack_ground_truth(y_true))
    assert (boxes.dtype, labels.dtype) == ("float32", "int32")
    assert boxes.tolist() == BOXES[:, :1].tolist()
    assert labels.tolist() == LABELS[:, :1].tolist()


@pytest.mark.parametrize(
    ("y_true", "message"),
    [
        ({"boxes": BOXES}, r"`y_true` must have the keys .* keys \['boxes'\]"),
        ({1: BOXES, "labels": LABELS}, r"keys \['1', 'labels'\]"),
        (BOXES, r"`y_true` must be a dictionary .* Received: shape \(2, 3, 4\)"),
        (np.zeros((3, 5)), r"`y_true` must be a dictionary .* Received: shape \(3, 5\)"),
        ({"boxes": BOXES[..., :3], "labels": LABELS}, r"must hold .* boxes \(2, 3, 3\)"),
        ({"boxes": BOXES[0], "labels": LABELS}, r"must hold .* boxes \(3, 4\)"),
        ({"boxes": BOXES, "labels": LABELS[..., None]}, r"must hold .* labels \(2, 3, 1\)"),
        ({"boxes": BOXES, "labels": LABELS[:, :2]}, r"must hold .* labels \(2, 2\)"),
        ({"boxes": BOXES, "labels": LABELS[:1]}, r"must hold .* labels \(1, 3\)"),
        ({"boxes": BOXES, "labels": [[1], [2, 3]]}, r"`y_true\['labels'\]` must be one array.*of"),
    ],
)
def test_structures_that_are_refused(y_true, message):
    with pytest.raises(ValueError, match=message):
        unpack_ground_truth(y_true)


@pytest.mark.parametrize("box_format", FORMATS)
def test_good_ground_truth_in_every_format(box_format):
    """Boxes that touch all edges stay inside, whatever the rounding of the format."""
    boxes = convert(BOXES, "xyxy", box_format, height=HEIGHT, width=WIDTH)
    check(ops.convert_to_numpy(boxes), bounding_box_format=box_format)


def test_a_box_may_leave_by_its_rounding():
    check(changed(BOXES, (0, 0), [-0.04, -0.03, 48.04, 32.03]))
    with pytest.raises(ValueError, match="lie in their image"):
        check(changed(BOXES, (0, 0), [0, 0, 48, 32.04]))


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        (BOXES, changed(LABELS, (1, 2), 3),
         "`labels` must be integers from 0 to 2, or −1 where there is no object. "
         "Received: labels[1, 2] = 3, and 0 more such rows"),
        (BOXES, changed(LABELS, (slice(None), 1), -2),
         "Received: labels[0, 1] = -2, and 1 more such rows"),
        (BOXES, changed(LABELS.astype("float32"), (1, 0), np.nan), "labels[1, 0] = nan, and 0"),
        (changed(BOXES, (1, 0, 2), np.inf), LABELS,
         "`boxes` must be finite. Received: boxes[1, 0] = [1.0, 2.0, inf, 4.0], and 0"),
        (changed(BOXES, (1, 0, 3), np.nan), LABELS, "boxes[1, 0] = [1.0, 2.0, 3.0, nan]"),
        (changed(BOXES, (1, 2), 0), LABELS,
         "`boxes` must have label −1 where there is no object, such as in rows of "
         "[0, 0, 0, 0]. Received: boxes[1, 2] = [0.0, 0.0, 0.0, 0.0], and 0"),
        (changed(BOXES, (0, 1, 2), 3), LABELS,
         "`boxes` must be xyxy with no negative side. Received: boxes[0, 1] = "
         "[4.0, 5.0, 3.0, 9.0], and 0"),
        (changed(BOXES, (1, 2, 2), 49), LABELS,
         "`boxes` must lie in their image of height 32 and width 48 (xyxy). Received: "
         "boxes[1, 2] = [30.0, 8.0, 49.0, 9.0], and 0"),
        (changed(BOXES, (1, 2, 1), -1), LABELS, "boxes[1, 2] = [30.0, -1.0, 47.0, 9.0]"),
    ],
)  # fmt: skip
def test_the_first_wrong_row_is_named(boxes, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(boxes, labels)


def test_one_object_an_image():
    boxes, labels = BOXES[:, 0], LABELS[:, 0]
    check(boxes, labels)
    with pytest.raises(ValueError, match=re.escape("Received: labels[1] = 3, and 0 more")):
        check(boxes, np.array([0, 3]))
    with pytest.raises(ValueError, match=re.escape("Received: boxes[0] = [0.0, 0.0, 49.0, 32.0]")):
        check(changed(boxes, (0, 2), 49), labels)


def test_the_row_is_told_as_the_user_wrote_it():
    boxes = np.array([[[0.5, 0.5, 0.75, 0.25]]], "float32")
    with pytest.raises(
        ValueError, match=re.escape("(rel_xywh). Received: boxes[0, 0] = [0.5, 0.5")
    ):
        check(boxes, np.zeros((1, 1)), num_images=1, bounding_box_format="rel_xywh")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": BOXES[..., :3]}, r"`y` must hold boxes .* Received: boxes \(2, 3, 3\)"),
        ({"boxes": BOXES[0]}, r"`y` must hold boxes .* Received: boxes \(3, 4\)"),
        ({"labels": LABELS[:, :2]}, r"`y` must hold boxes .* labels \(2, 2\)"),
        ({"num_images": 3}, r"each of the 3 images of `x`. Received: boxes \(2, 3, 4\)"),
        ({"bounding_box_format": "corners"}, "`bounding_box_format` must be one of"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        check(**changes)


def test_rows_of_four_minus_ones_are_padding():
    assert ops.convert_to_numpy(present_rows(np.zeros((2, 0, 4)))).shape == (2, 0)
    expected = [[True, True, False], [True, False, True]]
    assert ops.convert_to_numpy(present_rows(BOXES)).tolist() == expected


@pytest.mark.parametrize("shape", [(), (2,), (2, 1), (2, 3), (2, 3, 1), (1, 3)])
def test_weights_of_rows(shape):
    rng = np.random.default_rng(0)
    present = np.array([[True, False, True], [False, True, True]])
    given = rng.uniform(size=shape).astype("float32")
    expected = np.zeros((2, 3), "float32")
    for i, j in np.argwhere(present):
        place = [0 if size == 1 else at for size, at in zip(shape, (i, j, 0), strict=False)]
        expected[i, j] = given[tuple(place)]
    got = ops.convert_to_numpy(row_weights(present, given))
    np.testing.assert_array_equal(got, expected)


def test_padding_may_weigh_anything():
    weights = row_weights(np.array([True, False]), np.float32([2.0, np.nan]))
    assert ops.convert_to_numpy(weights).tolist() == [2.0, 0.0]
    assert ops.convert_to_numpy(row_weights(np.zeros((2, 0), bool), np.ones(2))).shape == (2, 0)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 4), (2, 3, 2), (2, 3, 1, 1)])
def test_weights_of_other_rows(shape):
    with pytest.raises(ValueError, match="`sample_weight` must have one number"):
        row_weights(np.ones((2, 3), bool), np.ones(shape))
