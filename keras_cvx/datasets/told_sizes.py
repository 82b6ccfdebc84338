"""The height and width that a file tells of an image."""

from keras_cvx.datasets.corners import finite_numbers
from keras_cvx.datasets.faults import told
from keras_cvx.datasets.rasterizing import checked_size


def size_of(texts):
    """Height and width.

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
    numbers = finite_numbers([text or 0 for text in texts], 0, 2**31)
    if numbers is None or not all(number.is_integer() for number in numbers):
        raise ValueError(
            f"`height` and `width` must be integers of at least 0. Received: {told(list(texts))}"
        )
    height, width = map(int, numbers)
    return checked_size((height, width)) if height and width else (0, 0)
