"""Images with their masks, read when they are asked for."""

import copy
import operator
from collections.abc import Sequence
from pathlib import Path

from keras_cvx.ops.pictures import picture


class SegmentationSamples(Sequence):
    """Images with their masks as Keras' samples, read from disk when asked for.

    `data[i]` is a dict of `images`, uint8 `(H, W, 3)`, upright, and `segmentation_masks`, integer
    `(H, W)`; a slice is such a sequence again. A subclass has a record for each image, the image's
    path first, and reads its mask.

    Attributes:
        image_paths: Tuple of `pathlib.Path`.
    """

    def __init__(self, records):
        self._records = tuple(records)

    @property
    def image_paths(self):
        return tuple(record[0] for record in self._records)

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        if isinstance(index, slice):
            part = copy.copy(self)
            part._records = self._records[index]
            return part
        record = self._records[operator.index(index)]
        image = picture(record[0])
        return {"images": image, "segmentation_masks": self._mask(record, image.shape[:2])}

    def _mask(self, record, size):
        """The mask of an image of a size, or a ValueError that names the record."""
        raise NotImplementedError


def checked_folder(name, folder):
    """A folder as a path.

    Args:
        name: The argument's name, for the error.
        folder: Its path.

    Raises:
        ValueError: If there is none.
    """
    try:
        path = Path(folder)
    except TypeError:
        path = None
    if path is None or not path.is_dir():
        raise ValueError(f"`{name}` must be the path of a folder that is. Received: {folder!r}")
    return path


def listed(items, most=5):
    """How many there are and the first of them, for an error.

    Args:
        items: List, not empty.
        most: How many to tell.

    Returns:
        String such as `"7: a, b, c, d, e, ..."`.
    """
    shown = ", ".join(map(str, items[:most]))
    return f"{len(items)}: {shown}" + (", ..." if len(items) > most else "")
