"""Checks of arguments that several parts share."""

import numbers

import keras


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
