"""Semantic masks of the objects in a file of COCO's."""

import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from keras_cvx.datasets.rasterizing import (
    checked_counts,
    checked_polygons,
    checked_size,
    counts_of,
    paint,
)
from keras_cvx.datasets.segmentation_samples import SegmentationSamples, checked_folder, listed

BACKGROUND = "background"
_IGNORED = 255


def coco_masks(annotations, images):
    """Images with semantic masks of their objects, from a JSON file as COCO has them.

    Label 0 is always the background, what no object covers. Categories are labelled from 1 on, in
    the order of their ids, which may have gaps; so a model has `len(class_names)` classes.

    Where objects overlap, the one of fewer pixels is in front; of equally many, the later in the
    file. Regions of crowds are behind all others, and of their category.

    All records are checked at once, images and masks made when asked for, one sample at a time:
    pycocotools draws the outlines. Images become RGB and upright (EXIF);
    the size in the file must be that of the upright image.

    Args:
        annotations: Path of the file. Each annotation has `segmentation`: polygons, or run-lengths,
            compressed or not.
        images: Folder that the `file_name` of the images is in, or below.

    Returns:
        A `collections.abc.Sequence` of the file's images, in its order. Item i is a dict of
        `images`, uint8 `(H, W, 3)`, and `segmentation_masks` `(H, W)`, uint8, or int32 of more than
        254 categories: then tell `ignore_class` and `mask_fill_value` another id than 255, which is
        a category's. A slice of it is such a sequence too. Its attributes:

        - `class_names`: tuple of the names by label, the first `"background"`.
        - `category_labels`: dict of labels by the file's category ids.
        - `image_paths`: tuple of `pathlib.Path`.
        - `image_ids`: tuple of the file's ids.

    Raises:
        ValueError: If the file is none of COCO's; a record is wrong, named by its id; or an image
            is missing. When a sample is read, if its image is damaged or has another size.
        ImportError: If Pillow or pycocotools is missing.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_cvx.layers import ResizeWithPad
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4)).save(folder / "street.png")
        >>> square = {"id": 1, "image_id": 7, "category_id": 44, "iscrowd": 0}
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "street.png", "width": 6, "height": 4}],
        ...     "categories": [{"id": 3, "name": "car"}, {"id": 44, "name": "bottle"}],
        ...     "annotations": [{**square, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}],
        ... }
        >>> _ = (folder / "instances.json").write_text(json.dumps(content))
        >>> data = coco_masks(folder / "instances.json", images=folder)
        >>> data.class_names
        ('background', 'car', 'bottle')
        >>> data[0]["segmentation_masks"].tolist()
        [[0, 0, 0, 0, 0, 0], [0, 2, 2, 0, 0, 0], [0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
        >>> letterbox = ResizeWithPad(6, 6)  # and then np.stack, for `fit`
        >>> letterbox(data[0])["segmentation_masks"][:, 1].tolist()
        [255, 0, 2, 2, 0, 255]
    """
    content = _content(annotations)
    path = Path(annotations)
    names = _names(_records(content, "categories", ("id", "name"), path), path)
    labels = {category: label for label, category in enumerate(sorted(names), start=1)}
    folder = checked_folder("images", images)
    known = {}
    for record in _records(content, "images", ("id", "file_name", "width", "height"), path):
        if record["id"] in known:
            found = f"id={record['id']!r}, which comes twice"
            raise ValueError(_wrong(path, "image", record, "an id of its own", found))
        known[record["id"]] = _Image(
            _path_of(record, folder, path), record["id"], _size_of(record, path), []
        )
    missing = [str(image.path) for image in known.values() if not image.path.is_file()]
    if missing:
        raise ValueError(
            f"`images` must be the folder of the images in {str(path)!r}. Received: "
            f"{str(folder)!r}, of whose files are missing {listed(missing)}"
        )
    wanted = ("image_id", "category_id", "segmentation")
    for record in _records(content, "annotations", wanted, path):
        if record["image_id"] not in known:
            found = f"image_id={record['image_id']!r}"
            raise ValueError(_wrong(path, "annotation", record, "the id of an image", found))
        if record["category_id"] not in labels:
            found = f"category_id={record['category_id']!r}"
            raise ValueError(_wrong(path, "annotation", record, "a category of the file", found))
        image = known[record["image_id"]]
        image.regions.append(_region(record, labels[record["category_id"]], image.size, path))
    class_names = (BACKGROUND, *(names[category] for category in sorted(names)))
    return COCOMasks(path, known.values(), class_names, labels)


class _Region(NamedTuple):
    label: int
    is_crowd: bool
    polygons: Any  # list of arrays (points, 2), or None
    counts: Any  # uint32 array, or None


class _Image(NamedTuple):
    path: Path
    id: Any
    size: tuple
    regions: list


class COCOMasks(SegmentationSamples):
    """Images with the regions that their masks are made of.

    Attributes:
        class_names: Tuple of strings by label.
        category_labels: Dict of labels by category id.
        image_ids: Tuple of the file's ids.
    """

    def __init__(self, path, images, class_names, category_labels):
        super().__init__(images)
        self.class_names = class_names
        self.category_labels = category_labels
        self._path = path

    @property
    def image_ids(self):
        return tuple(record.id for record in self._records)

    def _mask(self, record, size):
        if record.size != size:
            raise ValueError(
                "An image must be of the size that its annotations are for. Received: "
                f"{str(record.path)!r} of height={size[0]} and width={size[1]}, image "
                f"{record.id!r} in {str(self._path)!r} of height={record.size[0]} and "
                f"width={record.size[1]}. Was it resized, or is it turned by its orientation "
                "(EXIF)? Then save it upright and annotate that."
            )
        return _painted(record.regions, size, len(self.class_names))


def _painted(regions, size, num_classes):
    """The labels of an image's pixels."""
    columns = np.zeros(size[::-1], "uint8" if num_classes <= _IGNORED else "int32")
    layers = []
    for order, region in enumerate(regions):
        counts = region.counts
        if counts is None:
            counts = counts_of(region.polygons, size)
        layers.append((not region.is_crowd, -int(counts[1::2].sum()), order, region.label, counts))
    # From the back to the front.
    for *_, label, counts in sorted(layers, key=lambda layer: layer[:3]):
        paint(columns, counts, label)
    return np.ascontiguousarray(columns.T)


def _region(record, label, size, path):
    given = record["segmentation"]
    try:
        if isinstance(given, dict):
            stated = given.get("size")
            if stated is not None and stated != list(size):
                raise ValueError(
                    f"`size` must be that of the image, {list(size)}. Received: {stated}"
                )
            polygons, counts = None, checked_counts(given.get("counts"), size)
        elif not given:
            raise ValueError(
                "`segmentation` must be a list of polygons, or a dict of run-lengths. "
                f"Received: {given!r}"
            )
        else:
            polygons, counts = checked_polygons(given, size), None
    except ValueError as error:
        raise ValueError(f"{str(path)!r}, annotation {_id_of(record)}: {error}") from error
    return _Region(label, bool(record.get("iscrowd", 0)), polygons, counts)


def _content(annotations):
    try:
        # With or without a byte order mark.
        content = json.loads(Path(annotations).read_text("utf-8-sig"))
    except (OSError, TypeError) as error:
        raise ValueError(
            f"`annotations` must be the path of a JSON file. Received: {annotations!r} ({error})"
        ) from error
    # Also of other encodings, and of brackets within brackets without end.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"`annotations` must be a JSON file in UTF-8. Received: {str(annotations)!r}, which "
            f"cannot be read ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            "`annotations` must be a JSON file with `images`, `annotations` and `categories`. "
            f"Received: {str(annotations)!r}, a {type(content).__name__}"
        )
    return content


def _records(content, key, wanted, path):
    """The dicts under a key of the file, each with the wanted keys."""
    records = content.get(key)
    if not isinstance(records, list):
        raise ValueError(
            f"{str(path)!r} must have a list under {key!r}. Received: the keys {sorted(content)}"
        )
    for index, record in enumerate(records):
        missing = [x for x in wanted if not isinstance(record, dict) or x not in record]
        if missing:
            raise ValueError(
                f"{str(path)!r}: `{key}[{index}]` must have {', '.join(wanted)}. "
                f"Received: {str(record)[:80]}, without {', '.join(missing)}"
            )
        for name in ("id", "image_id", "category_id"):
            if name in record and not isinstance(record[name], (int, str)):
                raise ValueError(
                    f"{str(path)!r}: `{key}[{index}]` must have an integer for {name!r}. "
                    f"Received: {str(record[name])[:80]}"
                )
    return records


def _names(records, path):
    """Names of the categories by id."""
    names = {}
    for record in records:
        if not isinstance(record["id"], int) or record["id"] in names:
            found = f"id={record['id']!r}"
            raise ValueError(_wrong(path, "category", record, "an integer id of its own", found))
        names[record["id"]] = str(record["name"])
    return names


def _size_of(record, path):
    size = record["height"], record["width"]
    try:
        # Some exporters write 640.0.
        whole = [int(x) if isinstance(x, float) and x.is_integer() else x for x in size]
        return checked_size(whole)
    except ValueError as error:
        found = f"height={size[0]!r} and width={size[1]!r}"
        raise ValueError(_wrong(path, "image", record, "a size in pixels", found)) from error


def _path_of(record, folder, path):
    name = record["file_name"]
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(_wrong(path, "image", record, "a file name", repr(name)))
    # Written on whatever system.
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        found = f"file_name={name!r}"
        raise ValueError(_wrong(path, "image", record, f"a file in {str(folder)!r}", found))
    return folder / place


def _id_of(record):
    return repr(record.get("id", "without an id"))


def _wrong(path, kind, record, required, received):
    return f"{str(path)!r}, {kind} {_id_of(record)}: it must have {required}. Received: {received}"
