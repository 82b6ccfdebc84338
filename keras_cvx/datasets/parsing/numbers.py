"""The numbers in text files: of boxes, of points, and of the height and width of an image."""

import operator

from keras_cvx.datasets.faults import told
from keras_cvx.datasets.pixels.rasterizing import checked_size
from keras_cvx.ops.boxes import CORNERS

# Ultralytics' tolerance: fractions are written with few digits.
_SLACK = 0.01
LARGEST = 2**31  # pixels; no image has as many in a row
_RANGES = {False: (-LARGEST, LARGEST), True: (-_SLACK, 1 + _SLACK)}


def corners(values, bounding_box_format, *, inclusive=False):
    """The corners of a box, in the unit that it is told in.

    Args:
        values: Sequence of strings, bytes or numbers, in the order of the format.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`.
        inclusive: Whether the corners are pixels, counted from 1, the last ones included, so that
            there is no box without area.

    Returns:
        Tuple of floats `x0, y0, x1, y1`, finite, the last two at least as large as the first.

    Raises:
        ValueError: If they make no such box, or one of fractions is not from 0 to 1.

    Example:
        >>> corners(["1", "2", "3", "4"], "xywh")
        (1.0, 2.0, 4.0, 6.0)
    """
    relative = bounding_box_format.startswith("rel_")
    low, high = _RANGES[relative]
    numbers = finite_numbers(values, low, high)
    if numbers is not None and len(numbers) == 4:
        box = CORNERS[bounding_box_format.removeprefix("rel_")](*numbers)
        before = operator.le
        if inclusive:
            # The far corner of a box thinner than a pixel is told before its near one.
            box, before = (box[0] - 1, box[1] - 1, *box[2:]), operator.lt
        if before(box[0], box[2]) and before(box[1], box[3]):
            return box
    unit = "fractions from 0 to 1" if relative else "numbers of pixels"
    raise ValueError(
        f"a box must be {bounding_box_format}, four {unit}, its far corner not before the near "
        f"one. Received: {_shown(values)}"
    )


def fractions(values):
    """Fractions of an image's width and height.

    Args:
        values: Sequence of strings or bytes.

    Returns:
        List of floats from 0 to 1, or out of this by one in a hundred.

    Raises:
        ValueError: If one is none.
    """
    numbers = finite_numbers(values, *_RANGES[True])
    if numbers is None:
        raise ValueError(f"points must be fractions from 0 to 1. Received: {_shown(values)}")
    return numbers


def size_of(texts):
    """Height and width of an image.

    Args:
        texts: Pair of strings.

    Returns:
        Tuple of two integers, zeros where one is empty or 0 and so not told.

    Raises:
        ValueError: If they are no such integers, or of more pixels than a mask can have.

    Example:
        >>> size_of(["480", "640.0"]), size_of(["", ""])
        ((480, 640), (0, 0))
    """
    numbers = finite_numbers([text or 0 for text in texts], 0, LARGEST)
    if numbers is None or not all(number.is_integer() for number in numbers):
        raise ValueError(
            f"`height` and `width` must be integers of at least 0. Received: {told(list(texts))}"
        )
    height, width = map(int, numbers)
    return checked_size((height, width)) if height and width else (0, 0)


def finite_numbers(values, low, high):
    """Strings, bytes or numbers as floats; None unless all of them are from `low` to `high`.

    Args:
        values: Sequence.
        low: Number.
        high: Number.
    """
    try:
        numbers = [_number(value) for value in values]
    except ValueError:
        return None
    # Of NaN, false.
    return numbers if all(low <= number <= high for number in numbers) else None


def _number(value):
    # Python takes 1_0 for 10, and, in strings, the digits of other scripts.
    if isinstance(value, bytes):
        right = b"_" not in value
    else:
        right = not isinstance(value, str) or ("_" not in value and value.isascii())
    return float(value if right else "")


def _shown(values):
    return told([x.decode("ascii", "replace") if isinstance(x, bytes) else x for x in values])
