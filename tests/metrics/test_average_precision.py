import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from keras_cvx.metrics.average_precision import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
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
