import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.layers import ClassNames


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (3, 5, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "mixed_float16"])
def test_scores_pass(shape, dtype):
    """As they are: half precision would round probabilities that are float32 for a reason."""
    scores = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = ClassNames(["cat", "dog"], dtype=dtype)
    got = layer(scores)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(got), scores)
    symbolic = layer(keras.KerasTensor((None, *shape[1:]), "float32"))
    assert (symbolic.shape, symbolic.dtype) == ((None, *shape[1:]), "float32")


def test_another_number_of_scores():
    message = r"`scores` must be \(..., 2\), one for each of the names. Received: shape \(3, 3\)"
    with pytest.raises(ValueError, match=message):
        ClassNames(["cat", "dog"])(np.zeros((3, 3), "float32"))
    with pytest.raises(ValueError, match=r"`scores` must be \(..., 2\)"):
        ClassNames(["cat", "dog"])(keras.Input((3,)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "`class_names` must be a list of strings"),
        ("cat", "`class_names` must be a list of strings"),
        (["cat", 1], "`class_names` must be a list of strings"),
        (["cat", "dog", "cat"], r"must all be different. Received twice: \['cat'\]"),
    ],
)
def test_bad_names(names, message):
    with pytest.raises(ValueError, match=message):
        ClassNames(names)
