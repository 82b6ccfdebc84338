import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.layers import LocalizationDecoding

EXPECTED = {
    "boxes": ((1, 4), "float32"),
    "confidence": ((1,), "float32"),
    "labels": ((1,), "int32"),
    "num_detections": ((), "int32"),
}


def predictions_of(images, classes, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes + 1), images).astype("float32")
    return {"labels": scores, "boxes": rng.uniform(0, 32, (images, 4)).astype("float32")}


def decode(predictions, layer=None):
    found = (layer or LocalizationDecoding())(
        {key: ops.convert_to_tensor(value) for key, value in predictions.items()}
    )
    return {key: ops.convert_to_numpy(value) for key, value in found.items()}


def test_empty_batch():
    found = decode(predictions_of(0, 3))
    for name, (shape, dtype) in EXPECTED.items():
        assert found[name].shape == (0, *shape)
        assert found[name].dtype == dtype


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(1, 4), seed=st.integers(0, 999))
def test_is_the_loop_over_the_images(classes, seed):
    predictions = predictions_of(6, classes, seed)
    found = decode(predictions)
    for image in range(6):
        scores, box = predictions["labels"][image], predictions["boxes"][image]
        best = int(np.argmax(scores))
        if best == classes:
            expected = [[-1] * 4], [-1], [-1], 0
        else:
            expected = [box], [scores[best]], [best], 1
        for name, value in zip(EXPECTED, expected, strict=True):
            np.testing.assert_array_equal(found[name][image], np.array(value, "float32"))
    assert {name: value.dtype for name, value in found.items()} == {
        name: dtype for name, (_, dtype) in EXPECTED.items()
    }


def test_a_tie_is_the_object():
    scores = [[0.25, 0.375, 0.375], [0.5, 0.0, 0.5]]
    found = decode({"labels": np.float32(scores), "boxes": np.ones((2, 4), "float32")})
    assert found["labels"].tolist() == [[1], [0]]


def test_half_precision_policy_changes_nothing():
    predictions = predictions_of(5, 3)
    for name, value in decode(predictions, LocalizationDecoding(dtype="mixed_float16")).items():
        np.testing.assert_array_equal(value, decode(predictions)[name])


def test_bad_inputs():
    layer, box, scores = LocalizationDecoding(), np.ones((2, 4)), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"`predictions` must be a dictionary .*\['boxes'\]"):
        layer({"boxes": box})
    for wrong in ({"boxes": box[:, :3]}, {"boxes": box[None]}, {"labels": scores[None]}):
        with pytest.raises(ValueError, match=r"`predictions` must hold labels \(B, C \+ 1\)"):
            layer({"boxes": box, "labels": scores, **wrong})


def test_config_round_trip():
    layer = LocalizationDecoding(name="found")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
