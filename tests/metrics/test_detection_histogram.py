import numpy as np
import pytest
from keras import ops

from keras_cvx.metrics import detection_histogram as module
from keras_cvx.metrics.average_precision import IOU_THRESHOLDS, interpolated_precision


def test_rounding_of_a_threshold_decides_an_exact_tie():
    three_fifths = np.float32(3) / np.float32(5)
    assert three_fifths >= module._float32_threshold(0.6)
    assert three_fifths >= module._float32_threshold(np.nextafter(0.6, 0.0))
    assert three_fifths < module._float32_threshold(np.nextafter(0.6, 1.0))


def test_verdicts_on_whole_boxes():
    # Overlaps on every threshold and one pixel beside it, up to the union that float32 allows.
    rng = np.random.default_rng(0)
    union = np.concatenate([20 * rng.integers(1, 50, 20), rng.integers(20, 2**24 // 20, 80)])
    union = np.append(union, 2**24 // 20)[:, None, None]
    part = np.round(union * IOU_THRESHOLDS[:, None]) + np.array([-1, 0, 1])
    union, part = (x.astype("float32").ravel() for x in np.broadcast_arrays(union, part))

    def side(width):
        zero, unit = np.zeros_like(width), np.ones_like(width)
        boxes = np.stack([zero, zero, width, unit], -1)[:, None]
        return {
            "boxes": ops.convert_to_tensor(boxes),
            "labels": ops.zeros((len(width), 1), "int32"),
        }

    right, judged, counting = map(ops.convert_to_numpy, module.judge(side(union), side(part)))
    passed = (part.astype(float) / union)[:, None] >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    np.testing.assert_array_equal(right[:, 0, :, 0], passed)
    assert judged.all()
    assert counting.all()


@pytest.mark.parametrize("bins", [2, 3, 50, 1000])
def test_edges(bins):
    edges = module.confidence_edges(bins)
    assert edges.shape == (bins - 1,)
    assert (np.diff(edges) >= 0).all()
    assert 0 < edges[0] <= edges[-1] < 1
    if bins == 1000:
        assert np.diff(np.append(0, np.append(edges, 1))).max() <= 0.00201


def test_one_detection_a_bin_is_exact():
    rng = np.random.default_rng(0)
    for truths in (1, 7, 30):
        right = rng.uniform(size=40) < rng.uniform()
        right &= np.cumsum(right) <= truths
        counts = np.ones((1, 40, 2, 1, 1), "float32")
        counts[0, :, 0, 0, 0] = right
        got = module.histogram_precision(
            ops.convert_to_tensor(counts), ops.convert_to_tensor(np.float32([[truths]]))
        )
        expected = interpolated_precision(np.flatnonzero(right) + 1, truths).mean()
        assert float(got[0, 0, 0]) == pytest.approx(expected, abs=1e-6)


def test_a_bin_of_many_is_as_if_they_lay_evenly():
    """Half of 2 * n are right, in the order wrong, right, wrong, ...: precision 1 / 2 all along."""
    for count in (1, 10, 1000):
        counts = np.float32([count, 2 * count]).reshape(1, 1, 2, 1, 1)
        counts = np.concatenate([counts, np.zeros_like(counts)], axis=1)
        got = module.histogram_precision(
            ops.convert_to_tensor(counts), ops.convert_to_tensor(np.float32([[2 * count]]))
        )
        # Of the 101 recalls, 51 are reached.
        assert float(got[0, 0, 0]) == pytest.approx(
            51 / 101 * 0.5, rel=0.35 if count == 1 else 0.06
        )
