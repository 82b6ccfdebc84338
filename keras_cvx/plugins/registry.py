"""Registration, look-up and discovery of plugins."""

import contextlib
import contextvars
import dataclasses
import difflib
import functools
import importlib.metadata
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from keras_cvx.plugins.kinds import NOT_IN_FILES, fault

OWN = "keras_cvx"
ENTRY_POINT_GROUP = "keras_cvx.plugins"

_NOT_FROM_A_FILE = " A model file imports nothing: import what it needs before it is loaded."


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A registered object.

    Attributes:
        name: Namespace and name as saved files carry them, `"keras_cvx>GridDetectionHead"`.
        kind: What it can be used as: `"layer"`, `"loss"`, `"coding"`, `"reader"`, …
        alias: Short string that users may type instead of the name, or None.
        object: The class or function itself.

    Example:
        >>> plugin = next(p for p in registered("coding") if p.alias == "yolov1")
        >>> plugin.name, plugin.kind, plugin.object.__name__
        ('keras_cvx>YOLOv1Coding', 'coding', 'YOLOv1Coding')
    """

    name: str
    kind: str
    alias: str | None
    object: Any


T = TypeVar("T")

_plugins: dict[str, Plugin] = {}
# Namespaces whose entry point failed when it was last imported, perhaps after some registrations.
_failed: set[str] = set()
_lock = threading.RLock()
_reading_a_file = contextvars.ContextVar("_reading_a_file", default=False)


@contextlib.contextmanager
def reading_a_file():
    """Context in which `lookup` imports nothing: what stands in a file must not."""
    token = _reading_a_file.set(True)
    try:
        yield
    finally:
        _reading_a_file.reset(token)


def register(
    name: str, kind: str, *, package: str = OWN, alias: str | None = None
) -> Callable[[T], T]:
    """Decorator that makes a class or function a plugin, serializable under a name of its own.

    Those of the kinds `"backbone"`, `"reader"` and `"visualizer"`, which read files, download and
    draw, are not serializable: no model file can name them.

    Args:
        name: The literal name, which saved files carry for ever.
        kind: What the object can be used as, such as `"layer"` or `"coding"`.
        package: Namespace; for a package with an entry point, the entry point's name.
        alias: Short string by which users may ask for it within its namespace and kind.

    Returns:
        Decorator that returns the class or function unchanged.

    Raises:
        ValueError: If the name, or the alias for that kind, belongs to another object already, or
            the object cannot be of the kind, or could not be saved for want of `get_config`. The
            message names the distributions that the objects are of.

    Example:
        >>> @register("Halve", kind="layer", package="doctest", alias="halve")
        ... class Halve(keras.layers.Layer):
        ...     def call(self, x):
        ...         return x / 2
        >>> lookup("doctest>halve", kind="layer") is Halve
        True
    """
    named = {"name": name, "package": package, "kind": kind}
    if alias is not None:
        named["alias"] = alias
    for argument, value in named.items():
        if not isinstance(value, str) or not value or ">" in value:
            raise ValueError(
                f"`{argument}` must be a string without '>'. Received: {argument}={value!r}"
            )

    def decorator(target: T) -> T:
        plugin = Plugin(f"{package}>{name}", kind, alias, target)
        if reason := fault(target, kind):
            raise ValueError(
                f"{_origin(target)} cannot be registered as {plugin.name!r}: {reason}."
            )
        with _lock:
            for other in _plugins.values():
                if other.name != plugin.name and not _share_alias(plugin, other):
                    continue
                # A module that is reloaded registers its classes anew.
                if _place(other.object) != _place(target):
                    raise ValueError(
                        f"{_origin(target)} cannot be registered as {plugin.name!r} (alias "
                        f"{alias!r}): {_origin(other.object)} is, as {other.name!r} (alias "
                        f"{other.alias!r}). Choose another name."
                    )
            # Keras' own decorator would overwrite without a word.
            known = keras.saving.get_custom_objects().get(plugin.name)
            if known is not None and _place(known) != _place(target):
                raise ValueError(
                    f"{_origin(target)} cannot be registered as {plugin.name!r}: "
                    f"{_origin(known)} is, with Keras itself. Choose another name."
                )
            if isinstance(target, type):
                _guard(target)
            if kind not in NOT_IN_FILES:
                keras.saving.register_keras_serializable(package=package, name=name)(target)
            _plugins[plugin.name] = plugin
        return target

    return decorator


def lookup(identifier: str, kind: str | None = None) -> Any:
    """The class or function that a string names.

    A name of another namespace, `"acme>FancyHead"`, imports the entry point `acme` if nothing of
    that name is registered yet, and no other.

    Args:
        identifier: Name or alias, within this package or after a namespace and `>`.
        kind: The kind that it must be, or None for any.

    Returns:
        The registered class or function.

    Raises:
        ValueError: If there is no such plugin, with the nearest name; or it is of another kind; or
            several distributions claim its namespace.
        ImportError: If the entry point of its namespace fails to import.

    Example:
        >>> lookup("yolov1", kind="coding").__name__
        'YOLOv1Coding'
    """
    if not isinstance(identifier, str):
        raise TypeError(f"`identifier` must be a string. Received: {identifier!r}")
    package, name = identifier.split(">", 1) if ">" in identifier else (OWN, identifier)
    wanted = _find(package, name, kind)
    if not wanted or package in _failed:
        if package != OWN and not _reading_a_file.get() and package in entry_points():
            import_entry_point(package)
        wanted = _find(package, name, kind)
    if wanted:
        return wanted[0].object
    if found := _find(package, name):
        raise ValueError(
            f"{identifier!r} must be a plugin of kind {kind!r}. Received: "
            f"{found[0].name!r}, which is a {found[0].kind!r}: {_origin(found[0].object)}"
        )
    raise ValueError(_unknown(identifier, name, package, kind))


def registered(kind: str | None = None) -> list[Plugin]:
    """Plugins in the order of their names.

    Args:
        kind: Only those of this kind; None for all.

    Returns:
        List of `Plugin`.

    Example:
        >>> "keras_cvx>GIoULoss" in [plugin.name for plugin in registered("loss")]
        True
    """
    with _lock:
        plugins = sorted(_plugins.values(), key=lambda plugin: plugin.name)
    return [plugin for plugin in plugins if kind in (None, plugin.kind)]


def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Installed entry points of the group `keras_cvx.plugins`; none of them is imported.

    They are read anew at each call, so that what a notebook has just installed is found.

    Returns:
        Dictionary from namespace to `importlib.metadata.EntryPoint`.

    Example:
        >>> "nobody" in entry_points()
        False
    """
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _guard(cls):
    """Lets names in a configuration import nothing, also where Keras itself reads a file."""
    method = inspect.getattr_static(cls, "from_config", None)
    if not isinstance(method, (classmethod, staticmethod)):
        return

    @functools.wraps(method.__func__)
    def guarded(*args, **kwargs):
        with reading_a_file():
            return method.__func__(*args, **kwargs)

    cls.from_config = type(method)(guarded)


def _find(package, name, kind=None):
    own = [plugin for plugin in registered(kind) if plugin.name.startswith(f"{package}>")]
    return [p for p in own if name in (p.name.split(">", 1)[1], p.alias)]


def namespaces():
    """Those of which something is registered, as a set."""
    return {plugin.name.split(">", 1)[0] for plugin in registered()}


def import_entry_point(namespace):
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=namespace)
    # One distribution can be found twice, in the source tree and installed, say.
    claims = {(_distribution(point), point.value): point for point in points}
    if len(claims) > 1:
        raise ValueError(
            f"The namespace {namespace!r} must belong to one distribution. Uninstall all but one. "
            f"Received: {sorted(f'{value} of {claimant}' for claimant, value in claims)}"
        )
    ((claimant, value),) = claims
    try:
        claims[claimant, value].load()
    # A module that ends the process as if it were a program must not.
    except (Exception, SystemExit) as error:
        _failed.add(namespace)
        raise ImportError(
            f"The plugins of the namespace {namespace!r}, installed by {claimant!r}, "
            f"could not be imported from {value!r}: {error!r}"
        ) from error
    _failed.discard(namespace)


def _distribution(point):
    return (point.dist and point.dist.name) or "an unknown distribution"


def _share_alias(plugin, other):
    """Whether one string would name both: an alias of one is an alias or the name of the other."""
    package, name = plugin.name.split(">")
    other_package, other_name = other.name.split(">")
    if (package, plugin.kind) != (other_package, other.kind):
        return False
    return bool({name, plugin.alias} & {other_name, other.alias} - {None})


def _place(target):
    return f"{target.__module__}.{getattr(target, '__qualname__', type(target).__qualname__)}"


def _origin(target):
    """Where a class or function is defined, and by which distribution, as far as that is known."""
    module = str(target.__module__).split(".")[0]
    distributions = importlib.metadata.packages_distributions().get(module, [])
    return " of ".join([_place(target), *sorted(set(distributions))])


def origin_of_plugin(candidate):
    """The same of an object whose class is a plugin, behind a comma; nothing of another."""
    plugins = [plugin.object for plugin in registered()]
    known = next((x for x in (candidate, type(candidate)) if any(x is y for y in plugins)), None)
    return "" if known is None else f", {_origin(known)}"


def _unknown(identifier, name, package, kind):
    known = [plugin for plugin in registered(kind) if plugin.name.startswith(f"{package}>")]
    names = sorted({n for p in known for n in (p.alias, p.name.split(">", 1)[1]) if n})
    spellings = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name, names, n=1) or [
        spellings[spelling] for spelling in difflib.get_close_matches(name.lower(), spellings, n=1)
    ]
    if package == OWN:
        near = _elsewhere(name, kind) or near
    else:
        # As one has to ask for it.
        near = [f"{package}>{name}" for name in near]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    what = f"plugin of kind {kind!r}" if kind else "plugin"
    return (
        f"There is no {what} named {identifier!r}.{hint} Available in {package!r}: {names}; "
        f"registered namespaces: {sorted(namespaces())}; "
        f"installed entry points: {sorted(entry_points())}."
        f"{_NOT_FROM_A_FILE if _reading_a_file.get() else ''}"
    )


def _elsewhere(name, kind):
    """Plugins that have this very name or alias in any namespace, each as one asks for it."""
    split = [(*plugin.name.split(">", 1), plugin.alias) for plugin in registered(kind)]
    return [f"{package}>{name}" for package, *names in split if name in names]
