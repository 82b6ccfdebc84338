import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import confusion_matrix
from keras_cvx.ops.confusion import highest_class


def matrix(*arguments, **others):
    return ops.convert_to_numpy(confusion_matrix(*arguments, **others))


def test_nothing_is_counted():
    nothing = np.zeros((0, 4), "int32")
    assert matrix(nothing, nothing, 3).tolist() == [[0] * 4] * 4
    ids = np.ones((2, 2), "int32")
    assert matrix(ids, ids, 3, counted=np.zeros((2, 2), "bool")).sum() == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(["int32", "uint8", "int64"]))
def test_is_scikit_learns(seed, classes, dtype):
    rng = np.random.default_rng(seed)
    low = 0 if dtype == "uint8" else -3
    truth, found = rng.integers(low, classes + 3, (2, 3, 40)).astype(dtype)
    counted = rng.uniform(size=truth.shape) < 0.7
    weights = rng.integers(0, 64, truth.shape).astype("float32") / 8

    def folded(ids):
        return np.where((ids >= 0) & (ids < classes), ids, classes)[counted]

    for weight in (None, weights):
        got = matrix(truth, found, classes, counted=counted, weights=weight)
        expected = sklearn.metrics.confusion_matrix(
            folded(truth),
            folded(found),
            labels=np.arange(classes + 1),
            sample_weight=None if weight is None else weight[counted],
        )
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == ("int32" if weight is None else "float32")


def test_compiled(compiled):
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 5, (2, 2, 6, 7)).astype("int32")
    got = compiled(lambda t, p: confusion_matrix(t, p, 4))(
        ops.convert_to_tensor(truth), ops.convert_to_tensor(found)
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(got), matrix(truth, found, 4))


@pytest.mark.parametrize(
    ("arguments", "others", "message"),
    [
        (([0, 1], [0], 2), {}, r"`y_true` and `y_pred`.*\(2,\), \(1,\)"),
        (([0, 1], [0, 1], 2), {"weights": [1.0]}, r"`weights` must have one shape"),
        (([0], [0], 0), {}, "`num_classes` must be an integer of at least 1"),
    ],
)
def test_bad_input(arguments, others, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(*arguments, **others)


def test_highest_class_is_numpys_and_none_where_nan_is():
    scores = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    for axis in (1, -1):
        got = ops.convert_to_numpy(highest_class(scores, axis))
        np.testing.assert_array_equal(got, scores.argmax(axis))
        np.testing.assert_array_equal(
            ops.convert_to_numpy(highest_class(scores > 0, axis)), (scores > 0).argmax(axis)
        )
    scores[0, 1, 2] = np.nan
    expected = scores.argmax(-1)
    expected[0, 1] = -1
    np.testing.assert_array_equal(ops.convert_to_numpy(highest_class(scores, -1)), expected)
