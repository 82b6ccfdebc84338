import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.backbones import InputNormalization

MODES = ("tf", "torch", "caffe")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype("uint8")
# Keras computes in the dtype that it is given, so its reference is had in float64.
REFERENCE = {
    mode: keras.applications.imagenet_utils.preprocess_input(
        PIXELS.astype("float64"), data_format="channels_last", mode=mode
    )
    for mode in MODES
}


def normalized(mode, images, **kwargs):
    return ops.convert_to_numpy(InputNormalization(mode, **kwargs)(images))


@pytest.mark.parametrize("mode", MODES)
def test_empty_batch(mode):
    assert normalized(mode, np.zeros((0, 4, 4, 3), "float32")).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
def test_equal_to_keras(mode, dtype):
    got = normalized(mode, PIXELS.astype(dtype))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, REFERENCE[mode], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_channels_first(mode):
    got = normalized(mode, PIXELS.transpose(0, 3, 1, 2), data_format="channels_first")
    np.testing.assert_allclose(got.transpose(0, 2, 3, 1), REFERENCE[mode], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision_is_rounded_once(mode, policy):
    """Rounded before the offset, 254 and 255 would be one grey in bfloat16."""
    layer = InputNormalization(mode, dtype=policy)
    got = layer(PIXELS.astype("float32"))
    assert keras.backend.standardize_dtype(got.dtype) == policy.removeprefix("mixed_")
    expected = ops.cast(REFERENCE[mode].astype("float32"), got.dtype)
    got, expected = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (got, expected))
    step = 2.0 ** (-10 if policy == "mixed_float16" else -7)
    np.testing.assert_allclose(got, expected, rtol=step, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_of_symbolic_images(mode):
    inputs = keras.Input((None, None, 3), dtype="uint8")
    model = keras.Model(inputs, InputNormalization(mode)(inputs))
    assert (model.output.shape, model.output.dtype) == ((None, None, None, 3), "float32")
    got = ops.convert_to_numpy(model(PIXELS))
    np.testing.assert_allclose(got, REFERENCE[mode], rtol=1e-6, atol=2e-6)


def test_any_number_of_channels_without_statistics():
    x = np.float32([[[[0.0, 127.5, 255.0, 51.0]]]])
    np.testing.assert_allclose(normalized("tf", x), [[[[-1.0, 0.0, 1.0, -0.6]]]], atol=1e-6)


@pytest.mark.parametrize("mode", ["Caffe", None, "tensorflow"])
def test_unknown_modes(mode):
    with pytest.raises(ValueError, match=r"`mode` must be one of \('tf', 'torch', 'caffe'\)"):
        InputNormalization(mode)


@pytest.mark.parametrize("shape", [(2, 4, 4, 1), (4, 4, 3), (2, 3, 4, 4)])
def test_other_shapes(shape):
    with pytest.raises(ValueError, match="`images` must be of rank 4, with 3 channels in the mode"):
        InputNormalization("torch", "channels_last")(np.zeros(shape, "float32"))
