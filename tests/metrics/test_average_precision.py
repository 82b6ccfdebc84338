import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from keras_cvx.metrics.average_precision import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
    average_precision,
    interpolated_precision,
)


def test_thresholds_are_those_of_pycocotools():
    params = Params("bbox")
    assert IOU_THRESHOLDS.tolist() == params.iouThrs.tolist()
    assert RECALL_THRESHOLDS.tolist() == params.recThrs.tolist()


def test_nothing_is_right():
    assert interpolated_precision(np.zeros(0, int), 3).tolist() == [0.0] * 101


def reference(right, num_truths):
    """Of one class, from the definition: at each recall the best of what reaches it."""
    hits = np.cumsum(right)
    points = [(hit / num_truths, hit / (rank + 1)) for rank, hit in enumerate(hits)]
    return [max([p for r, p in points if r >= least], default=0.0) for least in RECALL_THRESHOLDS]


@settings(max_examples=50, deadline=None)
@given(right=st.lists(st.booleans(), max_size=20), missed=st.integers(0, 5))
def test_equals_the_definition(right, missed):
    num_truths = max(sum(right) + missed, 1)
    precision = interpolated_precision(np.flatnonzero(right) + 1, num_truths)
    np.testing.assert_allclose(precision, reference(right, num_truths), rtol=0, atol=1e-12)
    assert (np.diff(precision) <= 0).all()


def test_each_class_and_threshold_has_its_own():
    confidence, labels = np.array([0.2, 0.9, 0.5, 0.7]), np.array([2, 0, 2, 2])
    hits = np.array([[True, False], [True, True], [False, True], [True, False]])
    result = average_precision(confidence, labels, hits, np.array([1, 0, 2]))
    assert result[0] == pytest.approx(1)
    assert np.isnan(result[1]).all()
    # By confidence: the last, the third, the first.
    expected = [np.mean(reference(right, 2)) for right in ([1, 0, 1], [0, 1, 0])]
    np.testing.assert_allclose(result[2], expected, rtol=0, atol=1e-12)
