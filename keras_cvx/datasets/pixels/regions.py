"""The outlines and run-lengths of many objects, as flat arrays."""

import dataclasses
from array import array

import numpy as np

from keras_cvx.datasets.pixels.rasterizing import checked_polygons, counts_of

_BLOCK = 2**18  # coordinates that are kept as they came


@dataclasses.dataclass(frozen=True)
class Regions:
    """What pixels belong to each of M objects: outlines, run-lengths, or not known.

    They stay in the order of the file that they came from.

    Attributes:
        points: Array `(P, 2)` of all outlines' corners, x and y: float64 in pixels or fractions of
            the image, or int32 in steps of these, as long as that is exact.
        outline_offsets: int64 `(R + 1,)`: outline r has the points from `[r]` to `[r + 1]`.
        object_offsets: int64 `(F + 1,)`: object f of the file has the outlines from `[f]` to
            `[f + 1]`.
        counts: uint32 `(C,)`, run-lengths of all objects that have them, as `run_length_mask` takes
            them.
        count_offsets: int64 `(F + 1,)`.
        order: int64 `(M,)`: object i is the one at `[i]` in the file.
        steps: How many make a pixel, or the image's side.
    """

    points: np.ndarray
    outline_offsets: np.ndarray
    object_offsets: np.ndarray
    counts: np.ndarray
    count_offsets: np.ndarray
    order: np.ndarray
    steps: int

    def __len__(self):
        return len(self.order)

    def polygons(self, index):
        """Outlines of an object.

        Args:
            index: Of the object.

        Returns:
            List of float64 arrays `(points, 2)`, empty if it has none.
        """
        place, ends = self.order[index], self.outline_offsets
        return [
            _as_floats(self.points[ends[r] : ends[r + 1]], self.steps)
            for r in range(self.object_offsets[place], self.object_offsets[place + 1])
        ]

    def run_lengths(self, index):
        """Run-lengths of an object.

        Args:
            index: Of the object.

        Returns:
            uint32 array, or None.
        """
        place = self.order[index]
        counts = self.counts[self.count_offsets[place] : self.count_offsets[place + 1]]
        return counts if len(counts) else None

    def outline_counts(self):
        """How many outlines objects have: int64 array `(M,)`."""
        return np.diff(self.object_offsets)[self.order]

    def known(self):
        """Which objects have a region: Boolean array `(M,)`."""
        known = (np.diff(self.object_offsets) > 0) | (np.diff(self.count_offsets) > 0)
        return known[self.order]

    def counts_within(self, index, size, *, relative=False):
        """Run-lengths of an object, drawn if it has outlines.

        Args:
            index: Of the object.
            size: Height and width of its image.
            relative: Whether points are fractions of these.

        Returns:
            uint32 array; None if the object has no region.

        Raises:
            ValueError: If outlines of fractions are too long to be drawn, which only the size of
                the image tells.
        """
        polygons = self.polygons(index)
        if not polygons:
            return self.run_lengths(index)
        if relative:
            scaled = [(polygon * size[::-1]).ravel() for polygon in polygons]
            polygons = checked_polygons(scaled, size)
        return counts_of(polygons, size)


class RegionsBuilder:
    """Collects the regions of objects, one after the other.

    Args:
        steps: A power of ten: as integers are kept the corners of which all are whole steps. In one
            pixel, of which COCO's have two decimals, or in the image's side, for fractions.
    """

    def __init__(self, steps=100):
        self._steps = steps
        self._points, self._blocks, self._num_points = array("d"), [], 0
        self._counts = array("I")
        self._outline_offsets, self._object_offsets, self._count_offsets = (
            array("q", [0]) for _ in range(3)
        )

    def add(self, polygons=(), counts=()):
        """Adds an object; without arguments, one whose region is not known.

        Args:
            polygons: List of `array`s of float64, `x0, y0, x1, y1` and so on.
            counts: Run-lengths, integers; checked.
        """
        for polygon in polygons:
            self._points.extend(polygon)
            self._num_points += len(polygon) // 2
            self._outline_offsets.append(self._num_points)
        self._object_offsets.append(len(self._outline_offsets) - 1)
        self._counts.extend(counts)
        self._count_offsets.append(len(self._counts))
        if len(self._points) > _BLOCK:
            self._end_block()

    def build(self, order):
        """The regions of the objects in an order.

        Args:
            order: int64 array `(M,)` of their places.
        """
        self._end_block()
        # All in steps, or none.
        blocks, steps = self._blocks, self._steps
        if not all(block.dtype == "int32" for block in blocks):
            blocks = [_as_floats(block, steps) for block in blocks]
        return Regions(
            np.concatenate(blocks),
            np.array(self._outline_offsets),
            np.array(self._object_offsets),
            np.array(self._counts, "uint32"),
            np.array(self._count_offsets),
            order,
            steps,
        )

    def _end_block(self):
        self._blocks.append(_exact_steps(np.array(self._points).reshape(-1, 2), self._steps))
        self._points = array("d")


def without_regions(count):
    """The regions of objects of which only the boxes are known.

    Args:
        count: Of the objects.
    """
    builder = RegionsBuilder()
    builder.add()
    return builder.build(np.zeros(count, "int64"))


def _as_floats(points, steps):
    """Corners as float64, that are so, or int32 in steps."""
    # The quotient is rounded as the decimal fraction was when it was read: they are equal.
    return points / steps if points.dtype == "int32" else points


def _exact_steps(points, steps):
    """Points as integers of half the size, if nothing is lost."""
    if np.abs(points).max(initial=0.0) >= np.iinfo("int32").max / steps:
        return points
    whole = np.rint(points * steps).astype("int32")
    return whole if (whole / steps == points).all() else points
