"""Masks from outlines and from run-lengths, as COCO has them.

pycocotools draws the outlines, and what it draws is the truth. It checks nothing: a coordinate that
is NaN makes it loop for ever, and a large one ends the process. So they are checked before. Its
decoder of run-lengths leaves pixels undefined where they end too soon; they are decoded here.
"""

import numpy as np

from keras_cvx.ops.arguments import check_integers

_MOST_PIXELS = 2**31  # of a mask: its counts are integers of 32 bits
_FIRST, _LAST = 48, 111  # characters of compressed counts, six bits each
_MORE, _SIGN, _BITS = 0x20, 0x10, 5  # five bits are of the number, the sixth says that it goes on


def polygon_mask(polygons, size):
    """The pixels inside of outlines, as pycocotools draws them.

    Coordinates are those of pixel corners: pixel i covers [i, i + 1). The outlines are filled one
    by one and united; each is closed by itself.

    Args:
        polygons: List of lists of numbers `[x0, y0, x1, y1, ...]` in pixels, three points or more
            each. A point may lie outside of the image, by the image's size at most.
        size: Pair of height and width of the mask in pixels.

    Returns:
        Boolean array `(height, width)`.

    Raises:
        ValueError: If a polygon has an odd number of coordinates, fewer than three points, or one
            that is not finite or lies far outside.
        ImportError: If pycocotools is missing.

    Example:
        >>> polygon_mask([[1, 0, 4, 0, 4, 2, 1, 2]], (3, 5)).astype(int).tolist()
        [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    """
    size = checked_size(size)
    return filled(counts_of(checked_polygons(polygons, size), size), size)


def run_length_mask(counts, size):
    """The pixels of a run-length encoding of COCO, compressed or not.

    The counts go down the columns, the left one first, and begin with the pixels before the first
    that is of the object, of which there may be 0.

    Args:
        counts: List of integers; or compressed, a string or bytes.
        size: Pair of height and width of the mask in pixels.

    Returns:
        Boolean array `(height, width)`.

    Raises:
        ValueError: If the counts are no such, or do not add up to the size.

    Example:
        >>> run_length_mask([1, 3, 2], (2, 3)).astype(int).tolist()
        [[0, 1, 0], [1, 1, 0]]
    """
    size = checked_size(size)
    return filled(checked_counts(counts, size), size)


def checked_size(size):
    """Height and width as integers.

    Args:
        size: Pair of positive integers.

    Raises:
        ValueError: If it is none, or of more pixels than run-lengths can have.
    """
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"`size` must be a pair of height and width. Received: size={size!r}")
    height, width = size
    check_integers(1, height=height, width=width)
    if height * width >= _MOST_PIXELS:
        raise ValueError(f"`size` must be of fewer than 2**31 pixels. Received: size={size!r}")
    return int(height), int(width)


def checked_polygons(polygons, size):
    """Outlines as float64 arrays `(points, 2)`.

    Args:
        polygons: As for `polygon_mask`.
        size: Height and width in pixels.

    Raises:
        ValueError: If there is one that could not be drawn.
    """
    if not isinstance(polygons, (list, tuple)):
        raise ValueError(
            f"`polygons` must be a list of lists of coordinates. Received: {str(polygons)[:60]}"
        )
    return [_checked_polygon(polygon, index, size) for index, polygon in enumerate(polygons)]


def _checked_polygon(polygon, index, size):
    points = _plain(polygon)
    if points.ndim != 1 or not points.size or points.dtype.kind not in "iuf":
        raise ValueError(
            f"`polygons[{index}]` must be a list of numbers, x0, y0, x1, y1 and so on. "
            f"Received: {str(polygon)[:60]}"
        )
    if len(points) % 2 or len(points) < 6:
        raise ValueError(
            f"`polygons[{index}]` must have an even number of coordinates, at least 6 for three "
            f"points. Received: {len(points)} coordinates"
        )
    points = points.astype("float64").reshape(-1, 2)
    sides = np.array(size[::-1], "float64")
    # Also false for NaN.
    near = (points >= -sides) & (points <= 2 * sides)
    if not near.all():
        raise ValueError(
            f"`polygons[{index}]` must lie in its image or near it, of width={size[1]} and "
            f"height={size[0]} pixels. Received: the point {points[~near.all(-1)][0].tolist()}. "
            "Are the coordinates of another size of the image?"
        )
    # The outline of all pixels there are, one by one; each step costs memory and time.
    longest = 4 * np.prod(3 * sides)
    if len(points) * 3 * sides.max() > longest:
        steps = np.abs(points - np.roll(points, -1, axis=0)).max(-1).sum()
        if steps > longest:
            raise ValueError(
                f"`polygons[{index}]` must not be longer than the outlines of all pixels together. "
                f"Received: {len(points)} points, {steps:.0f} pixels"
            )
    return points


def _plain(values):
    """An array of what should be numbers; of no axis where they make none."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError):  # of lists of several lengths
        return np.asarray(None)


def counts_of(polygons, size):
    """The run-lengths of the union of outlines.

    Args:
        polygons: List of arrays `(points, 2)`, checked.
        size: Height and width.

    Returns:
        uint32 array, as `checked_counts` gives them.

    Raises:
        ImportError: If pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ImportError(
            "Masks of polygons need pycocotools. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    if not polygons:
        return checked_counts([size[0] * size[1]], size)
    # It takes four numbers for a box; no checked polygon has so few.
    drawn = mask.frPyObjects([points.ravel() for points in polygons], *size)
    return checked_counts(mask.merge(drawn)["counts"], size)


def checked_counts(counts, size):
    """Run-lengths as an array of uint32.

    Args:
        counts: As for `run_length_mask`.
        size: Height and width.

    Raises:
        ValueError: If they are none, or do not add up.
    """
    if isinstance(counts, (str, bytes)):
        lengths = _decompressed(counts)
    else:
        lengths = _plain(counts)
        if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
            raise ValueError(
                "`counts` must be a list of integers, or a compressed string. "
                f"Received: {str(counts)[:60]}"
            )
    pixels = size[0] * size[1]
    wrong = lengths[(lengths < 0) | (lengths > pixels)]
    if wrong.size or lengths.sum() != pixels:
        found = f"a count of {wrong[0]}" if wrong.size else f"a sum of {lengths.sum()}"
        raise ValueError(
            f"`counts` must be at least 0 each, and add up to {size[0]} x {size[1]} = {pixels} "
            f"pixels. Received: {found}"
        )
    return lengths.astype("uint32")


def _decompressed(counts):
    """The run-lengths of COCO's strings.

    `rleFrString` of pycocotools' maskApi.c: numbers in groups of five bits, the lowest first, the
    sign in the last; from the fourth number on, a difference to the last but one.
    """
    try:
        codes = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, "uint8")
        codes = codes.astype("int64")
    except UnicodeEncodeError:
        codes = np.zeros(1, "int64")
    bits = codes - _FIRST
    ends = np.flatnonzero((bits & _MORE) == 0)
    starts = np.append(0, ends + 1)
    # Five bits each: seven groups hold all 32 bits of a count.
    groups = np.diff(starts)
    if (
        ((codes < _FIRST) | (codes > _LAST)).any()
        or starts[-1] != len(codes)
        or groups.max(initial=0) > 7
    ):
        raise ValueError(
            f"`counts` must be a whole compressed string. Received: {str(counts)[:60]!r}"
        )
    if not len(codes):
        return bits
    place = np.arange(len(bits)) - np.repeat(starts[:-1], groups)
    values = np.add.reduceat((bits & (_MORE - 1)) << (_BITS * place), starts[:-1])
    values -= np.where(bits[ends] & _SIGN, 1 << (_BITS * groups), 0)
    for parity in (1, 2):
        values[parity::2] = np.cumsum(values[parity::2])
    return values


def filled(counts, size):
    """The pixels of run-lengths.

    Args:
        counts: As `checked_counts` gives them.
        size: Height and width.

    Returns:
        Boolean array `(height, width)`.
    """
    columns = np.zeros(size[::-1], bool)
    paint(columns, counts, True)
    return columns.T


def counts_of_mask(mask):
    """The run-lengths of pixels.

    Args:
        mask: Boolean array `(height, width)`.

    Returns:
        uint32 array, as `checked_counts` gives them.

    Example:
        >>> counts_of_mask(np.array([[False, True, False], [True, True, False]])).tolist()
        [1, 3, 2]
    """
    pixels = mask.T.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(changes, prepend=0, append=pixels.size).astype("uint32")


def paint(columns, counts, value):
    """Gives the pixels of run-lengths a value.

    Args:
        columns: Contiguous array `(width, height)`, changed in place.
        counts: As `checked_counts` gives them.
        value: Of the array's dtype.
    """
    pixels = columns.reshape(-1)
    ends = np.cumsum(counts).tolist()
    # An object has a run or two in each of its columns.
    for start, end in zip(ends[::2], ends[1::2], strict=False):
        pixels[start:end] = value
