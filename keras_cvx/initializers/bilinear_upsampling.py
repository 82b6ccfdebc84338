"""Kernels with which a transposed convolution begins as bilinear interpolation."""

import functools

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers


@plugins.register("BilinearUpsampling", kind="initializer")
class BilinearUpsampling(keras.initializers.Initializer):
    """The kernel of a transposed convolution that interpolates each channel between its cells.

    Along each axis it is a tent that falls from 1 in the middle of the kernel to 0 at a distance
    of one stride. Away from the borders, what is constant stays constant and what is linear stays
    linear. The kernel must reach over the tent: `2 · stride` cells, or `2 · stride - 1`, with
    which the middles of the cells are hit. With an even number and stride, pixels keep their
    place to the half pixel; with others, the result is half a pixel off.

    Args:
        strides: Strides of the transposed convolution: a positive integer, or one for each axis.
            If None, half of the kernel, rounded up, as in the reference.

    Call arguments:
        shape: Shape of the kernel, `(*sides, filters, channels)`, with as many filters as
            channels: each has its own. Of any rank.
        dtype: Dtype of the result; Keras' float type if None.

    Raises:
        ValueError: If a stride is not positive, if the kernel is smaller than `2 · stride - 1`, or
            filters and channels are not equally many.

    Example:
        >>> kernel = BilinearUpsampling()((1, 4, 1, 1))
        >>> ops.convert_to_numpy(kernel).ravel().tolist()
        [0.25, 0.75, 0.75, 0.25]

        >>> double = keras.layers.Conv2DTranspose(
        ...     3, 4, strides=2, padding="same", kernel_initializer=BilinearUpsampling()
        ... )
        >>> tuple(double(ops.ones((1, 5, 7, 3))).shape)
        (1, 10, 14, 3)

    Reference:
        Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation,
        section 3.3, and `upsample_filt` of its code.
    """

    def __init__(self, strides=None):
        for stride in strides if isinstance(strides, (list, tuple)) else [strides]:
            if stride is not None:
                check_integers(1, strides=stride)
        self.strides = list(strides) if isinstance(strides, tuple) else strides

    def __call__(self, shape, dtype=None):
        *sides, filters, channels = shape
        if filters != channels:
            raise ValueError(
                "`shape` must be (*sides, filters, channels) with as many filters as channels, for "
                f"each channel is interpolated by itself. Received: shape={tuple(shape)}"
            )
        strides = self.strides
        if strides is None:
            strides = [(side + 1) // 2 for side in sides]
        elif not isinstance(strides, list):
            strides = [strides] * len(sides)
        if len(strides) != len(sides):
            raise ValueError(
                f"`strides` must be one number, or one for each of the {len(sides)} sides of a "
                f"kernel of shape {tuple(shape)}. Received: strides={self.strides}"
            )
        tents = [_tent(*axis) for axis in zip(sides, strides, strict=True)]
        tent = functools.reduce(np.multiply.outer, tents, np.float64(1))
        kernel = np.multiply.outer(tent, np.eye(channels))
        return ops.cast(kernel.astype("float32"), dtype or keras.config.floatx())

    def get_config(self):
        return {"strides": self.strides}


def _tent(side, stride):
    if side < 2 * stride - 1:
        raise ValueError(
            f"`shape` must be of kernels with a side of at least {2 * stride - 1}, to interpolate "
            f"at the stride {stride}. Received: a side of {side}. Take {2 * stride}."
        )
    places = np.arange(side) - (side - 1) / 2
    return np.maximum(0, 1 - np.abs(places) / stride)
