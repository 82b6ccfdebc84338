import numpy as np
import pytest
from keras import ops

from keras_cvx.ops._kernels import counts, look_up, rows_in_memory


def test_no_places():
    assert ops.convert_to_numpy(counts(ops.zeros((0,), "int32"), 3)).tolist() == [0, 0, 0]
    assert tuple(look_up(ops.ones((3,)), ops.zeros((0, 2), "int32")).shape) == (0, 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_counts_are_those_of_numpy(compiled, weighted):
    rng = np.random.default_rng(0)
    places = rng.integers(0, 7, (3, 50)).astype("int32")
    weights = rng.integers(0, 8, places.shape).astype("float32") / 4 if weighted else None
    expected = np.bincount(places.ravel(), None if weights is None else weights.ravel(), 9)
    given = [ops.convert_to_tensor(x) for x in (places, weights) if x is not None]
    for function in (lambda x, *w: counts(x, 9, *w), compiled(lambda x, *w: counts(x, 9, *w))):
        got = ops.convert_to_numpy(function(*given))
        assert got.tolist() == expected.tolist()
        assert np.issubdtype(got.dtype, np.floating) == weighted


def test_look_up_and_rows():
    table, places = np.arange(5, dtype="float32") ** 2, np.int32([[4, 0], [2, 2]])
    got = look_up(ops.convert_to_tensor(table), ops.convert_to_tensor(places))
    assert ops.convert_to_numpy(got).tolist() == table[places].tolist()
    strided = ops.transpose(ops.convert_to_tensor(np.arange(6.0).reshape(2, 3)))
    assert ops.convert_to_numpy(rows_in_memory(strided)).tolist() == [[0, 3], [1, 4], [2, 5]]
