from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.models import GridDetector, fine_tune

QUIET = {"verbose": 0, "batch_size": 8, "shuffle": False}


def make_backbone(nested=False):
    """Two convolutions with batch normalization; the second inside a model of its own if nested."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(4, 3, 2, padding="same", name="first")(x)
    x = layers.BatchNormalization(name="first_norm")(x)

    def second(x):
        x = layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="second")(x)
        return layers.BatchNormalization(name="second_norm")(x)

    if nested:
        inner = keras.Input(x.shape[1:])
        x = keras.Model(inner, second(inner), name="inner")(x)
    else:
        x = second(x)
    return keras.Model(inputs, x, name="base")


def make_classifier(backbone, as_layer=False, dropout=0.0):
    inputs = keras.Input((16, 16, 3)) if as_layer else backbone.input
    x = backbone(inputs) if as_layer else backbone.output
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(x))
    model.compile(keras.optimizers.Adam(0.02, beta_1=0.8), "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 24)
    images = rng.uniform(0, 60, (24, 16, 16, 3)).astype("float32")
    images[np.arange(24), :, :, labels] += 150
    return images, labels


def values(model):
    return {weight.path: ops.convert_to_numpy(weight).copy() for weight in model.weights}


def changed(before, after):
    """Names of layers of which a weight is another."""
    return {path.split("/")[-2] for path in before if not np.array_equal(before[path], after[path])}


class Snapshots(keras.callbacks.Callback):
    """All weights, and the learning rate, at the beginning and the end of each phase."""

    def __init__(self):
        super().__init__()
        self.seen, self.rates = [], []

    def on_train_begin(self, logs=None):
        self.seen.append(values(self.model))

    def on_train_end(self, logs=None):
        self.seen.append(values(self.model))
        self.rates.append(float(ops.convert_to_numpy(self.model.optimizer.learning_rate)))


@pytest.mark.parametrize(
    ("nested", "as_layer", "unfreeze_from", "thawed"),
    [
        (False, False, 0, {"first", "second"}),
        (True, True, 0, {"first", "second"}),
        (False, True, "second", {"second"}),
        (True, False, "second", {"second"}),
        (True, True, -2, {"second"}),
        (False, False, "first_norm", {"second"}),
    ],
)
def test_what_each_phase_trains(data, nested, as_layer, unfreeze_from, thawed):
    backbone = make_backbone(nested)
    model = make_classifier(backbone, as_layer)
    snapshots = Snapshots()
    fine_tune(
        model, *data, backbone=backbone, epochs=(1, 1), unfreeze_from=unfreeze_from,
        learning_rate=1e-3, callbacks=[snapshots], **QUIET,
    )  # fmt: skip
    start, top, again, end = snapshots.seen
    assert changed(start, top) == {"top"}
    assert changed(top, again) == set()
    assert changed(again, end) == {"top"} | thawed
    np.testing.assert_allclose(snapshots.rates, [0.02, 1e-3], rtol=1e-6)
    assert model.optimizer.beta_1 == 0.8


def test_frozen_means_inference():
    """In both phases the backbone computes as `predict` does, whatever `training` says."""
    backbone = make_backbone()
    model = make_classifier(backbone)
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(0, 255, (8, 16, 16, 3)), rng.integers(0, 3, 8)
    for norm in ("first_norm", "second_norm"):
        backbone.get_layer(norm).moving_mean.assign(
            rng.normal(size=backbone.get_layer(norm).moving_mean.shape)
        )
    fine_tune(model, images, labels, backbone=backbone, epochs=(1, 1), **QUIET)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(images, training=True)), model.predict(images, verbose=0),
        atol=1e-6,
    )  # fmt: skip


def test_blocks_made_of_layers(data):
    """Batch normalization inside a layer of layers is frozen too."""

    @keras.saving.register_keras_serializable(package="tests_fine_tuning")
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.convolution = layers.Conv2D(4, 3, name="convolution")
            self.norm = layers.BatchNormalization(name="norm")

        def build(self, input_shape):
            self.convolution.build(input_shape)
            self.norm.build(self.convolution.compute_output_shape(input_shape))

        def call(self, x, training=None):
            return self.norm(self.convolution(x), training=training)

    inputs = keras.Input((16, 16, 3))
    backbone = keras.Model(inputs, Block(name="block")(layers.Rescaling(1 / 255)(inputs)))
    model = make_classifier(backbone)
    before = values(model)
    fine_tune(model, *data, backbone=backbone, epochs=(1, 1), learning_rate=1e-3, **QUIET)
    assert changed(before, values(model)) == {"top", "convolution"}


def test_history_joins_both_phases(data):
    model = make_classifier(make_backbone(), as_layer=True)
    history = fine_tune(model, *data, epochs=(2, 3), validation_data=data, **QUIET)
    assert isinstance(history, keras.callbacks.History)
    assert history.model is model
    assert history.epoch == [0, 1, 2, 3, 4]
    assert set(history.history) == {"loss", "val_loss"}
    assert all(len(values) == 5 for values in history.history.values())
    assert history.history["val_loss"][-1] == pytest.approx(
        model.evaluate(*data, verbose=0), rel=1e-5
    )


@pytest.mark.parametrize("epochs", [(0, 1), (0, 0)])
def test_a_phase_without_epochs(data, epochs):
    model = make_classifier(make_backbone(), as_layer=True)
    before = values(model)
    history = fine_tune(model, *data, epochs=epochs, learning_rate=1e-3, **QUIET)
    assert history.epoch == list(range(sum(epochs)))
    expected = {"top", "first", "second"} if any(epochs) else set()
    assert changed(before, values(model)) == expected


class InterruptionError(Exception):
    pass


class StopsAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise InterruptionError


def assert_same_weights(model, other):
    for got, expected in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(got), ops.convert_to_numpy(expected), atol=1e-6, err_msg=got.path
        )


@pytest.mark.parametrize("epoch", [1, 3])
def test_resumed(data, epoch, tmp_path):
    """A run in pieces, each in a model of its own, ends as one that was not interrupted."""
    settings = {"epochs": (2, 2), "unfreeze_from": "second", "learning_rate": 1e-3, **QUIET}

    def run(directory, callbacks=None):
        keras.utils.set_random_seed(3)
        model = make_classifier(make_backbone(), as_layer=True)
        return model, fine_tune(model, *data, directory=directory, callbacks=callbacks, **settings)

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(tmp_path / "pieces", [StopsAt(epoch)])
    model, history = run(tmp_path / "pieces")
    assert history.epoch == expected.epoch == [0, 1, 2, 3]
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-4)
    assert_same_weights(model, whole)
    # The user's own `fit` begins with its own first epoch.
    before = values(model)
    assert model.fit(*data, epochs=1, **QUIET).epoch == [0]
    assert changed(before, values(model)) == {"top", "second"}
    # Once more, it has ended: nothing is trained.
    again, history = run(tmp_path / "pieces", [StopsAt(0), StopsAt(3)])
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-4)
    assert_same_weights(again, whole)


class Killed:
    """Ends the work when it writes its n-th file, which is left half written."""

    def __init__(self, monkeypatch, countdown):
        self.countdown = countdown
        for owner, name in ((keras.Model, "save_weights"), (Path, "write_text")):
            monkeypatch.setattr(owner, name, self.broken(getattr(owner, name)))

    def broken(self, method):
        def call(*arguments, **options):
            self.countdown -= 1
            if self.countdown < 0:
                if method.__name__ == "save_weights":
                    Path(arguments[1]).write_bytes(b"half")
                else:
                    arguments[0].write_bytes(arguments[1][: len(arguments[1]) // 2].encode())
                raise InterruptionError
            return method(*arguments, **options)

        return call


def test_killed_at_any_moment(data, tmp_path):
    """Whatever file is half written, the same call goes on, and ends as one that was not killed."""
    images, labels = (x[:8] for x in data)

    def run(directory):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((16, 16, 3))
        backbone = keras.Model(inputs, layers.Conv2D(2, 8, 8, name="only")(inputs))
        model = make_classifier(backbone, as_layer=True)
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), loss, run_eagerly=True)
        history = fine_tune(
            model, images / 255, labels, epochs=(1, 1), learning_rate=1e-3, directory=directory,
            **QUIET,
        )  # fmt: skip
        return model, history

    whole, expected = run(tmp_path / "whole")
    ended, moment = False, 0
    while not ended:
        directory = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as patched:
            killed = Killed(patched, moment)
            try:
                run(directory)
                ended = True
            except InterruptionError:
                killed.countdown = 1_000
        model, history = run(directory)
        assert history.epoch == [0, 1]
        np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-5)
        assert_same_weights(model, whole)
        moment += 1
    assert moment == 1 + 2 * 3 + 1  # the plan; an epoch's two, a phase's one; none
    # Weights that a resumption needs no more are gone.
    left = sorted(path.name for path in directory.iterdir())
    assert left == ["backbone.weights.h5", "history.json", "plan.json", "top.weights.h5"]


class Biased(keras.callbacks.Callback):
    """Changes a weight when training ends, as `EarlyStopping` does that restores the best ones."""

    def on_train_end(self, logs=None):
        self.model.get_layer("top").bias.assign([1.0, 2.0, 3.0])


def test_what_a_callback_restores_is_kept(data, tmp_path):
    def run(callbacks):
        model = make_classifier(make_backbone(), as_layer=True)
        fine_tune(
            model, *data, epochs=(1, 1), directory=tmp_path, callbacks=[Biased(), *callbacks],
            **QUIET,
        )  # fmt: skip

    with pytest.raises(InterruptionError):
        run([StopsAt(1)])
    snapshots = Snapshots()
    run([snapshots])
    [bias] = [x for path, x in snapshots.seen[0].items() if path == "top/bias"]
    np.testing.assert_array_equal(bias, [1.0, 2.0, 3.0])
    assert len(snapshots.seen) == 2  # of the second phase alone


def own_loss(y_true, y_pred):
    """Of the user's, registered nowhere."""
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


def own_metric(y_true, y_pred):
    return ops.max(y_pred, axis=-1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_compiled_as_before(data, wrapped):
    """Functions of the user's, weights of losses, and an optimizer inside another one."""
    model = make_classifier(make_backbone(), as_layer=True)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.7)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, own_loss, metrics=[own_metric], run_eagerly=False)
    history = fine_tune(model, *data, epochs=(1, 1), learning_rate=0.002, **QUIET)
    assert set(history.history) == {"loss", "own_metric"}
    inner = model.optimizer.inner_optimizer if wrapped else model.optimizer
    assert isinstance(inner, keras.optimizers.SGD)
    assert inner.momentum == 0.7
    assert float(ops.convert_to_numpy(inner.learning_rate)) == pytest.approx(0.002)


def test_schedule_and_saved_model(data, tmp_path):
    """The file has the second phase's optimizer, and goes on with it."""
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, 100)
    model = make_classifier(make_backbone(), as_layer=True)
    fine_tune(model, *data, epochs=(1, 1), learning_rate=schedule, **QUIET)
    model.save(tmp_path / "tuned.keras")
    loaded = keras.saving.load_model(tmp_path / "tuned.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations) == 3
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in model.trainable_weights]
    np.testing.assert_allclose(
        loaded.predict(data[0], verbose=0), model.predict(data[0], verbose=0), atol=1e-6
    )


def test_task_model(data, tmp_path):
    images, labels = (x[:8] for x in data)
    boxes = np.tile(np.float32([[2, 2, 14, 12]]), (8, 1, 1))
    truth = {"boxes": boxes, "labels": labels[:, None]}
    detector = GridDetector(make_backbone(), 3, strides=[2, 4])
    # Nothing large is computed, and only JAX compiles faster than it computes without.
    eagerly = keras.backend.backend() != "jax"
    detector.compile(keras.optimizers.Adam(1e-3), run_eagerly=eagerly)
    snapshots = Snapshots()
    history = fine_tune(
        detector, images, truth, epochs=(1, 1), unfreeze_from="second", learning_rate=1e-3,
        validation_data=(images, truth), callbacks=[snapshots], directory=tmp_path, **QUIET,
    )  # fmt: skip
    before, top, again, end = snapshots.seen
    assert not {"first", "second", "first_norm", "second_norm"} & changed(before, top)
    assert {"first", "second", "first_norm", "second_norm"} & changed(again, end) == {"second"}
    assert len(history.history["val_AP"]) == len(history.history["loss"]) == 2
    np.testing.assert_allclose(snapshots.rates, [1e-3, 1e-3], rtol=1e-6)
    # What is frozen stays so in the file.
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    for got, expected in zip(loaded.trainable_weights, detector.trainable_weights, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (got, expected)))


def test_the_only_model_within_may_be_a_top(data):
    """It comes after the backbone's layers, which lie in the model as they are."""
    backbone = make_backbone()
    top = keras.Sequential(
        [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax", name="top")],
        name="head",
    )
    model = keras.Model(backbone.input, top(backbone.output))
    model.compile("adam", "sparse_categorical_crossentropy")
    message = r"`backbone` must be a .*of which there are \['head'\]. Received: backbone=None"
    with pytest.raises(ValueError, match=message):
        fine_tune(model, *data, epochs=(1, 1), **QUIET)


def test_augmentation_is_no_backbone(data):
    """The tutorials have it in the model too; it has no weights."""
    inputs = keras.Input((16, 16, 3))
    backbone = make_backbone()
    x = backbone(keras.Sequential([layers.RandomFlip()], name="augmentation")(inputs))
    x = layers.Dense(3, activation="softmax", name="top")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    before = values(model)
    fine_tune(model, *data, epochs=(1, 0), **QUIET)
    assert {name for name in changed(before, values(model)) if "seed" not in name} == {"top"}


def test_layers_that_the_model_does_not_use(data):
    backbone = make_backbone()
    features = keras.Model(backbone.input, backbone.get_layer("first_norm").output)
    model = make_classifier(features)
    with pytest.raises(ValueError, match="with weights of the model in it or after it"):
        fine_tune(model, *data, backbone=backbone, epochs=(1, 1), unfreeze_from="second", **QUIET)


def test_a_top_with_nothing_to_train(data):
    classifier = make_classifier(make_backbone())
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, classifier(inputs))
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="`backbone` must leave weights of the model to train in"):
        fine_tune(model, *data, epochs=(1, 1), **QUIET)


def test_integers_of_numpy_and_an_optimizer_of_the_users(data, tmp_path):
    class Own(keras.optimizers.SGD):
        """Registered nowhere."""

    model = make_classifier(make_backbone(), as_layer=True)
    model.compile(Own(0.01, momentum=0.5), "sparse_categorical_crossentropy")
    history = fine_tune(
        model, *data, epochs=(np.int64(1), 1), unfreeze_from=np.int64(-2),
        learning_rate=np.float32(0.25), directory=tmp_path, **QUIET,
    )  # fmt: skip
    assert history.epoch == [0, 1]
    assert type(model.optimizer) is Own
    assert float(ops.convert_to_numpy(model.optimizer.learning_rate)) == 0.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, r"`epochs` must be two integers.*epochs=3"),
        ({"epochs": (1, -1)}, "`epochs` must be an integer of at least 0"),
        ({"initial_epoch": 1}, "`initial_epoch` must be left"),
        ({"unfreeze_from": "secnod"}, "Did you mean 'second'"),
        ({"unfreeze_from": "elephant"}, r"It has \['input_layer"),
        ({"unfreeze_from": 6}, r"its index, from -6 to 5. Received: unfreeze_from=6$"),
        ({"unfreeze_from": -7}, "its index, from -6 to 5. Received: unfreeze_from=-7$"),
        ({"unfreeze_from": None}, "the name of a layer of the backbone, or its index.*=None$"),
        ({"unfreeze_from": True}, "the name of a layer of the backbone, or its index.*=True$"),
        ({"unfreeze_from": layers.Dense(2, name="top")}, "Pass its name, 'top'"),
        (
            {"unfreeze_from": "second_norm"},
            "layer with weights of the model.*batch normalization stay frozen",
        ),
        ({"callbacks": [keras.callbacks.BackupAndRestore("x")]}, "BackupAndRestore.*`directory`"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"learning_rate": "slow"}, "`learning_rate` must be a finite number"),
        ({"backbone": "bass"}, r"`backbone` must be .*there are \['base'\]. Received: .*'bass'"),
        ({"backbone": make_backbone()}, "`backbone` must be a `keras.Model` whose layers the mod"),
    ],
)
def test_bad_arguments(data, settings, message):
    model = make_classifier(make_backbone(), as_layer=True)
    before = [layer.trainable for layer in model.layers]
    with pytest.raises(ValueError, match=message):
        fine_tune(model, *data, **{**QUIET, "epochs": (1, 1), **settings})
    assert [layer.trainable for layer in model.layers] == before


def test_bad_models(data):
    model = make_classifier(make_backbone())
    with pytest.raises(ValueError, match="`backbone` must be a"):
        fine_tune(model, *data, **QUIET)
    with pytest.raises(
        ValueError, match=r"not the model itself.*the model that the top was put on"
    ):
        fine_tune(model, *data, backbone=model, **QUIET)
    uncompiled = keras.Model(model.input, model.output)
    with pytest.raises(ValueError, match=r"`model` must be a .* that is built and compiled"):
        fine_tune(uncompiled, *data, backbone=model, **QUIET)
    with pytest.raises(ValueError, match=r"`model` must be a .* that is built"):
        fine_tune("ResNet50", *data, **QUIET)


def test_a_folder_of_another_call(data, tmp_path):
    def run(loss="sparse_categorical_crossentropy", metrics=None, **settings):
        model = make_classifier(make_backbone(), as_layer=True)
        model.compile("adam", loss, metrics=metrics)
        fine_tune(model, *data, directory=tmp_path, **QUIET, **settings)

    run(epochs=(1, 0))
    for settings, name in [
        ({"epochs": (1, 1)}, "epochs"),
        ({"epochs": (1, 0), "unfreeze_from": 1}, "unfreeze_from"),
        ({"epochs": (1, 0), "learning_rate": 0.5}, "learning_rate"),
        ({"epochs": (1, 0), "loss": keras.losses.Poisson()}, "loss"),
        ({"epochs": (1, 0), "metrics": ["accuracy"]}, "metrics"),
    ]:
        with pytest.raises(ValueError, match=f"`directory` must be .* begun with other {name}"):
            run(**settings)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`directory` must be a folder"):
        fine_tune(
            make_classifier(make_backbone(), as_layer=True),
            *data,
            directory=tmp_path / "file",
            **QUIET,
        )


def test_one_callback(data):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    model = make_classifier(make_backbone(), as_layer=True)
    fine_tune(model, *data, epochs=(1, 1), callbacks=callback, **QUIET)
    assert seen == [0, 1]
