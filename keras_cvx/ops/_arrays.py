"""Where arrays come from: NumPy, the backend of Keras, or TensorFlow beside another backend.

Preprocessing runs in three places: on NumPy arrays in the workers of a loader, on TensorFlow's
tensors in `tf.data`, whatever the backend, and on the backend's own in a model. The same lines
serve all three with the functions of `namespace`.
"""

import functools
import sys
import types
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvx.ops.arguments import dtype_name

# What is plainly no tensor, so that loaders need not ask the frameworks.
HOST = (np.ndarray, np.generic, int, float, list, tuple, type(None))


def namespace(*arrays):
    """The functions that these arrays take, by the names of `keras.ops`.

    Args:
        *arrays: NumPy arrays, numbers, nested lists of them, or tensors; None is passed over.

    Returns:
        `keras.ops` if a tensor of the backend or a symbolic one is among them; else a namespace of
        TensorFlow's if one of its tensors is; else one of NumPy's.
    """
    if all(isinstance(array, HOST) for array in arrays):
        return _NUMPY
    if any(is_of_keras(array) for array in arrays):
        return ops
    if any(is_tensorflow(array) for array in arrays):
        return tensorflow()
    return _NUMPY


def is_of_keras(array):
    """Whether `array` is a tensor of the backend of Keras, a variable, or a symbolic one."""
    return ops.is_tensor(array) or isinstance(array, (keras.KerasTensor, keras.Variable))


def is_tensorflow(array):
    """Whether `array` is a tensor of TensorFlow, a ragged one included; it is not imported."""
    tensorflow: Any = sys.modules.get("tensorflow")
    # In the midst of its own import it has no such function yet.
    return hasattr(tensorflow, "is_tensor") and tensorflow.is_tensor(array)


def is_ragged(array):
    """Whether `array` is a `tf.RaggedTensor`."""
    return is_tensorflow(array) and hasattr(array, "ragged_rank")


def dense(array, *, signed=False):
    """An array of rows of several lengths, padded: a list of arrays, or a ragged tensor.

    Padding is −1, and 0 or False where there is no −1.

    Args:
        array: What is neither a list nor ragged is not padded.
        signed: Whether unsigned integers become int32, so that padding is −1 in them too.
    """
    if isinstance(array, (list, tuple)):
        if not array or not all(hasattr(row, "shape") for row in array):
            return array
        rows = [dense(row, signed=signed) for row in array]
        xp, fill = namespace(*rows), _padding(rows[0].dtype)
        most = max(row.shape[0] for row in rows)
        return xp.stack(
            [
                xp.pad(
                    row,
                    [(0, most - row.shape[0])] + [(0, 0)] * (len(row.shape) - 1),
                    constant_values=fill,
                )
                for row in rows
            ]
        )
    if signed and "uint" in dtype_name(array.dtype):
        array = (tensorflow() if is_ragged(array) else namespace(array)).cast(array, "int32")
    return array.to_tensor(_padding(array.dtype)) if is_ragged(array) else array


def _padding(dtype):
    name = dtype_name(dtype)
    return False if name == "bool" else 0 if "uint" in name else -1


def map_ragged(function, spec, sample):
    """Applies a function to each image of a ragged batch, in one trace.

    Args:
        function: Function of a dictionary of tensors of one image, to another with results of
            static shapes.
        spec: The same of symbolic tensors.
        sample: Ragged tensor of images, or a dictionary that holds one as `"images"`; whatever
            else is in it is ragged or dense, one row an image.

    Returns:
        The results, in batches.
    """
    import tensorflow as tf

    def of_one(elements):
        # Each element is ragged by one axis less.
        return function(
            tf.nest.map_structure(lambda x: x.to_tensor() if is_ragged(x) else x, elements)
        )

    if isinstance(sample, dict) and "bounding_boxes" in sample:
        boxes = sample["bounding_boxes"]
        boxes = {name: dense(x, signed=name == "labels") for name, x in boxes.items()}
        sample = {**sample, "bounding_boxes": boxes}
    # Ragged tensors are leaves here.
    ones = [keras.KerasTensor(x.shape[1:], x.dtype.name) for x in tf.nest.flatten(sample)]
    signature = keras.tree.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype), spec(tf.nest.pack_sequence_as(sample, ones))
    )
    return tf.map_fn(of_one, sample, fn_output_signature=signature)


def _pad(x, widths, constant_values=0):
    """As `np.pad`, which takes as long as resizing does."""
    shape = [low + size + high for (low, high), size in zip(widths, x.shape, strict=True)]
    padded = np.full(shape, constant_values, x.dtype)
    padded[tuple(slice(low, low + n) for (low, _), n in zip(widths, x.shape, strict=True))] = x
    return padded


_NUMPY = types.SimpleNamespace(
    all=np.all,
    any=np.any,
    arange=np.arange,
    broadcast_to=np.broadcast_to,
    cast=np.asarray,
    concatenate=np.concatenate,
    convert_to_tensor=np.asarray,
    cos=np.cos,
    equal=np.equal,
    expand_dims=np.expand_dims,
    flip=np.flip,
    floor=np.floor,
    logical_and=np.logical_and,
    logical_not=np.logical_not,
    maximum=np.maximum,
    mean=np.mean,
    minimum=np.minimum,
    moveaxis=np.moveaxis,
    ones_like=np.ones_like,
    pad=_pad,
    reshape=np.reshape,
    round=np.rint,
    shape=np.shape,
    squeeze=np.squeeze,
    # Of numbers, `np.array` is several times as fast.
    stack=lambda x, axis=0: np.stack(x, axis) if any(np.ndim(y) for y in x) else np.array(x),
    take=np.take,
    where=np.where,
    zeros_like=np.zeros_like,
)


@functools.cache
def tensorflow():
    """The namespace of TensorFlow, which is imported now."""
    import tensorflow as tf

    def shape(x):
        """Python integers where static, tensors elsewhere, as `keras.ops.shape` has it."""
        dynamic = tf.shape(x)
        return tuple(dynamic[i] if size is None else size for i, size in enumerate(x.shape))

    def resize(x, size, interpolation, antialias):
        options = {"method": interpolation, "antialias": antialias}
        if x.dtype not in (tf.uint32, tf.uint64):
            return tf.image.resize(x, size, **options)
        # It has no kernels for these: the nearest pixel may as well be one of int64.
        kernel = tf.int64 if interpolation == "nearest" else tf.float32
        resized = tf.image.resize(tf.cast(x, kernel), size, **options)
        return tf.cast(resized, x.dtype) if interpolation == "nearest" else resized

    return types.SimpleNamespace(
        all=lambda x, axis=None: tf.reduce_all(x, axis),
        any=lambda x, axis=None: tf.reduce_any(x, axis),
        arange=tf.range,
        broadcast_to=tf.broadcast_to,
        cast=tf.cast,
        concatenate=tf.concat,
        convert_to_tensor=tf.convert_to_tensor,
        cos=tf.cos,
        equal=tf.equal,
        expand_dims=tf.expand_dims,
        flip=lambda x, axis: tf.reverse(x, [axis]),
        floor=tf.floor,
        logical_and=tf.logical_and,
        logical_not=tf.logical_not,
        maximum=tf.maximum,
        mean=tf.reduce_mean,
        minimum=tf.minimum,
        moveaxis=tf.experimental.numpy.moveaxis,
        ones_like=tf.ones_like,
        pad=lambda x, width, constant_values=0: tf.pad(x, width, constant_values=constant_values),
        reshape=tf.reshape,
        resize=resize,
        round=tf.round,
        shape=shape,
        squeeze=tf.squeeze,
        stack=tf.stack,
        take=lambda x, indices, axis: tf.gather(x, indices, axis=axis),
        where=tf.where,
        zeros_like=tf.zeros_like,
    )


def untranslated(function, array):
    """The function, which AutoGraph is to leave as it is where it traces one of such arrays.

    Nothing in this package needs a translation, which takes seconds for the first trace.

    Args:
        function: Any function.
        array: What it is called with.
    """
    if not is_tensorflow(array):
        return function
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


def tensorflow_generator(seed):
    """A `tf.random.Generator`, made outside of whatever graph is being traced.

    Args:
        seed: Integer.
    """
    import tensorflow as tf

    with tf.init_scope():
        return tf.random.Generator.from_seed(seed)
