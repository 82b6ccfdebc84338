import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_cvx.initializers import BilinearUpsampling


def as_numpy(x):
    return ops.convert_to_numpy(x)


def reference(side):
    """`upsample_filt` of the FCN authors' code, cell by cell."""
    factor = (side + 1) // 2
    center = factor - 1 if side % 2 == 1 else factor - 0.5
    return np.array(
        [
            [
                (1 - abs(row - center) / factor) * (1 - abs(column - center) / factor)
                for column in range(side)
            ]
            for row in range(side)
        ]
    )


def upsampled(maps, kernel, strides, initializer):
    """By Keras' layer, without padding."""
    channels = maps.shape[-1]
    layer = layers.Conv2DTranspose(
        channels, kernel, strides, kernel_initializer=initializer, data_format="channels_last"
    )
    return as_numpy(layer(maps))


@pytest.mark.parametrize("side", range(1, 18))
def test_equals_the_reference(side):
    kernel = as_numpy(BilinearUpsampling()((side, side, 3, 3)))
    np.testing.assert_allclose(kernel[:, :, 1, 1], reference(side), rtol=0, atol=1e-7)


def test_channels_do_not_mix():
    kernel = as_numpy(BilinearUpsampling(2)((4, 6, 3, 3)))
    for filters, channels in np.ndindex(3, 3):
        expected = kernel[..., 0, 0] if filters == channels else np.zeros((4, 6))
        np.testing.assert_array_equal(kernel[..., filters, channels], expected)
    assert kernel[..., 0, 0].sum() == pytest.approx(4)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(-1, 5), st.integers(-1, 5)),
    st.sampled_from([np.array([0.0, 0.0]), np.array([1.0, -2.0])]),
)
def test_planes_stay_planes_in_the_interior(strides, more, slopes):
    kernel = [max(1, 2 * s + m) for s, m in zip(strides, more, strict=True)]
    rows, columns = np.mgrid[:5, :6].astype("float32")
    plane = slopes[0] * rows + slopes[1] * columns + 3
    got = upsampled(plane[None, ..., None], kernel, strides, BilinearUpsampling(list(strides)))
    # The middle of cell i is where the middle of the kernel comes to lie.
    middle = [(side - 1) / 2 for side in kernel]
    y, x = (
        (np.arange(size) - m) / s
        for size, m, s in zip(got.shape[1:3], middle, strides, strict=True)
    )
    expected = slopes[0] * y[:, None] + slopes[1] * x + 3
    inside = ((y >= 0) & (y <= 4))[:, None] & ((x >= 0) & (x <= 5))
    assert inside.sum() > 5
    np.testing.assert_allclose(got[0, ..., 0][inside], expected[inside], rtol=0, atol=1e-4)


def test_of_another_rank_and_dtype():
    kernel = BilinearUpsampling(2)((4, 2, 2), dtype="float16")
    assert keras.backend.standardize_dtype(kernel.dtype) == "float16"
    np.testing.assert_array_equal(as_numpy(kernel)[:, 1, 1], [0.25, 0.75, 0.75, 0.25])


def test_configuration():
    initializer = BilinearUpsampling((2, 3))
    copy = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert type(copy) is BilinearUpsampling
    assert copy.get_config() == {"strides": [2, 3]}


@pytest.mark.parametrize("strides", [0, 2.0, True, [2, 0], "2"])
def test_bad_strides(strides):
    with pytest.raises(ValueError, match="`strides` must be an integer of at least 1"):
        BilinearUpsampling(strides)


@pytest.mark.parametrize(
    ("strides", "shape", "message"),
    [
        (None, (4, 4, 3, 2), "as many filters as channels"),
        (2, (2, 4, 3, 3), r"side of at least 3.*Received: a side of 2. Take 4"),
        ([2, 2, 2], (4, 4, 3, 3), "one for each of the 2 sides"),
    ],
)
def test_bad_shapes(strides, shape, message):
    with pytest.raises(ValueError, match=message):
        BilinearUpsampling(strides)(shape)
