"""Detections as supervision has them, and back."""

import numpy as np
from keras import ops

from keras_cvx.ops import convert
from keras_cvx.ops.arguments import check_integers


def to_supervision(
    detections, *, bounding_box_format="xyxy", height=None, width=None, class_names=()
):
    """Detections of a batch as `supervision.Detections`, one an image.

    Args:
        detections: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` and `"labels"` `(B, K)`,
            padded with −1, as detectors predict it; without confidence, ground truth.
        bounding_box_format: Format of the boxes, as Keras names it; a detector's own is its
            attribute of that name.
        height: Height of the images in pixels, needed for relative formats.
        width: Likewise.
        class_names: Sequence or dictionary of names by label, which supervision draws; none for
            the labels alone.

    Returns:
        List of B `supervision.Detections`, with boxes `x0, y0, x1, y1` in pixels.

    Raises:
        ImportError: If supervision is not installed.
        ValueError: If the format is unknown, or relative and the size is not given.

    Example:
        >>> found = {"boxes": np.float32([[[0, 0, 4, 2]]]), "labels": np.int32([[3]])}
        >>> [of_image] = to_supervision(found)
        >>> of_image.xyxy.tolist(), of_image.class_id.tolist()
        ([[0.0, 0.0, 4.0, 2.0]], [3])
    """
    detections_of = _supervision().Detections
    labels = ops.convert_to_numpy(detections["labels"])
    confidence = detections.get("confidence")
    if confidence is not None:
        confidence = ops.convert_to_numpy(confidence)
    boxes = ops.convert_to_numpy(
        convert(detections["boxes"], bounding_box_format, "xyxy", height=height, width=width)
    )
    found = []
    for i, present in enumerate(labels >= 0):
        data = {}
        if len(class_names):
            names = [class_names[label] for label in labels[i, present].tolist()]
            data["class_name"] = np.array(names, str)
        found.append(
            detections_of(
                xyxy=boxes[i, present],
                confidence=None if confidence is None else confidence[i, present],
                class_id=labels[i, present].astype(int),
                data=data,
            )
        )
    return found


def from_supervision(detections, *, max_detections=None):
    """`supervision.Detections` of several images as the padded detections of a batch.

    Args:
        detections: List of B `supervision.Detections`, with `class_id`.
        max_detections: Rows K of the result; None for the most of an image. Of more, those of the
            least confidence are left out.

    Returns:
        Dictionary of NumPy arrays, sorted by falling confidence and padded with −1: `"boxes"`
        float32 `(B, K, 4)`, corners `x0, y0, x1, y1` in pixels, `"confidence"` float32 `(B, K)`,
        1 where none is known, `"labels"` int32 `(B, K)` and `"num_detections"` int32 `(B,)`.

    Raises:
        ValueError: If they are not in a list, or have no classes.

    Example:
        >>> found = {"boxes": [[[0.0, 0.0, 4.0, 2.0]]], "labels": [[3]], "confidence": [[0.5]]}
        >>> back = from_supervision(to_supervision(found), max_detections=2)
        >>> back["confidence"].tolist(), back["labels"].tolist()
        ([[0.5, -1.0]], [[3, -1]])
    """
    if max_detections is not None:
        check_integers(1, max_detections=max_detections)
    if not isinstance(detections, (list, tuple)):
        raise ValueError(
            "`detections` must be a list of one `supervision.Detections` for each image. Received: "
            f"{type(detections).__name__}. Of one image, pass `[detections]`."
        )
    most = max((len(found) for found in detections), default=0)
    rows = most if max_detections is None else max_detections
    shape = len(detections), rows
    batch = {
        "boxes": np.full((*shape, 4), -1, "float32"),
        "confidence": np.full(shape, -1, "float32"),
        "labels": np.full(shape, -1, "int32"),
        "num_detections": np.zeros(shape[:1], "int32"),
    }
    for i, found in enumerate(detections):
        if len(found) and found.class_id is None:
            raise ValueError(
                f"`detections` must have classes. Received: detections[{i}] of {len(found)} boxes "
                "with class_id=None"
            )
        known = np.ones(len(found)) if found.confidence is None else found.confidence
        order = np.argsort(-known, kind="stable")[:rows]
        count = len(order)
        batch["num_detections"][i] = count
        if count:
            batch["boxes"][i, :count] = found.xyxy[order]
            batch["confidence"][i, :count] = known[order]
            batch["labels"][i, :count] = found.class_id[order]
    return batch


def _supervision():
    try:
        import supervision
    except ImportError as error:
        raise ImportError(
            "`to_supervision` needs supervision: `pip install supervision`."
        ) from error
    return supervision
