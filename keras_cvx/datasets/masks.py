"""Images and masks of two folders, paired by name."""

import os
from collections import defaultdict
from pathlib import Path

from keras_cvx.datasets.mask_files import fault_of, ids_of, opened_file, table_of
from keras_cvx.datasets.segmentation_samples import SegmentationSamples, listed
from keras_cvx.ops.pictures import upright_size

_SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip


def masks(images, masks, *, ids=None):
    """Images with their masks from files, paired by name without suffix and read when asked for.

    All names, sizes and kinds are checked at once, by the files' headers; pixels are read one
    sample at a time. Labels are what a mask file holds as numbers: the indices of a palette and
    never its colours; the values of grey pixels, of 16 bits too, and never stretched to 255 where
    there are fewer bits.

    Images become RGB and upright (EXIF); a mask has the size of the upright image.

    Args:
        images: Folder of images, or list of paths. Other files in a folder, and folders in it, are
            left aside.
        masks: Folder of masks, or list of paths, likewise: PNG, or another format without loss.
        ids: Dict from the ids in the files to labels, such as `{0: 0, 7: 1, 255: 255}`. Every id
            that occurs must stand in it. None takes the ids for labels.

    Returns:
        A `collections.abc.Sequence` in the order of the names. Item i is a dict of `images`, uint8
        `(H, W, 3)`, and `segmentation_masks` `(H, W)`, uint8, or int32 of files with more than 8
        bits or where a label is over 255. Its attributes `image_paths` and `mask_paths` are tuples
        of `pathlib.Path`. A slice of it is such a sequence too.

    Raises:
        ValueError: If an image lacks its mask, a mask its image, a name comes twice, sizes differ,
            or a mask is coloured or compressed with loss: how many, and the first of them. When a
            sample is read, if a file is damaged or has an id that is not in `ids`.
        ImportError: If Pillow is missing.

    Example:
        Two photographs of different sizes, letterboxed and stacked for `fit`:

        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_cvx.layers import ResizeWithPad
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, size in (("cat", (40, 20)), ("dog", (24, 32))):
        ...     Image.new("RGB", size).save(folder / f"{name}.jpg")
        ...     Image.new("L", size, color=3).save(folder / f"{name}.png")
        >>> data = masks(sorted(folder.glob("*.jpg")), sorted(folder.glob("*.png")))
        >>> letterbox = ResizeWithPad(32, 32)
        >>> samples = [letterbox(sample) for sample in data]
        >>> import numpy as np
        >>> x = np.stack([sample["images"] for sample in samples])
        >>> y = np.stack([sample["segmentation_masks"] for sample in samples])
        >>> x.shape, y.shape
        ((2, 32, 32, 3), (2, 32, 32))
        >>> np.unique(y).tolist()  # what was padded is 255, which is ignored
        [3, 255]
    """
    table = None if ids is None else table_of(ids)
    images, masks = _by_name("images", images), _by_name("masks", masks)
    lacking = [
        f"{name} without {missing} are {listed([str(paths[key]) for key in keys])}"
        for name, missing, paths, keys in (
            ("images", "a mask", images, sorted(set(images) - set(masks))),
            ("masks", "an image", masks, sorted(set(masks) - set(images))),
        )
        if keys
    ]
    if lacking:
        raise ValueError(
            "`images` and `masks` must be of the same names without suffix, one mask for each "
            f"image. Received: {'; '.join(lacking)}"
        )
    pairs = [(images[key], masks[key]) for key in sorted(images)]
    _check_headers(pairs)
    return MaskFiles(pairs, table)


class MaskFiles(SegmentationSamples):
    """Images with the files of their masks.

    Attributes:
        mask_paths: Tuple of `pathlib.Path`.
    """

    def __init__(self, pairs, table=None):
        super().__init__(pairs)
        self._table = table

    @property
    def mask_paths(self):
        return tuple(record[1] for record in self._records)

    def _mask(self, record, size):
        image_path, mask_path = record
        ids = ids_of(mask_path, self._table)
        if ids.shape != size:
            # What only the pixels tell: an orientation behind them.
            raise ValueError(_other_size(image_path, size, mask_path, ids.shape))
        return ids


def _by_name(argument, paths):
    """Paths by their names without suffix."""
    if isinstance(paths, (str, os.PathLike)):
        found = _files_of(argument, Path(paths))
    else:
        try:
            found = [Path(path) for path in paths]
        except TypeError:
            raise ValueError(
                f"`{argument}` must be a folder or a list of paths. Received: {str(paths)[:60]}"
            ) from None
    named = defaultdict(list)
    for path in found:
        named[path.stem].append(path)
    twice = [" and ".join(map(str, some)) for some in named.values() if len(some) > 1]
    if twice:
        raise ValueError(
            f"`{argument}` must be of different names without suffix. Received: the same name for "
            f"{listed(twice)}"
        )
    return {name: path for name, [path] in named.items()}


def _files_of(argument, folder):
    if not folder.is_dir():
        raise ValueError(
            f"`{argument}` must be a folder or a list of paths. Received: {str(folder)!r}, which "
            f"is {'a file' if folder.exists() else 'not there'}"
        )
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise ValueError(
            f"`{argument}` must be a folder with image files, {', '.join(_SUFFIXES)}. "
            f"Received: {str(folder)!r}, which has none"
        )
    return found


def _check_headers(pairs):
    """Raises if masks are of a wrong kind or size, without a look at their pixels."""
    faults, sizes = [], []
    for image_path, mask_path in pairs:
        with opened_file(image_path) as image:
            size = upright_size(image)
        with opened_file(mask_path) as mask:
            mask_size, fault = mask.size[::-1], fault_of(mask)
        if fault:
            faults.append((mask_path, fault))
        elif mask_size != size:
            sizes.append((image_path, size, mask_path, mask_size))
    if faults:
        raise ValueError(
            f"`masks` must be files that hold one id for each pixel. Received: {faults[0][1]} "
            f"Masks that hold none are {listed([str(path) for path, _ in faults])}"
        )
    if sizes:
        raise ValueError(
            f"{_other_size(*sizes[0])} Masks of another size are "
            f"{listed([str(mask_path) for _, _, mask_path, _ in sizes])}"
        )


def _other_size(image_path, size, mask_path, mask_size):
    mend = "Export the masks anew from the same images."
    if size[::-1] == mask_size:
        mend = (
            "If the image is turned by its orientation (EXIF) and the mask is not, save the images "
            "upright and annotate these, or turn the masks."
        )
    return (
        "A mask must be of the size of its image. Received: "
        f"{str(image_path)!r} of height={size[0]} and width={size[1]}, {str(mask_path)!r} of "
        f"height={mask_size[0]} and width={mask_size[1]}. {mend}"
    )
