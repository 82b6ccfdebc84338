"""Parts of a task model, of whoever's making: whether they agree with it and can be saved."""

import inspect

import keras

from keras_cvx import plugins
from keras_cvx.backbones.graphs import is_graph
from keras_cvx.backbones.steps import trace_steps
from keras_cvx.losses.ignore_class import IgnoreClass
from keras_cvx.losses.loss_sum import LossSum
from keras_cvx.losses.segmentation_loss import SegmentationLoss
from keras_cvx.ops.arguments import shapes_agree, spatial_axes
from keras_cvx.plugins.loading import made


def check_agreement(part, argument, *, owner="detector", **settings):
    """Raises if a part that knows one of the model's settings has it otherwise."""
    for name, expected in settings.items():
        received = getattr(part, name, expected)
        if isinstance(expected, list) and not isinstance(received, (list, tuple)):
            received = [received]
        if _settings_of(received) != _settings_of(expected):
            raise ValueError(
                f"`{argument}` must have the {owner}'s {name}={expected!r}. "
                f"Received: {argument} with {name}={received!r}"
            )


def check_registered(part, argument, kind):
    """Raises if a part could be saved but not loaded, for want of a registered class."""
    cls = type(part)
    if cls.__module__.split(".")[0] == "keras":
        return
    if keras.saving.get_registered_object(keras.saving.get_registered_name(cls)) is None:
        raise ValueError(
            f"`{argument}` must be of a registered class, or no file of the model could be loaded. "
            f"Received: an object of {cls.__module__}.{cls.__qualname__}. Register the class with "
            f'`@keras_cvx.plugins.register("{cls.__name__}", kind="{kind}", package=...)`, where '
            "the package is a name of your own."
        )


def check_coding(coding):
    """Raises if a coding, or what it is made of, could be saved but not loaded."""
    check_registered(coding, "coding", "coding")
    try:
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(coding))
    # Whatever an author's own code raises.
    except Exception as error:
        raise ValueError(
            "`coding` must come back from its configuration, or no file of the model could be "
            f"loaded. Received: {coding!r}. If it has a function or an object of your own, such as "
            f"an assigner, register that as it is registered. ({error})"
        ) from error


def is_of_keras(name, kind):
    """Whether Keras makes a loss or metric of a name that is no plugin's.

    Args:
        name: String.
        kind: `"loss"` or `"metric"`.
    """
    if ">" in name:
        return False
    # Keras' `compile` knows it, and its `get` does not.
    if kind == "metric" and name == "acc":
        return True
    try:
        (keras.losses if kind == "loss" else keras.metrics).get(name)
    except (TypeError, ValueError):
        return False
    return True


def agreeing_part(part, kind, *, argument=None, owner="detector", **settings):
    """A part that agrees with the model's settings; by name, one made for them.

    Args:
        part: The object, a class, or the name of a plugin.
        kind: `"loss"`, `"metric"` or `"layer"`.
        argument: Name by which errors call it, the kind if None.
        owner: What they call the model.
        **settings: The model's, by the names that the part's constructor may have for them.
    """
    if isinstance(part, str):
        found = plugins.lookup(part, kind)
        if not isinstance(found, type):
            return found
        taken = _arguments(found)
        return made(found, part, **{name: x for name, x in settings.items() if name in taken})
    given = part if kind == "loss" and callable(part) else plugins.get(part, kind)
    check_agreement(given, argument or kind, owner=owner, **settings)
    return given


def layer_of(model, layer, argument, *settings, owner="detector"):
    """A layer that a task model has as a part: by name, made for it; it agrees, and can be saved.

    Args:
        model: The task model.
        layer: The object, a class, or the name of a plugin.
        argument: Name by which errors call it.
        *settings: Names of the model's attributes in which the layer must agree.
        owner: What errors call the model.
    """
    given = {name: getattr(model, name) for name in settings}
    layer = agreeing_part(layer, "layer", argument=argument, owner=owner, **given)
    check_registered(layer, argument, "layer")
    return layer


def _arguments(cls):
    """Names of a class's arguments; of the classes above it too, as far as `**kwargs` go on."""
    names: set = set()
    for ancestor in cls.__mro__:
        parameters = inspect.signature(ancestor.__init__).parameters
        names.update(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def check_probabilities(classifier):
    """Raises if the layer that makes a classifier's scores has no activation: they are logits."""
    if not is_graph(classifier):
        return
    _, steps, [output] = trace_steps(classifier)
    makers = {id(x): step for step in steps for x in step.outputs}
    maker = makers.get(id(output))
    while maker is not None and _passes_on(maker.operation):
        maker = makers.get(id(maker.inputs[0]))
    if maker is None:
        return
    layer = maker.operation
    if getattr(layer, "activation", None) is keras.activations.linear:
        raise ValueError(
            "`classifier` must give scores in [0, 1]. Received: one whose scores are made by "
            f"{layer.name!r}, a {type(layer).__name__} without an activation, and so are logits. "
            "Pass `keras.Sequential([classifier, keras.layers.Softmax()])`, or one with "
            '`keras.layers.Activation("sigmoid")` where a window may be of several classes.'
        )


def _passes_on(layer):
    """Whether a layer gives in inference the numbers that it gets."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    same = keras.layers.Dropout, keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape
    return isinstance(layer, same)


def loss_of_logits(name):
    """A loss by the name of its class, in Keras or among the plugins, or by Keras' other name.

    Args:
        name: String, such as `"Dice"` or `"sparse_categorical_crossentropy"`.
    """
    for known in (name, "".join(word.title() for word in name.split("_"))):
        made = getattr(keras.losses, known, None)
        if isinstance(made, type):
            takes = "from_logits" in inspect.signature(made).parameters
            return made(**({"from_logits": True} if takes else {}))
    return agreeing_part(name, "loss", from_logits=True)


def loss_of_masks(loss, ignore_class, weights=None):
    """The loss of a segmenter: by name one of logits; without the ignored ids, where it has none.

    Args:
        loss: As `Segmenter.compile` takes it.
        ignore_class: The ids that the model ignores.
        weights: Of the losses in a list.
    """
    if isinstance(loss, dict):
        raise ValueError(
            "`loss` must be one loss, or a list of losses to be added: a segmenter has one output. "
            f"Received: loss={loss!r}"
        )
    if isinstance(loss, (list, tuple)):
        return LossSum([loss_of_masks(one, ignore_class) for one in loss], weights)
    if weights is not None:
        raise ValueError(
            "`loss_weights` must be None where `loss` is no list of losses. Received: "
            f"loss_weights={weights!r}"
        )
    if isinstance(loss, LossSum):
        losses = [loss_of_masks(one, ignore_class) for one in loss.losses]
        return LossSum(losses, loss.weights, name=loss.name)
    if isinstance(loss, str):
        name = "SparseCategoricalCrossentropy" if loss == "auto" else loss
        loss = IgnoreClass(loss_of_logits(name), ignore_class)
    inner = loss.loss if isinstance(loss, IgnoreClass) else loss
    is_object = isinstance(inner, keras.losses.Loss)
    maker = type(inner) if is_object else inner
    of_keras = getattr(maker, "__module__", "").split(".")[0] == "keras"
    if (is_object or of_keras) and not getattr(inner, "from_logits", not of_keras):
        raise ValueError(
            "`loss` must take logits, which the segmenter gives. Received: "
            f"{maker.__name__} of probabilities. Make a loss with `from_logits=True`; in "
            "place of Keras' Dice and Tversky take `keras_cvx.losses.GeneralizedDice` and "
            "`FocalTversky`."
        )
    known = is_object and (of_keras or isinstance(inner, SegmentationLoss))
    if known and loss is inner and getattr(loss, "ignore_class", None) is None:
        return IgnoreClass(loss, ignore_class)
    return loss


def loss_of_regions(loss):
    """The first loss in it that has no value for each pixel, of those that are known; or None."""
    losses = loss.losses if isinstance(loss, LossSum) else [loss]
    inner = [getattr(one, "loss", one) for one in losses]
    return next((one for one in inner if isinstance(one, SegmentationLoss)), None)


def metrics_of_masks(metrics, **settings):
    """The metrics of a segmenter as a list: by name, made for the model; None if there are none.

    Args:
        metrics: As `Segmenter.compile` takes them.
        **settings: What they must have as the model has it.
    """
    if metrics is None:
        return None
    made = []
    for given in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
        metric = given
        if not isinstance(metric, str):
            check_agreement(metric, "metric", owner="segmenter", **settings)
        elif not is_of_keras(metric, "metric"):
            metric = agreeing_part(metric, "metric", **settings)
        made.append(metric)
    return made


def made_decoder(decoder, num_classes):
    """The decoder's layer, which has strides and agrees with the model.

    Args:
        decoder: The layer, or the name of a plugin.
        num_classes: Integer C.
    """
    if isinstance(decoder, str):
        make = plugins.lookup(decoder, "decoder")
        try:
            decoder = make(num_classes, name="decoder")
        except TypeError as error:
            raise ValueError(
                "`decoder` must be the name of a decoder that needs nothing but `num_classes`. "
                f"Received: decoder={decoder!r} ({error}). Make the layer and pass it."
            ) from error
    if not isinstance(decoder, keras.layers.Layer) or not hasattr(decoder, "strides"):
        raise ValueError(
            "`decoder` must be the name of a decoder, such as 'fcn8s', or a layer with the "
            "attribute `strides`, those of the feature maps on which it is called. Received: "
            f"{decoder!r}{', a class: make the layer' if isinstance(decoder, type) else ''}"
        )
    check_registered(decoder, "decoder", "decoder")
    check_agreement(decoder, "decoder", owner="segmenter", num_classes=num_classes)
    return decoder


def outputs_of(layer, argument, inputs, described):
    """What a layer gives when it is called on symbolic inputs; a `ValueError` if it cannot be.

    Args:
        layer: The layer, of whoever's making.
        argument: Name by which the error calls it.
        inputs: Sequence of what it is called on.
        described: What the error calls that.
    """
    try:
        return layer(*inputs)
    except TypeError as error:
        raise ValueError(
            f"`{argument}` must be a layer that is called on {described}. Received: {layer!r}, "
            f"which is not: {error}"
        ) from error


def logits_of(decoder, maps, images, num_classes):
    """The symbolic logits that a decoder gives; a `ValueError` that blames it if there are none.

    Args:
        decoder: As `made_decoder` gives it.
        maps: List of symbolic feature maps.
        images: The symbolic images.
        num_classes: Integer C.
    """
    try:
        described = "a list of feature maps and the images"
        logits = outputs_of(decoder, "decoder", (maps, images), described)
    # A layer, anyone's, raises whatever it comes across.
    except Exception as error:
        if "infer the output shape" not in str(error):
            raise
        raise ValueError(
            "`decoder` must say what shape its logits have, for they cannot be inferred from "
            f"images {tuple(images.shape)}. Received: {decoder!r}. Give it "
            "`compute_output_shape(self, features_shape, images_shape)`, or correct its `call`:"
            f" {error}"
        ) from error
    expected = (images.shape[0], *images.shape[spatial_axes()], num_classes)
    if not isinstance(logits, keras.KerasTensor) or not shapes_agree(logits.shape, expected):
        received = keras.tree.map_structure(lambda x: tuple(x.shape), logits)
        raise ValueError(
            f"`decoder` must give logits (B, H, W, {num_classes}) of the size of the images, "
            f"{expected}. Received: {received}"
        )
    return logits


def _settings_of(value):
    """What makes two values the same: class and configuration of an object."""
    if not hasattr(value, "get_config"):
        return value
    return type(value), _without_sharing(value.get_config())


def _without_sharing(config):
    """A configuration without Keras' marks of objects that occur twice in a file.

    They come while a model is saved or loaded, and of two equal parts one alone may have them.
    """
    if isinstance(config, dict):
        return {k: _without_sharing(v) for k, v in config.items() if k != "shared_object_id"}
    return list(map(_without_sharing, config)) if isinstance(config, (list, tuple)) else config
