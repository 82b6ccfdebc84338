"""Which reader a path is for."""

from pathlib import Path

from keras_cvx.datasets.coco import coco
from keras_cvx.datasets.csv import csv
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.masks import masks
from keras_cvx.datasets.voc import voc
from keras_cvx.datasets.yolo import yolo
from keras_cvx.datasets.yolo_files import splits_of

FORMATS = ("coco", "csv", "masks", "voc", "yolo")


def read_parts(path, *, images=None, kind=None, on_error="raise"):
    """All parts of the data set at a path, by a guess at its format.

    Args:
        path: A JSON file (COCO), a `data.yaml` (YOLO), a CSV file; or a folder with XML files, in
            `Annotations` perhaps (Pascal VOC), with `data.yaml`, or `images` and `labels` (YOLO),
            or with `images` and `masks`.
        images: Folder of the images; by default the one that the file lies in.
        kind: One of `FORMATS`, in place of the guess.
        on_error: As the readers take it.

    Returns:
        Dict of `Dataset`s by the names of their parts: the path, and the split of YOLO. Parts of
        several paths have different names, though their files may be called alike.

    Raises:
        DatasetError: As the readers raise it.
        ValueError: If nothing is there, no format is to be seen, or `images` is told for one that
            has its images where it says.
    """
    path = Path(path)
    name, kind = str(path), kind or _guess(path)
    if images is not None and kind not in ("coco", "csv"):
        raise ValueError(
            f"`images` must be None but for COCO and CSV: {name!r} is of {kind}, whose images are "
            f"in folders of its own. Received: {str(images)!r}"
        )
    beside = path.parent if images is None else images
    if kind == "coco":
        return {name: coco(path, beside, on_error=on_error)}
    if kind == "csv":
        return {name: csv(path, beside, on_error=on_error)}
    if kind == "masks":
        return {name: masks(path / "images", path / "masks", on_error=on_error)}
    if kind == "voc":
        return {name: voc(path, on_error=on_error)}
    if (path / "data.yaml").is_file():
        path /= "data.yaml"
    splits = splits_of(path)
    if not splits:
        raise DatasetError(
            f"{str(path)!r} must have a split, such as `train`, that tells where its images are. "
            "Received: none"
        )
    return {f"{path}, {split}": yolo(path, split=split, on_error=on_error) for split in splits}


def _guess(path):
    by_suffix = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".csv": "csv", ".tsv": "csv"}
    if path.is_file() and path.suffix.lower() in by_suffix:
        return by_suffix[path.suffix.lower()]
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
        + ("none of these. Tell which with `--format`." if path.exists() else "nothing is there.")
    )
