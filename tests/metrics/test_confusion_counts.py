import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.metrics import SegmentationIoU
from keras_cvx.metrics.confusion_counts import LIMB, update, whole_counts


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.integers(0, 2**31 - 1), max_size=6))
def test_counts_are_those_of_whole_numbers(batches):
    counts = ops.zeros((2, 1, 1))
    for batch in batches:
        counts = update(counts, ops.full((1, 1), batch, dtype="int32"))
        assert 0 <= float(counts[1, 0, 0]) < LIMB
    assert whole_counts(counts).tolist() == [[float(sum(batches))]]


def test_where_a_single_float_would_stand_still():
    counts = ops.convert_to_tensor(np.float32([[[16]], [[0]]]))
    for _ in range(3):
        counts = update(counts, ops.ones((1, 1), dtype="int32"))
    assert whole_counts(counts).tolist() == [[16.0 * LIMB + 3]]
    assert np.float32(16 * LIMB) + np.float32(1) == 16 * LIMB


def test_weights_keep_their_fractions():
    counts = update(ops.zeros((2, 1, 2)), ops.convert_to_tensor(np.float32([[0.25, 1.5]])))
    assert whole_counts(update(counts, ops.full((1, 2), 0.5))).tolist() == [[0.75, 2.0]]


def test_merging_carries_and_leaves_the_others():
    def counted(low):
        metric = SegmentationIoU(1)
        state = np.zeros(metric.counts.shape, "float32")
        state[:, 0, 0] = 1, low
        metric.counts.assign(state)
        return metric

    metric, other = counted(LIMB - 1), counted(2)
    metric.merge_state([other, other])
    assert metric.confusion_matrix.tolist() == [[4.0 * LIMB + 3]]
    assert other.confusion_matrix.tolist() == [[LIMB + 2.0]]
    with pytest.raises(ValueError, match="`metrics` must be of the class SegmentationIoU"):
        metric.merge_state([SegmentationIoU(2)])
