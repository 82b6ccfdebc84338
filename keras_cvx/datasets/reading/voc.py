"""Images and objects of a folder in the layout of Pascal VOC."""

import contextlib
import os
from array import array
from collections.abc import Sequence

import numpy as np

from keras_cvx.datasets.annotations import FRAMES, Annotations, Paths, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import (
    DatasetError,
    Faults,
    MissingMaskError,
    checked_folder,
    listed,
    told,
)
from keras_cvx.datasets.parsing.class_names import Classes
from keras_cvx.datasets.parsing.image_files import ImageFolder, name_below
from keras_cvx.datasets.parsing.numbers import corners, size_of
from keras_cvx.datasets.parsing.xml_files import xml_root
from keras_cvx.datasets.pixels.mask_files import ids_of
from keras_cvx.ops.arguments import check_choice

# In the order of the development kit, which the ids in its masks follow.
_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
# Of the development kit, and as they are called since.
_FOLDERS = (("Annotations", "JPEGImages"), ("annotations", "images"))
_TASKS = ("Main", "Segmentation")
_VOID = 255


def voc(folder, *, split=None, class_names=None, frame="auto", on_error="raise"):
    """The images and objects of a folder in the layout of Pascal VOC, one XML file an image.

    The corners of VOC are those of pixels, counted from 1, the last ones included; the boxes of
    records are so from `xmin - 1` to `xmax`, as wide as the development kit takes them. Tools that
    count from 0 shift all they write by a pixel. Parts of objects are left aside.

    An image is the one of the same name as its XML file, whatever its suffix, or else the one that
    `filename` tells, a path that may not lead out of the folder of images. Images without XML file
    are left aside.

    Args:
        folder: Folder with `Annotations/`, `JPEGImages/` and perhaps `ImageSets/` and
            `SegmentationClass/`, such as `VOCdevkit/VOC2012`; one with `annotations/` and
            `images/`; or one that has XML files beside their images.
        split: Name of a list of images, such as `"trainval"`, in `ImageSets/Main/`, or where there
            is none in `ImageSets/Segmentation/`; or which of both, as in `"Segmentation/train"`. An
            image in a list of `Segmentation` must have a mask. None for all XML files.
        class_names: List of strings by label; another class is an error. None for the 20 of VOC,
            in their order, if all that are found are among them, and otherwise for those that are
            found, sorted: in all XML files of the folder, so that its splits have equal labels.
            Give those of the training set with data from another folder.
        frame: Where EXIF turns an image, what its boxes are in: `"upright"`, the image as viewers
            show it; `"stored"`, the one before it is turned; `"auto"`, the one that has the height
            and width that the file tells, and the upright one where both have.
        on_error: `"raise"` at the first file or object that is wrong; `"skip"` leaves such out,
            warns how many they are, and lists them in `skipped`.

    Returns:
        A `Dataset` of the images, in the split's order or by name. Difficult objects are `ignored`.
        If there is `SegmentationClass/`, masks are those of its files: 0 for the background,
        otherwise label + 1, and 255 for void pixels. Other images than those of `Segmentation` may
        be without such a file; asking for their mask is an error.

    Raises:
        DatasetError: If a file is no whole XML, declares a document type or entities, or its image
            is missing or outside of the folder; or if an object has no name, no box or none that
            can be, or a class that is not in `class_names`. Files are named, and the object's
            place. When a mask is read, if it has other ids.
        ValueError: If an argument is none of the above.
        ImportError: If defusedxml is missing, or Pillow when a record is read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (6, 4)).save(folder / "street.png")
        >>> _ = (folder / "street.xml").write_text(
        ...     "<annotation><filename>street.png</filename>"
        ...     "<size><width>6</width><height>4</height><depth>3</depth></size>"
        ...     "<object><name>bus</name><difficult>1</difficult><bndbox><xmin>2</xmin>"
        ...     "<ymin>1</ymin><xmax>6</xmax><ymax>4</ymax></bndbox></object></annotation>"
        ... )
        >>> data = voc(folder)
        >>> data.class_names[data[0].labels[0]], data[0].boxes.tolist(), data[0].ignored.tolist()
        ('bus', [[1.0, 0.0, 6.0, 4.0]], [True])

    Reference:
        Everingham et al., "The Pascal Visual Object Classes (VOC) challenge", 2010; of its
        development kit, the documentation, "the top-left pixel in the image has coordinates
        (1,1)", and `VOCevaldet.m`, where a width is `xmax - xmin + 1`.
    """
    check_choice(FRAMES, frame=frame)
    root = checked_folder("folder", folder)
    faults = Faults(on_error)
    annotations, images = _folders(root)
    files = _xml_files(annotations, faults)
    stems = files if split is None else _listed_stems(root, split, annotations, files, faults)
    reading = _Reading(images, Classes(class_names, _CLASSES), faults)
    for stem in stems:
        reading.add(stem, annotations / files.get(stem, f"{stem}.xml"))
    if class_names is None:
        for stem in files.keys() - stems.keys():
            reading.add_classes(annotations / files[stem])
    faults.warn()
    class_names = reading.classes.names
    masks = root / "SegmentationClass"
    return Dataset(
        Annotations(
            source=root,
            images=Paths(images, reading.files),
            class_names=class_names,
            objects=reading.objects(),
            image_ids=reading.stems,
            sizes=np.array(reading.sizes, "int32").reshape(-1, 2),
            frame=frame,
            masks=_Masks(masks, reading.stems, len(class_names)) if masks.is_dir() else None,
        ),
        skipped=faults.messages,
    )


def _folders(root):
    """The folder of the XML files, and that of the images."""
    for annotations, images in _FOLDERS:
        if not (root / annotations).is_dir():
            continue
        if not (root / images).is_dir():
            raise DatasetError(
                f"{str(root)!r} must have the folder {images!r} beside {annotations!r}. "
                "Received: none"
            )
        return root / annotations, root / images
    return root, root


def _xml_files(folder, faults):
    """Names of the XML files by their names without suffix."""
    files: dict[str, str] = {}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() != ".xml" or name.startswith("."):
            continue
        if files.setdefault(stem, name) != name:
            faults.add(
                f"{str(folder / name)!r}: an image must have one XML file. Received: also "
                f"{files[stem]!r}"
            )
    if not files:
        raise DatasetError(
            f"{str(folder)!r} must have XML files. Received: none. Give the folder that has "
            "`Annotations/`, such as VOCdevkit/VOC2012."
        )
    return files


def _listed_stems(root, split, folder, files, faults):
    """The names in the list of a split, as keys."""
    task, _, name = str(split).partition("/")
    told_lists = [(task, name)] if task in _TASKS else [(task, split) for task in _TASKS]
    lists = [root / "ImageSets" / task / f"{name}.txt" for task, name in told_lists]
    path = next(filter(os.path.isfile, lists), None)
    if path is None:
        others = sorted({other.stem for some in lists for other in some.parent.glob("*.txt")})
        raise ValueError(
            f"`split` must be None or the name of a list in {str(root / 'ImageSets')!r}"
            f"{', which has ' + listed(others) if others else ''}. Received: split={split!r}"
        )
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{str(path)!r} must be text in UTF-8. ({error})") from error
    masks = root / "SegmentationClass"
    all_have_masks = path.is_relative_to(root / "ImageSets" / _TASKS[1]) and masks.is_dir()
    stems: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        stem = name_below(folder, name)
        there = stem in files or (stem and os.path.isfile(folder / f"{stem}.xml"))
        if stem in stems or not there:
            faults.add(
                f"{str(path)!r}, line {number}: it must be the name of an XML file in "
                f"{str(folder)!r}, without suffix and once. Received: {told(name)}"
            )
        elif all_have_masks and not os.path.isfile(masks / f"{stem}.png"):
            faults.add(
                f"{str(path)!r}, line {number}: an image in a list of Segmentation must have a "
                f"mask. Received: {str(masks / f'{stem}.png')!r}, which is not there"
            )
        else:
            stems[stem] = None
    return stems


class _Reading:
    """What is read of XML files, one after the other.

    Attributes:
        classes: `Classes` of the objects.
        stems, files, sizes: Lists of the names of XML files without suffix, of their images, and of
            the height and width that they tell.
    """

    def __init__(self, images, classes, faults):
        self._images, self.classes, self._faults = ImageFolder(images), classes, faults
        self.stems, self.files, self.sizes = [], [], []
        self._rows, self._numbers = array("q"), array("q")
        self._columns: dict = {"boxes": array("d"), "ignored": array("b")}
        self._used = set()

    def add(self, stem, path):
        """Reads a file."""
        try:
            root = _annotation(path)
            self._note_classes(root)
            size, file = _size(root), self._image(root, stem)
        except ValueError as error:
            self._faults.add(f"{str(path)!r}: {error}")
            return
        for index, element in enumerate(root.findall("object")):
            try:
                number = self.classes.number(_text(element, "name"))
                box, ignored = _box(element), _flag(element, "difficult")
            except ValueError as error:
                self._faults.add(f"{str(path)!r}, object {index}: {error}")
                continue
            self._rows.append(len(self.stems))
            self._numbers.append(number)
            self._columns["boxes"].extend(box)
            self._columns["ignored"].append(ignored)
        self._used.add(file)
        self.stems.append(stem)
        self.files.append(file)
        self.sizes.append(size)

    def add_classes(self, path):
        """Reads the classes of a file that is in another split."""
        # What is wrong with it is told when that split is read.
        with contextlib.suppress(ValueError):
            self._note_classes(_annotation(path))

    def objects(self):
        """All `Objects`."""
        labels = self.classes.labels(self._numbers)
        return grouped(self._rows, len(self.stems), {**self._columns, "labels": labels})

    def _note_classes(self, root):
        # Also those of objects that are wrong: which others are so is another split's matter.
        self.classes.note(_text(element, "name") for element in root.findall("object"))

    def _image(self, root, stem):
        """The name of a file's image."""
        name = _text(root, "filename")
        below = name_below(self._images.folder, name) if name else None
        same = self._images.with_stem(stem)
        # What `filename` tells is often of before files were moved or renamed.
        if len(same) == 1 and (below or not name):
            file = same[0]
        else:
            file = below if below in same else self._images.find(name or stem)
        if file in self._used:
            raise ValueError(f"it must have an image of its own. Received: {file!r} once more")
        return file


def _annotation(path):
    root = xml_root(path)
    if root.tag != "annotation":
        raise ValueError(f"it must be an `annotation` of VOC. Received: {told(root.tag)}")
    return root


def _text(element, tag):
    """The text of a child, empty if there is none: never that of a child's child."""
    child = element.find(tag)
    return "" if child is None or child.text is None else child.text.strip()


def _size(root):
    """Height and width; zeros where the file tells none."""
    size = root.find("size")
    if size is None:
        return 0, 0
    return size_of([_text(size, tag) for tag in ("height", "width")])


def _box(element):
    """Corners, of pixels that are counted from 0 on."""
    child = element.find("bndbox")
    if child is None:
        raise ValueError("it must have a `bndbox`. Received: none")
    values = [_text(child, tag) for tag in ("xmin", "ymin", "xmax", "ymax")]
    return corners(values, "xyxy", inclusive=True)


def _flag(element, tag):
    text = _text(element, tag)
    if text not in ("", "0", "1"):
        raise ValueError(f"`{tag}` must be 0 or 1. Received: {told(text)}")
    return text == "1"


class _Masks(Sequence):
    """The ids in the files of masks, read when asked for."""

    def __init__(self, folder, stems, num_classes):
        self._folder, self._stems, self._num_classes = folder, stems, num_classes

    def __len__(self):
        return len(self._stems)

    def __getitem__(self, index):
        path = self._folder / f"{self._stems[index]}.png"
        if not os.path.isfile(path):
            raise MissingMaskError(
                f"{str(path)!r} must be there for a mask; only some images of Pascal VOC have one, "
                "those of the splits in ImageSets/Segmentation. Received: no such file"
            )
        ids = ids_of(path)
        others = np.setdiff1d(ids, [*range(self._num_classes + 1), _VOID])
        if len(others):
            raise DatasetError(
                f"{str(path)!r} must have ids from 0 to {self._num_classes}, as many as "
                f"`class_names`, or {_VOID}. Received: {listed(others.tolist())}"
            )
        return ids
