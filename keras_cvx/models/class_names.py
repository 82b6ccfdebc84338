"""The most likely classes of each image, by name."""

import keras
import numpy as np
from keras import ops

from keras_cvx.layers.postprocessing.class_names import ClassNames
from keras_cvx.ops.arguments import check_integers


def decode_predictions(predictions, names, top=5):
    """The classes with the highest scores of each image, as `keras.applications` decodes them.

    Args:
        predictions: Float array `(B, C)`, what a classifier predicts.
        names: The classifier, whose one `keras_cvx.layers.ClassNames`, in a model within it too,
            tells the names; or the names themselves, a list of strings.
        top: Positive integer, the most classes to give; all if there are fewer.

    Returns:
        For each image a list of `(label, name, score)`, highest score first; of equal scores the
        lower label is first.

    Raises:
        ValueError: If the model has no `ClassNames` or several, the names are no strings, or the
            predictions are not `(B, C)`.

    Example:
        >>> decode_predictions([[0.25, 0.625, 0.125]], ["cat", "dog", "cow"], top=2)
        [[(1, 'dog', 0.625), (0, 'cat', 0.25)]]
    """
    check_integers(1, top=top)
    if isinstance(names, keras.Model):
        names = _names_of(names)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"`names` must be a list of strings, or a classifier. Received: names={names!r}"
        )
    scores = np.asarray(ops.convert_to_numpy(predictions))
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(
            f"`predictions` must be (B, {len(names)}), one score for each of the names. "
            f"Received: shape {scores.shape}"
        )
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :top]
    return [
        [(int(label), names[label], float(row[label])) for label in labels]
        for row, labels in zip(scores, best, strict=True)
    ]


def _names_of(model):
    layers = model._flatten_layers()
    found = [layer.class_names for layer in layers if isinstance(layer, ClassNames)]
    if len(found) != 1:
        raise ValueError(
            "`names` must be a list of strings, or a model with one `keras_cvx.layers.ClassNames`, "
            "for instance as the last layer, `ClassNames([...])(scores)`. "
            f"Received: the model {model.name!r}, which has {len(found)}"
        )
    return found[0]
