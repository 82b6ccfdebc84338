"""Windows of images: painted pixels found in them, and slices as the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops.resizing import resize
from keras_cvx.ops.windows import count_windows, map_windows, window_boxes

sides = st.tuples(st.integers(1, 9), st.integers(1, 9))


@pytest.mark.parametrize("size", [(3, 9), (9, 3), (1, 1)])
def test_no_window_in_a_small_image(size):
    assert count_windows(size, (4, 4), (1, 2)) == (0, 0)
    assert window_boxes(size, size, (4, 4), (1, 2)).shape == (0, 4)


@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), window=sides, strides=sides)
def test_windows_are_those_that_lie_in_the_image(size, window, strides):
    inside = [
        (j, i, j + window[1], i + window[0])
        for i in range(0, size[0], strides[0])
        for j in range(0, size[1], strides[1])
        if i + window[0] <= size[0] and j + window[1] <= size[1]
    ]
    rows, columns = count_windows(size, window, strides)
    assert rows * columns == len(inside)
    boxes = window_boxes(size, size, window, strides)
    np.testing.assert_array_equal(boxes, np.reshape(inside, (-1, 4)))


@pytest.mark.parametrize("scaled", [(40, 30), (20, 15), (57, 43), (9, 11)])
def test_boxes_hold_what_the_windows_see(scaled):
    """A ramp along each axis, resized: the mean of a window is the centre of its box."""
    size, window, strides = (40, 30), (6, 5), (2, 3)
    ramps = np.stack(np.indices(size), -1).astype("float32") + 0.5
    # Repeated edges bend a resized ramp there.
    level = resize(ramps, scaled, antialias=True)
    rows, columns = count_windows(scaled, window, strides)
    boxes = window_boxes(size, scaled, window, strides).reshape(rows, columns, 4)
    assert rows > 1
    assert columns > 1
    for i, j in np.ndindex(rows, columns):
        crop = level[i * 2 : i * 2 + 6, j * 3 : j * 3 + 5]
        x, y = (boxes[i, j, :2] + boxes[i, j, 2:]) / 2
        np.testing.assert_allclose(crop.mean((0, 1)), [y, x], atol=0.5)
    height, width = size[0] / scaled[0], size[1] / scaled[1]
    np.testing.assert_allclose(boxes[..., 2] - boxes[..., 0], 5 * width, rtol=1e-5)
    np.testing.assert_allclose(boxes[..., 3] - boxes[..., 1], 6 * height, rtol=1e-5)


@settings(max_examples=8, deadline=None)
@given(extra=sides, window=sides, strides=sides, batch=st.integers(0, 3))
def test_a_function_of_each_window(extra, window, strides, batch):
    size = [w + e for w, e in zip(window, extra, strict=True)]
    images = np.random.default_rng(0).normal(size=(batch, *size, 2)).astype("float32")
    weights = np.random.default_rng(1).normal(size=(*window, 2, 3)).astype("float32")

    def weighted(windows):
        return ops.matmul(ops.reshape(windows, (-1, weights.size // 3)), weights.reshape(-1, 3))

    got = ops.convert_to_numpy(map_windows(weighted, images, window, strides))
    assert got.shape == (batch, *count_windows(size, window, strides), 3)
    for i, j in np.ndindex(got.shape[1:3]):
        top, left = i * strides[0], j * strides[1]
        crop = images[:, top : top + window[0], left : left + window[1]]
        expected = np.einsum("bhwc,hwck->bk", crop, weights)
        np.testing.assert_allclose(got[:, i, j], expected, atol=1e-4)


def test_compiled(compiled):
    images = np.random.default_rng(0).normal(size=(2, 9, 8, 1)).astype("float32")

    def largest(x):
        return map_windows(lambda w: ops.max(w, axis=(1, 2)), x, (3, 2), (2, 3))

    got = ops.convert_to_numpy(compiled(largest)(ops.convert_to_tensor(images)))
    expected = np.lib.stride_tricks.sliding_window_view(images[..., 0], (3, 2), (1, 2))
    np.testing.assert_array_equal(got[..., 0], expected[:, ::2, ::3].max((-1, -2)))
