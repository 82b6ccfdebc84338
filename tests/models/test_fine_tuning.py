import json

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
        (False, True, "second_norm", set()),
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


@pytest.mark.parametrize("epoch", [1, 2, 3])
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


def test_a_broken_off_epoch_counts_once(data, tmp_path):
    """Its line is written before its backup; without the backup it is trained again."""
    settings = {"directory": tmp_path, "epochs": (2, 0), **QUIET}
    with pytest.raises(InterruptionError):
        fine_tune(
            make_classifier(make_backbone(), as_layer=True), *data,
            callbacks=[StopsAt(1)], **settings,
        )  # fmt: skip
    with open(tmp_path / "top" / "epochs.jsonl", "a") as file:
        file.write(json.dumps([1, {"loss": 1e9}]) + "\n")
    history = fine_tune(make_classifier(make_backbone(), as_layer=True), *data, **settings)
    assert history.epoch == [0, 1]
    assert max(history.history["loss"]) < 1e3


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
    images, labels = data
    boxes = np.tile(np.float32([[2, 2, 14, 12]]), (24, 1, 1))
    truth = {"boxes": boxes, "labels": labels[:, None]}
    detector = GridDetector(make_backbone(), 3, strides=[2, 4])
    detector.compile(keras.optimizers.Adam(1e-3))
    before = values(detector)
    snapshots = Snapshots()
    history = fine_tune(
        detector, images, truth, epochs=(1, 1), unfreeze_from="second", learning_rate=1e-3,
        validation_data=(images, truth), callbacks=[snapshots], directory=tmp_path, **QUIET,
    )  # fmt: skip
    _, top, again, end = snapshots.seen
    assert not {"first", "second", "first_norm", "second_norm"} & changed(before, top)
    assert {"first", "second", "first_norm", "second_norm"} & changed(again, end) == {"second"}
    assert len(history.history["val_AP"]) == len(history.history["loss"]) == 2
    np.testing.assert_allclose(snapshots.rates, [1e-3, 1e-3], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, r"`epochs` must be two integers.*epochs=3"),
        ({"epochs": (1, -1)}, "`epochs` must be an integer of at least 0"),
        ({"initial_epoch": 1}, "`initial_epoch` must be left"),
        ({"unfreeze_from": "secnod"}, "Did you mean 'second'"),
        ({"unfreeze_from": "elephant"}, r"It has \['input_layer"),
        ({"unfreeze_from": 6}, "`unfreeze_from` must be less than 6"),
        ({"unfreeze_from": -7}, "`unfreeze_from` must be an integer of at least -6"),
        ({"unfreeze_from": None}, "`unfreeze_from` must be an integer"),
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
