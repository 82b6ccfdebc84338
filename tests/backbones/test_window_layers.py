"""Layers on every window of a map, against a loop over the windows."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_cvx.backbones.window_layers import CellwiseHead, DenseConvolution, WholeWindows


def maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_convolution_is_the_dense_layer_on_each_window(use_bias):
    dense = layers.Dense(5, "sigmoid", use_bias=use_bias, bias_initializer="normal")
    dense.build((None, 18))
    layer = DenseConvolution(dense, 2, 3)
    x = maps(2, 4, 5, 3)
    got = ops.convert_to_numpy(layer(x))
    assert got.shape == (2, 3, 3, 5) == layer.compute_output_shape(x.shape)
    assert len(layer.weights) == len(dense.weights) == 1 + use_bias
    for i, j in np.ndindex(3, 3):
        expected = dense(x[:, i : i + 2, j : j + 3].reshape(2, -1))
        np.testing.assert_allclose(got[:, i, j], ops.convert_to_numpy(expected), atol=1e-5)


def test_cellwise_head_is_the_head_on_each_cell():
    vectors = [keras.Input((3,)), keras.Input((1, 1, 2))]
    y = layers.Dense(4)(layers.Concatenate()([vectors[0], layers.Flatten()(vectors[1])]))
    head = keras.Model(vectors, layers.Reshape((1, 4))(y))
    given = [maps(2, 4, 5, 3), maps(2, 4, 5, 2)]
    got = ops.convert_to_numpy(CellwiseHead(head)(given))
    assert got.shape == (2, 4, 5, 4)
    for i, j in np.ndindex(4, 5):
        cell = [given[0][:, i, j], given[1][:, i : i + 1, j : j + 1]]
        expected = ops.convert_to_numpy(head(cell))[:, 0]
        np.testing.assert_allclose(got[:, i, j], expected, atol=1e-6)


@given(
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    data_format=st.sampled_from(["channels_first", "channels_last"]),
)
@settings(max_examples=15, deadline=None)
def test_whole_windows_keep_what_windows_cover(window, strides, more, data_format):
    size = tuple(side + extra for side, extra in zip(window, more, strict=True))
    image = np.arange(np.prod(size), dtype="int32").reshape(1, *size, 1)
    covered = np.zeros(size, bool)
    for top in range(0, size[0] - window[0] + 1, strides[0]):
        for left in range(0, size[1] - window[1] + 1, strides[1]):
            covered[: top + window[0], : left + window[1]] = True
    layer = WholeWindows(*window, strides, data_format=data_format)
    x = np.moveaxis(image, -1, 1) if data_format == "channels_first" else image
    got = ops.convert_to_numpy(layer(x))
    assert got.dtype == "int32"
    assert layer.compute_output_shape(x.shape) == got.shape
    np.testing.assert_array_equal(got.ravel(), image[0, ..., 0][covered])


@pytest.mark.parametrize("strides", [3, (3,), (3, 0), "ab"])
def test_whole_windows_of_other_strides(strides):
    with pytest.raises(ValueError, match="`strides` must be"):
        WholeWindows(4, 4, strides)
