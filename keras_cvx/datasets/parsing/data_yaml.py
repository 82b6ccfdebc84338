"""The `data.yaml` of a data set of YOLO, as Ultralytics documents it."""

import dataclasses
import os
from pathlib import Path

from keras_cvx.datasets.faults import DatasetError, told

_SPLITS = ("train", "val", "valid", "validation", "minival", "test")
_DEEPEST = 20
MOST_CLASSES = 10_000  # where they have numbers alone, so that a wrong one is not a million names


@dataclasses.dataclass(frozen=True)
class DataYAML:
    """What a `data.yaml` tells, or a folder in its place.

    Attributes:
        path: Path of the file or folder.
        root: Absolute path of the folder that its splits are in.
        class_names: Tuple of strings by label; None where a folder tells none.
        splits: Dict of lists of strings, of folders and `.txt` files.
    """

    path: Path
    root: Path
    class_names: tuple | None
    splits: dict

    def places(self, split):
        """The folders of images and the lists of images that a split has.

        They may be anywhere: they are the user's own word.

        Args:
            split: String.

        Returns:
            List of absolute paths, strings; those of lists end with `.txt`.

        Raises:
            DatasetError: If there is no such split, or a path of it is not there.
        """
        if not isinstance(split, str) or split not in self.splits:
            raise DatasetError(
                f"`split` must be one that {str(self.path)!r} has: "
                f"{', '.join(self.splits) or 'none'}. Received: split={split!r}"
            )
        return [self._place(split, name) for name in self.splits[split]]

    def _place(self, split, name):
        # Written on Windows, unless a file here is called so.
        slashed = name.replace("\\", "/")
        # Roboflow writes `../train/images` in a file beside `train`; Ultralytics reads it so too.
        for told_name in (name, slashed, slashed.removeprefix("../")):
            place = os.path.normpath(os.path.join(self.root, told_name))
            if os.path.isdir(place) or (place.endswith(".txt") and os.path.isfile(place)):
                return place
        raise DatasetError(
            f"{str(self.path)!r}, {split!r}: it must be a folder of images or a .txt file that is "
            f"there, seen from {str(self.root)!r}. Received: {told(name)}"
        )


def data_yaml(path):
    """Reads a `data.yaml`.

    Args:
        path: `pathlib.Path`.

    Returns:
        `DataYAML`.

    Raises:
        DatasetError: If it is no YAML, has no names, or has what is not understood.
        ImportError: If PyYAML is missing.
    """
    settings = _settings(path)
    if settings.get("kpt_shape") is not None:
        raise DatasetError(
            f"{str(path)!r} must be of boxes or polygons. Received: 'kpt_shape', of keypoints, "
            "which are not read"
        )
    splits = {name: _places(path, name, settings[name]) for name in _SPLITS if settings.get(name)}
    return DataYAML(path, _root(path, settings.get("path")), _class_names(path, settings), splits)


def _settings(path):
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "Reading data.yaml needs PyYAML. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    try:
        content = path.read_bytes()
        depth = 0
        for event in yaml.parse(content, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            # What refers to itself grows without end, and PyYAML's time with the square of depth.
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise ValueError(f"an alias, or more than {_DEEPEST} levels")
        settings = yaml.safe_load(content)
    # Its constructors of dates and numbers raise whatever they come across.
    except Exception as error:
        raise DatasetError(
            f"{str(path)!r} must be plain YAML, without aliases. It cannot be read: {error}"
        ) from error
    if not isinstance(settings, dict):
        raise DatasetError(
            f"{str(path)!r} must have keys such as `train` and `names`. Received: {told(settings)}"
        )
    return {str(key): value for key, value in settings.items()}


def _places(path, split, value):
    places = [value] if isinstance(value, str) else value
    if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
        raise DatasetError(
            f"{str(path)!r}, {split!r}: it must be a path or a list of paths. "
            f"Received: {told(value)}"
        )
    return places


def _root(path, told_root):
    known = told_root is None or isinstance(told_root, str)
    root = os.path.join(path.parent, (told_root or "").replace("\\", "/")) if known else None
    if root is None or not os.path.isdir(root):
        raise DatasetError(
            f"{str(path)!r}, 'path': it must be a folder that is there, absolute or seen from that "
            f"of the file. Received: {told(told_root)}. Leave it out if the data lies beside the "
            "file."
        )
    return Path(os.path.abspath(root))


def _class_names(path, settings):
    names, count = settings.get("names"), settings.get("nc")
    if count is not None and not (type(count) is int and 0 <= count <= MOST_CLASSES):
        raise DatasetError(
            f"{str(path)!r}, 'nc': it must be the number of classes. Received: {told(count)}"
        )
    if names is None and count is not None:
        names = [str(number) for number in range(count)]
    if isinstance(names, dict):
        by_label = {str(label): name for label, name in names.items()}
        names = [by_label.get(str(label)) for label in range(len(names))]
    # YAML takes a bare 7 for a number, and a bare no for a Boolean, which is no name to go on with.
    if isinstance(names, list):
        names = [str(name) if type(name) is int else name for name in names]
    right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not right or len(set(names)) != len(names):
        raise DatasetError(
            f"{str(path)!r}, 'names': it must be a list of different names, or a dict of them by "
            "the numbers from 0 on. Put one such as yes, no or 1.5 into quotes. Received: "
            f"{told(settings.get('names'))}"
        )
    if count not in (None, len(names)):
        raise DatasetError(
            f"{str(path)!r}, 'nc': it must be the number of `names`, {len(names)}. "
            f"Received: {count}"
        )
    return tuple(names)
