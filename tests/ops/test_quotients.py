import numpy as np
import pytest
from keras import ops

from keras_cvx.ops._quotients import SMALLEST, quotient


@pytest.mark.parametrize("size", [2 * SMALLEST, 1e-25, 1.0, 1e30])
def test_value_and_slopes(gradient, compiled, size):
    """Those of algebra in float64, where squares of the denominator leave float32's range."""
    top, bottom = size * np.float64([0.75, 0.5, 3]), size * np.float64([1, 4, 1.5])
    tensors = [ops.convert_to_tensor(x.astype("float32")) for x in (top, bottom)]
    got = compiled(quotient)(*tensors)
    np.testing.assert_allclose(ops.convert_to_numpy(got), top / bottom, rtol=1e-6)
    _, slope = gradient(lambda x: ops.sum(quotient(x, tensors[1])), top)
    np.testing.assert_allclose(slope, 1 / bottom, rtol=1e-5)
    _, slope = gradient(lambda x: ops.sum(quotient(tensors[0], x)), bottom)
    np.testing.assert_allclose(slope, -top / bottom / bottom, rtol=1e-5)


def test_nan_stays():
    got = quotient(ops.convert_to_tensor([np.nan, 1.0]), ops.convert_to_tensor([1.0, np.nan]))
    assert np.isnan(ops.convert_to_numpy(got)).all()
