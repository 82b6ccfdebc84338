"""Checks of arguments that several parts share."""

import difflib
import functools
import math
import numbers

import keras
import numpy as np

# Of a record of `keras_cvx.geometry`, which says what they mean.
FIELDS = ("source_size", "content_size", "offset", "target_size")


def check_integers(least, **arguments):
    """Raises for the first argument that is no integer of at least `least`; NumPy's will do.

    Args:
        least: Integer.
        **arguments: Values by the names that the error is to give them.

    Raises:
        ValueError: If a value is a boolean, no integer, or too small.

    Example:
        >>> check_integers(1, num_classes=10)
    """
    for name, value in arguments.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least:
            raise ValueError(
                f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}"
            )


def check_numbers(**arguments):
    """Raises for the first argument that is no finite number.

    Args:
        **arguments: Values by the names that the error is to give them.

    Raises:
        ValueError: If a value is no real number, infinite or NaN.

    Example:
        >>> check_numbers(fill_value=114.0)
    """
    for name, value in arguments.items():
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")


def check_choice(known, **arguments):
    """Raises if an argument is none of the values that are known.

    Args:
        known: Tuple of strings.
        **arguments: Values by their names.

    Raises:
        ValueError: With the name, and all that is known.
    """
    for name, value in arguments.items():
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known}. Received: {name}={value!r}")


def check_keys(given, name, known):
    """Raises for a key that nothing reads: misspelt, what it holds would be left out unseen.

    Args:
        given: Dictionary.
        name: What the error is to call it.
        known: Strings.

    Raises:
        ValueError: If the dictionary has another key.

    Example:
        >>> check_keys({"boxes": [], "labels": []}, "y_true", ("boxes", "labels", "is_crowd"))
    """
    unknown = sorted(set(map(str, given)) - set(known))
    if unknown:
        [near] = difflib.get_close_matches(unknown[0], known, n=1) or [None]
        mend = f" Did you mean {near!r}?" if near else ""
        raise ValueError(
            f"`{name}` must have no other keys than {sorted(known)}. Received: {unknown}.{mend}"
        )


def tensor_of_rows(values, name):
    """A tensor of boxes, labels or scores; an error that says what to do where rows are ragged.

    Args:
        values: Array, tensor or nested list.
        name: What the error is to call it.

    Raises:
        ValueError: If it is a list that makes no array, of images with different numbers of rows.

    Example:
        >>> tuple(tensor_of_rows([[1, 2], [3, -1]], "labels").shape)
        (2, 2)
    """
    try:
        return keras.ops.convert_to_tensor(values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be one array, with equally many rows for each image. Received: what "
            f"makes none, a {type(values).__name__}. Fill up with rows of label −1. ({error})"
        ) from error


def check_fill_value(dtype, **arguments):
    """Raises for the first number that pixels of a dtype cannot have.

    Args:
        dtype: The dtype, of any library or by name.
        **arguments: Numbers by the names that the error is to give them.

    Raises:
        ValueError: If the dtype is one of integers or booleans and a number is out of its range,
            or none of numbers.

    Example:
        >>> check_fill_value("uint8", fill_value=114.0)
    """
    name = dtype_name(dtype)
    if "float" in name:
        return
    if name != "bool" and "int" not in name:
        raise ValueError(f"Images and masks must be of numbers or booleans. Received: dtype {name}")
    low, high = (0, 1) if name == "bool" else (np.iinfo(name).min, np.iinfo(name).max)
    for argument, value in arguments.items():
        if not low <= value <= high:
            raise ValueError(
                f"`{argument}` must be in the range of {name}, from {low} to {high}. "
                f"Received: {argument}={value}. Give another, or a dtype that holds it."
            )


@functools.cache
def dtype_name(dtype):
    """The name of a dtype of any library, as Keras has it.

    Args:
        dtype: A dtype of NumPy, TensorFlow, JAX or torch, or a string.

    Example:
        >>> dtype_name("uint8")
        'uint8'
    """
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def check_boxes(boxes, name):
    """Raises if a tensor cannot be of boxes.

    Args:
        boxes: Tensor.
        name: The argument's name, for the error.

    Raises:
        ValueError: If the last axis is not 4.
    """
    if len(boxes.shape) < 1 or boxes.shape[-1] != 4:
        raise ValueError(f"`{name}` must have a last axis of 4. Received: shape {boxes.shape}")


def checked_data_format(data_format):
    """`data_format`, or Keras' setting for None.

    Args:
        data_format: `"channels_last"`, `"channels_first"` or None.

    Raises:
        ValueError: If it is something else.
    """
    if data_format not in ("channels_last", "channels_first", None):
        raise ValueError(
            "`data_format` must be 'channels_last' or 'channels_first'. "
            f"Received: data_format={data_format!r}"
        )
    return keras.config.image_data_format() if data_format is None else data_format


def spatial_axes(data_format=None):
    """Which axes of a batch of images or feature maps are height and width.

    Args:
        data_format: `"channels_last"`, `"channels_first"`, or None for Keras' setting.

    Returns:
        Slice for the shape of a batch.

    Example:
        >>> (2, 48, 64, 3)[spatial_axes("channels_last")]
        (48, 64)
    """
    return slice(1, 3) if checked_data_format(data_format) == "channels_last" else slice(2, 4)


def checked_axis(axis):
    """`axis` as an integer.

    Args:
        axis: Any object.

    Raises:
        ValueError: If it is no integer, or a boolean.
    """
    if not isinstance(axis, numbers.Integral) or isinstance(axis, bool):
        raise ValueError(f"`axis` must be an integer. Received: axis={axis!r}")
    return int(axis)


def check_axis(axis, tensor, name):
    """Raises if a tensor has no such axis.

    Args:
        axis: Integer.
        tensor: Tensor.
        name: The tensor's name, for the error.

    Raises:
        ValueError: If the axis is out of range.
    """
    rank = len(tensor.shape)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must be one of the {rank} axes of `{name}`. Received: axis={axis} for shape "
            f"{tuple(tensor.shape)}"
        )


def check_record(geometry):
    """Raises if an object is no record.

    Args:
        geometry: Any object.

    Raises:
        ValueError: If it is no dictionary, or a field is missing or no array `(..., 2)`.
    """
    if not isinstance(geometry, dict) or not set(FIELDS) <= set(geometry):
        what = sorted(map(str, geometry)) if isinstance(geometry, dict) else geometry
        raise ValueError(f"`geometry` must be a record with the keys {FIELDS}. Received: {what}")
    for name in FIELDS:
        shape = static_shape(geometry[name])
        if not shape or shape[-1] not in (2, None):
            raise ValueError(
                f"`geometry[{name!r}]` must be of shape (..., 2). Received: shape {shape}"
            )


def static_shape(array):
    """The shape of an array, a tensor or nested lists as a tuple, None where unknown.

    Args:
        array: Any of these; of a tensor nothing is computed.
    """
    return tuple(array.shape) if hasattr(array, "shape") else np.shape(array)


def shapes_agree(shape, expected):
    """Whether two static shapes can be of one tensor; an unknown size agrees with any.

    Args:
        shape: Tuple of integers, None where unknown.
        expected: Likewise.

    Returns:
        Boolean.

    Example:
        >>> shapes_agree((None, 5), (2, 5)), shapes_agree((1, 5), (2, 5))
        (True, False)
    """
    return len(shape) == len(expected) and all(
        size == other or size is None or other is None
        for size, other in zip(shape, expected, strict=True)
    )


def ignored_ids(ignore_class):
    """The ids of `ignore_class`: none for None, one for an integer, all of a sequence.

    Args:
        ignore_class: None, integer, or sequence of integers.

    Returns:
        Tuple of integers.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> ignored_ids(None), ignored_ids(255), ignored_ids([255, 254])
        ((), (255,), (255, 254))
    """
    ids = () if ignore_class is None else ignore_class
    ids = tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)
    if not all(isinstance(x, numbers.Integral) and not isinstance(x, bool) for x in ids):
        raise ValueError(
            "`ignore_class` must be None, an integer or a sequence of integers. Received: "
            f"{ignore_class!r}"
        )
    return tuple(int(x) for x in ids)
