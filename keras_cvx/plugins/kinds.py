"""What a class or function must be to serve as a plugin of a kind."""

import inspect

import keras

# What a kind that Keras knows must be an instance of; other kinds are known by registration alone.
KERAS_KINDS = {
    "decoder": keras.layers.Layer,
    "initializer": keras.initializers.Initializer,
    "layer": keras.layers.Layer,
    "loss": keras.losses.Loss,
    "metric": keras.metrics.Metric,
    "model": keras.Model,
}
# Of these a function may stand for the class: it computes the loss, or makes the decoder.
_FUNCTION_OR_CLASS = {"decoder", "loss"}
_METHODS = {
    "coding": ("branches", "decode", "loss"),
    **dict.fromkeys(["assigner", "backbone", "reader", "visualizer"], ("__call__",)),
}
# They read files, download or draw: no model file may name them, or loading it could do that too.
NOT_IN_FILES = frozenset({"backbone", "reader", "visualizer"})


def fault(target, kind):
    """Why a class or function cannot be a plugin of a kind.

    Args:
        target: What is to be registered.
        kind: String.

    Returns:
        The end of a sentence about it, or None if nothing is wrong.
    """
    if not callable(target) or not hasattr(target, "__qualname__"):
        return "a plugin must be a class or a function"
    if target.__qualname__.endswith("<lambda>"):
        return "a plugin must be a class or a function with a name, and no lambda"
    return _wrong_form(target, kind) or _unsaveable(target, kind)


def _wrong_form(target, kind):
    expected = KERAS_KINDS.get(kind)
    fits = isinstance(target, type) or kind in _FUNCTION_OR_CLASS
    if isinstance(target, type) and expected is not None:
        fits = issubclass(target, expected)
    if expected is not None and not fits:
        return f"a plugin of kind {kind!r} must be a subclass of `keras.{expected.__name__}`"
    missing = [f"`{name}`" for name in lacking(target, kind)]
    return f"a plugin of kind {kind!r} must have {' and '.join(missing)}" if missing else None


def lacking(target, kind):
    """Names of the methods that a plugin of a kind has, and this class, function or object lacks.

    Args:
        target: Any object.
        kind: String.
    """
    return [name for name in _METHODS.get(kind, ()) if not _has(target, name)]


def _unsaveable(target, kind):
    if not isinstance(target, type) or kind in NOT_IN_FILES:
        return None
    if not hasattr(target, "get_config"):
        return "it must have `get_config`, or no file that uses it could be loaded"
    if forgotten := _forgotten(target):
        return (
            f"`get_config` of {_owner(target, 'get_config').__qualname__} knows nothing of the "
            f"arguments {forgotten} of its constructor; it must have a `get_config` of its own, or "
            "a file that uses it would be loaded without them"
        )
    return None


def _forgotten(cls):
    """Arguments of the constructor that an inherited `get_config` cannot give."""
    describer, maker = _owner(cls, "get_config"), _owner(cls, "__init__")
    # Keras' own of layers and models notes the arguments by itself, or says that it could not.
    automatic = {keras.Operation, keras.layers.Layer, keras.Model}
    restorer = _owner(cls, "from_config")
    order = cls.__mro__
    above = [owner for owner in (describer, restorer) if owner is not None]
    if describer in automatic or any(order.index(x) <= order.index(maker) for x in above):
        return []
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    known = inspect.signature(describer.__init__).parameters
    return [
        name
        for name, parameter in list(inspect.signature(maker.__init__).parameters.items())[1:]
        if name not in known and parameter.kind in named
    ]


def _owner(cls, method):
    """The class that defines a method of this one, or None."""
    return next((owner for owner in cls.__mro__ if method in vars(owner)), None)


def _has(target, method):
    # Every class has a `__call__`, which makes the object; that of the object is asked for.
    return _owner(target, method) if isinstance(target, type) else hasattr(target, method)
