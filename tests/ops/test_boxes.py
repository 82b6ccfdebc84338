import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from keras import ops

from keras_cvx import testing
from keras_cvx.ops import area, clip, convert
from keras_cvx.ops.boxes import FORMATS

BOX = {
    "xyxy": (10, 20, 50, 30),
    "yxyx": (20, 10, 30, 50),
    "xywh": (10, 20, 40, 10),
    "center_xywh": (30, 25, 40, 10),
    "center_yxhw": (25, 30, 10, 40),
}
# In an image 100 pixels high and 200 wide.
SCALE = {"xyxy": (200, 100, 200, 100), "yxyx": (100, 200, 100, 200)}


def in_format(name):
    kind = name.removeprefix("rel_")
    box = np.array(BOX[kind], "float32")
    if name.startswith("rel_"):
        box = box / np.array(SCALE.get(kind, SCALE["xyxy"]), "float32")
    return box[None]


@pytest.mark.parametrize("function", [area, lambda x: clip(x, 4, 8)])
def test_no_boxes(function):
    assert function(np.zeros((3, 0, 4))).shape[:2] == (3, 0)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FORMATS, FORMATS)))
def test_every_format_to_every_other(source, target):
    got = convert(in_format(source), source, target, height=100, width=200)
    np.testing.assert_allclose(ops.convert_to_numpy(got), in_format(target), rtol=1e-6)
    keras_has = keras.utils.bounding_boxes.convert_format(
        in_format(source), source, target, height=100, width=200
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(got), ops.convert_to_numpy(keras_has), rtol=1e-6
    )


@pytest.mark.parametrize("target", FORMATS)
@settings(max_examples=15, deadline=None)
@given(boxes=testing.boxes((5,)), size=testing.image_sizes())
def test_there_and_back(target, boxes, size):
    height, width = map(float, size)
    there = convert(boxes, "xyxy", target, height=height, width=width)
    back = convert(there, target, "xyxy", height=height, width=width)
    # A corner is rounded as its box's largest is.
    rounding = 1e-6 * np.abs(boxes).max(-1, keepdims=True)
    assert np.all(np.abs(ops.convert_to_numpy(back) - boxes) <= rounding + 1e-12)


def test_sizes_of_each_image():
    boxes = np.array([[[0.5, 0.5, 1, 1]], [[0.5, 0.5, 1, 1]]], "float32")
    got = convert(
        boxes,
        "rel_xyxy",
        "xyxy",
        height=ops.convert_to_tensor([[4.0], [8.0]]),
        width=ops.convert_to_tensor([[2.0], [6.0]]),
    )
    assert ops.convert_to_numpy(got).tolist() == [[[1, 2, 2, 4]], [[3, 4, 6, 8]]]


def test_float64_is_kept_to_the_last_bit():
    boxes = np.array([[0.1, 0.2, 0.7, 0.9]])
    corners = convert(boxes, "xywh", "xyxy", dtype="float64")
    assert corners.tolist() == [[0.1, 0.2, 0.1 + 0.7, 0.2 + 0.9]]
    assert convert(boxes, "xywh", "xyxy").dtype == "float32"
    assert convert(boxes, "xywh", "xywh", dtype="float64").tolist() == boxes.tolist()


def test_area_of_swapped_corners_is_zero():
    got = area([[0, 0, 4, 2], [4, 0, 0, 2], [0, 2, 4, 0], [4, 2, 0, 0]])
    assert ops.convert_to_numpy(got).tolist() == [8, 0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(boxes=testing.boxes((5,), (32, 48)))
def test_clip_keeps_what_is_inside(boxes):
    got = ops.convert_to_numpy(clip(boxes, 32, 48))
    limits = np.array([48, 32, 48, 32])
    assert np.all((got >= 0) & (got <= limits))
    inside = (boxes >= 0) & (boxes <= limits)
    np.testing.assert_array_equal(got[inside], boxes[inside])
    np.testing.assert_array_equal(ops.convert_to_numpy(clip(got, 32, 48)), got)


def test_clip_with_a_size_for_each_image():
    boxes = np.array([[[-5, -5, 20, 20]], [[3, 30, 4, 40]]], "float32")
    got = clip(boxes, np.array([[10.0], [20.0]]), np.array([[12.0], [6.0]]))
    assert ops.convert_to_numpy(got).tolist() == [[[0, 0, 12, 10]], [[3, 20, 4, 20]]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xyxy", "xxyy"), "`bounding_box_format` must be one of"),
        (("rel_xyxy", "xyxy"), "only with the image's `height` and `width`"),
        (("xywh", "rel_xywh"), "only with the image's `height` and `width`"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        convert(np.zeros((1, 4)), *arguments)
