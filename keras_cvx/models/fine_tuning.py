"""Transfer learning in two phases: the top on a frozen backbone, then part of the backbone too."""

import difflib
import json
import numbers
from pathlib import Path

import keras

from keras_cvx.models._progress import Progress, write_whole
from keras_cvx.ops.arguments import check_integers, check_numbers


def fine_tune(
    model,
    x,
    y=None,
    *,
    backbone=None,
    epochs=(5, 10),
    unfreeze_from=0,
    learning_rate=1e-5,
    directory=None,
    callbacks=None,
    **kwargs,
):
    """Trains the top of a model on its frozen backbone, then both at a lower learning rate.

    The model is compiled by its user, as for `fit`. It is compiled again before each phase, for
    what is trainable counts from then on: with the same settings, a new optimizer of the same
    configuration, and in the second phase another learning rate.

    Batch normalization of the backbone stays frozen in both phases, in inference mode: statistics
    of the few images of a fine-tuning would spoil what the backbone has learned.

    Args:
        model: A compiled and built `keras.Model`: a task model of this package, or any other.
        x: As `fit` takes it.
        y: As `fit` takes it.
        backbone: The backbone, a `keras.Model` whose layers the model uses, or the name of a model
            within the model. If None: the model's attribute `backbone`, or else the only model with
            weights within it, unless other weights come before it.
        epochs: Pair of integers, 0 or more: epochs of the first and of the second phase.
        unfreeze_from: The first layer of the backbone that the second phase trains: its name, or
            its index, which counts from the end if it is negative. Layers of models within the
            backbone count, in the place of their model; of several with the name, the first.
        learning_rate: Of the second phase: a positive number, or a schedule of Keras.
        directory: A folder, where the state is kept after each epoch, or None. The same call
            after an interruption at any moment, or in a new process, goes on where the last
            finished epoch ended; after the end it restores the result and trains nothing. Data and
            batch size are not compared with those of the earlier call. To begin anew, give another
            folder.
        callbacks: As `fit` takes them; they see both phases, one `fit` each, and begin anew after
            an interruption. `keras.callbacks.BackupAndRestore` is not among them: its work is that
            of `directory`.
        **kwargs: As `fit` takes them, `validation_data` and `batch_size` for instance.

    Returns:
        A `keras.callbacks.History` of both phases, epochs before an interruption included. The
        second phase counts on from the planned end of the first.

    Raises:
        ValueError: If the model is not compiled or not built, no backbone is found, it has no such
            layer, a phase would have nothing of its own to train, an argument is out of its range,
            or the folder is of a call with other settings.

    Example:
        >>> inputs = keras.Input((8, 8, 3))  # a pretrained backbone, of a real model
        >>> base = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="last")(inputs))
        >>> x = keras.layers.GlobalAveragePooling2D()(base.output)
        >>> model = keras.Model(base.input, keras.layers.Dense(5, activation="softmax")(x))
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> images, labels = keras.ops.ones((4, 8, 8, 3)), keras.ops.zeros((4,))
        >>> history = fine_tune(
        ...     model, images, labels, backbone=base, unfreeze_from="last", epochs=(1, 2), verbose=0
        ... )
        >>> len(history.history["loss"])
        3

    Reference:
        Yosinski et al. 2014, How transferable are features in deep neural networks?, section 2.
    """
    top_epochs, all_epochs = _checked_epochs(epochs, kwargs)
    learning_rate = _checked_learning_rate(learning_rate)
    _check_ready(model)
    callbacks = _checked_callbacks(callbacks)
    backbone = _backbone_of(model, backbone)
    layers = _leaves(backbone)
    first = _index(layers, unfreeze_from)
    if top_epochs:
        _check_top(model, backbone)
    if all_epochs > top_epochs:
        _check_thawed(model, layers[first:], unfreeze_from)
    compiled = _compile_arguments(model)
    optimizer = compiled.pop("optimizer")
    phases = (
        ("top", len(layers), _renewed(optimizer), 0, top_epochs),
        ("backbone", first, _renewed(optimizer, learning_rate), top_epochs, all_epochs),
    )
    if directory is not None:
        directory = Path(directory)
        plan = {
            "epochs": [top_epochs, all_epochs - top_epochs],
            "unfreeze_from": first,
            "learning_rate": keras.saving.serialize_keras_object(learning_rate),
            "optimizer": type(optimizer).__name__,
            **{
                name: _described(compiled.get(name)) for name in ("loss", "loss_weights", "metrics")
            },
            # No names: Keras counts them up within a process.
            "weights": [list(weight.shape) for weight in model.weights],
        }
        _check_same_plan(directory, json.loads(json.dumps(plan)))
    progress = Progress(directory)
    for phase, frozen, new_optimizer, start, end in phases:
        _freeze(backbone, layers, frozen)
        model.compile(optimizer=new_optimizer, **compiled)
        if progress.restored_end(model, phase):
            continue
        done = progress.restored_epoch(model, start, end)
        fit = {**kwargs, "callbacks": [*callbacks, progress], "initial_epoch": done, "epochs": end}
        model.fit(x, y, **fit)
        # Not the last epoch's: a callback may have restored the best weights since.
        progress.keep_end(model, phase)
    return _joined_history(model, progress.records, all_epochs)


def _freeze(backbone, layers, count):
    """Freezes the first layers of a backbone, and all of its batch normalizations."""
    backbone.trainable = count < len(layers)
    for layer in layers[:count]:
        layer.trainable = False
    for norm in _batch_normalizations(layers):
        norm.trainable = False


def _batch_normalizations(layers):
    return [
        part
        for layer in layers
        # Layers made of layers, as KerasCV and KerasHub have, tell of them nowhere else.
        for part in layer._flatten_layers()
        if isinstance(part, keras.layers.BatchNormalization)
    ]


def _leaves(model):
    """Layers of a model in its order, with those of models within it in their place."""
    return [
        leaf
        for layer in model.layers
        for leaf in (_leaves(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def _index(layers, unfreeze_from):
    """How many layers come before the one that is named or counted."""
    names = [layer.name for layer in layers]
    whole = isinstance(unfreeze_from, numbers.Integral) and not isinstance(unfreeze_from, bool)
    if whole and -len(names) <= unfreeze_from < len(names):
        return int(unfreeze_from) % len(names)
    mend = ""
    if isinstance(unfreeze_from, str):
        if unfreeze_from in names:
            return names.index(unfreeze_from)
        near = difflib.get_close_matches(unfreeze_from, names)
        mend = f". Did you mean {' or '.join(map(repr, near))}?" if near else f". It has {names}."
    elif isinstance(unfreeze_from, keras.layers.Layer):
        mend = f". Pass its name, {unfreeze_from.name!r}."
    raise ValueError(
        "`unfreeze_from` must be the name of a layer of the backbone, or its index, from "
        f"{-len(names)} to {len(names) - 1}. Received: unfreeze_from={unfreeze_from!r}{mend}"
    )


def _backbone_of(model, backbone):
    weighted = [layer for layer in model.layers if layer.weights]
    nested = {layer.name: layer for layer in weighted if isinstance(layer, keras.Model)}
    if backbone is None:
        backbone = getattr(model, "backbone", None)
    # A model that comes after other weights is a top.
    if backbone is None and len(nested) == 1 and weighted[0] in nested.values():
        backbone = weighted[0]
    if isinstance(backbone, str):
        backbone = nested.get(backbone, backbone)
    used = {id(weight) for weight in model.weights}
    # Some of its layers may lie behind the last feature map that the model takes.
    known = isinstance(backbone, keras.Model) and backbone is not model
    if not known or used.isdisjoint(map(id, backbone.weights)):
        raise ValueError(
            "`backbone` must be a `keras.Model` whose layers the model uses, and not the model "
            "itself, or the name of a model with weights within it, of which there are "
            f"{sorted(nested)}. Received: backbone={backbone!r}. Pass the model that the top was "
            "put on."
        )
    return backbone


def _check_top(model, backbone):
    inside = {id(weight) for weight in backbone.weights}
    if all(id(weight) in inside for weight in model.trainable_weights):
        raise ValueError(
            "`backbone` must leave weights of the model to train in the first phase. Received: "
            f"the backbone {backbone.name!r}, outside of which nothing is trainable. Pass the "
            "model that the top was put on, or 0 epochs for that phase."
        )


def _check_thawed(model, layers, unfreeze_from):
    frozen = {id(weight) for norm in _batch_normalizations(layers) for weight in norm.weights}
    thawed = {id(weight) for layer in layers for weight in layer.weights} - frozen
    if thawed.isdisjoint(map(id, model.weights)):
        raise ValueError(
            "`unfreeze_from` must be a layer with weights of the model in it or after it, for the "
            "second phase to train; those of batch normalization stay frozen. "
            f"Received: unfreeze_from={unfreeze_from!r}"
        )


def _compile_arguments(model):
    """What the model was compiled with, as `compile` takes it."""
    if type(model).get_compile_config is keras.Model.get_compile_config:
        # Serialized, a loss or metric that is a function of the user's could not come back.
        return dict(model._compile_config.config)
    return {
        name: keras.saving.deserialize_keras_object(value)
        for name, value in model.get_compile_config().items()
    }


def _described(part):
    """A loss, a metric or a structure of them as JSON can hold it, without names counted up."""
    if isinstance(part, dict):
        return {str(name): _described(x) for name, x in part.items()}
    if isinstance(part, (list, tuple)):
        return [_described(x) for x in part]
    if part is None or isinstance(part, (str, int, float)):
        return part
    return getattr(part, "__name__", type(part).__name__)


def _renewed(optimizer, learning_rate=None):
    """A new optimizer of the same configuration, with another learning rate if one is given."""
    config = optimizer.get_config()
    if "inner_optimizer" in config:
        inner = _renewed(optimizer.inner_optimizer, learning_rate)
        config["inner_optimizer"] = keras.saving.serialize_keras_object(inner)
    elif learning_rate is not None:
        config["learning_rate"] = learning_rate
    return type(optimizer).from_config(config)


def _checked_epochs(epochs, kwargs):
    if "initial_epoch" in kwargs:
        raise ValueError(
            "`initial_epoch` must be left to `fine_tune`, which goes on by itself with what it "
            f"finds in `directory`. Received: initial_epoch={kwargs['initial_epoch']!r}"
        )
    if not isinstance(epochs, (tuple, list)) or len(epochs) != 2:
        raise ValueError(
            "`epochs` must be two integers, for the top and then for top and backbone. "
            f"Received: epochs={epochs!r}"
        )
    for number in epochs:
        check_integers(0, epochs=number)
    return int(epochs[0]), int(epochs[0] + epochs[1])


def _checked_callbacks(callbacks):
    callbacks = keras.tree.flatten(callbacks or [])
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        # After a restoration, Keras begins every later `fit` of the model with the same epoch.
        raise ValueError(
            "`callbacks` must hold no BackupAndRestore, which knows nothing of phases. Received: "
            "one. Give a `directory` instead."
        )
    return callbacks


def _checked_learning_rate(learning_rate):
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return learning_rate
    check_numbers(learning_rate=learning_rate)
    if learning_rate <= 0:
        raise ValueError(
            "`learning_rate` must be positive, or a schedule of Keras. "
            f"Received: learning_rate={learning_rate!r}"
        )
    return float(learning_rate)


def _check_ready(model):
    if not isinstance(model, keras.Model) or not model.built or not model.compiled:
        raise ValueError(
            "`model` must be a `keras.Model` that is built and compiled. "
            f"Received: {model!r}. Call `compile` before, and if it is no functional model, call "
            "it on a batch of images."
        )


def _check_same_plan(directory, plan):
    """Raises if the folder holds the state of another call; else notes whose state it holds."""
    if directory.is_file():
        raise ValueError(f"`directory` must be a folder. Received: the file {str(directory)!r}")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "plan.json"
    if not path.exists():
        write_whole(path, json.dumps(plan))
        return
    found = json.loads(path.read_text())
    different = [name for name in plan if plan[name] != found.get(name)]
    if different:
        raise ValueError(
            "`directory` must be a folder of the same settings, or an empty one. "
            f"{str(directory)!r} was begun with other {', '.join(different)}. To begin anew, give "
            "another folder."
        )


def _joined_history(model, records, epochs):
    history = keras.callbacks.History()
    history.set_model(model)
    history.set_params({"epochs": epochs})
    history.on_train_begin()
    for epoch, logs in sorted(records.items()):
        history.on_epoch_end(epoch, logs)
    return history
