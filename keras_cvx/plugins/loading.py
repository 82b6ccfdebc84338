"""The objects that names, configurations and model files mean."""

import contextlib
import inspect
import json
import os
import sys
import zipfile
from typing import Any

import keras

from keras_cvx.plugins.kinds import KERAS_KINDS, lacking
from keras_cvx.plugins.registry import (
    entry_points,
    lookup,
    namespaces,
    origin_of_plugin,
    reading_a_file,
    registered,
)

# A thousand times the configuration of a large model.
_MOST_BYTES = 2**28
# Keras quotes whole configurations.
_MOST_CHARACTERS = 600


def get(identifier: Any, kind: str) -> Any:
    """The object that a user means by a string, a class, a configuration or the object itself.

    A string can import an entry point, as `lookup` does. A configuration cannot, for it may come
    from a file: `lookup` what it needs before.

    Args:
        identifier: A name as for `lookup` or a class, of which an object with default arguments
            is made; a Keras serialization dictionary; or an object or function, which is returned.
        kind: What the object must be.

    Returns:
        An object of that kind. A registered function is returned as it is.

    Raises:
        ValueError: If there is no such plugin or it is of another kind, or its class needs
            arguments, or a configuration needs one that is not registered, or code that is not
            imported.

    Example:
        >>> get("yolov1", kind="coding").boxes_per_cell
        2
    """
    if isinstance(identifier, str):
        found = lookup(identifier, kind)
        return made(found, identifier) if isinstance(found, type) else found
    received = identifier
    if isinstance(identifier, type):
        received = made(identifier, identifier.__name__)
    elif isinstance(identifier, dict):
        _check_imports("The configuration", identifier)
        with _explained("The configuration", identifier):
            received = keras.saving.deserialize_keras_object(identifier)
    if not _is_of_kind(received, kind):
        raise ValueError(
            f"A plugin of kind {kind!r} is required: its name, its configuration or the object. "
            f"Received: {_shortened(repr(received))}{origin_of_plugin(received)}"
        )
    return received


def made(cls, name, **settings):
    """An object of a plugin's class.

    Args:
        cls: The class.
        name: What it was asked for by, for the error.
        **settings: Arguments of the class.

    Raises:
        ValueError: If it needs more arguments than these.
    """
    try:
        inspect.signature(cls).bind(**settings)
    except TypeError as error:
        raise ValueError(
            f"{name!r} cannot be made by its name alone: {error}. Make the object, and pass it."
        ) from error
    return cls(**settings)


def load_model(filepath: str | os.PathLike, **kwargs: Any) -> Any:
    """As `keras.saving.load_model`, for files that nobody vouches for.

    The file never decides what code is imported: what it names must have been imported, or asked
    for by `lookup`, before. Of Keras' own loading some code of KerasHub and KerasCV would be.

    Args:
        filepath: A `.keras` file.
        **kwargs: `custom_objects` and `compile`, as Keras takes them.

    Returns:
        The model.

    Raises:
        ValueError: If the file uses namespaces that are not registered; which, and the mend. If it
            names code that is not imported, or cannot be loaded for any other reason, which is
            then the error's cause; or if `safe_mode` is False.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     loaded = load_model(f"{folder}/model.keras")
        >>> loaded.count_params()
        3
    """
    if kwargs.get("safe_mode", True) is not True:
        raise ValueError(
            "`safe_mode` must be True. For a file that you trust like your own code, "
            "`keras.saving.load_model` takes it. "
            f"Received: safe_mode={kwargs['safe_mode']!r}"
        )
    what = repr(str(filepath))
    config = _configuration(filepath)
    if not kwargs.get("compile", True):
        config.pop("compile_config", None)
    custom_objects = kwargs.get("custom_objects")
    _check_imports(what, config, custom_objects)
    with _explained(what, config, custom_objects), _told(what), reading_a_file():
        return keras.saving.load_model(filepath, **kwargs)


def _configuration(filepath):
    """The configuration in a `.keras` file."""
    try:
        with zipfile.ZipFile(filepath) as archive:
            if archive.getinfo("config.json").file_size > _MOST_BYTES:
                raise ValueError(f"its config.json has more than {_MOST_BYTES} bytes")
            config = json.loads(archive.read("config.json"))
        if not isinstance(config, dict):
            raise ValueError("its config.json must be a dictionary")
        return config
    # What `zipfile` and `json` raise for a file that is damaged, or nested without end.
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, RuntimeError) as error:
        raise ValueError(
            f"`filepath` must be a `.keras` file, as `model.save` writes it. Received: "
            f"{str(filepath)!r}: {error}"
        ) from error


def _check_imports(what, config, custom_objects=None):
    """A `ValueError` if the configuration names code that is neither registered nor imported."""
    for part in _parts(config):
        module = part.get("module")
        if "class_name" not in part or not isinstance(module, str) or module in sys.modules:
            continue
        names = part.get("registered_name"), part.get("class_name"), part.get("config")
        if any(_is_registered(name, custom_objects) for name in names):
            continue
        # A plugin that is missing is told with its namespace.
        if not any(isinstance(name, str) and ">" in name for name in names):
            raise ValueError(
                f"{what} names {part.get('class_name')!r} of the module {module!r}, which is not "
                "imported. A model file imports nothing: import what it needs, if you trust it, "
                "and load it then."
            )


def _is_registered(name, custom_objects):
    found = isinstance(name, str) and keras.saving.get_registered_object(name, custom_objects)
    return bool(found)


@contextlib.contextmanager
def _told(what):
    """Tells whatever happens while a model is loaded as a `ValueError` of bearable length."""
    try:
        yield
    except Exception as error:
        # The first cause stands last.
        reason = _shortened(str(error).rpartition("Exception encountered: ")[2])
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{what} could not be loaded: {kind}{reason}") from error


@contextlib.contextmanager
def _explained(what, config, custom_objects=None):
    """Tells a failure of Keras by the plugins that are missing, if any are."""
    try:
        yield
    except Exception as error:
        # The name of a function stands under `config`.
        names = [part.get(key) for part in _parts(config) for key in ("registered_name", "config")]
        missing = sorted(
            {
                name
                for name in names
                if isinstance(name, str)
                and ">" in name
                and not _is_registered(name, custom_objects)
            }
        )
        if not missing:
            raise
        absent = sorted({name.split(">", 1)[0] for name in missing})
        raise ValueError(
            f"{what} uses {_shortened(missing)}, and nothing of that name is registered: the "
            f"namespace {_shortened(absent)} is missing. Install and import the package that "
            "registers it; an installed one is imported by "
            f"`keras_cvx.plugins.lookup({_shortened(repr(missing[0]))})`. Registered namespaces: "
            f"{sorted(namespaces())}; installed entry points: {sorted(entry_points())}."
        ) from error


def _shortened(told):
    """Text of bearable length, for files can have any."""
    text = str(told)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} …"


def _parts(config):
    """Every dictionary in a nested configuration, however deep."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _is_of_kind(candidate, kind):
    if kind in KERAS_KINDS and isinstance(candidate, KERAS_KINDS[kind]):
        return True
    kinds: dict[Any, set] = {}
    for plugin in registered():
        kinds.setdefault(plugin.object, set()).add(plugin.kind)
    if inspect.isroutine(candidate) and candidate in kinds:
        return kind in kinds[candidate]
    if kind in KERAS_KINDS or candidate is None:
        return False
    if type(candidate) in kinds:
        return any(kind in kinds.get(cls, ()) for cls in type(candidate).__mro__)
    # An object that its author has not registered is trusted, but not what is clearly no plugin.
    values = bool, int, float, bytes, list, tuple, set, dict
    return not isinstance(candidate, (*values, *KERAS_KINDS.values())) and not lacking(
        candidate, kind
    )
