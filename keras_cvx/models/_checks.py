"""What a task model checks before it works: its images, its ground truth and their weights."""

import numbers

import keras
import numpy as np
from keras import ops

from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.models._any_size import any_size, written
from keras_cvx.models._parts import check_registered
from keras_cvx.ops.arguments import ignored_ids, shapes_agree, spatial_axes
from keras_cvx.ops.ground_truth import check_ground_truth
from keras_cvx.ops.masks import check_masks
from keras_cvx.ops.pictures import is_picture


def check_preprocessing(layer, shape, strides):
    """Raises if a layer, where there is one, does not make the images that a model takes.

    Args:
        layer: Any object; None is right.
        shape: Static shape of the model's images.
        strides: List of integers, of the largest of which a side must be a multiple.
    """
    if layer is None:
        return
    if not isinstance(layer, GeometricLayer):
        raise ValueError(
            "`preprocessing` must be one layer that records how it moves an image, such as "
            f"`{_resizing(shape)}`. Received: {layer!r}"
        )
    check_registered(layer, "preprocessing", "layer")
    received = {"height": layer.height, "width": layer.width, "data_format": layer.data_format}
    required = {**received, "data_format": keras.config.image_data_format()}
    for name, side in zip(("height", "width"), shape[spatial_axes()], strict=True):
        required[name] = side or -(-received[name] // max(strides)) * max(strides)
    if received != required:
        text, made = (
            ", ".join(f"{name}={value!r}" for name, value in settings.items())
            for settings in (required, received)
        )
        multiples = ""
        if max(strides) > 1:
            multiples = f", with sides that are multiples of {max(strides)}, the largest stride"
        raise ValueError(
            f"`preprocessing` must make images that the backbone takes{multiples}: {text}. "
            f"Received: {type(layer).__name__} with {made}. Give it {text}."
        )


def check_image_shape(shape, strides):
    """Raises if a static side of the images is no multiple of the largest stride."""
    for name, side in zip(("height", "width"), shape[spatial_axes()], strict=True):
        if side is not None and side % max(strides):
            raise ValueError(
                f"The images' {name} must be a multiple of {max(strides)}, the largest stride. "
                f"Received: {name}={side}. Pad to {-(-side // max(strides)) * max(strides)}, "
                "for instance with `keras.layers.ZeroPadding2D`."
            )


def check_images(x, shape, strides=(1,)):
    """Raises, before Keras is called, for what can be no batch of images of a model.

    Args:
        x: What a user gives as images. A dataset is as its reader made it.
        shape: Static shape of the images that are taken.
        strides: List of integers, of the largest of which a side must be a multiple.
    """
    required = f"`x` must be images of shape {written(shape)}"
    other = (
        f"Images of other sizes pass through `{_resizing(shape)}`: with their ground truth to be "
        "trained on; to predict, give it to the model as `preprocessing`"
    )
    if is_picture(x):
        raise ValueError(
            f"{required}. Received: x={str(x)!r}. Pass a list of paths to `predict` of a model "
            f"with `preprocessing={_resizing(shape)}`."
        )
    if isinstance(x, (list, tuple)):
        raise ValueError(
            f"{required}. Received: a {type(x).__name__} of length {len(x)}. Stack images of this "
            f"size, `np.stack(x)`. {other}, which takes lists of images and of paths."
        )
    if not hasattr(x, "shape"):
        return
    received = tuple(x.shape)
    if getattr(getattr(x, "dtype", None), "kind", None) in ("O", "U", "S"):
        raise ValueError(
            f"{required}. Received: an array of {x.dtype}. Pass a list of images or of paths, "
            f"`list(x)`, to `predict` of a model with `preprocessing={_resizing(shape)}`."
        )
    if shapes_agree(received, shape):
        if received[0] == 0:
            raise ValueError(f"{required}, of at least one image. Received: shape {received}")
        check_image_shape(received, strides)
        return
    mend = f" {other}."
    if len(received) == 3:
        mend = " Of one image, pass `x[None]`."
    elif len(received) != 4:
        mend = ""
    elif not shapes_agree(received, any_size(shape)):
        # Whether the channels lie where the other format has them.
        moved = (0, 2, 3, 1) if spatial_axes().start == 1 else (0, 3, 1, 2)
        swapped = shapes_agree(tuple(received[axis] for axis in moved), any_size(shape))
        mend = f" Pass `np.transpose(x, {moved})`." if swapped else ""
    raise ValueError(f"{required}. Received: shape {received}.{mend}")


def check_no_sample(x, truth):
    """Raises for whole samples, which hold images and more, where images are to come alone.

    Args:
        x: What a user gives as images.
        truth: The key of the ground truth in a sample.
    """
    keys = getattr(x, "element_spec", x)
    if isinstance(keys, dict):
        raise ValueError(
            "`x` must be images (B, H, W, C), or a dataset of pairs of images and ground truth. "
            f"Received: a dictionary of {key_names(keys)}. Of scenes, pass "
            f'`scenes["images"]` as `x` and `scenes["{truth}"]` as `y`; of a dataset, '
            f'`dataset.map(lambda sample: (sample["images"], sample["{truth}"]))`.'
        )


def key_names(given):
    """The keys of a dictionary for an error, the first ten of many."""
    names = sorted(map(str, given))
    return f"the keys {names[:10]}{f' and {len(names) - 10} more' if len(names) > 10 else ''}"


def checked_rows(x, y, model):
    """Padded rows of ground truth as arrays that Keras takes, after what only data can be asked.

    Args:
        x: Array of images `(B, H, W, 3)`.
        y: What a user gives beside it.
        model: The model that is trained, of whose settings the data must be.

    Returns:
        `y`, with arrays for lists.

    Raises:
        ValueError: If `y` is of a structure that cannot be trained on, or a row is wrong.
    """
    y, boxes, labels = _arrays_of(y)
    if len(boxes.shape) == 2 and len(labels.shape) == 1:
        raise ValueError(
            "`y` must hold boxes (B, N, 4) and labels (B, N). Received: boxes "
            f"{tuple(boxes.shape)}, labels {tuple(labels.shape)}. Of one object an image, pass "
            "`boxes[:, None]` and `labels[:, None]`."
        )
    _check_values(x, boxes, labels, model)
    return y


def checked_objects(x, y, model):
    """As `checked_rows`, of one object an image: labels `(B,)` or `(B, 1)`, and its box.

    Args:
        x: Array of images `(B, H, W, 3)`.
        y: What a user gives beside it.
        model: The model that is trained, of whose settings the data must be.

    Returns:
        `y`, with arrays for lists.

    Raises:
        ValueError: If `y` is of a structure that cannot be trained on, or a row is wrong.
    """
    check_object_keys(y)
    y = {**y, **{name: _array(y[name], name) for name in ("boxes", "labels")}}
    check_one_object(y["labels"].shape, y["boxes"].shape)
    # The boxes in the shape of the labels, so that a row is named as the user reads it.
    boxes = ops.reshape(y["boxes"], (*y["labels"].shape, 4))
    _check_values(x, boxes, y["labels"], model)
    return y


def checked_masks(x, y, model):
    """The masks as an array; an error that says what is wrong with them.

    Args:
        x: Array of images `(B, H, W, 3)`.
        y: What a user gives beside it.
        model: The segmenter, of whose settings the masks must be.

    Raises:
        ValueError: If they are no masks of these images, or an id is out of range.
    """
    if y is None or isinstance(y, dict):
        received = "images alone" if y is None else f"a dictionary of {key_names(y)}"
        raise ValueError(f"`y` must be masks of the images `x`. Received: {received}")
    if not hasattr(y, "shape"):
        try:
            y = np.asarray(y)
        except ValueError:
            y = np.asarray(y, object)
    check_masks(
        ops.convert_to_numpy(y) if ops.is_tensor(y) else np.asarray(y),
        num_images=len(x),
        image_size=tuple(x.shape[spatial_axes()]),
        num_classes=model.num_classes,
        ignored=ignored_ids(model.ignore_class),
    )
    return y


def check_object_keys(y):
    """Raises if ground truth of one object an image is no dictionary of labels and boxes."""
    if isinstance(y, dict) and {"boxes", "labels"} <= set(y):
        return
    received, mend = _received(y)
    raise ValueError(
        '`y` must be a dictionary {"labels": (B,), "boxes": (B, 4)}; of an image without an object '
        f"the label is −1. Received: {received}.{mend}"
    )


def check_one_object(labels, boxes):
    """Raises if two static shapes are not of one label and one box an image."""
    # TensorFlow forgets the rank once it has seen two, and either is right.
    if None in (getattr(labels, "rank", 0), getattr(boxes, "rank", 0)):
        return
    labels, boxes = tuple(labels), tuple(boxes)
    rows = labels[:1]
    if labels not in (rows, (*rows, 1)) or not (
        shapes_agree(boxes, (*rows, 4)) or shapes_agree(boxes, (*rows, 1, 4))
    ):
        mend = ""
        if len(labels) == 2 and len(boxes) == 3:
            mend = " Several objects an image are for a `GridDetector`."
        raise ValueError(
            "`y` must hold one label (B,) and one box (B, 4) an image. Received: labels "
            f"{labels}, boxes {boxes}.{mend}"
        )


def check_weights(sample_weight):
    """Raises if there is more than one weight an image, or weights are no array; None is right."""
    if isinstance(sample_weight, (list, tuple)):
        raise ValueError(
            "`sample_weight` must be an array (B,). Received: a "
            f"{type(sample_weight).__name__}. Pass `np.asarray(sample_weight)`."
        )
    shape = getattr(sample_weight, "shape", ())
    # TensorFlow forgets the rank once it has seen both (B,) and (B, 1), and either is right.
    if getattr(shape, "rank", 0) is None:
        return
    shape = tuple(shape)
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        raise ValueError(
            f"`sample_weight` must be one number an image, (B,). Received: shape {shape}"
        )


def checked_class_weight(class_weight, num_classes):
    """Float32 array `(C,)` of a dictionary of weights, 1 for classes not in it; None of None.

    Args:
        class_weight: What a user gives.
        num_classes: Integer C.
    """
    if class_weight is None:
        return None
    required = (
        f"`class_weight` must be a dictionary from class ids, 0 to {num_classes - 1}, to weights "
        f"of at least 0. Received: class_weight={class_weight!r}"
    )
    if not isinstance(class_weight, dict):
        raise ValueError(required)
    weights = np.ones(num_classes, "float32")
    for label, weight in class_weight.items():
        is_number = isinstance(weight, numbers.Real)
        if label not in range(num_classes) or not is_number or not 0 <= weight < np.inf:
            raise ValueError(required)
        weights[int(label)] = weight
    return weights


def image_weights(sample_weight):
    """One float32 weight an image, `(B,)`, of what Keras makes of `sample_weight`; None of None."""
    if isinstance(sample_weight, dict):
        # Keras hands the same weights to every array of the ground truth.
        sample_weight = sample_weight["boxes"]
    check_weights(sample_weight)
    return None if sample_weight is None else ops.cast(ops.reshape(sample_weight, (-1,)), "float32")


def _check_values(x, boxes, labels, model):
    boxes, labels = (ops.convert_to_numpy(array) for array in (boxes, labels))
    box_format = model.bounding_box_format
    check_ground_truth(
        boxes,
        labels,
        num_images=len(x),
        image_size=tuple(x.shape[spatial_axes()]),
        num_classes=model.num_classes,
        bounding_box_format=box_format,
    )
    present = boxes[labels >= 0]
    if not box_format.startswith("rel_") and present.size and (present <= 1.0).all():
        raise ValueError(
            f"`boxes` must be {box_format} in pixels. Received: {len(present)} boxes of which no "
            "coordinate is above 1, as in fractions of the image. If they are, make the model with "
            f"a relative format, such as bounding_box_format='rel_{box_format}'."
        )


def _arrays_of(y):
    """`y` with arrays for lists, its boxes and its labels."""
    if isinstance(y, dict) and {"boxes", "labels"} <= set(y):
        arrays = {name: _array(y[name], name) for name in ("boxes", "labels")}
        return {**y, **arrays}, arrays["boxes"], arrays["labels"]
    if getattr(y, "ndim", None) == 3 and y.shape[-1] == 5:
        return y, y[..., :4], y[..., 4]
    received, mend = _received(y)
    raise ValueError(
        '`y` must be a dictionary {"boxes": (B, N, 4), "labels": (B, N)}, or one array (B, N, 5) '
        f"of box and label; padded rows have label −1. Received: {received}.{mend}"
    )


def _received(y):
    """What came where a dictionary of boxes and labels was to come, and the mend."""
    received, mend = f"an object of type {type(y).__name__}", ""
    if y is None:
        received = "y=None"
    elif isinstance(y, dict):
        received = f"a dictionary of {key_names(y)}"
        if "bounding_boxes" in y:
            mend = ' Pass `y["bounding_boxes"]`.'
    elif isinstance(y, (list, tuple)):
        received = f"a {type(y).__name__} of length {len(y)}"
        if len(y) == 2:
            mend = ' Of boxes and labels, pass `{"boxes": boxes, "labels": labels}`.'
    elif hasattr(y, "shape"):
        received = f"shape {tuple(y.shape)}"
    return received, mend


def _array(value, name):
    if ops.is_tensor(value):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        array = None
    if array is None or array.dtype.kind in "OUS":
        raise ValueError(
            f"The {name} of `y` must be an array of numbers, with as many rows for every image. "
            f"Received: {type(value).__name__} that makes no such array. Pad the images with fewer "
            "objects with rows of label −1."
        )
    return array


def _resizing(shape):
    """The layer that makes images of a static shape, as one writes it."""
    names = zip(("height", "width"), shape[spatial_axes()], strict=True)
    return f"keras_cvx.layers.ResizeWithPad({', '.join(str(side or name) for name, side in names)})"
