from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.datasets import polygon_mask, run_length_mask
from keras_cvx.datasets.pixels.rasterizing import filled
from keras_cvx.datasets.pixels.regions import RegionsBuilder, without_regions

pytestmark = pytest.mark.host

SIZE = (9, 12)
TRIANGLE, SQUARE = [1.25, 1, 9, 2, 5, 8], [0, 0, 3, 0, 3, 3, 0, 3]
COUNTS = [13, 4, 91]


def built(*objects, order=None):
    builder = RegionsBuilder()
    for polygons, counts in objects:
        builder.add([array("d", polygon) for polygon in polygons], counts)
    return builder.build(np.arange(len(objects)) if order is None else np.array(order, "int64"))


def test_no_objects():
    assert len(built()) == len(without_regions(0)) == 0
    assert built().known().tolist() == []


def test_objects_of_which_only_boxes_are_known():
    regions = without_regions(3)
    assert len(regions) == 3
    assert not regions.known().any()
    assert regions.polygons(2) == []
    assert regions.run_lengths(2) is None
    assert regions.counts_within(1, SIZE) is None


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2]])
def test_an_order(order):
    objects = [([TRIANGLE, SQUARE], []), ([], COUNTS), ([], []), ([SQUARE], [])]
    masks = [
        polygon_mask([TRIANGLE, SQUARE], SIZE),
        run_length_mask(COUNTS, SIZE),
        None,
        polygon_mask([SQUARE], SIZE),
    ]
    regions = built(*objects, order=order)
    assert len(regions) == len(order)
    assert regions.known().tolist() == [place != 2 for place in order]
    assert regions.outline_counts().tolist() == [len(objects[place][0]) for place in order]
    for index, place in enumerate(order):
        polygons, counts = objects[place]
        found = [polygon.ravel().tolist() for polygon in regions.polygons(index)]
        assert found == [list(map(float, polygon)) for polygon in polygons]
        counts_of_it = regions.run_lengths(index)
        assert (counts_of_it is None) if not counts else counts_of_it.tolist() == counts
        within = regions.counts_within(index, SIZE)
        if masks[place] is None:
            assert within is None
        else:
            np.testing.assert_array_equal(filled(within, SIZE), masks[place])


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6).map(lambda x: x / 100)))
def test_coordinates_come_back_bit_by_bit(values):
    points = values[: len(values) // 2 * 2]
    [found] = built(([points], []) if points else ([[0.0, 0.0]], [])).polygons(0)
    assert found.ravel().tolist() == (points or [0.0, 0.0])


@pytest.mark.parametrize(("step", "dtype"), [(0.25, "int32"), (0.125, "float64")])
def test_hundredths_are_kept_as_integers(step, dtype):
    regions = built(([[step, 1, 2, 3, 4, 5 + 2 * step]], []))
    assert regions.points.dtype == dtype
    assert regions.polygons(0)[0].tolist() == [[step, 1], [2, 3], [4, 5 + 2 * step]]


@pytest.mark.parametrize(("fraction", "dtype"), [(0.123456789, "int32"), (1 / 3, "float64")])
def test_other_steps(fraction, dtype):
    builder = RegionsBuilder(10**9)
    builder.add([array("d", [0, fraction, 1, 0, 1.01, -0.01])])
    regions = builder.build(np.zeros(1, "int64"))
    assert regions.points.dtype == dtype
    assert regions.polygons(0)[0].tolist() == [[0, fraction], [1, 0], [1.01, -0.01]]


def test_many_blocks(monkeypatch):
    """Of which one has coordinates that are no hundredths."""
    monkeypatch.setattr("keras_cvx.datasets.pixels.regions._BLOCK", 10)
    rng = np.random.default_rng(0)
    outlines = [np.round(rng.uniform(0, 99, 8), 2).tolist() for _ in range(9)]
    assert built(*[([outline], []) for outline in outlines]).points.dtype == "int32"
    outlines[4][3] = 1 / 3
    regions = built(*[([outline], []) for outline in outlines])
    for index, outline in enumerate(outlines):
        assert regions.polygons(index)[0].ravel().tolist() == outline


def test_fractions_of_the_image():
    outline = [0.25, 0.25, 0.75, 0.25, 0.75, 0.75]
    scaled = [x * side for x, side in zip(outline, [SIZE[1], SIZE[0]] * 3, strict=True)]
    counts = built(([outline], [])).counts_within(0, SIZE, relative=True)
    np.testing.assert_array_equal(filled(counts, SIZE), polygon_mask([scaled], SIZE))
