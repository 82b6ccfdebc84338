"""Detections as models give them, image by image."""

import keras
import numpy as np

from keras_cvx.datasets.faults import told
from keras_cvx.ops.arguments import check_keys
from keras_cvx.ops.boxes import check_format, convert

_KEYS = ("boxes", "confidence", "labels")


def detections_by_image(detections, data, bounding_box_format):
    """What was found in each image of a data set.

    Args:
        detections: Dict of `boxes` `(B, K, 4)`, `confidence` `(B, K)`, `labels` `(B, K)` and
            perhaps `num_detections` `(B,)`, arrays, tensors or lists; rows of label −1 are padding.
            Of images with different numbers of rows, lists of B arrays.
        data: `Dataset` of the B images in the same order.
        bounding_box_format: Of the boxes.

    Yields:
        Tuples of the `Record`, and three lists with a float `x0, y0, x1, y1` in pixels, a float and
        an integer for each detection: boxes, confidence and labels.

    Raises:
        ValueError: If they are no detections of these images and classes.
    """
    relative = check_format(bounding_box_format).startswith("rel_")
    columns = _columns(detections, len(data))
    for index, record in enumerate(data):
        boxes, confidence, labels = (_rows(columns[key], key, index) for key in _KEYS)
        if not len(boxes) == len(confidence) == len(labels):
            raise ValueError(
                "`detections` must hold one row of each key for one object. Received: in image "
                f"{index} {len(boxes)}, {len(confidence)} and {len(labels)} rows of {_KEYS}"
            )
        # NaN is no padding: it is told below.
        kept = ~(labels < 0)
        if "num_detections" in columns:
            kept &= np.arange(len(labels)) < columns["num_detections"][index]
        boxes, confidence, labels = boxes[kept], confidence[kept], labels[kept]
        height, width = record.size if relative else (None, None)
        corners = convert(
            boxes, bounding_box_format, "xyxy", height=height, width=width, dtype="float64"
        )
        _check(index, corners, confidence, labels, data.class_names)
        yield record, corners.tolist(), confidence.tolist(), labels.astype(int).tolist()


def _columns(detections, count):
    if not isinstance(detections, dict) or not set(_KEYS) <= set(detections):
        what = sorted(map(str, detections)) if isinstance(detections, dict) else told(detections)
        raise ValueError(
            f"`detections` must be a dict with the keys {_KEYS}, as `predict` gives it. "
            f"Received: {what}"
        )
    check_keys(detections, "detections", (*_KEYS, "num_detections"))
    columns = {
        key: value if isinstance(value, (list, tuple)) else keras.ops.convert_to_numpy(value)
        for key, value in detections.items()
        if value is not None
    }
    for key, column in columns.items():
        if len(column) != count:
            raise ValueError(
                f"`detections[{key!r}]` must be of the {count} images of `data`, in their order. "
                f"Received: {len(column)} images"
            )
    return columns


def _rows(column, key, index):
    rows = np.asarray(keras.ops.convert_to_numpy(column[index]))
    row = (4,) if key == "boxes" else ()
    # `[]` of an image without objects has lost its second axis.
    rows = rows if rows.size else rows.reshape(0, *row)
    if rows.shape[1:] != row or rows.ndim != 1 + len(row):
        raise ValueError(
            f"`detections[{key!r}]` must be {('rows', *row)} for each image. "
            f"Received: shape {rows.shape} for image {index}"
        )
    return rows.astype("float64")


def _check(index, corners, confidence, labels, class_names):
    # Also false for NaN.
    ordered = (corners[:, :2] <= corners[:, 2:]).all(-1) & np.isfinite(corners).all(-1)
    for right, values, required in (
        (ordered, corners, "boxes that are finite, their far corner not before the near one"),
        (np.isfinite(confidence), confidence, "confidences that are finite"),
        (
            (labels < len(class_names)) & (labels == np.floor(labels)),
            labels,
            f"labels that are integers below {len(class_names)}, the number of classes of `data`",
        ),
    ):
        if not right.all():
            raise ValueError(
                f"`detections` must have {required}. Received: {values[~right][0].tolist()} in "
                f"image {index}"
            )
