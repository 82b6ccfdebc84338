"""Files of data sets that are written: new ones always, none is ever overwritten."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np

from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import DatasetError, listed, told
from keras_cvx.datasets.parsing.image_files import is_image_name

# What XML 1.0 and UTF-8 cannot hold, and what ends a line.
_UNWRITABLE = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_data(**arguments):
    """Raises for the first argument that is no data set with objects, or names an image twice.

    Args:
        **arguments: Values by their names.

    Raises:
        ValueError: Naming the argument.
    """
    for name, data in arguments.items():
        if not isinstance(data, Dataset):
            raise ValueError(f"`{name}` must be a Dataset. Received: {told(data)}")
        if data.annotations.objects is None:
            raise ValueError(
                f"`{name}` must have objects. Received: {data!r}, which has masks alone"
            )
        places = [record.index for record in data]
        if len(set(places)) < len(places):
            raise ValueError(
                f"`{name}` must have each image once. Received: {len(places)} images, of which "
                f"{len(set(places))} are different"
            )


def new_file(path):
    """The path of a file that is to be written; its folder is made if it is not there.

    Args:
        path: Of the file.

    Raises:
        ValueError: If something is there already, or it is no path.
    """
    path = _checked_path("path", path)
    if path.exists():
        raise ValueError(
            "`path` must be that of a new file: none is overwritten. "
            f"Received: {str(path)!r}, which is there. Move or delete it first."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def new_folder(folder):
    """The path of a folder that is to be filled, made if it is not there.

    Args:
        folder: Its path.

    Raises:
        ValueError: If something is in it already, or it is no path.
    """
    path = open_folder(folder)
    if any(path.iterdir()):
        raise ValueError(
            "`folder` must be new or empty: what is in it would become part of the data. "
            f"Received: {str(path)!r}, which has files"
        )
    return path


def open_folder(folder):
    """The path of a folder that files are added to, made if it is not there.

    Args:
        folder: Its path.

    Raises:
        ValueError: If it is no path, or one of a file.
    """
    path = _checked_path("folder", folder)
    if path.exists() and not path.is_dir():
        raise ValueError(f"`folder` must be that of a folder. Received: {str(path)!r}, a file")
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_new(paths):
    """Raises if one of the files is there already.

    Args:
        paths: List of `pathlib.Path`.

    Raises:
        ValueError: Naming the first ones.
    """
    there = [repr(str(path)) for path in paths if path.exists()]
    if there:
        raise ValueError(
            "`folder` must have none of the files that are written: none is overwritten. "
            f"Received: a folder with {listed(there)}"
        )


@contextlib.contextmanager
def whole_file(path):
    """A text file of ASCII that has its name once it is whole; otherwise nothing is left of it.

    Args:
        path: `pathlib.Path`.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("x", encoding="ascii") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flat_names(data):
    """The names that the images of a data set have in one folder, each with another stem.

    Args:
        data: `Dataset`.

    Returns:
        List of strings: those of their files; of images without file, their id and `.png`.

    Raises:
        ValueError: If two have equal stems, by which their annotations are named.
    """
    names = [_image_name(record) for record in data]
    of_stem: dict[str, int] = {}
    for place, name in enumerate(names):
        # As systems compare them that do not tell small letters from capitals.
        other = of_stem.setdefault(stem(name).casefold(), place)
        if other != place:
            first, second = (str(data[i].path or names[i]) for i in (other, place))
            raise ValueError(
                "Images must have different names without suffix: all are written into one folder. "
                f"Received: {first!r} and {second!r}"
            )
    return names


def stem(name):
    """An image's name without suffix, as annotations have it.

    Args:
        name: String without folders.
    """
    return os.path.splitext(name)[0]


def _image_name(record):
    if record.path is not None:
        return record.path.name
    # Ids are file names too, or paths.
    name = re.split(r"[/\\]", str(record.image_id))[-1]
    return f"{stem(name) if is_image_name(name) else name}.png"


def save_image(record, path):
    """Copies the file of an image, or makes one of an image that has none.

    Args:
        record: `Record`.
        path: `pathlib.Path` of the copy.
    """
    if record.path is not None:
        shutil.copyfile(record.path, path)
        return
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Writing images needs Pillow. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    Image.fromarray(record.image).save(path)


def checked_boxes(record):
    """Corners of all objects in pixels of the upright image, float64 `(N, 4)`.

    Args:
        record: `Record`.

    Raises:
        DatasetError: If one is not finite, or its far corner is before the near one.
    """
    boxes = record.exact_boxes
    # Also false for NaN.
    right = (boxes[:, :2] <= boxes[:, 2:]).all(-1) & np.isfinite(boxes).all(-1)
    if not right.all():
        raise DatasetError(
            f"{record!r}: boxes must be finite, their far corner not before the near one. "
            f"Received: {boxes[~right][0].tolist()}"
        )
    return boxes


def check_names(what, names):
    """Raises for the first name that would not be read as it was written.

    Args:
        what: What it names, for the error.
        names: Iterable of strings.

    Raises:
        ValueError: If one is empty, has spaces at its ends, or characters that no text file has.
    """
    for name in names:
        right = isinstance(name, str) and name and name == name.strip()
        if not right or _UNWRITABLE.search(name):
            raise ValueError(
                f"{what} must have a name without control characters, line breaks or spaces at its "
                f"ends. Received: {told(name)}"
            )


def check_class_names(class_names):
    """Raises unless all classes can be told apart in a file by their names.

    Args:
        class_names: Tuple of strings.

    Raises:
        ValueError: If there is none, one would be read as another, or two are equal.
    """
    check_names("A class", class_names)
    if not class_names or len(set(class_names)) < len(class_names):
        raise ValueError(
            "Classes must have different names, and there must be one. "
            f"Received: class_names={told(class_names)}"
        )


def _checked_path(name, path):
    try:
        return Path(path)
    except TypeError:
        raise ValueError(f"`{name}` must be a path. Received: {told(path)}") from None
