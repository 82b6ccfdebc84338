"""Which images, label files and class names a data set of YOLO has."""

import dataclasses
import os
from pathlib import Path

from keras_cvx.datasets.faults import DatasetError, listed, told
from keras_cvx.datasets.parsing.data_yaml import DataYAML, data_yaml
from keras_cvx.datasets.parsing.image_files import is_image_name, name_below


@dataclasses.dataclass(frozen=True)
class YOLOFiles:
    """The files of a split.

    Attributes:
        source: Path of the `data.yaml`, or of the folder.
        root: Path of the folder that the data set is in, absolute.
        images: List of absolute paths, strings, each once.
        class_names: Tuple of strings by label, or None.
    """

    source: Path
    root: Path
    images: list
    class_names: tuple | None


def yolo_files(data, split, faults):
    """The files of a split.

    Args:
        data: Path of a `data.yaml`, or of a folder.
        split: String.
        faults: `Faults`.

    Returns:
        `YOLOFiles`.

    Raises:
        DatasetError: If the `data.yaml` cannot be read, there is no such split, or what it names is
            not there.
        ValueError: If `data` is no path of a file or folder.
        ImportError: If PyYAML is missing.
    """
    settings = _settings(data)
    images = _images(settings.places(split), settings.root, faults)
    return YOLOFiles(settings.path, settings.root, images, settings.class_names)


def splits_of(data):
    """The splits that a data set has.

    Args:
        data: As for `yolo_files`.

    Returns:
        List of strings.

    Raises:
        DatasetError: If the `data.yaml` cannot be read.
        ValueError: If `data` is no path of a file or folder.
        ImportError: If PyYAML is missing.
    """
    return list(_settings(data).splits)


def _settings(data):
    try:
        path = Path(data)
    except TypeError:
        path = None
    if path is None or not (os.path.isfile(path) or os.path.isdir(path)):
        raise ValueError(
            "`data` must be the path of a data.yaml, or of a folder with `images/` and `labels/`. "
            f"Received: {told(data)}"
        )
    if os.path.isfile(path):
        return data_yaml(path)
    inside = path / "data.yaml"
    return data_yaml(inside) if os.path.isfile(inside) else _folder_settings(path)


def _folder_settings(path):
    """What a folder tells that has no `data.yaml`."""
    root = Path(os.path.abspath(path))
    found = {place.name: place for place in root.glob("images/*/")}
    found |= {place.parent.name: place for place in root.glob("*/images/")}
    splits = {name: [str(found[name])] for name in sorted(found) if not name.startswith(".")}
    if not splits and (root / "images").is_dir():
        splits = {"train": [str(root / "images")]}
    return DataYAML(path, root, _listed_names(root), splits)


def label_path(image):
    """The file with an image's objects: as Ultralytics has it, below `labels` for `images`.

    Args:
        image: Absolute path, a string.

    Example:
        >>> label_path("/data/images/train/1.jpg"), label_path("/data/1.jpg")
        ('/data/labels/train/1.txt', '/data/1.txt')
    """
    folder, name = os.path.split(image)
    return os.path.join(label_folder(folder), f"{os.path.splitext(name)[0]}.txt")


def label_folder(folder):
    """The folder with the labels of the images in a folder.

    Args:
        folder: Absolute path, a string.
    """
    parts = folder.split(os.sep)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return os.sep.join(parts)


def text_lines(path):
    """The lines of a text file, stripped.

    Args:
        path: `pathlib.Path`.

    Raises:
        DatasetError: If it cannot be read, or is not in UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{str(path)!r} must be text in UTF-8. ({error})") from error


def _listed_names(folder):
    """The names in a `classes.txt`, where tools put it, or None."""
    for path in (folder / "classes.txt", folder / "labels" / "classes.txt"):
        if os.path.isfile(path):
            names = tuple(filter(None, text_lines(path)))
            if len(set(names)) != len(names):
                raise DatasetError(
                    f"{str(path)!r} must have different names. Received: {told(list(names))}"
                )
            return names
    return None


def _images(places, root, faults):
    """The paths of the images in folders and lists."""
    images: dict[str, None] = {}
    for place in places:
        is_list = place.endswith(".txt")
        for where, image in _in_list(place, root, faults) if is_list else _in_folder(place):
            if image in images:
                faults.add(f"{where}: an image must be told once. Received: {image!r} once more")
            else:
                images[image] = None
    if not images and not faults.messages:
        raise DatasetError(
            f"Folders and lists of a split must have images. Received: {listed(places)}"
        )
    return list(images)


def _in_folder(folder):
    for place, folders, names in os.walk(folder, onerror=_raise_unreadable):
        # Hidden ones are copies that editors keep.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(filter(is_image_name, names)):
            yield repr(folder), os.path.join(place, name)


def _raise_unreadable(error):
    raise DatasetError(f"{error.filename!r} must be a folder that can be read. ({error})")


def _in_list(path, root, faults):
    """The images that a text file tells, which must be below its data set's folder."""
    start = os.path.dirname(path)
    folder = root if name_below(root, path) else start
    for number, line in enumerate(text_lines(Path(path)), 1):
        if not line:
            continue
        # From the list's own folder on, or else from the data set's.
        names = [name_below(folder, line, start), name_below(folder, line)]
        paths = [os.path.join(folder, name) for name in names if name is not None]
        image = next(filter(os.path.isfile, paths), None)
        if image is None or not is_image_name(os.path.basename(image)):
            faults.add(
                f"{path!r}, line {number}: it must be the path of an image in {str(folder)!r}. "
                f"Received: {told(line)}, which is {'no image' if image else 'not there'}"
            )
        else:
            yield f"{path!r}, line {number}", image
