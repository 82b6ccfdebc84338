"""Samples and detections as KerasCV has them, and back."""

from keras_cvx.ops._arrays import dense, namespace


def to_keras_cv(sample):
    """A sample, or boxes or detections alone, as KerasCV's layers and detectors take them.

    Of boxes it calls the labels `classes` and has them as floats; all else is the same. So a
    pipeline maps `to_keras_cv`, augmentation of KerasCV, `from_keras_cv`.

    Args:
        sample: Dictionary: a sample with `"bounding_boxes"`, or what stands there: `"boxes"`
            `(B, N, 4)` and `"labels"` `(B, N)`, −1 in padded rows, and whatever else. NumPy arrays
            or tensors, in `tf.data` under every backend.

    Returns:
        Dictionary that has `"classes"`, of the boxes' dtype, in place of `"labels"`.

    Raises:
        ValueError: If there are no boxes and labels.

    Example:
        >>> import numpy as np
        >>> boxes = {"boxes": np.float32([[[2, 1, 8, 6]]]), "labels": np.int32([[3]])}
        >>> to_keras_cv(boxes)["classes"].tolist()
        [[3.0]]
    """
    if "bounding_boxes" in sample:
        return {**sample, "bounding_boxes": to_keras_cv(sample["bounding_boxes"])}
    renamed = _renamed(sample, "labels", "classes")
    dtype = renamed["boxes"].dtype
    return {**renamed, "classes": namespace(renamed["classes"]).cast(renamed["classes"], dtype)}


def from_keras_cv(sample):
    """A sample, or boxes or detections alone, that KerasCV made, as this package and Keras do.

    Its layers give ragged boxes; here they are padded with −1, to the most boxes of an image.

    Args:
        sample: Dictionary: a sample with `"bounding_boxes"`, or what stands there, or detections:
            `"boxes"` and `"classes"`, ragged or padded, and whatever else.

    Returns:
        Dictionary with `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)` int32 in place of
        `"classes"`.

    Raises:
        ValueError: If there are no boxes and classes.

    Example:
        >>> import numpy as np
        >>> boxes = {"boxes": np.float32([[[2, 1, 8, 6]]]), "classes": np.float32([[3]])}
        >>> from_keras_cv(boxes)["labels"].tolist()
        [[3]]
    """
    if "bounding_boxes" in sample:
        return {**sample, "bounding_boxes": from_keras_cv(sample["bounding_boxes"])}
    renamed = {name: dense(x) for name, x in _renamed(sample, "classes", "labels").items()}
    return {**renamed, "labels": namespace(renamed["labels"]).cast(renamed["labels"], "int32")}


def _renamed(boxes, name, other):
    if "boxes" not in boxes or name not in boxes:
        raise ValueError(
            f"`sample` must be a dictionary with 'boxes' and {name!r}, or have such a one as "
            f"'bounding_boxes'. Received the keys {sorted(boxes)}"
        )
    return {other if key == name else key: value for key, value in boxes.items()}
