"""The image models of `keras.applications`, with their normalisation inside."""

import difflib
import inspect
import os

import keras
import numpy as np

from keras_cvx import plugins
from keras_cvx.backbones.checks import check_image_model, check_no_top
from keras_cvx.backbones.input_normalization import MODES, InputNormalization


def get(identifier, *, weights="imagenet", input_shape=None, include_top=False, **kwargs):
    """A backbone that takes images as they are, of any model of `keras.applications`.

    It is one graph: images of 0 to 255, what `preprocess_input` of the model's module does, and
    the model's own layers. So it must not be given images that have been preprocessed.

    Args:
        identifier: Name of an image model in `keras.applications`, such as `"ResNet50"`; of a
            plugin of kind `"backbone"` of another package, `"acme>TinyNet"`: a function that makes
            a model from the arguments below, which are the plugin's to heed; or a functional or
            sequential `keras.Model`, which is checked and returned as it is, so that it has to
            normalise its images itself.
        weights: `"imagenet"`, which Keras downloads once; the path of a file of weights; or None,
            for weights drawn anew. Ignored where a model is given.
        input_shape: Tuple of three, as Keras has it: height, width, channels, or channels first.
            By default 3 channels and any size; with the top, the size that it was trained on.
        include_top: Boolean, whether the model ends in its classification layers. Only a
            classifier needs them.
        **kwargs: As the model in `keras.applications` takes them (`alpha`, `pooling`, `classes`,
            `name`).

    Returns:
        A functional `keras.Model` of float32 images `(B, H, W, C)`, values 0 to 255.

    Raises:
        ValueError: If the name is unknown; the nearest are suggested. If the file of weights does
            not exist or is of another model. If the shape is none of images, or there is no
            normalisation for its number of channels. If a model is given that is not of images, or
            ends in vectors while `include_top` is False, or arguments beside it.

    Example:
        >>> backbone = get("MobileNetV2", weights=None, input_shape=(64, 64, 3), alpha=0.35)
        >>> backbone.output.shape
        (None, 2, 2, 1280)
    """
    if isinstance(identifier, keras.Model):
        _check_given(identifier, input_shape, include_top, kwargs)
        return identifier
    if isinstance(identifier, str) and ">" in identifier:
        make = plugins.get(identifier, kind="backbone")
        model = make(weights=weights, input_shape=input_shape, include_top=include_top, **kwargs)
        _check_made(model, identifier, include_top)
        return model
    module = _module_of(identifier)
    build = getattr(keras.applications, identifier)
    if "input_tensor" in kwargs:
        raise ValueError(
            "`input_tensor` is made by `get`. To continue a graph of your own, call "
            f"`keras.applications.{identifier}`."
        )
    path = None
    if weights not in ("imagenet", None):
        path, weights = _existing(weights), None
    if input_shape is None:
        input_shape = _default_shape(build, kwargs) if include_top else _any_size()
    elif not isinstance(input_shape, (list, tuple)) or len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must be a tuple of three: height, width and channels, or channels "
            f"first. Received: input_shape={input_shape!r}"
        )
    images = keras.Input(tuple(input_shape), name="images")
    mode = _mode(module)
    # Of channels first MobileNetV2 and V3 compare it with the tensor's on the wrong axes.
    first = keras.config.image_data_format() == "channels_first"
    model = build(
        input_tensor=images if mode is None else _normalized(images, mode, identifier),
        input_shape=None if first else tuple(input_shape),
        include_top=include_top,
        weights=weights,
        **kwargs,
    )
    if mode is None:
        _check_normalizes(model, identifier)
    # A model that was built on a tensor takes a list of one, and warns when it gets an array.
    model = keras.Model(images, model.output, name=model.name)
    if path is not None:
        _load(model, path, identifier)
    return model


def _applications():
    """The module of each image model by the model's name.

    Not every module has its models' names: those of MobileNetV3 are in `keras.applications` alone.
    """
    functions = {
        name: value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and "input_tensor" in inspect.signature(value).parameters
    }
    modules = {
        name: getattr(keras.applications, value.__module__.rpartition(".")[2], None)
        for name, value in functions.items()
    }
    return {name: x for name, x in modules.items() if hasattr(x, "preprocess_input")}


def _module_of(name):
    known = _applications()
    if isinstance(name, str) and name in known:
        return known[name]
    others = [plugin.name for plugin in plugins.registered("backbone")]
    by_lower = {plugin.rpartition(">")[2].lower(): plugin for plugin in [*others, *known]}
    # As one has it from its path, `"keras.applications.ResNet50"`.
    last = str(name).lower().rpartition(".")[2]
    near = difflib.get_close_matches(last, by_lower, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(by_lower[x]) for x in near)}?" if near else ""
    raise ValueError(
        "`identifier` must be a model or the name of an image model in `keras.applications`. "
        f"Received: {name!r}.{hint} Known: {', '.join(sorted([*known, *others]))}."
    )


def _mode(module):
    """What a module's `preprocess_input` does: one of `MODES`, or None if it does nothing."""
    probe = np.array([0, 100, 255, 31, 7, 200], "float32").reshape(1, 1, 2, 3)
    arguments = {"data_format": "channels_last"}
    # It writes into the array that it is given.
    result = module.preprocess_input(probe.copy(), **arguments)
    if np.array_equal(result, probe):
        return None
    for mode in MODES:
        reference = keras.applications.imagenet_utils.preprocess_input
        if np.array_equal(result, reference(probe.copy(), mode=mode, **arguments)):
            return mode
    raise ValueError(
        f"`{module.__name__}.preprocess_input` of keras {keras.__version__} does not what any of "
        f"the modes {MODES} does. Put it into a model of your own, and give that as a backbone."
    )


def _normalized(images, mode, name):
    try:
        return InputNormalization(mode, name="input_normalization")(images)
    except ValueError as error:
        raise ValueError(
            f"`input_shape` must have 3 channels for {name!r}, which is normalised by the mode "
            f"{mode!r}. Received: input_shape={images.shape[1:]}"
        ) from error


def _check_normalizes(model, name):
    """Raises if a model that should normalise its images inside does not."""
    first = model.layers[1]
    if not isinstance(first, (keras.layers.Rescaling, keras.layers.Normalization)):
        raise ValueError(
            f"{name!r} normalises its images inside, but not with `include_preprocessing=False` or "
            f"with other than 3 channels. Received: input_shape={model.inputs[0].shape[1:]}. Leave "
            f"the option out, or call `keras.applications.{name}` and normalise before it."
        )


def _any_size():
    first = keras.config.image_data_format() == "channels_first"
    return (3, None, None) if first else (None, None, 3)


def _default_shape(build, kwargs):
    """The images that the top was trained on; only the model itself knows."""
    return build(weights=None, include_top=True, **kwargs).inputs[0].shape[1:]


def _existing(weights):
    path = os.fspath(weights) if isinstance(weights, (str, os.PathLike)) else ""
    if "://" not in path and not os.path.exists(path):
        raise ValueError(
            "`weights` must be 'imagenet', None, or the path of a file of weights. Received: "
            f"weights={weights!r}, which does not exist"
        )
    return path


def _load(model, path, name):
    try:
        model.load_weights(path)
    except Exception as error:
        raise ValueError(
            f"`weights` must be of the model {name!r} as it is built here. Received: "
            f"weights={path!r}, which cannot be loaded into it. Give a file of this very model, "
            "with the same `include_top` and options; what Keras says stands above."
        ) from error


def _check_made(model, name, include_top):
    """Raises if what a plugin gives is no backbone, by the plugin's name."""
    try:
        check_image_model(model, "identifier")
        if not include_top:
            check_no_top(model, "identifier")
    except ValueError as error:
        raise ValueError(f"The plugin {name!r} makes no backbone: {error}") from error


def _check_given(model, input_shape, include_top, kwargs):
    check_image_model(model, "identifier")
    if input_shape is not None or kwargs:
        raise ValueError(
            "`input_shape` and options of the model go with a name of `keras.applications`, not "
            f"with a model. Received: {model.name!r}, input_shape={input_shape}, {sorted(kwargs)}"
        )
    if not include_top:
        check_no_top(model, "identifier")
