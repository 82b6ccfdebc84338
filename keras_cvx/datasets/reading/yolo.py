"""Images and objects of text files in the format of YOLO."""

import os
import warnings
from array import array

from keras_cvx.datasets.annotations import FRAMES, Annotations, Paths, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import Faults, told
from keras_cvx.datasets.parsing.data_yaml import MOST_CLASSES
from keras_cvx.datasets.parsing.image_files import image_names
from keras_cvx.datasets.parsing.numbers import corners, finite_numbers, fractions
from keras_cvx.datasets.parsing.yolo_files import label_folder, label_path, yolo_files
from keras_cvx.datasets.pixels.regions import RegionsBuilder
from keras_cvx.ops.arguments import check_choice

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Of the image's side: tools write fractions with six decimals, or six digits.
_STEPS = 10**9
# What tools put beside the files of objects.
_NO_LABELS = ("classes.txt",)


def yolo(data, *, split="train", frame="auto", on_error="raise"):
    r"""The images and objects of text files in the format of YOLO, one file an image.

    A line is an object: its class, and the centre, width and height of its box, or the points of
    an outline, all as fractions of the image's width and height. An image without such a file has
    no objects; if no image has one, a warning says where they were looked for.

    The objects of `images/train/1.jpg` are in `labels/train/1.txt`: the last folder of the path
    that is called `images` is `labels`. Where none is, the file is beside the image.

    Args:
        data: Path of a `data.yaml` as Ultralytics documents it, or of the folder that has it; or of
            a folder with `images/` and `labels/`, and perhaps `classes.txt`, whose splits are
            `images/train/` or `train/images/` and so on: a folder without any is all `"train"`.
            Where there are no names, classes are called by their numbers.
        split: Key in the `data.yaml`: a folder, a list of folders, or a `.txt` file of images,
            whose paths must be below the data set's folder.
        frame: Where EXIF turns an image, what its objects are in: `"upright"` and `"auto"`, the
            image as viewers show it; `"stored"`, the one before it is turned.
        on_error: `"raise"` at the first line or image that is wrong; `"skip"` leaves such out,
            warns how many they are, and lists them in `skipped`. A `data.yaml` that is wrong is an
            error always.

    Returns:
        A `Dataset` of the split's images by path, or in the order of the list. Their ids are their
        paths in the data set's folder.

    Raises:
        DatasetError: If the `data.yaml` is wrong; an image is missing, comes twice, or is outside
            of the folder; a file of objects has no image; or a line is no object, named by file
            and number.
        ValueError: If an argument is none of the above.
        ImportError: If PyYAML is missing, or Pillow or pycocotools when a record is read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images", "labels"):
        ...     (folder / name / "train").mkdir(parents=True)
        >>> Image.new("RGB", (8, 4)).save(folder / "images" / "train" / "street.png")
        >>> _ = (folder / "labels" / "train" / "street.txt").write_text(
        ...     "1 0.5 0.5 0.25 1\n0 0 0 0.5 0 0.5 0.5\n"
        ... )
        >>> _ = (folder / "data.yaml").write_text("train: images/train\nnames: [car, bus]\n")
        >>> data = yolo(folder / "data.yaml")
        >>> data.class_names, data[0].labels.tolist()
        (('car', 'bus'), [1, 0])
        >>> data[0].boxes.tolist()
        [[3.0, 0.0, 5.0, 4.0], [0.0, 0.0, 4.0, 2.0]]

    Reference:
        Ultralytics, https://docs.ultralytics.com/datasets/detect and, of outlines,
        https://docs.ultralytics.com/datasets/segment.
    """
    check_choice(FRAMES, frame=frame)
    faults = Faults(on_error)
    files = yolo_files(data, split, faults)
    reading = _Reading(files.class_names, faults)
    for image in files.images:
        reading.add(image)
    for folder in dict.fromkeys(map(os.path.dirname, files.images)):
        _check_images_of_labels(folder, faults)
    faults.warn()
    if files.images and not reading.found:
        warnings.warn(
            f"{len(files.images)} images of {str(files.source)!r}, {split!r}, have no file of "
            f"objects. Looked for first: {label_path(files.images[0])!r}",
            stacklevel=2,
        )
    inside = os.path.join(files.root, "")
    names = [image.removeprefix(inside) for image in reading.images]
    return Dataset(
        Annotations(
            source=files.source,
            images=Paths(files.root, names),
            class_names=reading.class_names,
            objects=reading.objects(),
            image_ids=names,
            frame=frame,
        ),
        skipped=faults.messages,
    )


def _check_images_of_labels(folder, faults):
    """Takes note of files of objects whose images are not in the folder."""
    labels = label_folder(folder)
    # Beside images, texts may be of anything.
    if labels == folder or not os.path.isdir(labels):
        return
    stems = {os.path.splitext(name)[0] for name in image_names(folder)}
    for name in sorted(os.listdir(labels)):
        stem, suffix = os.path.splitext(name)
        if suffix == ".txt" and stem not in stems and name not in _NO_LABELS:
            faults.add(
                f"{os.path.join(labels, name)!r} must have an image of the same name without "
                f"suffix in {folder!r}. Received: none"
            )


class _Reading:
    """What is read of the files of objects, one after the other.

    Attributes:
        images: List of the paths of the images that are not left out.
        found: How many have a file of objects.
    """

    def __init__(self, class_names, faults):
        self._names, self._faults = class_names, faults
        self._num_classes = MOST_CLASSES if class_names is None else len(class_names)
        self.images, self.found = [], 0
        self._rows = array("q")
        self._columns: dict = {"boxes": array("d"), "labels": array("i")}
        self._regions, self._outlines = RegionsBuilder(_STEPS), False

    def add(self, image):
        """Reads an image's file."""
        path = label_path(image)
        try:
            with open(path, "rb") as file:
                lines = file.read().removeprefix(_BYTE_ORDER_MARK).splitlines()
            self.found += 1
        except FileNotFoundError:
            lines = []
        except OSError as error:
            self._faults.add(f"{path!r} must be a file that can be read. ({error})")
            return
        for number, line in enumerate(lines, 1):
            try:
                if fields := line.split():
                    self._add_object(*fields)
            except ValueError as error:
                self._faults.add(f"{path!r}, line {number}: {error}")
        self.images.append(image)

    def _add_object(self, name, *values):
        label = self._label(name)
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise ValueError(
                "an object must be a class and 4 numbers of a box, or 6 and more, an even number, "
                f"of an outline's points. Received: {len(values)} after the class"
            )
        if len(values) == 4:
            box, outlines = corners(values, "rel_center_xywh"), []
        else:
            points = array("d", fractions(values))
            xs, ys = points[::2], points[1::2]
            box, outlines = (min(xs), min(ys), max(xs), max(ys)), [points]
            self._outlines = True
        self._rows.append(len(self.images))
        self._columns["boxes"].extend(box)
        self._columns["labels"].append(label)
        self._regions.add(outlines)

    def _label(self, text):
        """A class, perhaps written as 1.0, which Ultralytics takes for a 1."""
        numbers = finite_numbers([text], 0, self._num_classes - 1)
        if numbers is None or not numbers[0].is_integer():
            raise ValueError(
                f"a class must be an integer from 0 to {self._num_classes - 1}. "
                f"Received: {told(text.decode('ascii', 'replace'))}"
            )
        return int(numbers[0])

    @property
    def class_names(self):
        """Tuple of strings by label."""
        if self._names is None:
            return tuple(map(str, range(max(self._columns["labels"], default=-1) + 1)))
        return self._names

    def objects(self):
        """All `Objects`."""
        regions = self._regions if self._outlines else None
        return grouped(self._rows, len(self.images), self._columns, regions, relative=True)
