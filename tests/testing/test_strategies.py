"""The strategies produce the hard cases that they promise, and nothing that is not a box."""

import sys
from typing import Literal

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from keras_cvx.ops import check_ground_truth
from keras_cvx.testing import arguments, boxes, image_sizes, labelled_boxes

SIZE = HEIGHT, WIDTH = 32, 48
# That there is such a case is enough; the simplest would take long to find.
SEARCH = settings(max_examples=5000, deadline=None, database=None, phases=[Phase.generate])


def sides(array):
    return array[..., 2:] - array[..., :2]


@settings(deadline=None, max_examples=50)
@given(array=boxes((2, 3), SIZE))
def test_boxes_are_ordered_and_finite(array):
    assert array.shape == (2, 3, 4)
    assert array.dtype == "float32"
    assert np.isfinite(array).all()
    assert np.isfinite(sides(array).prod(-1)).all()
    assert (sides(array) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(array=boxes((5,), SIZE, inside=True))
def test_boxes_inside(array):
    assert (array >= 0).all()
    assert (array <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_no_boxes(shape):
    assert find(boxes(shape), lambda _: True, settings=SEARCH).shape == (*shape, 4)


@pytest.mark.parametrize(
    "case",
    [
        lambda a, b: (a[2:] == a[:2]).all(),  # a point
        lambda a, b: a[0] == a[2] and a[1] < a[3],  # a line
        lambda a, b: a[2] == b[0] and a[1] < b[3] and b[1] < a[3] and (sides(b) > 0).all(),
        lambda a, b: (a == b).all() and (sides(a) > 0).all(),  # the same
        lambda a, b: (a[:2] < b[:2]).all() and (b[2:] < a[2:]).all() and (sides(b) > 0).all(),
        lambda a, b: a[0] < 0 < a[2] and sides(a)[1] > 0,  # across the edge
        lambda a, b: a[0] > WIDTH and (sides(a) > 0).all(),  # outside
        lambda a, b: (sides(a) >= 1e6).all(),
        lambda a, b: (sides(a) > 0).all() and (sides(a) < 1e-5).all(),
        lambda a, b: (a == [0, 0, WIDTH, HEIGHT]).all(),
        lambda a, b: a[0] % 1 not in (0.0, 0.5) and (sides(a) > 1).all(),  # between pixels
    ],
    ids=[
        "point", "line", "touching", "same", "nested", "across", "outside", "huge", "tiny",
        "whole image", "between pixels",
    ],
)  # fmt: skip
def test_boxes_hold_the_hard_cases(case):
    found = find(boxes((2,), SIZE), lambda pair: bool(case(*pair)), settings=SEARCH)
    assert case(*found)


def test_boxes_out_of_order():
    find(boxes((1,), SIZE, ordered=False), lambda x: (sides(x) < 0).all(), settings=SEARCH)


@settings(deadline=None, max_examples=50)
@given(truth=labelled_boxes(3, 4, num_classes=5, image_size=SIZE))
def test_labelled_boxes_are_ground_truth(truth):
    assert truth["boxes"].dtype == "float32"
    assert truth["labels"].dtype == "int32"
    check_ground_truth(
        truth["boxes"],
        truth["labels"],
        num_images=3,
        image_size=SIZE,
        num_classes=5,
        bounding_box_format="xyxy",
    )
    assert (truth["boxes"][truth["labels"] < 0] == -1).all()


@pytest.mark.parametrize(
    "case",
    [
        lambda padded: padded.all(),
        lambda padded: not padded.any(),
        lambda padded: padded[0].all() and not padded[1].any(),
        lambda padded: padded[0, 0] and not padded[0, -1],
    ],
    ids=["all", "none", "one image", "first row"],
)
def test_labelled_boxes_are_padded_anyhow(case):
    find(labelled_boxes(2, 4), lambda truth: bool(case(truth["labels"] == -1)), settings=SEARCH)


def test_labelled_boxes_outside_the_image():
    outside = labelled_boxes(1, 1, image_size=SIZE, inside=False)
    find(outside, lambda truth: truth["boxes"].max() > 48, settings=SEARCH)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("rows", [0, 3])
def test_shapes_of_labelled_boxes(batch, rows):
    truth = find(labelled_boxes(batch, rows), lambda _: True, settings=SEARCH)
    assert truth["boxes"].shape == (batch, rows, 4)
    assert truth["labels"].shape == (batch, rows)


@settings(deadline=None, max_examples=50)
@given(size=image_sizes(20, 100, multiple_of=16))
def test_image_sizes(size):
    assert all(side in (32, 48, 64, 80, 96) for side in size)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (64, 64)])
def test_image_sizes_hold_the_extremes(size):
    find(image_sizes(), lambda found: found == size, settings=SEARCH)


@pytest.mark.parametrize("strategy", [boxes, labelled_boxes, image_sizes, lambda: arguments(crop)])
def test_without_hypothesis(strategy, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"pip install keras-cvx\[dev\]"):
        strategy()


def crop(
    image,
    height: int,
    width: int = 4,
    fraction=0.5,
    cover=False,
    mode: Literal["edge", "zero"] = "edge",
    name=None,
):
    """Arguments of every kind."""


@settings(deadline=None, max_examples=200)
@given(drawn=arguments(crop))
def test_arguments(drawn):
    assert set(drawn) <= {"height", "width", "fraction", "cover", "mode"}
    numbers = [drawn[name] for name in ("height", "width", "fraction") if name in drawn]
    assert len(set(numbers)) == len(numbers)
    assert drawn.get("width") != 4
    assert drawn.get("fraction") != 0.5
    assert drawn.get("cover", True) is True
    assert drawn.get("mode", "zero") == "zero"
    assert all(type(drawn[name]) is int for name in ("height", "width") if name in drawn)


def test_all_arguments_at_once():
    found = find(arguments(crop), lambda drawn: len(drawn) == 5, settings=SEARCH)
    assert found["cover"] is True
    assert type(found["fraction"]) is float


def test_nothing_to_vary():
    assert find(arguments(lambda backbone, **kwargs: backbone), lambda _: True) == {}
