"""Ground truth and detections of many images as flat columns of float64, checked."""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_keys
from keras_cvx.ops.boxes import convert


class Truths(NamedTuple):
    """Columns of ground truth: the place of its image, and what is known of each row.

    `boxes` are x, y, width and height; `areas` those of the objects, not of their boxes.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    ignored: np.ndarray
    is_crowd: np.ndarray


class Detections(NamedTuple):
    """Columns of detections; `boxes` are x, y, width and height."""

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray


def take(columns, rows):
    """The same columns of some rows, in their order.

    Args:
        columns: Named tuple of arrays `(D, ...)`.
        rows: Integer array of places, or Boolean array `(D,)`.
    """
    return type(columns)(*(column[rows] for column in columns))


def read_truths(y_true, num_classes, bounding_box_format):
    """Ground truth in the package's dictionaries, without its padding.

    Args:
        y_true: Dictionary of `"boxes"` and `"labels"`, and perhaps `"is_crowd"`, `"ignored"` and
            `"areas"`: each a padded array or tensor `(B, N, ...)`, or a list of B arrays.
        num_classes: Integer C; labels are in `[0, C)`, or −1 in padded rows.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`.

    Returns:
        Tuple of the number B of images and `Truths`, whose images are 0 to B − 1.

    Raises:
        ValueError: If a key is missing, lengths differ, or a value is out of its range.
    """
    flags = ("ignored", "is_crowd")
    counts, columns = _columns(y_true, "y_true", ("boxes", "labels"), ("areas", *flags))
    where = _Where("y_true", counts)
    labels, kept = _labels(columns["labels"], num_classes, where)
    boxes = _boxes(columns["boxes"], kept, bounding_box_format, where)
    areas = columns["areas"]
    if areas is None:
        areas = boxes[:, 2] * boxes[:, 3]
    else:
        areas = np.asarray(areas, "float64")
        where.refuse("areas", areas, kept & ~np.isfinite(areas), "be finite")
    yes = []
    for name in flags:
        flag = np.zeros(len(labels), bool) if columns[name] is None else columns[name]
        where.refuse(name, flag, kept & (flag != 0) & (flag != 1), "be true or false")
        yes.append(flag == 1)
    return len(counts), take(Truths(where.images, labels, boxes, areas, *yes), kept)


def read_detections(y_pred, num_classes, bounding_box_format):
    """Detections in the package's dictionaries, without their padding.

    Args:
        y_pred: Dictionary of `"boxes"`, `"labels"` and `"confidence"`: each a padded array or
            tensor `(B, K, ...)`, or a list of B arrays.
        num_classes: Integer C; labels are in `[0, C)`, or −1 in padded rows.
        bounding_box_format: One of `keras_cvx.ops.FORMATS`.

    Returns:
        Tuple of the number B of images and `Detections`, whose images are 0 to B − 1.

    Raises:
        ValueError: If a key is missing, lengths differ, or a value is out of its range.
    """
    counts, columns = _columns(y_pred, "y_pred", ("boxes", "labels", "confidence"))
    where = _Where("y_pred", counts)
    labels, kept = _labels(columns["labels"], num_classes, where)
    boxes = _boxes(columns["boxes"], kept, bounding_box_format, where)
    confidence = np.asarray(columns["confidence"], "float64")
    where.refuse("confidence", confidence, kept & np.isnan(confidence), "be numbers, not NaN")
    return len(counts), take(Detections(where.images, labels, boxes, confidence), kept)


def on_host(array):
    """An array, tensor of any library or nested list as a NumPy array.

    Args:
        array: What is to be converted.
    """
    if _arrays.is_of_keras(array):
        return ops.convert_to_numpy(array)
    if hasattr(array, "detach"):
        # Of torch beside another backend: NumPy takes none of a graph or device, and no bfloat16.
        array = array.detach().cpu()
        array = array.double() if array.is_floating_point() else array
    return np.asarray(array)


class _Where:
    """Names the first wrong row of a column by its image and its place there."""

    def __init__(self, name, counts):
        self.name, self.counts = name, counts
        self.images = np.repeat(np.arange(len(counts)), counts)

    def refuse(self, key, values, wrong, requirement):
        if wrong.any():
            row = np.flatnonzero(wrong)[0]
            image = int(self.images[row])
            place = int(row - self.counts[:image].sum())
            raise ValueError(
                f"`{self.name}[{key!r}]` must {requirement}. Received: {values[row].tolist()} in "
                f"row {place} of image {image}, and {int(wrong.sum()) - 1} more such rows"
            )


def _columns(source, name, required, optional=()):
    """Rows in each image `(B,)`, and the columns by key; None for what is not there."""
    if not isinstance(source, dict) or not set(required) <= set(source):
        what = f"keys {sorted(map(str, source))}" if isinstance(source, dict) else type(source)
        raise ValueError(
            f"`{name}` must be a dictionary, and must have the keys {sorted(required)}. "
            f"Received: {what}"
        )
    # Read elsewhere, or not at all.
    others = ("image_ids",) if name == "y_true" else ("num_detections",)
    check_keys(source, name, (*required, *optional, *others))
    columns: dict = {}
    lengths = {}
    for key in (*required, *optional):
        columns[key] = None
        if source.get(key) is not None:
            lengths[key], columns[key] = _flat(source[key], (4,) if key == "boxes" else ())
            if columns[key] is None:
                shape = "(B, N, 4)" if key == "boxes" else "(B, N)"
                raise ValueError(
                    f"`{name}[{key!r}]` must be {shape}, or a list of B arrays "
                    f"{shape.replace('B, N', 'N').replace('(N)', '(N,)')}. "
                    f"Received: {lengths[key]}"
                )
    counts = lengths["labels"]
    for key, length in lengths.items():
        if len(length) != len(counts):
            raise ValueError(
                f"`{name}` must hold each key for the same images. "
                f"Received: {len(counts)} images of 'labels', {len(length)} of {key!r}"
            )
        if (length != counts).any():
            image = int(np.flatnonzero(length != counts)[0])
            raise ValueError(
                f"`{name}` must hold one row of each key for one object. Received: in image "
                f"{image} {counts[image]} rows of 'labels' and {length[image]} of {key!r}"
            )
    return counts, columns


def _flat(value, row):
    """Rows in each image and all rows in one array; or the shapes received, and None."""
    if _arrays.is_ragged(value):
        return _flat(list(value), row)
    if isinstance(value, (list, tuple)):
        images = [on_host(image) for image in value]
        # `[]` of an image without objects has lost its second axis.
        images = [image if image.size else image.reshape(0, *row) for image in images]
        if any(image.shape[1:] != row or image.ndim != 1 + len(row) for image in images):
            return f"shapes {[image.shape for image in images][:8]}", None
        return np.array([len(image) for image in images], int), np.concatenate(
            [*images, np.zeros((0, *row), "int8")]
        )
    array = on_host(value)
    if array.ndim != 2 + len(row) or array.shape[2:] != row:
        return f"shape {array.shape}", None
    return np.full(len(array), array.shape[1]), array.reshape(-1, *row)


def _labels(labels, num_classes, where):
    """Labels as integers, and which rows are no padding."""
    whole = (labels >= -1) & (labels < num_classes) & (labels == np.floor(labels))
    where.refuse(
        "labels", labels, ~whole, f"be integers from 0 to {num_classes - 1}, or −1 for padding"
    )
    labels = labels.astype("int64")
    return labels, labels >= 0


def _boxes(boxes, kept, bounding_box_format, where):
    # Padding can hold anything.
    boxes = np.where(kept[:, None], boxes, 0).astype("float64")
    where.refuse("boxes", boxes, ~np.isfinite(boxes).all(-1), "be finite")
    # As COCO's files have them; an overlap does not change with the scale of an axis.
    source = bounding_box_format.removeprefix("rel_")
    return convert(boxes, source, "xywh", dtype="float64")
