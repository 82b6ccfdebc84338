"""Layers on every window of a map, against a loop over the windows."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.backbones.window_layers import CellwiseHead, DenseConvolution


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
