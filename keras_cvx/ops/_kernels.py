"""What one backend does better by a function of its own: the one place with branches for that."""

import functools

import keras
import numpy as np
from keras import ops

from keras_cvx.ops import _arrays


def counts(places, size, weights=None):
    """How often each of `size` places occurs.

    Args:
        places: Int32 tensor of any shape, in `[0, size)`.
        size: Positive integer.
        weights: Float32 tensor of the shape of `places`, or None for 1 each.

    Returns:
        Tensor `(size,)`: int32, or float32 with weights.
    """
    places = ops.reshape(places, (-1,))
    if weights is not None:
        weights = ops.reshape(weights, (-1,))
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # `bincount` of Keras does not compile by XLA; this does.
        weights = tf.zeros((0,), "int32") if weights is None else weights
        return tf.raw_ops.DenseBincount(input=places, size=size, weights=weights)
    if backend == "torch":
        return ops.bincount(places, weights=weights, minlength=size)
    values = ops.ones_like(places) if weights is None else weights
    return ops.segment_sum(values, places, num_segments=size)


def look_up(table, places):
    """Entry of a flat table at each place; no gradient is asked for."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Twice as fast as `gather` where entries are single numbers.
        return tf.gather_nd(table, places[..., None])
    if backend == "torch":
        # `take` of Keras looks for negative places first.
        return table.index_select(0, places.reshape(-1)).reshape(places.shape)
    # `take` of Keras forgets the shape where there is nothing to take.
    return table[places]


def rows_in_memory(x):
    """The same matrix; on torch, which sorts a strided one slowly, with its rows in one piece."""
    return x.contiguous() if keras.backend.backend() == "torch" else x


def compiles(interpolation, antialias):
    """Whether XLA can compile a resize between sizes that Keras' backend does not know.

    Args:
        interpolation: One of `ops.resizing.INTERPOLATIONS`.
        antialias: Boolean.

    Returns:
        Boolean: on TensorFlow whether XLA has a kernel for it; on others True, for they know all
        sizes.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    return interpolation == "nearest" or (interpolation == "bilinear" and not antialias)


def native_resize(images, interpolation, antialias, *, static):
    """The fast function of this library that resizes as TensorFlow does, or None.

    Args:
        images: Array or tensor `(..., H, W, C)`.
        interpolation: One of `ops.resizing.INTERPOLATIONS`.
        antialias: Boolean.
        static: Whether all sizes are known.

    Returns:
        Function of the images and a size, or None.
    """
    if _arrays.is_tensorflow(images):
        # XLA knows all sizes, and is no matter in `tf.data` under another backend.
        if static and not compiles(interpolation, antialias):
            return None
        return lambda x, size: _arrays.tensorflow().resize(x, size, interpolation, antialias)
    if isinstance(images, np.ndarray):
        # Of floats OpenCV is off by up to 0.007 of 255, which only grey levels hide; and it takes
        # no images of hundreds of channels.
        colours = images.dtype == np.uint8 and 1 <= images.shape[-1] <= 4
        return _opencv() if colours and interpolation == "bilinear" and not antialias else None
    # JAX rounds the places of the nearest pixels, torch has another cubic kernel and no Lanczos;
    # on none but TensorFlow is the cubic kernel one of a table; and where it antialiases, it
    # rounds the scale so that in images of 2000 pixels others differ from it by 0.08 of 255.
    if interpolation == "bilinear" and not antialias:
        return lambda x, size: ops.image.resize(
            ops.cast(x, "float32"), size, interpolation=interpolation, antialias=antialias,
            data_format="channels_last",
        )  # fmt: skip
    return None


@functools.cache
def _opencv():
    """OpenCV's bilinear function for uint8 images of NumPy, or None if it is not installed."""
    try:
        import cv2
    except ImportError:
        return None

    def resized(images, size):
        if images.ndim == 4:
            return (
                np.stack([resized(image, size) for image in images])
                if len(images)
                else (np.empty((0, *size, images.shape[-1]), images.dtype))
            )
        result = cv2.resize(images, size[::-1], interpolation=cv2.INTER_LINEAR)
        return result.reshape(*size, images.shape[-1])

    return resized
