import math

import pytest

from keras_cvx.datasets.parsing.numbers import LARGEST, corners, finite_numbers, fractions, size_of

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("bounding_box_format", "values"),
    [
        ("xyxy", [1, 2, 4, 8]),
        ("yxyx", [2, 1, 8, 4]),
        ("xywh", [1, 2, 3, 6]),
        ("center_xywh", [2.5, 5, 3, 6]),
        ("center_yxhw", [5, 2.5, 6, 3]),
    ],
)
def test_each_format(bounding_box_format, values):
    for written in (values, list(map(str, values)), [str(x).encode() for x in values]):
        assert corners(written, bounding_box_format) == (1, 2, 4, 8)


def test_pixels_that_are_counted_from_one():
    assert corners(["1", "1", "1", "1"], "xyxy", inclusive=True) == (0, 0, 1, 1)
    with pytest.raises(ValueError, match=r"its far corner not before the near one.*\['3', '1', '2"):
        corners(["3", "1", "2", "1"], "xyxy", inclusive=True)


def test_a_box_without_area_is_one():
    assert corners([3, 4, 3, 4], "xyxy") == (3, 4, 3, 4)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "3"],
        ["1", "2", "3", "4", "5"],
        ["1", "2", "x", "4"],
        ["1", "2", "", "4"],
        ["1", "2", "nan", "4"],
        ["1", "2", "inf", "4"],
        ["1", "2", "1e400", "4"],
        ["1", "2", "1_0", "4"],
        [b"1", b"2", b"1_0", b"4"],
        ["1", "2", "\u0663", "4"],
        [b"1", b"2", b"\xff", b"4"],
        ["1", "2", "-3", "4"],
        ["1", "2", str(LARGEST + 1), "4"],
    ],
)
def test_what_is_no_box_is_told(values):
    with pytest.raises(ValueError, match=r"a box must be xywh, four numbers of pix.*Received: \["):
        corners(values, "xywh")


def test_fractions():
    assert fractions(["0", b"1", "0.25", "-0.01", "1.01"]) == [0, 1, 0.25, -0.01, 1.01]
    for wrong in ("1.02", "-0.02", "nan", "0.1_1", "half"):
        with pytest.raises(ValueError, match=r"points must be fractions from 0 to 1. Rec.*\['"):
            fractions(["0.5", wrong])
    with pytest.raises(ValueError, match="four fractions from 0 to 1"):
        corners(["0.5", "0.5", "50", "50"], "rel_center_xywh")


def test_no_numbers():
    assert finite_numbers([], 0, 1) == []
    assert finite_numbers(["nan"], -math.inf, math.inf) is None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("480", "640"), (480, 640)),
        (("480.0", "64e1"), (480, 640)),
        (("", ""), (0, 0)),
        (("480", ""), (0, 0)),
        (("0", "640"), (0, 0)),
    ],
)
def test_sizes(texts, expected):
    assert size_of(texts) == expected


@pytest.mark.parametrize("text", ["-1", "1.5", "nan", "inf", "1_0", "0x10", "big", "9" * 400])
def test_what_is_no_size_is_named(text):
    with pytest.raises(ValueError, match=r"`height` and `width` must be integers of at least 0. R"):
        size_of((text, "8"))
    with pytest.raises(ValueError, match=r"must be of fewer than 2\*\*31 pixels"):
        size_of((str(2**20), str(2**20)))
