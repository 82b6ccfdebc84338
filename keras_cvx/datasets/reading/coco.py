"""Images and objects of a file in the format of COCO."""

import math
import os
from array import array

import numpy as np

from keras_cvx.datasets.annotations import FRAMES, Annotations, Paths, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import DatasetError, Faults, checked_folder, checked_path, told
from keras_cvx.datasets.parsing.image_files import name_below
from keras_cvx.datasets.parsing.json_records import json_records
from keras_cvx.datasets.parsing.json_values import amount_of, flag_of, whole_id_of
from keras_cvx.datasets.parsing.numbers import LARGEST
from keras_cvx.datasets.pixels.rasterizing import (
    checked_counts,
    checked_polygons,
    checked_size,
    filled,
)
from keras_cvx.datasets.pixels.regions import RegionsBuilder
from keras_cvx.ops.arguments import check_choice

# As far as a box can lie that was read in another format, and written in this one.
_FAR = 2 * LARGEST


def coco(annotations, images, *, frame="auto", on_error="raise"):
    """The images and objects of a JSON file in the format of COCO.

    Categories become labels from 0 on, in the order of their ids, which may have gaps. Objects have
    boxes, and perhaps outlines or run-lengths, from which masks are drawn when asked for, as
    pycocotools draws them. An object without a box has that of its region. One with `"ignore": 1`,
    as other tools mark what is difficult, is `ignored`. An area, flag or id of an object that is
    null is not told; where its id is a word, it has its place in the list for one, from 1 on. A
    file without `annotations`, such as COCO's own of test images, is of images without objects.

    The file is read as a stream: its size does not matter. All records are checked at once; images
    are read when asked for.

    Args:
        annotations: Path of the file.
        images: Folder that the `file_name` of the images is in, or below.
        frame: Where EXIF turns an image, what its boxes and regions are in: `"upright"`, the image
            as viewers show it; `"stored"`, the one before it is turned; `"auto"`, the one that has
            the height and width that the file tells, and the upright one where both have.
        on_error: `"raise"` at the first record that is wrong; `"skip"` leaves such records out,
            warns how many they are, and lists them in `skipped`. A file that cannot be read to its
            end is an error always.

    Returns:
        A `Dataset` of the file's images, in its order.

    Raises:
        DatasetError: If the file is none of COCO's; a record is wrong, named by its id; or an image
            is missing.
        ValueError: If an argument is none of the above.
        ImportError: If Pillow or pycocotools is missing, when a record is read.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4)).save(folder / "street.png")
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "street.png", "width": 6, "height": 4}],
        ...     "categories": [{"id": 3, "name": "car"}, {"id": 44, "name": "bottle"}],
        ...     "annotations": [
        ...         {"id": 1, "image_id": 7, "category_id": 44, "bbox": [1, 1, 2, 2],
        ...          "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
        ...     ],
        ... }
        >>> _ = (folder / "instances.json").write_text(json.dumps(content))
        >>> data = coco(folder / "instances.json", images=folder)
        >>> data.class_names
        ('car', 'bottle')
        >>> data[0].boxes.tolist(), data[0].labels.tolist()
        ([[1.0, 1.0, 3.0, 3.0]], [1])
        >>> data[0].mask.tolist()
        [[0, 0, 0, 0, 0, 0], [0, 2, 2, 0, 0, 0], [0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    """  # fmt: skip
    check_choice(FRAMES, frame=frame)
    path = checked_path("annotations", annotations, "a JSON file")
    folder = checked_folder("images", images)
    faults = Faults(on_error)
    head = _Head(path, folder, faults)
    category_ids = tuple(sorted(head.names))
    objects = _objects(path, head, category_ids, faults)
    faults.warn()
    return Dataset(
        Annotations(
            source=path,
            images=Paths(folder, head.files),
            class_names=tuple(head.names[category] for category in category_ids),
            objects=objects,
            image_ids=list(head.places),
            sizes=np.array(head.sizes, "int32").reshape(-1, 2),
            frame=frame,
            category_ids=category_ids,
        ),
        skipped=faults.messages,
    )


class _Head:
    """The categories and images of a file.

    Attributes:
        names: Dict of the categories' names by id.
        places: Dict of the images' places by id.
        files, sizes: Lists of the images' files, and of height and width.
        skipped: Set of the ids of images that are left out.
    """

    def __init__(self, path, folder, faults):
        self.names: dict = {}
        self.places: dict = {}
        self.files: list[str] = []
        self.sizes: list[tuple] = []
        self.skipped: set[str] = set()
        self._folder = folder
        add = {"categories": self._add_category, "images": self._add_image}
        for key, index, record in json_records(path, *add, required=("images", "categories")):
            fault = add[key](record, _Place(path, key, index, record))
            if fault:
                faults.add(fault)
                if key == "images" and isinstance(record, dict):
                    self.skipped.add(str(record.get("id")))
        # An id that comes twice is also one that is there: its objects are read, and their faults
        # told.
        self.skipped -= set(map(str, self.places))
        if not self.names:
            raise DatasetError(
                f"{str(path)!r} must have a category in its list under the key 'categories'. "
                "Received: none"
            )

    def _add_category(self, record, place):
        """Adds one, or says what is wrong with it."""
        if fault := place.fault(id=int, name=str):
            return fault
        if record["id"] in self.names:
            return place.wrong("an id of its own", f"id={record['id']}, which comes twice")
        self.names[record["id"]] = record["name"]
        return None

    def _add_image(self, record, place):
        if fault := place.fault(id=(int, str), file_name=str):
            return fault
        if record["id"] in self.places:
            return place.wrong("an id of its own", f"id={record['id']!r}, which comes twice")
        name = name_below(self._folder, record["file_name"])
        if name is None:
            return place.wrong(
                f"a file in {str(self._folder)!r}", f"file_name={told(record['file_name'])}"
            )
        try:
            size = _size(record)
        except ValueError as error:
            return f"{place}: {error}"
        if not os.path.isfile(f"{self._folder}/{name}"):
            return place.wrong(
                "a file that is there", f"{str(self._folder / name)!r}. Is `images` its folder?"
            )
        self.places[record["id"]] = len(self.files)
        self.files.append(name)
        self.sizes.append(size)
        return None


def _size(record):
    """Height and width; zeros where the file tells none."""
    told_size = record.get("height"), record.get("width")
    if told_size == (None, None):
        return 0, 0
    # Some exporters write 640.0.
    return checked_size(
        [int(x) if isinstance(x, float) and x.is_integer() else x for x in told_size]
    )


def _objects(path, head, category_ids, faults):
    labels = {category: label for label, category in enumerate(category_ids)}
    columns: dict[str, array] = {
        "boxes": array("d"),
        "labels": array("i"),
        "is_crowd": array("b"),
        "ignored": array("b"),
        "areas": array("d"),
        "ids": array("q"),
    }
    rows, regions = array("q"), RegionsBuilder()
    for _, index, record in json_records(path, "annotations"):
        try:
            place = head.places[record["image_id"]]
            label = labels[record["category_id"]]
            size = head.sizes[place]
            polygons, counts = _region(record.get("segmentation"), size)
            x, y, width, height = _box(record.get("bbox"), polygons, counts, size)
            area = amount_of(record, "area")
            is_crowd, ignored = flag_of(record, "iscrowd"), flag_of(record, "ignore")
            number = whole_id_of(record, index + 1)
        # Whatever else than such a record stands there.
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if not (isinstance(record, dict) and str(record.get("image_id")) in head.skipped):
                faults.add(_fault(path, index, record, head, labels, error))
            continue
        rows.append(place)
        columns["ids"].append(number)
        columns["boxes"].extend((x, y, x + width, y + height))
        columns["labels"].append(label)
        columns["is_crowd"].append(is_crowd)
        columns["ignored"].append(ignored)
        columns["areas"].append(area)
        regions.add(polygons, counts)
    return grouped(rows, len(head.places), columns, regions)


def _box(given, polygons, counts, size):
    """Corner, width and height; of the region, where none is given."""
    if given is None or given == []:
        return _box_of_region(polygons, counts, size)
    try:
        x, y, width, height = given if len(given) == 4 else (math.nan,) * 4
        # Also false for NaN.
        right = -_FAR <= x <= x + width <= _FAR and -_FAR <= y <= y + height <= _FAR
    except (TypeError, OverflowError):  # of what is no list, or not of numbers
        right = False
    if not right:
        raise ValueError(
            "`bbox` must be x, y, width and height in pixels, the last two at least 0. "
            f"Received: {told(given)}"
        )
    return x, y, width, height


def _box_of_region(polygons, counts, size):
    if polygons:
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
    elif len(counts):
        rows, columns = (filled(counts, size).any(axis) for axis in (1, 0))
        (y0, y1), (x0, x1) = (
            (places[0], places[-1] + 1) if len(places) else (0, 0)
            for places in (np.flatnonzero(rows), np.flatnonzero(columns))
        )
    else:
        raise ValueError("it must have a `bbox` or a `segmentation`. Received: neither")
    return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def _region(given, size):
    """Polygons and run-lengths, of which one is empty, or both."""
    if not given:
        return (), ()
    if not isinstance(given, (list, dict)):
        raise ValueError(
            "`segmentation` must be a list of polygons, or a dict of run-lengths. "
            f"Received: {told(given)}"
        )
    if not all(size):
        raise ValueError(
            "`height` and `width` of its image must be told for a `segmentation`. Received: none"
        )
    if isinstance(given, dict):
        stated = given.get("size")
        if stated is not None and stated != list(size):
            raise ValueError(
                f"`size` must be that of the image, {list(size)}. Received: {told(stated)}"
            )
        return (), checked_counts(given.get("counts"), size)
    try:
        polygons = [array("d", polygon) for polygon in given]
    except (TypeError, OverflowError):
        # It says which one is wrong, and what it must be.
        checked_polygons(given, size)
        raise
    if not all(_is_near(polygon, size) for polygon in polygons):
        checked_polygons(given, size)
    return polygons, ()


def _is_near(polygon, size):
    """Whether an outline, an `array`, is surely one that `checked_polygons` takes, at a look."""
    height, width = size
    xs, ys = polygon[::2], polygon[1::2]
    return (
        len(xs) == len(ys) >= 3
        # Which NaN among them ends.
        and math.isfinite(sum(polygon))
        and -width <= min(xs)
        and max(xs) <= 2 * width
        and -height <= min(ys)
        and max(ys) <= 2 * height
        # Not even if each of its lines went all across.
        and len(xs) * max(size) <= 12 * height * width
    )


def _fault(path, index, record, head, labels, error):
    """What is wrong with an annotation."""
    place = _Place(path, "annotations", index, record)
    if fault := place.fault(image_id=(int, str), category_id=int):
        return fault
    if record["image_id"] not in head.places:
        return place.wrong("the id of an image", f"image_id={told(record['image_id'])}")
    if record["category_id"] not in labels:
        return place.wrong("a category of the file", f"category_id={record['category_id']}")
    return f"{place}: {error}"


class _Place:
    """Where a record stands in a file, for errors."""

    def __init__(self, path, key, index, record):
        self._path, self._key, self._index, self._record = path, key, index, record

    def __str__(self):
        known = isinstance(self._record, dict) and isinstance(self._record.get("id"), (int, str))
        name = f"id {self._record['id']!r}" if known else f"item {self._index}"
        return f"{str(self._path)!r}, {self._key}, {name}"

    def fault(self, **types):
        """What is wrong unless it is a dict with keys of these types, or None."""
        for name, kind in types.items():
            value = self._record.get(name) if isinstance(self._record, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                return self.wrong(f"{', '.join(types)}", told(self._record))
        return None

    def wrong(self, required, received):
        return f"{self}: it must have {required}. Received: {received}"
