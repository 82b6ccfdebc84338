import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import match_detections

THRESHOLDS = [0.5, 0.75, 1.0]


def reference(overlaps, labels, truth_labels):
    """One image, from COCO's definition."""
    taken = np.full((len(THRESHOLDS), len(labels)), -1)
    for t, threshold in enumerate(THRESHOLDS):
        free = set(range(len(truth_labels)))
        for k, label in enumerate(labels):
            reached = [
                (overlaps[k, n], n)
                for n in free
                if label == truth_labels[n] >= 0 and overlaps[k, n] >= threshold
            ]
            if reached:
                taken[t, k] = max(reached)[1]
                free.remove(taken[t, k])
    return taken


@pytest.mark.parametrize(("batch", "detections", "truths"), [(2, 0, 3), (2, 3, 0), (0, 3, 2)])
def test_empty(batch, detections, truths):
    taken = match_detections(
        np.zeros((batch, detections, truths)),
        np.zeros((batch, detections), int),
        np.zeros((batch, truths), int),
        THRESHOLDS,
    )
    assert taken.shape == (batch, 3, detections)
    assert np.all(ops.convert_to_numpy(taken) == -1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    # Eighths are exact in float32, make many ties, and lie on the thresholds.
    overlaps = (rng.integers(0, 9, (2, 7, 5)) / 8).astype("float32")
    labels, truth_labels = rng.integers(-1, 2, (2, 7)), rng.integers(-1, 2, (2, 5))
    taken = ops.convert_to_numpy(match_detections(overlaps, labels, truth_labels, THRESHOLDS))
    for image in range(2):
        expected = reference(overlaps[image], labels[image], truth_labels[image])
        np.testing.assert_array_equal(taken[image], expected)


def test_compiled_equals_eager(compiled):
    rng = np.random.default_rng(0)
    overlaps = ops.convert_to_tensor(rng.uniform(0, 1, (2, 6, 4)).astype("float32"))
    labels = ops.convert_to_tensor(rng.integers(0, 2, (2, 6)), "int32")
    truth = ops.convert_to_tensor(rng.integers(0, 2, (2, 4)), "int32")

    def match(overlaps, labels, truth):
        return match_detections(overlaps, labels, truth, THRESHOLDS)

    eager = ops.convert_to_numpy(match(overlaps, labels, truth))
    assert (eager >= 0).any()
    np.testing.assert_array_equal(
        ops.convert_to_numpy(compiled(match)(overlaps, labels, truth)), eager
    )
