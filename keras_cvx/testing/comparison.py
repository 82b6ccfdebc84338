"""Comparison of nested tensors and configurations, and the error that tells a difference."""

import json

import keras
import numpy as np
from keras import ops


class BreachError(Exception):
    """What a clause found; the check that runs the clause adds its name and the object's."""


def plain(config):
    """A configuration as a file carries it: nested objects serialized, tuples as lists."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(config)))


def same_config(before, after, occasion):
    """Raises if two configurations differ, naming the keys.

    Args:
        before: Configuration, as `get_config` returns it.
        after: Another.
        occasion: What lies between them, for the message.
    """
    before, after = plain(before), plain(after)
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    if keys:
        differences = [f"{key}={after.get(key)!r}, was {before.get(key)!r}" for key in keys]
        raise BreachError(f"the configuration differs after {occasion}: {'; '.join(differences)}")


def to_numpy(structure):
    """NumPy arrays of the structure's tensors; what has half precision is widened."""

    def convert(x):
        if keras.backend.is_keras_tensor(x):
            raise BreachError(f"a symbolic tensor was returned for real ones: {x}")
        if hasattr(x, "dtype") and "float16" in keras.backend.standardize_dtype(x.dtype):
            x = ops.cast(x, "float32")
        return ops.convert_to_numpy(x)

    return keras.tree.map_structure(convert, structure)


def specification(structure):
    """Shape and dtype of each tensor, by its path in the structure."""
    return {
        _written(path): (tuple(x.shape), keras.backend.standardize_dtype(x.dtype))
        for path, x in keras.tree.flatten_with_path(structure)
    }


def same_values(expected, actual, tolerance, occasion):
    """Raises if two structures of arrays differ in paths, shapes or values.

    Args:
        expected: Structure of tensors or numbers.
        actual: Another.
        tolerance: Float, relative and absolute.
        occasion: What lies between them, for the message.
    """
    expected, actual = _by_path(expected), _by_path(actual)
    if expected.keys() != actual.keys():
        raise BreachError(
            f"the structure differs {occasion}: {sorted(actual)}, must be {sorted(expected)}"
        )
    for path, array in expected.items():
        other = actual[path]
        if array.shape != other.shape:
            raise BreachError(
                f"{path} has another shape {occasion}: {other.shape}, must be {array.shape}"
            )
        if not np.allclose(other, array, rtol=tolerance, atol=tolerance, equal_nan=True):
            with np.errstate(invalid="ignore"):  # infinities
                worst = np.max(np.abs(other.astype("float64") - array.astype("float64")))
            raise BreachError(
                f"{path} differs {occasion} by up to {worst:.3g}, must be within {tolerance:g}"
            )


def all_finite(structure, occasion):
    """Raises if a float of the structure is NaN or infinite."""
    for path, array in _by_path(structure).items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise BreachError(f"{path} is not finite {occasion}")


def _by_path(structure):
    paths = keras.tree.flatten_with_path(to_numpy(structure))
    return {_written(path): np.asarray(array) for path, array in paths}


def _written(path):
    """`"output['boxes'][0]"`, or `"output"` for a single tensor."""
    return "output" + "".join(f"[{key!r}]" for key in path)
