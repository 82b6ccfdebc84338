"""Hypothesis strategies for boxes, ground truth, image sizes and arguments, the hard cases too.

Shapes are fixed by the arguments, so that a compiled function is compiled once.
"""

import inspect
import typing

import numpy as np


def boxes(shape=(8,), image_size=(32, 48), *, ordered=True, inside=False):
    """Arrays of boxes, corners `x0, y0, x1, y1` in pixels.

    Empty, touching, equal and nested boxes are frequent, as are the whole image, boxes that leave
    it or lie outside it, and sides of 1e-6 or of 1e6 pixels. All coordinates are finite, and so
    are areas.

    Args:
        shape: Tuple of integers, the axes before the coordinates.
        image_size: Height and width of the image in pixels, positive integers.
        ordered: Whether `x0 <= x1` and `y0 <= y1` in every box.
        inside: Whether all corners lie in the image.

    Returns:
        Strategy of float32 arrays `(*shape, 4)`.

    Raises:
        ImportError: If hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> find(boxes((1,)), lambda x: 0 < x[0, 0] < x[0, 2]).tolist()
        [[1.0, 0.0, 2.0, 0.0]]
    """
    st = _strategies()
    height, width = image_size
    x, y = (_coordinates(st, side, inside) for side in (width, height))
    corners = st.tuples(x, y, x, y)
    # Two that would be rare, one time in four.
    rare = st.sampled_from([(0.0, 0.0, float(width), float(height)), (0.0, 0.0, 1e-6, 1e-6)])
    box = st.one_of(corners, corners, corners, rare)
    count = int(np.prod(shape))

    def arrange(corners):
        array = np.array(corners, "float32").reshape(*shape, 2, 2)
        array = np.sort(array, axis=-2) if ordered else array
        return array.reshape(*shape, 4)

    return st.lists(box, min_size=count, max_size=count).map(arrange)


def labelled_boxes(batch=2, rows=4, *, num_classes=3, image_size=(32, 48), inside=True):
    """Padded ground truth, as losses, metrics and detectors take it.

    Any rows of an image can be padding, from none to all, and not the last ones only.

    Args:
        batch: Integer B.
        rows: Integer N.
        num_classes: Positive integer C.
        image_size: Height and width of the image in pixels, positive integers.
        inside: Whether all boxes lie in the image, as `keras_cvx.ops.check_ground_truth` asks.

    Returns:
        Strategy of dictionaries of `"boxes"`, float32 `(B, N, 4)` as those of `boxes`, and
        `"labels"`, int32 `(B, N)` in `[0, C)`, or −1 in padded rows, whose boxes are −1 too.

    Raises:
        ImportError: If hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> truth = find(labelled_boxes(1, 1), lambda truth: (truth["labels"] == -1).all())
        >>> truth["labels"].tolist()
        [[-1]]
    """
    st = _strategies()

    def image(least, most):
        return st.lists(st.integers(least, most), min_size=rows, max_size=rows)

    def join(corners, classes):
        classes = np.array(classes, "int32").reshape(batch, rows)
        # A row of zeros would pass for padding that is not marked.
        classes[(corners == 0).all(-1)] = -1
        corners = np.where(classes[..., None] >= 0, corners, np.float32(-1))
        return {"boxes": corners, "labels": classes}

    images = image(-1, num_classes - 1) | image(-1, -1) | image(0, num_classes - 1)
    return st.builds(
        join,
        boxes((batch, rows), image_size, inside=inside),
        st.lists(images, min_size=batch, max_size=batch),
    )


def image_sizes(smallest=1, largest=64, *, multiple_of=1):
    """Heights and widths of images: square, wide and high ones, those of a single pixel too.

    Args:
        smallest: Positive integer, the least side in pixels.
        largest: Integer, the greatest side in pixels.
        multiple_of: Positive integer that divides every side, such as a stride.

    Returns:
        Strategy of tuples `(height, width)`.

    Raises:
        ImportError: If hypothesis is not installed.

    Example:
        >>> from hypothesis import find
        >>> find(image_sizes(8, 64, multiple_of=16), lambda size: size[1] > size[0])
        (16, 32)
    """
    st = _strategies()
    side = st.integers(-(-smallest // multiple_of), largest // multiple_of)
    side = side.map(lambda cells: cells * multiple_of)
    return st.tuples(side, side)


def arguments(factory):
    """Dictionaries of some of a class's arguments, with values that are not their defaults.

    What is tried is told by the signature: arguments whose hint or default is a boolean, an
    integer, a float or one of several literals. No two numbers are equal, so that swapped ones are
    seen. A class may refuse what comes out.

    Args:
        factory: A class, or a function with its signature.

    Returns:
        Strategy of dictionaries, of which the simplest is empty.

    Raises:
        ImportError: If hypothesis is not installed.

    Example:
        >>> from typing import Literal
        >>> from hypothesis import find
        >>> def crop(height: int, fraction: float = 0.5, mode: Literal["edge", "zero"] = "edge"):
        ...     pass
        >>> find(arguments(crop), lambda arguments: len(arguments) == 3)
        {'height': 1, 'fraction': 0.0625, 'mode': 'zero'}
    """
    st = _strategies()
    choices = {
        name: [value for value in values if value != parameter.default]
        for name, parameter in inspect.signature(factory).parameters.items()
        if (values := _values(parameter))
    }

    @st.composite
    def dictionaries(draw):
        drawn: dict = {}
        for name, values in choices.items():
            taken = [value for value in drawn.values() if not isinstance(value, (bool, str))]
            free = [value for value in values if isinstance(value, bool) or value not in taken]
            if free and draw(st.booleans()):
                drawn[name] = draw(st.sampled_from(free))
        return drawn

    return dictionaries()


def _values(parameter):
    """What an argument may be, by its hint or, without one, its default."""
    hint = parameter.annotation
    if hint is parameter.empty:
        hint = type(parameter.default)
    literals = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    # Fractions that are exact in half precision too.
    known = {bool: (False, True), int: range(1, 13), float: [i / 16 for i in range(1, 16)]}
    return list(literals or known.get(hint, ()))


def _coordinates(st, side, inside):
    """Whole pixels, so that boxes touch and coincide; any floats; and the extremes."""
    beyond = 0 if inside else side
    anywhere = st.integers(-beyond, side + beyond).map(float)
    anywhere |= st.floats(-beyond, side + beyond, width=32, allow_subnormal=False)
    extremes = [0.0, 1e-6, float(side)] + ([] if inside else [-1e6, 1e6])
    return anywhere | st.sampled_from(extremes)


def _strategies():
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError(
            "The strategies need hypothesis: `pip install keras-cvx[dev]`."
        ) from error
    return strategies
