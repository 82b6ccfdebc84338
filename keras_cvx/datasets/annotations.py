"""All that is known of a data set's images, as flat arrays."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_cvx.datasets.pixels.regions import Regions, without_regions

FRAMES = ("auto", "upright", "stored")


@dataclasses.dataclass(frozen=True)
class Objects:
    """M objects in N images, image after image.

    Attributes:
        offsets: int64 `(N + 1,)`: image i has the objects from `[i]` to `[i + 1]`.
        boxes: float64 `(M, 4)`, corners `x0, y0, x1, y1`: in pixels, or as fractions of the image's
            width and height if `relative`.
        labels: int32 `(M,)`, places in the class names.
        is_crowd: Boolean `(M,)`: a region of many objects.
        ignored: Boolean `(M,)`: for no training and no score, such as Pascal VOC's difficult ones.
        areas: float64 `(M,)` in pixels; NaN where none is told.
        ids: int64 `(M,)`, those of the file, or places from 1 on.
        regions: `Regions` of the objects, in the boxes' unit.
        relative: Whether boxes are fractions.
    """

    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    ignored: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    regions: Regions
    relative: bool = False


def grouped(images, num_images, columns, regions=None, *, relative=False):
    """Objects in any order as those of one image after the other; of one image, in their order.

    Args:
        images: Integers `(M,)`, the place of each object's image.
        num_images: Integer N.
        columns: Dict of sequences of length M, by the names of `Objects`: `boxes` and `labels`, and
            perhaps `is_crowd`, `ignored`, `areas` and `ids`.
        regions: `RegionsBuilder` that has the objects in the same order, or None.
        relative: Whether boxes are fractions.

    Returns:
        `Objects`.

    Example:
        >>> objects = grouped([1, 0, 1], 2, {"boxes": np.zeros((3, 4)), "labels": [5, 6, 7]})
        >>> objects.offsets.tolist(), objects.labels.tolist()
        ([0, 1, 3], [6, 5, 7])
    """
    images = np.asarray(images, "int64")
    order = np.argsort(images, kind="stable")
    count = len(order)
    defaults = {
        "is_crowd": np.zeros(count, bool),
        "ignored": np.zeros(count, bool),
        "areas": np.full(count, np.nan),
        "ids": np.arange(1, count + 1),
    }
    dtypes = {"boxes": "float64", "labels": "int32", "areas": "float64", "ids": "int64"}
    flat = {
        name: np.asarray(values).astype(dtypes.get(name, "bool"), copy=False)
        for name, values in {**defaults, **columns}.items()
    }
    flat["boxes"] = flat["boxes"].reshape(-1, 4)
    return Objects(
        offsets=np.append(0, np.cumsum(np.bincount(images, minlength=num_images))),
        regions=without_regions(count) if regions is None else regions.build(order),
        relative=relative,
        **{name: values[order] for name, values in flat.items()},
    )


class Paths(Sequence):
    """Paths of files, of which only the names are kept.

    Args:
        folder: `pathlib.Path` that the names are below.
        names: List of strings.
    """

    def __init__(self, folder, names):
        self.folder = Path(folder)
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.folder / self.names[index]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """N images, and what is known of them.

    Attributes:
        source: What the data was read from, for errors: a path or a name.
        images: Sequence of N images: each item a `pathlib.Path`, or a uint8 array `(H, W, 3)`.
        class_names: Tuple of strings by label.
        objects: `Objects`, or None if there are masks alone.
        image_ids: Sequence of integers or strings; None for the places.
        sizes: int32 `(N, 2)`, the height and width that the annotations tell, 0 where they tell
            none; or None.
        frame: What the annotations are in: `"upright"` images, `"stored"` ones, from before EXIF
            turns them, or `"auto"`: stored where the told size says so, upright otherwise.
        masks: Sequence of N masks, integer arrays `(H, W)` that are read when asked for; None for
            those that are painted from the objects' regions.
        category_ids: Tuple of the file's ids by label, or None.

    Example:
        >>> images, box = [np.zeros((8, 8, 3), "uint8")], [0.0, 0.0, 4.0, 2.0]
        >>> objects = grouped([0], 1, {"boxes": [box], "labels": [1]})
        >>> annotations = Annotations("one photograph", images, ("cat", "dog"), objects)
        >>> annotations.mask_class_names
        ('background', 'cat', 'dog')
    """

    source: Any
    images: Sequence
    class_names: tuple
    objects: Objects | None = None
    image_ids: Sequence | None = None
    sizes: np.ndarray | None = None
    frame: str = "auto"
    masks: Sequence | None = None
    category_ids: tuple | None = None

    @property
    def mask_class_names(self):
        """Names by the ids of masks; where there are objects, 0 is what no object covers."""
        return self.class_names if self.objects is None else ("background", *self.class_names)
