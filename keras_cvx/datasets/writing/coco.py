"""Data sets and detections as JSON files in the format of COCO."""

import contextlib
import json
import os

import numpy as np

from keras_cvx.datasets.annotations import Paths
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.writing.detections import detections_by_image
from keras_cvx.datasets.writing.written_files import check_data, checked_boxes, new_file, whole_file


def write_coco(data, path):
    r"""Writes a data set as a JSON file in the format of COCO; its images stay where they are.

    Everything is told in pixels of the upright image, whose height and width stand in the file:
    boxes and run-lengths of images that are stored turned are turned with them, fractions are
    scaled. `coco` reads the same boxes, labels, masks and flags from it. Only the masks of outlines
    that were turned may differ from before, in pixels that the outlines pass through.

    Ids of categories, images and objects are those of the file that the data came from, where they
    are integers and each comes once; otherwise places, from 1 on. What is `ignored` has
    `"ignore": 1`, which COCO's own evaluation does not look at. Masks that are files of their own
    are not written.

    Args:
        data: `Dataset` whose images are files.
        path: Of the new file. None is overwritten; it has this name once it is whole.

    Raises:
        DatasetError: If an image cannot be read, is of another size than its annotations, or has a
            box that is not finite.
        ValueError: If an argument is none of the above, or there is a file.

    Example:
        Of a data set in the format of YOLO:

        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from keras_cvx.datasets import coco, yolo
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "train" / "images").mkdir(parents=True)
        >>> (folder / "train" / "labels").mkdir()
        >>> Image.new("RGB", (8, 4)).save(folder / "train" / "images" / "street.png")
        >>> _ = (folder / "train" / "labels" / "street.txt").write_text("1 0.5 0.5 0.25 1")
        >>> _ = (folder / "classes.txt").write_text("car\nbus")
        >>> write_coco(yolo(folder), folder / "train.json")
        >>> data = coco(folder / "train.json", images=folder)
        >>> data.class_names, data[0].labels.tolist(), data[0].boxes.tolist()
        (('car', 'bus'), [1], [[3.0, 0.0, 5.0, 4.0]])
    """
    check_data(data=data)
    name_of = _file_names(data.annotations.images)
    path = new_file(path)
    ids, categories = _image_ids(data), _category_ids(data)
    numbers = _object_ids(data)
    images = []
    with whole_file(path) as file:
        # One by one: there may be a million.
        with _list(file, '{"annotations": [') as add:
            for record in data:
                height, width = record.size
                images.append(
                    {
                        "id": ids[record.index],
                        "file_name": name_of(record),
                        "height": height,
                        "width": width,
                    }
                )
                for item in _objects(record, categories):
                    add({"id": next(numbers), "image_id": ids[record.index], **item})
        with _list(file, ', "images": [') as add:
            for image in images:
                add(image)
        with _list(file, ', "categories": [') as add:
            for category, name in zip(categories, data.class_names, strict=True):
                add({"id": category, "name": name})
        file.write("}\n")


def write_coco_detections(detections, data, path, *, bounding_box_format="xyxy"):
    """Writes detections as a JSON file of results in the format of COCO.

    pycocotools compares it with the data set's own file: `COCO(file).loadRes(results)`, which takes
    no results of no detection at all. For data that was not read from COCO's format, that file is
    the one that `write_coco` makes of the same data.

    Args:
        detections: What `GridDetector.predict` gives for all images, boxes in their own pixels: a
            dict of `boxes` `(B, K, 4)`, `confidence` `(B, K)`, `labels` `(B, K)` and perhaps
            `num_detections` `(B,)`; or of lists of an array for each image. Rows of label −1, and
            those past `num_detections`, are left out.
        data: `Dataset` of the images, in the same order.
        path: Of the new file. None is overwritten; it has this name once it is whole.
        bounding_box_format: Of the boxes, as Keras names it.

    Raises:
        ValueError: If the detections are none of these images or classes, an argument is none of
            the above, or there is a file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from keras_cvx.datasets import Annotations, Dataset, grouped
        >>> images = [np.zeros((4, 8, 3), "uint8")]
        >>> objects = grouped([0], 1, {"boxes": [[2, 0, 6, 4]], "labels": [1]})
        >>> data = Dataset(Annotations("photographs", images, ("car", "bus"), objects))
        >>> found = {"boxes": [[[2.0, 0.0, 6.0, 4.0]]], "labels": [[1]], "confidence": [[0.5]]}
        >>> file = Path(tempfile.mkdtemp()) / "results.json"
        >>> write_coco_detections(found, data, file)
        >>> json.loads(file.read_text())[0]["bbox"]
        [2.0, 0.0, 4.0, 4.0]
    """
    check_data(data=data)
    path = new_file(path)
    ids, categories = _image_ids(data), _category_ids(data)
    with whole_file(path) as file:
        with _list(file, "[") as add:
            for record, *found in detections_by_image(detections, data, bounding_box_format):
                for box, confidence, label in zip(*found, strict=True):
                    add(
                        {
                            "image_id": ids[record.index],
                            "category_id": categories[label],
                            "bbox": _corner_and_sides(box),
                            "score": confidence,
                        }
                    )
        file.write("\n")


@contextlib.contextmanager
def _list(file, start):
    """A function that adds an item to a list in a file, a line for each."""
    ends = iter([start])

    def add(item):
        file.write(next(ends, ",") + "\n" + json.dumps(item, allow_nan=False))

    yield add
    file.write(next(ends, "") + "]")


def _objects(record, categories):
    """What COCO tells of each object of an image."""
    boxes, areas = checked_boxes(record).tolist(), record.areas.tolist()
    if not np.isfinite(areas).all():
        raise DatasetError(f"{record!r}: areas must be finite. Received: {areas}")
    for place, label in enumerate(record.labels.tolist()):
        item = {
            "category_id": categories[label],
            "bbox": _corner_and_sides(boxes[place]),
            "area": areas[place],
            "iscrowd": int(record.is_crowd[place]),
            "segmentation": _segmentation(record, place),
        }
        if record.ignored[place]:
            item["ignore"] = 1
        yield item


def _segmentation(record, place):
    counts = record.run_lengths[place]
    if record.outlines[place] or counts is None:
        return [outline.ravel().tolist() for outline in record.outlines[place]]
    return {"size": list(record.size), "counts": counts.tolist()}


def _corner_and_sides(corners):
    x0, y0, x1, y1 = corners
    return [x0, y0, x1 - x0, y1 - y0]


def _file_names(images):
    """A function that gives the name of a record's file below the data set's folder."""
    if isinstance(images, Paths):
        return lambda record: images.names[record.index].replace(os.sep, "/")
    raise ValueError(
        "`data` must be of images that are files. Received: a data set whose images are none. "
        "Write it with `write_voc` or `write_yolo`, which make files of them."
    )


def _image_ids(data):
    """Of all images: those of the file if they are integers; otherwise places, from 1 on."""
    given, count = data.annotations.image_ids, len(data.annotations.images)
    if given is None:
        return range(count)
    # pycocotools takes a string for many ids.
    whole = all(isinstance(x, (int, np.integer)) and not isinstance(x, bool) for x in given)
    if whole and len(set(given)) == count:
        return [int(x) for x in given]
    return range(1, count + 1)


def _category_ids(data):
    """By label."""
    return data.annotations.category_ids or range(1, len(data.class_names) + 1)


def _object_ids(data):
    """Iterator over the ids of the objects of all its images."""
    objects = data.annotations.objects
    ranges = (objects.offsets[record.index : record.index + 2] for record in data)
    ids = np.concatenate([objects.ids[:0], *(objects.ids[slice(*ends)] for ends in ranges)])
    # pycocotools takes an object of id 0 for none.
    right = len(np.unique(ids)) == len(ids) and ids.min(initial=1) > 0
    return map(int, ids if right else range(1, len(ids) + 1))
