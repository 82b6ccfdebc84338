"""The values under the keys of a JSON record, which may be of any type."""

import math

from keras_cvx.datasets.faults import told

_LARGEST = 2.0**62  # of an area in pixels, far over that of any image
_MOST = 2**63


def flag_of(record, name):
    """Whether something is so; not where nothing is told.

    Args:
        record: Dict.
        name: Its key.

    Raises:
        ValueError: If it is neither 0 nor 1, as `"0"`, which Python takes for true.

    Example:
        >>> flag_of({"iscrowd": 1}, "iscrowd"), flag_of({}, "iscrowd")
        (True, False)
    """
    value = record.get(name)
    if value is None:
        return False
    if not isinstance(value, (int, float)) or value not in (0, 1):
        raise ValueError(f"`{name}` must be 0 or 1. Received: {told(value)}")
    return bool(value)


def amount_of(record, name):
    """A number of at least 0; NaN where nothing is told, or NaN.

    Args:
        record: Dict.
        name: Its key.

    Raises:
        ValueError: If it is no such number.

    Example:
        >>> amount_of({"area": 12}, "area"), amount_of({"area": None}, "area")
        (12.0, nan)
    """
    value = record.get(name)
    if value is None:
        return math.nan
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Integers may have hundreds of digits. False for negative numbers alone, not for NaN.
    if not right or value < 0 or value > _LARGEST:
        raise ValueError(f"`{name}` must be a finite number of at least 0. Received: {told(value)}")
    return float(value)


def whole_id_of(record, place):
    """The integer that a record calls itself, or its place where that is none.

    Args:
        record: Dict, perhaps with an `id`. Some tools write words there, or 7.0.
        place: Integer.

    Raises:
        ValueError: If it is no id at all, or has more than 64 bits.

    Example:
        >>> whole_id_of({"id": 7.0}, 1), whole_id_of({"id": "0f3a"}, 1), whole_id_of({}, 1)
        (7, 1, 1)
    """
    value = record.get("id")
    if value is None or isinstance(value, str):
        return place
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -_MOST <= value < _MOST:
        raise ValueError(f"`id` must be an integer of 64 bits, or text. Received: {told(value)}")
    return value
