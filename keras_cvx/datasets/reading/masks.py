"""Images and masks of two folders, paired by name."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from keras_cvx.datasets.annotations import FRAMES, Annotations
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import Faults, listed
from keras_cvx.datasets.parsing.image_files import SUFFIXES, image_names
from keras_cvx.datasets.pixels.mask_files import fault_of, ids_of, opened_file, table_of
from keras_cvx.datasets.pixels.orientation import upright_shape
from keras_cvx.ops.arguments import check_choice
from keras_cvx.ops.pictures import orientation_of, upright_size


def masks(
    images, masks, *, mask_suffix="", ids=None, class_names=(), frame="auto", on_error="raise"
):
    """Images with their masks from files, paired by name without suffix and read when asked for.

    All names, sizes and kinds are checked at once, by the files' headers; pixels are read one
    record at a time. Labels are what a mask file holds as numbers: the indices of a palette and
    never its colours; the values of grey pixels, of 16 bits too, and never stretched to 255 where
    there are fewer bits.

    Args:
        images: Folder of images, or list of paths. Other files in a folder, and folders in it, are
            left aside.
        masks: Folder of masks, or list of paths, likewise: PNG, or another format without loss.
        mask_suffix: What a mask's name has after that of its image: `"_mask"` where `x_mask.png` is
            the mask of `x.jpg`. Files without it are then no masks, and of those with it none is an
            image, so that both may lie in one folder.
        ids: Dict from the ids in the files to labels, such as `{0: 0, 7: 1, 255: 255}`. Every id
            that occurs must stand in it. None takes the ids for labels.
        class_names: Sequence of strings by label, for pictures and reports.
        frame: Where EXIF turns an image, what its mask is of: `"upright"`, the image as viewers
            show it; `"stored"`, the one before it is turned; `"auto"`, the one whose height and
            width it has, and the upright one where both have.
        on_error: `"raise"` at the first pair that is wrong; `"skip"` leaves such out, warns how
            many they are, and lists them in `skipped`.

    Returns:
        A `Dataset` in the order of the names. The mask of a record is uint8 `(H, W)`, or int32 of
        files with more than 8 bits or where a label is over 255.

    Raises:
        DatasetError: If an image lacks its mask, a mask its image, a name comes twice, sizes
            differ, or a mask is coloured or compressed with loss. When a record's mask is read, if
            a file is damaged or has an id that is not in `ids`.
        ValueError: If an argument is none of the above.
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
        >>> samples = [letterbox(record.sample()) for record in data]
        >>> import numpy as np
        >>> x = np.stack([sample["images"] for sample in samples])
        >>> y = np.stack([sample["segmentation_masks"] for sample in samples])
        >>> x.shape, y.shape
        ((2, 32, 32, 3), (2, 32, 32))
        >>> np.unique(y).tolist()  # what was padded is 255, which is ignored
        [3, 255]
    """
    check_choice(FRAMES, frame=frame)
    table = None if ids is None else table_of(ids)
    faults = Faults(on_error)
    if not isinstance(mask_suffix, str):
        raise ValueError(f"`mask_suffix` must be a string. Received: mask_suffix={mask_suffix!r}")
    image_files, mask_files = _by_name("images", images), _by_name("masks", masks)
    if mask_suffix:
        image_files = {k: v for k, v in image_files.items() if not k.endswith(mask_suffix)}
        mask_files = {
            name.removesuffix(mask_suffix): path
            for name, path in mask_files.items()
            if name.endswith(mask_suffix)
        }
    for missing, found, others in (
        ("a mask", image_files, mask_files),
        ("an image", mask_files, image_files),
    ):
        for name in sorted(set(found) - set(others)):
            # Of many that are skipped, a search for each would take long.
            seek = others is mask_files and on_error == "raise"
            faults.add(
                f"{str(found[name])!r} must have {missing} of the same name without suffix. "
                f"Received: none{_suffix_hint(name, others) if seek else ''}"
            )
    pairs = []
    for name in sorted(set(image_files) & set(mask_files)):
        pair = image_files[name], mask_files[name]
        if fault := _fault_of(*pair, frame):
            faults.add(fault)
        else:
            pairs.append(pair)
    faults.warn()
    image_paths = [image for image, _ in pairs]
    annotations = Annotations(
        source=masks if isinstance(masks, (str, os.PathLike)) else "masks",
        images=image_paths,
        class_names=tuple(class_names),
        image_ids=[path.stem for path in image_paths],
        frame=frame,
        masks=MaskFiles([mask for _, mask in pairs], table),
    )
    return Dataset(annotations, skipped=faults.messages)


class MaskFiles(Sequence):
    """The ids of mask files, read when asked for.

    Args:
        paths: List of `pathlib.Path`.
        table: Labels by id, as `table_of` makes it, or None.
    """

    def __init__(self, paths, table=None):
        self.paths, self._table = paths, table

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return ids_of(self.paths[index], self._table)


def _suffix_hint(name, mask_names):
    """The mend where a mask has the name of an image and, after a sign, more."""
    longer = [other.removeprefix(name) for other in mask_names if other.startswith(name)]
    suffix = next((rest for rest in longer if rest and not rest[0].isalnum()), None)
    return (
        "" if suffix is None else f". Where masks have longer names, pass mask_suffix={suffix!r}."
    )


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
    found = [folder / name for name in image_names(folder)]
    if not found:
        raise ValueError(
            f"`{argument}` must be a folder with image files, {', '.join(SUFFIXES)}. "
            f"Received: {str(folder)!r}, which has none"
        )
    return found


def _fault_of(image_path, mask_path, frame):
    """What is wrong with a pair by the headers of its files, or None."""
    try:
        with opened_file(image_path) as image:
            size = upright_size(image)
            stored = upright_shape(size, orientation_of(image))
        with opened_file(mask_path) as mask:
            mask_size, fault = mask.size[::-1], fault_of(mask)
    except ValueError as error:
        return str(error)
    if fault:
        return f"A mask must hold one id for each pixel. Received: {fault}"
    if mask_size not in {"auto": (size, stored), "upright": (size,), "stored": (stored,)}[frame]:
        return (
            "A mask must be of the size of its image. Received: "
            f"{str(image_path)!r} of height={size[0]} and width={size[1]}, {str(mask_path)!r} of "
            f"height={mask_size[0]} and width={mask_size[1]}. Export the masks anew from the same "
            "images."
        )
    return None
