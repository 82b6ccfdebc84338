"""The readers as plugins, and which of them a path is for."""

from pathlib import Path

from keras_cvx import plugins
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import DatasetError, listed
from keras_cvx.datasets.parsing.yolo_files import splits_of
from keras_cvx.datasets.reading.coco import coco
from keras_cvx.datasets.reading.csv import csv
from keras_cvx.datasets.reading.masks import masks
from keras_cvx.datasets.reading.voc import voc
from keras_cvx.datasets.reading.yolo import yolo

_BY_SUFFIX = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".csv": "csv", ".tsv": "csv"}


@plugins.register("coco", kind="reader")
def _coco(path, images=None, on_error="raise"):
    return coco(path, path.parent if images is None else images, on_error=on_error)


@plugins.register("csv", kind="reader")
def _csv(path, images=None, on_error="raise"):
    return csv(path, path.parent if images is None else images, on_error=on_error)


@plugins.register("masks", kind="reader")
def _masks(path, images=None, on_error="raise"):
    return masks(path / "images", path / "masks", on_error=on_error)


@plugins.register("voc", kind="reader")
def _voc(path, images=None, on_error="raise"):
    return voc(path, on_error=on_error)


@plugins.register("yolo", kind="reader")
def _yolo(path, images=None, on_error="raise"):
    if (path / "data.yaml").is_file():
        path /= "data.yaml"
    splits = splits_of(path)
    if not splits:
        raise DatasetError(
            f"{str(path)!r} must have a split, such as `train`, that tells where its images are. "
            "Received: none"
        )
    return {f"{path}, {split}": yolo(path, split=split, on_error=on_error) for split in splits}


def read_parts(path, *, images=None, kind=None, on_error="raise"):
    """All parts of the data set at a path, by a guess at its format.

    Args:
        path: A JSON file (COCO), a `data.yaml` (YOLO), a CSV file; or a folder with XML files, in
            `Annotations` perhaps (Pascal VOC), with `data.yaml`, or `images` and `labels` (YOLO),
            or with `images` and `masks`.
        images: Folder of the images; by default the one that the file lies in.
        kind: Name of a plugin of kind `"reader"`, in place of the guess; or the function, of a
            `pathlib.Path`, `images` and `on_error`, which gives a `Dataset` or a dict of them.
        on_error: As the readers take it.

    Returns:
        Dict of `Dataset`s by the names of their parts: the path, and the split of YOLO. Parts of
        several paths have different names, though their files may be called alike.

    Raises:
        DatasetError: As the readers raise it.
        ValueError: If nothing is there, no format is to be seen, no reader has that name, what it
            gives is no data set, or `images` is told for one that has its images where it says.
    """
    path = Path(path)
    kind = kind or _guess(path)
    if images is not None and kind in ("masks", "voc", "yolo"):
        raise ValueError(
            f"`images` must be None but for COCO and CSV: {str(path)!r} is of {kind}, whose images "
            f"are in folders of its own. Received: {str(images)!r}"
        )
    reader = plugins.get(kind, kind="reader")
    found = reader(path, images=images, on_error=on_error)
    parts = found if isinstance(found, dict) else {str(path): found}
    if not parts or not all(isinstance(part, Dataset) for part in parts.values()):
        raise ValueError(
            "A reader must give a `keras_cvx.datasets.Dataset`, or a dict of such by the names of "
            f"their parts. Received: {found!r}, from {kind!r}"
        )
    return parts


def _guess(path):
    if path.is_file() and path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    if path.is_dir():
        if (path / "data.yaml").is_file():
            return "yolo"
        folders = (path / "Annotations", path / "annotations", path)
        if any(next(folder.glob("*.xml"), None) for folder in folders):
            return "voc"
        for folder, kind in (("labels", "yolo"), ("masks", "masks")):
            if (path / "images").is_dir() and (path / folder).is_dir():
                return kind
    raise ValueError(
        f"{str(path)!r} must be a COCO JSON file, a data.yaml, a CSV file, or a folder of Pascal "
        "VOC, of YOLO's `images` and `labels`, or of `images` and `masks`. Received: "
        + (f"none of these. {_mend(path)}" if path.exists() else "nothing is there.")
    )


def _mend(path):
    """What to tell in place of a path that is no data set."""
    found = sorted(path.glob("*.*")) + sorted(path.glob("annotations/*.*"))
    files = [repr(str(file)) for file in found if file.suffix.lower() in _BY_SUFFIX]
    if not files:
        return "Tell which with `--format`."
    return f"Give the file, with `--images` if they are elsewhere; here are {listed(files, 3)}."
