"""Images and objects of a CSV file, in the layouts that people use."""

import itertools
from array import array
from csv import Error as CSVError
from csv import reader

import numpy as np

from keras_cvx.datasets.annotations import FRAMES, Annotations, Paths, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import DatasetError, Faults, checked_folder, checked_path, told
from keras_cvx.datasets.parsing.class_names import Classes
from keras_cvx.datasets.parsing.csv_layouts import check_columns, layout_of
from keras_cvx.datasets.parsing.image_files import ImageFolder
from keras_cvx.datasets.parsing.numbers import corners, size_of
from keras_cvx.ops.arguments import check_choice

_DELIMITERS = ",;\t"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
_UNDECODED = "\ufffd"
_CLASS = "object"  # where the file tells none
_CROWD = {"1": True, "true": True, "0": False, "-1": False, "false": False, "": False}


def csv(
    annotations,
    images,
    *,
    columns=None,
    bounding_box_format=None,
    class_names=None,
    frame="auto",
    on_error="raise",
):
    r"""The images and objects of a CSV file, one row an object.

    Known layouts, by the names in the header in any case and order:

    - `filename, class, xmin, ymin, xmax, ymax` in pixels, and perhaps `width, height` of the image,
      of TensorFlow's Object Detection API;
    - `ImageID, LabelName, XMin, XMax, YMin, YMax` as fractions, and perhaps `IsGroupOf`, which is a
      crowd, of Open Images;
    - `image_id, bbox`, of Global Wheat: `bbox` is `"[x, y, width, height]"` in pixels;
    - without a header the 6 columns `path, x1, y1, x2, y2, class` in pixels, of keras-retinanet.

    Corners are taken as they stand: pixel 0 begins at 0. A row whose box and class are empty is an
    image without objects; images in the folder that no row names are left aside. Columns may be
    separated by commas, semicolons or tabs.

    Args:
        annotations: Path of the file, in UTF-8, or UTF-16 with a byte order mark.
        images: Folder that the images are in, or below. The file names them with suffix or without.
        columns: Dict for any other layout with a header: from `"image"`, `"label"`, `"is_crowd"`,
            `"image_height"` and `"image_width"` to the header's names, and from the numbers of the
            box: `"x0"`, `"y0"`, `"x1"` and `"y1"`; with `"xywh"`, `"x0"`, `"y0"`, `"width"` and
            `"height"`; with `"center_xywh"`, `"x"` and `"y"` with the last two; or from `"box"`
            for a column with all of them. Without `"label"`, all objects are of one class.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`; needed with `columns`. None for the
            layout's own.
        class_names: List of strings by label; another class is an error. None for those in the
            file, sorted. Give those of the training set with other files.
        frame: Where EXIF turns an image, what its boxes are in: `"upright"`, the image as viewers
            show it; `"stored"`, the one before it is turned; `"auto"`, the one that has the height
            and width that the file tells, and the upright one where both have or none is told.
        on_error: `"raise"` at the first row that is wrong; `"skip"` leaves such out, warns how many
            they are, and lists them in `skipped`. A layout that is not known is an error always.

    Returns:
        A `Dataset` of the file's images, in the order of their first rows. Their ids are what the
        file calls them.

    Raises:
        DatasetError: If the layout is not known; an image is missing or outside of the folder; or a
            row has another number of columns, a box that is none, or a class that is not in
            `class_names`, named by its line.
        ValueError: If an argument is none of the above.
        ImportError: If Pillow is missing, when a record is read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4)).save(folder / "street.png")
        >>> _ = (folder / "boxes.csv").write_text(
        ...     "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        ...     "street.png,6,4,car,1,1,3,3\n"
        ...     "street.png,6,4,bus,0,0,6,2\n"
        ... )
        >>> data = csv(folder / "boxes.csv", images=folder)
        >>> data.class_names, data[0].labels.tolist(), data[0].boxes.tolist()
        (('bus', 'car'), [1, 0], [[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 6.0, 2.0]])
    """
    check_choice(FRAMES, frame=frame)
    check_columns(columns, bounding_box_format)
    path = checked_path("annotations", annotations, "a CSV file")
    folder = checked_folder("images", images)
    faults = Faults(on_error)
    with _opened(path) as file:
        rows = _rows(path, file, faults)
        first = next(rows, None)
        if first is None:
            raise DatasetError(f"{str(path)!r} must have rows. Received: none that can be read")
        layout = layout_of(path, first[1], columns, bounding_box_format)
        reading = _Reading(layout, ImageFolder(folder), class_names)
        for number, row in rows if layout.has_header else itertools.chain([first], rows):
            try:
                reading.add(row)
            except ValueError as error:
                faults.add(f"{str(path)!r}, line {number}: {error}")
    faults.warn()
    return Dataset(
        Annotations(
            source=path,
            images=Paths(folder, reading.files),
            class_names=reading.classes.names,
            objects=reading.objects(),
            image_ids=reading.ids,
            sizes=np.array(reading.sizes, "int32").reshape(-1, 2),
            frame=frame,
        ),
        skipped=faults.messages,
    )


def _opened(path):
    try:
        with path.open("rb") as file:
            wide = file.read(2) in _UTF_16
        # What cannot be decoded is a fault of its line alone.
        return path.open(encoding="utf-16" if wide else "utf-8-sig", errors="replace")
    except OSError as error:
        raise DatasetError(f"{str(path)!r} must be a file that can be read. ({error})") from error


def _rows(path, file, faults):
    """The rows of a file with their lines' numbers; blank ones are left out."""
    delimiter = None
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        if delimiter is None:
            delimiter = max(_DELIMITERS, key=line.count)
        try:
            yield number, _fields(line, delimiter)
        except ValueError as error:
            faults.add(f"{str(path)!r}, line {number}: {error}")


def _fields(line, delimiter):
    if _UNDECODED in line:
        raise ValueError(
            "it must be in UTF-8, or UTF-16 with a byte order mark. Received: other bytes. Save "
            "the file anew, as 'CSV UTF-8'"
        )
    try:
        # A line for itself: a quote that is not closed would take all that follow.
        [fields] = reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
    except CSVError as error:
        raise ValueError(f"it must be a row of CSV. Received: {told(line)} ({error})") from error
    return [field.strip() for field in fields]


class _Reading:
    """What is read of rows, one after the other.

    Attributes:
        classes: `Classes` of the objects.
        files, ids, sizes: Lists of the images' names below their folder, of what rows call them
            first, and of height and width.
    """

    def __init__(self, layout, images, class_names):
        self._layout, self._images, self.classes = layout, images, Classes(class_names)
        self._class = _CLASS if class_names is None else class_names[0]
        if layout.label is None and class_names is not None and len(class_names) > 1:
            raise ValueError(
                "`class_names` must be one name for a file without a column of classes. "
                f"Received: class_names={told(class_names)}"
            )
        self.files, self.ids, self.sizes = [], [], []
        # Places of the images by what rows call them, None of those that are left out; and by file.
        self._places: dict[str, int | None] = {}
        self._by_file: dict[str, int] = {}
        self._rows, self._numbers = array("q"), array("q")
        self._columns: dict = {"boxes": array("d"), "is_crowd": array("b")}

    def add(self, row):
        """Reads a row.

        Raises:
            ValueError: If it is wrong; of an image that is, only the first one raises.
        """
        layout = self._layout
        if len(row) != layout.num_columns:
            raise ValueError(
                f"it must have {layout.num_columns} columns, as the first has. "
                f"Received: {len(row)}, {told(row)}"
            )
        image = self._place(row[layout.image])
        if image is None:
            return
        if layout.size is not None:
            self._tell_size(image, [row[place] for place in layout.size])
        box = [row[place] for place in layout.box]
        name = self._class if layout.label is None else row[layout.label]
        if not any(box) and (layout.label is None or not name):
            return
        if len(box) == 1:
            box = box[0].strip("[]()").replace(",", " ").split()
        x0, y0, x1, y1 = corners(box, layout.bounding_box_format)
        is_crowd = False if layout.is_crowd is None else _is_crowd(row[layout.is_crowd])
        self._numbers.append(self.classes.number(name))
        self._rows.append(image)
        self._columns["boxes"].extend((x0, y0, x1, y1))
        self._columns["is_crowd"].append(is_crowd)

    def _place(self, name):
        """The place of an image, None if it is left out."""
        if name not in self._places:
            self._places[name] = None
            file = self._images.find(name)
            self._places[name] = self._by_file.setdefault(file, len(self.files))
            if self._places[name] == len(self.files):
                self.files.append(file)
                self.ids.append(name)
                self.sizes.append((0, 0))
        return self._places[name]

    def _tell_size(self, image, texts):
        size = size_of(texts)
        if self.sizes[image] not in (size, (0, 0)) and size != (0, 0):
            raise ValueError(
                f"the height and width of an image must be the same in all rows, "
                f"{self.sizes[image]} as in the first. Received: {size}"
            )
        if size != (0, 0):
            self.sizes[image] = size

    def objects(self):
        """All `Objects`."""
        return grouped(
            self._rows,
            len(self.files),
            {**self._columns, "labels": self.classes.labels(self._numbers)},
            relative=self._layout.bounding_box_format.startswith("rel_"),
        )


def _is_crowd(text):
    if text.lower() not in _CROWD:
        raise ValueError(f"a crowd must be told by 1, 0 or -1. Received: {told(text)}")
    return _CROWD[text.lower()]
