"""Data sets and detections as text files in the format of YOLO."""

import warnings
from collections import Counter

import numpy as np

from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.faults import listed, told
from keras_cvx.datasets.writing.detections import detections_by_image
from keras_cvx.datasets.writing.written_files import (
    check_class_names,
    check_data,
    checked_boxes,
    flat_names,
    new_folder,
    save_image,
    stem,
)

SPLITS = ("train", "val", "test")
# Of those that are read here, the ones that Ultralytics takes for images; it passes over others.
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def write_yolo(parts, folder, *, outlines=False):
    """Writes a data set as a folder in the format of YOLO, with copies of its images.

    `images/train/`, `labels/train/` and so on, and a `data.yaml` in which Ultralytics finds them,
    wherever the folder is moved; for training it wants `train` and `val`. Everything is told in
    fractions of the upright image. Boxes and outlines are cut at its border, as Ultralytics leaves
    out images whose boxes cross it; of outlines, points outside move to it.

    The format has no crowds and no ignored objects; these are left out, as are objects without area
    in their image, and a warning says how many they were. Images keep their names and bytes; images
    without file become PNG. Those of kinds that Ultralytics passes over, such as GIF, are an error.

    Args:
        parts: Dict of `Dataset`s by `"train"`, `"val"` and `"test"`, or some of these; a `Dataset`
            alone is `"train"`.
        folder: Of the new files: one that is empty, or not there. What is written last is the
            `data.yaml`, so that a folder without it is not whole.
        outlines: Whether objects are told by their outlines, for models of instance segmentation,
            and not by their boxes. Then each must have exactly one.

    Raises:
        DatasetError: If an image cannot be read, is of another size than its annotations, or has a
            box that is not finite.
        ValueError: If the parts have different classes, a class or image cannot be told, two images
            of a part have the same name without suffix, there are files in the folder, or an
            argument is none of the above.
        ImportError: If PyYAML is missing.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from keras_cvx.datasets import Annotations, Dataset, grouped, yolo
        >>> images = [np.zeros((4, 8, 3), "uint8")] * 2
        >>> objects = grouped([0], 2, {"boxes": [[2, 0, 6, 4]], "labels": [1]})
        >>> data = Dataset(Annotations("photographs", images, ("car", "bus"), objects))
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_yolo({"train": data[:1], "val": data[1:]}, folder)
        >>> again = yolo(folder / "data.yaml", split="train")
        >>> again[0].boxes.tolist(), again.class_names
        ([[2.0, 0.0, 6.0, 4.0]], ('car', 'bus'))

    Reference:
        Ultralytics, https://docs.ultralytics.com/datasets/detect and, of outlines,
        https://docs.ultralytics.com/datasets/segment.
    """
    parts = _checked_parts(parts)
    names = {split: _image_names(data) for split, data in parts.items()}
    if outlines:
        for split, data in parts.items():
            _check_outlines(split, data)
    class_names = next(iter(parts.values())).class_names
    description = _description(parts, class_names)
    folder = new_folder(folder)
    left_out: Counter = Counter()
    for split, data in parts.items():
        images, labels = (folder / kind / split for kind in ("images", "labels"))
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for record, name in zip(data, names[split], strict=True):
            lines = _lines(record, outlines, left_out)
            save_image(record, images / name)
            _write_lines(labels / f"{stem(name)}.txt", lines)
    (folder / "data.yaml").write_text(description, "utf-8")
    if left_out:
        counts = ", ".join(f"{count} {what}" for what, count in left_out.items())
        warnings.warn(
            f"Left out, as the format of YOLO has no place for them: {counts}.", stacklevel=2
        )


def write_yolo_detections(detections, data, folder, *, bounding_box_format="xyxy"):
    """Writes detections as text files in the format of YOLO, one for each image.

    A line is a detection: its class, the centre, width and height of its box as fractions of the
    image, and its confidence. Boxes are not cut. A file is named after its image and is empty if
    nothing was found in it.

    Args:
        detections: As for `write_coco_detections`.
        data: `Dataset` of the images, in the same order.
        folder: Of the new files: one that is empty, or not there.
        bounding_box_format: Of the boxes, as Keras names it.

    Raises:
        DatasetError: If an image cannot be read, whose size is needed.
        ValueError: If the detections are none of these images or classes, two images have the same
            name without suffix, there are files in the folder, or an argument is none of the above.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from keras_cvx.datasets import Annotations, Dataset, grouped
        >>> images = [np.zeros((4, 8, 3), "uint8")]
        >>> objects = grouped([0], 1, {"boxes": [[2, 0, 6, 4]], "labels": [1]})
        >>> data = Dataset(Annotations("photographs", images, ("car", "bus"), objects))
        >>> found = {"boxes": [[[2.0, 0.0, 6.0, 4.0]]], "labels": [[1]], "confidence": [[0.5]]}
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_yolo_detections(found, data, folder)
        >>> [file.read_text().split() for file in folder.iterdir()]
        [['1', '0.5', '0.5', '0.5', '1.0', '0.5']]
    """
    check_data(data=data)
    names = flat_names(data)
    # All are looked at before the first is written.
    found = list(detections_by_image(detections, data, bounding_box_format))
    folder = new_folder(folder)
    for name, (record, boxes, confidence, labels) in zip(names, found, strict=True):
        numbers = _centre_and_sides(np.reshape(boxes, (-1, 2, 2))) / record.size[::-1]
        rows = zip(labels, numbers, confidence, strict=True)
        _write_lines(folder / f"{stem(name)}.txt", [_line(*row) for row in rows])


def _checked_parts(parts):
    parts = {"train": parts} if isinstance(parts, Dataset) else parts
    if not isinstance(parts, dict) or not parts or not set(parts) <= set(SPLITS):
        raise ValueError(
            f"`parts` must be a Dataset, or a dict of some by the keys {SPLITS}. "
            f"Received: {told(parts)}"
        )
    check_data(**{f"parts[{split!r}]": data for split, data in parts.items()})
    (first, data), *others = parts.items()
    for split, other in others:
        if other.class_names != data.class_names:
            raise ValueError(
                f"`parts` must have the same classes. Received: {told(data.class_names)} in "
                f"{first!r}, {told(other.class_names)} in {split!r}"
            )
    check_class_names(data.class_names)
    return parts


def _image_names(data):
    names = flat_names(data)
    others = [
        repr(name) for name in names if not name.lower().endswith(_SUFFIXES) or name.startswith(".")
    ]
    if others:
        raise ValueError(
            f"Images must have names with a suffix, one of {', '.join(_SUFFIXES)}, and no dot "
            f"before: Ultralytics passes over others. Received: {listed(others)}. Save such images "
            "as PNG."
        )
    return names


def _check_outlines(split, data):
    objects = data.annotations.objects
    counts = objects.regions.outline_counts()
    wrong = [
        (record, objects.ids[row], counts[row])
        for record in data
        for row in range(*objects.offsets[record.index : record.index + 2].tolist())
        if counts[row] != 1 and not (objects.is_crowd[row] or objects.ignored[row])
    ]
    if wrong:
        record, number, count = wrong[0]
        raise ValueError(
            "`outlines` must be False unless each object has one outline. Received: "
            f"{len(wrong)} objects of {split!r} with none or more, first object {number} with "
            f"{count} of {record!r}"
        )


def _lines(record, outlines, left_out):
    """The lines of an image's objects; what is left out is counted."""
    sides = np.array(record.size[::-1], "float64")
    boxes = np.clip(checked_boxes(record), 0, np.tile(sides, 2))
    lines = []
    for place, label in enumerate(record.labels.tolist()):
        if record.is_crowd[place] or record.ignored[place]:
            left_out["crowds" if record.is_crowd[place] else "ignored objects"] += 1
            continue
        # An outline is read as an object whose box is as large as it.
        corners = boxes[place].reshape(2, 2)
        if outlines:
            [corners] = np.clip(record.outlines[place], 0, sides)
        near, far = corners.min(0), corners.max(0)
        if not (near < far).all():
            left_out["objects without area in their image"] += 1
            continue
        numbers = corners if outlines else _centre_and_sides(corners)
        lines.append(_line(label, numbers / sides))
    return lines


def _centre_and_sides(corners):
    near, far = corners[..., 0, :], corners[..., 1, :]
    return np.stack([(near + far) / 2, far - near], axis=-2)


def _line(label, numbers, *confidence):
    return " ".join(map(repr, [label, *np.ravel(numbers).tolist(), *confidence]))


def _write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), "ascii")


def _description(parts, class_names):
    """The text of a `data.yaml`."""
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            "Writing data.yaml needs PyYAML. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    splits = {split: f"images/{split}" for split in SPLITS if split in parts}
    content = {**splits, "names": dict(enumerate(class_names))}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
