"""Data sets and detections as files in the layout of Pascal VOC."""

import re
import warnings
from xml.etree import ElementTree

from keras_cvx.datasets.faults import told
from keras_cvx.datasets.writing.detections import detections_by_image
from keras_cvx.datasets.writing.written_files import (
    check_class_names,
    check_data,
    check_names,
    check_new,
    checked_boxes,
    flat_names,
    open_folder,
    save_image,
    stem,
)


def write_voc(data, folder, *, split="train"):
    """Writes a data set as a folder in the layout of Pascal VOC, with copies of its images.

    `Annotations/` has an XML file for each image, `JPEGImages/` the images and `ImageSets/Main/`
    the list of the split. Further splits are written into the same folder by further calls.

    Corners are those of pixels of the upright image, counted from 1, the last ones included, as the
    development kit has them: a box from 0 to 10 is told from 1 to 10. Fractions of pixels are
    written as decimals, where other tools may want integers. Crowds and what is `ignored` become
    difficult. Objects without area are left out, and a warning says how many they were; outlines,
    run-lengths and masks are not written. Images keep their names and bytes, whatever their format;
    images without file become PNG.

    Args:
        data: `Dataset`.
        folder: That the files are written into, such as `VOCdevkit/VOC2012`. None is overwritten.
        split: Name of the list of its images. The list is written last, so that a split without it
            is not whole.

    Raises:
        DatasetError: If an image cannot be read, is of another size than its annotations, or has a
            box that is not finite.
        ValueError: If a class or image cannot be told, two images have the same name without
            suffix, a file that is to be written is there, or an argument is none of the above.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_cvx.datasets import Annotations, Dataset, grouped, voc
        >>> images = [np.zeros((4, 8, 3), "uint8")] * 2
        >>> objects = grouped([0], 2, {"boxes": [[2, 0, 6, 4]], "labels": [1]})
        >>> data = Dataset(Annotations("photographs", images, ("car", "bus"), objects))
        >>> folder = tempfile.mkdtemp()
        >>> write_voc(data[:1], folder, split="train")
        >>> write_voc(data[1:], folder, split="val")
        >>> again = voc(folder, split="train", class_names=data.class_names)
        >>> again[0].boxes.tolist(), again[0].labels.tolist()
        ([[2.0, 0.0, 6.0, 4.0]], [1])

    Reference:
        Everingham et al., "The Pascal Visual Object Classes (VOC) challenge", 2010, and the
        documentation of its development kit.
    """
    check_data(data=data)
    _check_file_names("A split", [split])
    check_class_names(data.class_names)
    names = flat_names(data)
    _check_file_names("An image", names)
    folder = open_folder(folder)
    annotations, images = folder / "Annotations", folder / "JPEGImages"
    image_list = folder / "ImageSets" / "Main" / f"{split}.txt"
    documents = [annotations / f"{stem(name)}.xml" for name in names]
    check_new([image_list, *documents, *(images / name for name in names)])
    for path in (annotations, images, image_list.parent):
        path.mkdir(parents=True, exist_ok=True)
    left_out = 0
    for record, name, document in zip(data, names, documents, strict=True):
        root, flat = _annotation(record, name, folder.name, data.class_names)
        left_out += flat
        tree = ElementTree.ElementTree(root)
        ElementTree.indent(tree)
        save_image(record, images / name)
        tree.write(document, "utf-8")
    image_list.write_text("".join(f"{stem(name)}\n" for name in names), "utf-8")
    if left_out:
        warnings.warn(
            "Left out, as a box of Pascal VOC has its last pixels in it: "
            f"{left_out} objects without area.",
            stacklevel=2,
        )


def write_voc_detections(detections, data, folder, *, split="test", bounding_box_format="xyxy"):
    """Writes detections as the text files that Pascal VOC's development kit scores.

    There is a file for each class, `comp4_det_SPLIT_CLASS.txt`. A line of it is a detection: its
    image, its confidence, and its corners, counted as `write_voc` does.

    Args:
        detections: As for `write_coco_detections`.
        data: `Dataset` of the images, in the same order.
        folder: That the files are written into, such as `results/VOC2012/Main`. None is
            overwritten.
        split: Name of the list of the images.
        bounding_box_format: Of the boxes, as Keras names it.

    Raises:
        ValueError: If the detections are none of these images or classes, a class cannot be part
            of a file's name or an image has a name with spaces, which the development kit does not
            read, two images have the same name without suffix, a file that is to be written is
            there, or an argument is none of the above.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from keras_cvx.datasets import Annotations, Dataset, grouped
        >>> images = [np.zeros((4, 8, 3), "uint8")]
        >>> objects = grouped([0], 1, {"boxes": [[2, 0, 6, 4]], "labels": [1]})
        >>> data = Dataset(Annotations("photographs", images, ("car", "bus"), objects))
        >>> found = {"boxes": [[[2.0, 0.0, 6.0, 4.0]]], "labels": [[1]], "confidence": [[0.5]]}
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_voc_detections(found, data, folder, split="val")
        >>> sorted(path.name for path in folder.iterdir())
        ['comp4_det_val_bus.txt', 'comp4_det_val_car.txt']
    """
    check_data(data=data)
    check_class_names(data.class_names)
    _check_file_names("A split", [split])
    _check_file_names("A class", data.class_names)
    names = [stem(name) for name in flat_names(data)]
    _check_file_names("An image", names)
    spaced = [name for name in names if len(name.split()) > 1]
    if spaced:
        raise ValueError(
            "An image must have a name without spaces: they part the columns of a file of "
            f"detections. Received: {told(spaced[0])}"
        )
    lines: list[list] = [[] for _ in data.class_names]
    found = detections_by_image(detections, data, bounding_box_format)
    for name, (_, *columns) in zip(names, found, strict=True):
        for box, confidence, label in zip(*columns, strict=True):
            lines[label].append(" ".join([name, *map(_decimal, (confidence, *_from_one(box)))]))
    folder = open_folder(folder)
    paths = [folder / f"comp4_det_{split}_{name}.txt" for name in data.class_names]
    check_new(paths)
    for path, some in zip(paths, lines, strict=True):
        path.write_text("".join(f"{line}\n" for line in some), "utf-8")


def _annotation(record, name, folder_name, class_names):
    """The outermost element of an image's XML file, and how many objects are left out of it."""
    height, width = record.size
    root = ElementTree.Element("annotation")
    _add(root, folder=folder_name, filename=name)
    _add(_add(root, size=None), width=width, height=height, depth=3)
    _add(root, segmented=0)
    difficult = (record.is_crowd | record.ignored).astype(int)
    boxes, left_out = checked_boxes(record), 0
    for box, label, flag in zip(boxes.tolist(), record.labels, difficult, strict=True):
        x0, y0, x1, y1 = _from_one(box)
        # As they are read: what is thinner than the last digit of the number is no more.
        if not (x0 - 1 < x1 and y0 - 1 < y1):
            left_out += 1
            continue
        element = _add(root, object=None)
        # What is not known is told all the same: readers want these elements.
        _add(element, name=class_names[label], pose="Unspecified", truncated=0, difficult=flag)
        corners = {"xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1}
        texts = {key: _decimal(corner) for key, corner in corners.items()}
        _add(_add(element, bndbox=None), **texts)
    return root, left_out


def _add(parent, **texts):
    """Adds elements of these names and texts, and gives the last."""
    for name, text in texts.items():
        element = ElementTree.SubElement(parent, name)
        element.text = None if text is None else str(text)
    return element


def _from_one(box):
    """Corners that are counted from 1 on, the last ones included."""
    x0, y0, x1, y1 = box
    return x0 + 1, y0 + 1, x1, y1


def _decimal(number):
    """As short as it is exact."""
    return repr(number).removesuffix(".0")


def _check_file_names(what, names):
    check_names(what, names)
    parts = [name for name in names if re.search(r"[/\\]", name) or name in (".", "..")]
    if parts:
        raise ValueError(f"{what} must have a name without slashes. Received: {told(parts[0])}")
