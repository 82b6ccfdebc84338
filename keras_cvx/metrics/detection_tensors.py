"""Ground truth and detections as metrics in a compiled step take them."""

import numpy as np
from keras import ops

from keras_cvx.ops.arguments import check_keys, shapes_agree, tensor_of_rows
from keras_cvx.ops.boxes import area, corners
from keras_cvx.ops.ground_truth import unpack_ground_truth
from keras_cvx.ops.iou import pairwise_iou


def truth_tensors(y_true, bounding_box_format):
    """Checked ground truth, with corners.

    Args:
        y_true: As `unpack_ground_truth` takes it; a dictionary may have `"ignored"`, `"is_crowd"`
            and `"areas"` `(B, N)` too.
        bounding_box_format: Format of its boxes. Relative ones stay relative.

    Returns:
        Dictionary of `"boxes"` `(B, N, 4)`, `"labels"` `(B, N)`, and of the others that were given:
        Booleans, and float32 areas.

    Raises:
        ValueError: If the structure or the shapes are wrong.
    """
    boxes, labels = unpack_ground_truth(y_true)
    truth = {"boxes": corners(boxes, bounding_box_format), "labels": labels}
    given = y_true if isinstance(y_true, dict) else {}
    check_keys(given, "y_true", ("boxes", "labels", "ignored", "is_crowd", "areas", "image_ids"))
    for name in ("ignored", "is_crowd", "areas"):
        # As in exact evaluations, None is as good as no key.
        if given.get(name) is None:
            continue
        truth[name] = tensor_of_rows(given[name], f"y_true[{name!r}]")
        if not shapes_agree(tuple(truth[name].shape), tuple(labels.shape)):
            raise ValueError(
                f"`y_true[{name!r}]` must be of the shape of its labels, "
                f"{tuple(labels.shape)}. Received: shape {tuple(truth[name].shape)}"
            )
        truth[name] = ops.cast(truth[name], "float32" if name == "areas" else "bool")
    return truth


def detection_tensors(y_pred, bounding_box_format):
    """Checked detections, with corners.

    Args:
        y_pred: Dictionary of `"boxes"` `(B, K, 4)`, `"confidence"` `(B, K)` and `"labels"`
            `(B, K)`, −1 in padded rows.
        bounding_box_format: Format of its boxes. Relative ones stay relative.

    Returns:
        Dictionary of these three: float32, and int32 labels.

    Raises:
        ValueError: If it is of another structure, the shapes do not go together, or K is unknown.
    """
    if not isinstance(y_pred, dict) or not {"boxes", "confidence", "labels"} <= set(y_pred):
        what = f"keys {sorted(map(str, y_pred))}" if isinstance(y_pred, dict) else type(y_pred)
        raise ValueError(
            "`y_pred` must be a dictionary, and must have the keys 'boxes', 'confidence' and "
            f"'labels'. Received: {what}"
        )
    boxes, confidence, labels = (
        tensor_of_rows(y_pred[key], f"y_pred[{key!r}]") for key in ("boxes", "confidence", "labels")
    )
    if (
        len(labels.shape) != 2
        or labels.shape[1] is None
        or not shapes_agree(confidence.shape, labels.shape)
        or not shapes_agree(boxes.shape, (*labels.shape, 4))
    ):
        raise ValueError(
            "`y_pred` must hold boxes (B, K, 4), confidence (B, K) and labels (B, K), with K "
            "known when the step is traced. Received: "
            f"{[tuple(x.shape) for x in (boxes, confidence, labels)]}"
        )
    return {
        "boxes": corners(ops.cast(boxes, "float32"), bounding_box_format),
        "confidence": ops.cast(confidence, "float32"),
        "labels": ops.cast(labels, "int32"),
    }


def most_confident(found, number=None):
    """Detections by falling confidence: those of no number behind the rest, padded rows last.

    Args:
        found: Dictionary, as of `detection_tensors`.
        number: How many of each image and class remain, as COCO counts them, or None for all. The
            others have label −1.

    Returns:
        Dictionary of the same shapes.
    """
    confidence = found["confidence"]
    # Beside a NaN TensorFlow sorts nothing.
    least = ops.full_like(confidence, np.finfo("float32").min)
    last = ops.where(ops.isnan(confidence), least, confidence)
    last = ops.where(found["labels"] >= 0, last, ops.full_like(confidence, -float("inf")))
    order = ops.argsort(-last, axis=-1)
    found = {
        key: ops.take_along_axis(x, order[..., None] if key == "boxes" else order, axis=1)
        for key, x in found.items()
    }
    labels = found["labels"]
    if number is None or labels.shape[1] <= number:
        return found
    places = ops.arange(labels.shape[1], dtype="int32")
    before = ops.logical_and(labels[:, :, None] == labels[:, None], places[:, None] > places)
    ranks = ops.sum(ops.cast(before, "int32"), axis=-1)
    return {**found, "labels": ops.where(ranks < number, labels, ops.full_like(labels, -1))}


def check_values(y_true, y_pred, num_classes):
    """Raises for labels and confidences out of range, of arrays that are on the host.

    Nothing can raise for the tensors of a compiled step.

    Args:
        y_true: As `truth_tensors` takes it.
        y_pred: As `detection_tensors` takes it.
        num_classes: Integer C.

    Raises:
        ValueError: If a label is not in `[−1, C)`, or the confidence of a detection is not in
            `[0, 1]` nor NaN.
    """
    truth = y_true.get("labels") if isinstance(y_true, dict) else None
    found, confidence = y_pred.get("labels"), y_pred.get("confidence")
    for name, given in (("y_true", truth), ("y_pred", found)):
        if isinstance(given, (np.ndarray, list, tuple)):
            labels = np.asarray(given)
            wrong = labels[(labels < -1) | (labels >= num_classes)]
            if wrong.size:
                raise ValueError(
                    f"The labels of `{name}` must be in [0, {num_classes}), or −1 in padded rows. "
                    f"Received: {wrong[0]}, and {wrong.size - 1} more"
                )
    if all(isinstance(x, (np.ndarray, list, tuple)) for x in (found, confidence)):
        confidence = np.asarray(confidence)[np.asarray(found) >= 0]
        wrong = confidence[(confidence < 0) | (confidence > 1)]
        if wrong.size:
            raise ValueError(
                "The confidence of `y_pred` must be in [0, 1], a probability. Received: "
                f"{wrong[0]}, and {wrong.size - 1} more. Of logits, pass their sigmoid."
            )


def unpack_batch(y_true, y_pred, sample_weight, bounding_box_format):
    """Ground truth and detections of the same images, as an update gets them.

    Args:
        y_true: As `truth_tensors` takes it.
        y_pred: As `detection_tensors` takes it.
        sample_weight: None.
        bounding_box_format: Format of all boxes.

    Returns:
        Tuple of what the two give.

    Raises:
        ValueError: If a structure or shape is wrong, the images are not as many, or there are
            weights.
    """
    if sample_weight is not None:
        raise ValueError(
            "`sample_weight` must be None: objects and detections are counted, not weighed. "
            f"Received: sample_weight of type {type(sample_weight).__name__}"
        )
    truth = truth_tensors(y_true, bounding_box_format)
    found = detection_tensors(y_pred, bounding_box_format)
    batch = found["labels"].shape[0]
    if not shapes_agree(truth["labels"].shape, (batch, truth["boxes"].shape[1])):
        raise ValueError(
            "`y_true` must hold boxes (B, N, 4) and labels (B, N) for the B images of "
            f"`y_pred`. Received: boxes {tuple(truth['boxes'].shape)}, labels "
            f"{tuple(truth['labels'].shape)}, and B={batch}"
        )
    return truth, found


def crowd_overlaps(truth, found):
    """Overlap of detections and ground truth as COCO counts it, and what it ignores.

    Args:
        truth: Dictionary, as of `truth_tensors`.
        found: Dictionary of `"boxes"` `(B, K, 4)`, corners.

    Returns:
        Float tensor `(B, K, N)`: IoU, or the share of the detection that a crowd covers; and
        Boolean tensor `(B, N)`, the ground truth that is ignored, crowds among it.

    Reference:
        Lin et al. 2014, Microsoft COCO; the `computeIoU` of its evaluation code.
    """
    overlaps = pairwise_iou(found["boxes"], truth["boxes"])
    is_crowd = truth.get("is_crowd")
    ignored = truth.get("ignored", ops.zeros_like(truth["labels"], dtype="bool"))
    if is_crowd is None:
        return overlaps, ignored
    shares = _covered_shares(found["boxes"], truth["boxes"])
    return ops.where(is_crowd[:, None], shares, overlaps), ops.logical_or(ignored, is_crowd)


def _covered_shares(boxes, others):
    """The share of each box that each other covers, `(B, K, N)`."""
    whole = area(boxes)[:, :, None]
    boxes, others = boxes[:, :, None], others[:, None]
    # Not from the IoU, the rounding of which would decide where a share lies on a threshold.
    start = ops.maximum(boxes[..., :2], others[..., :2])
    end = ops.minimum(boxes[..., 2:], others[..., 2:])
    shared = area(ops.concatenate([start, end], axis=-1))
    # By a divisor of its own for each pair: of a row's XLA would take the reciprocal, and round it.
    return shared / ops.where(shared > 0, whole, ops.ones_like(shared))
