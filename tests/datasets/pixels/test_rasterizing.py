import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from keras_cvx.datasets import polygon_mask, run_length_mask
from keras_cvx.datasets.pixels.rasterizing import counts_of_mask

pytestmark = pytest.mark.host

sides = st.integers(1, 9)


def pixels_of(counts, size):
    """Run-lengths painted one pixel after another, down the columns."""
    mask = np.zeros(size, bool)
    place, inside = 0, False
    for count in counts:
        for _ in range(count):
            mask[place % size[0], place // size[0]] = inside
            place += 1
        inside = not inside
    assert place == mask.size
    return mask


def counts_of(mask):
    """Run-lengths of a mask, by a walk along its pixels."""
    counts, inside = [0], False
    for pixel in mask.T.ravel():
        if pixel != inside:
            counts.append(0)
            inside = not inside
        counts[-1] += 1
    return counts


@given(hnp.arrays(bool, st.tuples(sides, sides)))
def test_counts_are_those_of_a_walk(mask):
    counts = counts_of_mask(mask)
    assert counts.tolist() == counts_of(mask)
    assert counts.dtype == "uint32"
    np.testing.assert_array_equal(run_length_mask(counts, mask.shape), mask)


def drawn_by_pycocotools(polygons, size):
    """What pycocotools draws, its run-lengths measured by its own functions."""
    union = coco.merge(coco.frPyObjects([list(map(float, p)) for p in polygons], *size))
    pixels = np.zeros(size, bool)
    for row, column in np.ndindex(*size):
        one = np.zeros(size, "uint8", order="F")
        one[row, column] = 1
        pixels[row, column] = coco.area(coco.merge([union, coco.encode(one)], intersect=True))
    return pixels


masks = st.tuples(sides, sides).flatmap(lambda size: hnp.arrays(bool, size))


def test_no_polygons():
    np.testing.assert_array_equal(polygon_mask([], (2, 3)), np.zeros((2, 3), bool))


def test_no_object():
    assert not run_length_mask([6], (2, 3)).any()
    assert run_length_mask([0, 6], (2, 3)).all()
    assert run_length_mask([0, 6], (2, 3)).dtype == bool


@given(masks)
def test_run_lengths_are_painted_down_the_columns(mask):
    counts = counts_of(mask)
    np.testing.assert_array_equal(pixels_of(counts, mask.shape), mask)
    np.testing.assert_array_equal(run_length_mask(counts, mask.shape), mask)
    np.testing.assert_array_equal(run_length_mask(np.array(counts), mask.shape), mask)


@given(masks)
def test_compressed_run_lengths_are_those_of_pycocotools(mask):
    compressed = coco.encode(np.asfortranarray(mask, "uint8"))["counts"]
    np.testing.assert_array_equal(run_length_mask(compressed, mask.shape), mask)
    np.testing.assert_array_equal(run_length_mask(compressed.decode(), mask.shape), mask)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2**17), min_size=1, max_size=9))
def test_long_runs_and_large_differences(counts):
    size = (sum(counts) or 1, 1)
    counts = counts if sum(counts) else [1]
    mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size)
    compressed = coco.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
    np.testing.assert_array_equal(run_length_mask(compressed, size), mask)


@pytest.mark.parametrize(("x0", "y0", "x1", "y1"), [(1, 0, 4, 2), (0, 0, 5, 3), (2, 1, 3, 2)])
def test_a_rectangle_covers_its_pixels(x0, y0, x1, y1):
    expected = np.zeros((3, 5), bool)
    expected[y0:y1, x0:x1] = True
    outline = [x0, y0, x1, y0, x1, y1, x0, y1]
    np.testing.assert_array_equal(polygon_mask([outline], (3, 5)), expected)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.data())
def test_polygons_are_those_of_pycocotools(height, width, data):
    coordinate = st.tuples(
        st.floats(-0.9 * width, 1.9 * width), st.floats(-0.9 * height, 1.9 * height)
    )
    points = st.lists(coordinate, min_size=3, max_size=6)
    polygons = [
        [x for point in one for x in point]
        for one in data.draw(st.lists(points, min_size=1, max_size=3))
    ]
    mask = polygon_mask(polygons, (height, width))
    np.testing.assert_array_equal(mask, drawn_by_pycocotools(polygons, (height, width)))
    united = np.logical_or.reduce([polygon_mask([one], (height, width)) for one in polygons])
    np.testing.assert_array_equal(mask, united)


@settings(max_examples=300)
@given(st.binary(max_size=6) | st.text("0123456789:<OPQRo", max_size=6), sides, sides)
def test_any_string_is_a_mask_or_a_clear_error(counts, height, width):
    try:
        mask = run_length_mask(counts, (height, width))
    except ValueError as error:
        assert "`counts` must be" in str(error)  # noqa: PT017
        return
    assert mask.sum() == coco.area({"size": [height, width], "counts": counts})


@given(masks, st.data())
def test_a_string_that_ends_too_soon_is_refused(mask, data):
    compressed = coco.encode(np.asfortranarray(mask, "uint8"))["counts"]
    cut = data.draw(st.integers(0, len(compressed) - 1))
    with pytest.raises(ValueError, match="`counts` must be"):
        run_length_mask(compressed[:cut], mask.shape)


nonsense = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@settings(deadline=None)
@given(st.lists(st.lists(nonsense, max_size=8) | nonsense, max_size=3) | nonsense)
def test_nonsense_is_refused_and_never_drawn(polygons):
    """No crash, no hang, no other error, whatever a file has in place of numbers."""
    for function, argument in ((polygon_mask, "polygons"), (run_length_mask, "counts")):
        try:
            assert function(polygons, (4, 5)).shape == (4, 5)
        except ValueError as error:
            assert str(error).startswith(f"`{argument}")  # noqa: PT017


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ("[[0, 0, 1, 1, 2, 2]]", r"`polygons` must be a list.*Received: \[\[0"),
        ([[0, 0, 3, 0, 3, 3, 7]], r"`polygons\[0\]` must have an even.*Received: 7 coordinates"),
        ([[0, 0, 3, 0, 3, 3], [0, 0, 3, 3]], r"`polygons\[1\]` must .*at least 6.*Received: 4 co"),
        ([[0, 0, 3, 0, 3, float("nan")]], r"must lie in its image.*Received: the point \[3.0, nan"),
        ([[0, 0, 1e9, 0, 3, 3]], r"must lie in its image or near.*point \[1000000000.0, 0.0\]"),
        ([[0, 0, -6, 0, 3, 3]], r"must lie in its image or near.*point \[-6.0, 0.0\]"),
        ([[0, 0, 5, 0, "3", None]], r"`polygons\[0\]` must be a list of numbers"),
        ([[-5, -4, 10, 8] * 2000], r"`polygons\[0\]` must not be longer than"),
        ([[]], r"`polygons\[0\]` must be a list of numbers"),
        ([3.0], r"`polygons\[0\]` must be a list of numbers.*Received: 3.0"),
    ],
)
def test_wrong_polygons_are_named(polygons, message):
    with pytest.raises(ValueError, match=message):
        polygon_mask(polygons, (4, 5))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 2], r"add up to 4 x 5 = 20 pixels. Received: a sum of 5"),
        ([], r"Received: a sum of 0"),
        ("", r"Received: a sum of 0"),
        ([3, -1, 18], r"at least 0 each.*Received: a count of -1"),
        ([2**63 - 1, 2**63 - 1, 22], r"Received: a count of 9223372036854775807"),
        ([2**80], r"must be a list of integers"),
        ([3.0, 17.0], r"must be a list of integers, or a compressed string. Received: \[3.0"),
        ([[3], [1, 16]], r"must be a list of integers"),
        (None, r"must be a list of integers.*Received: None"),
        ("31P", r"must be a whole compressed string. Received: '31P'"),
        ("3 1", r"must be a whole compressed string"),
        ("\ud800", r"must be a whole compressed string"),
        ("PPPPPPPP1", r"must be a whole compressed string"),
    ],
)
def test_wrong_counts_are_named(counts, message):
    with pytest.raises(ValueError, match=message):
        run_length_mask(counts, (4, 5))


@pytest.mark.parametrize("size", [None, 5, (4,), (0, 5), (4, 5.0), (4, True), (2**20, 2**20)])
def test_wrong_sizes_are_named(size):
    for mask in (polygon_mask, run_length_mask):
        with pytest.raises(ValueError, match=r"`(size|height|width)` must be .*Received"):
            mask([], size)


def test_missing_pycocotools_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[datasets\]"):
        polygon_mask([[0, 0, 1, 0, 1, 1]], (2, 2))
    assert run_length_mask([1, 1], (2, 1)).any()
