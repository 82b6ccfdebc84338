import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_cvx
from keras_cvx.models import GridDetector
from keras_cvx.ops import convert

CLASSES = 3


def make_backbone(size=None):
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    for stride, filters in ((4, 8), (2, 16), (2, 16)):
        x = layers.Conv2D(filters, 5, stride, padding="same", activation="relu")(x)
    return keras.Model(inputs, x, name="backbone")


def squares(count, size=32, seed=0):
    """Bright squares on dark noise, the class by the colour; up to two an image."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, size, size, 3)).astype("uint8")
    boxes = np.full((count, 2, 4), -1, "float32")
    labels = np.full((count, 2), -1, "int32")
    for i in range(count):
        for row in range(i % 3):
            side = int(rng.integers(8, 14))
            x = int(rng.integers(0, size // 2 - side + 1)) + row * size // 2
            y = int(rng.integers(0, size - side + 1))
            labels[i, row] = rng.integers(CLASSES)
            images[i, y : y + side, x : x + side, labels[i, row]] = 255
            boxes[i, row] = x, y, x + side, y + side
    return images, {"boxes": boxes, "labels": labels}


@pytest.fixture(scope="module")
def data():
    return squares(48)


@pytest.fixture(scope="module")
def trained(data):
    """A detector that has learnt the squares by heart."""
    keras.utils.set_random_seed(1)
    detector = GridDetector(make_backbone(), CLASSES, strides=[8, 16])
    detector.compile(optimizer=keras.optimizers.Adam(5e-3))
    images, truth = data
    history = detector.fit(images, truth, batch_size=16, epochs=60, verbose=0)
    return detector, history.history["loss"]


def as_json(config):
    return json.loads(json.dumps(config))


def as_numpy(detections):
    return {key: ops.convert_to_numpy(value) for key, value in detections.items()}


def assert_same(found, expected):
    assert set(found) == set(expected) == {"boxes", "confidence", "labels", "num_detections"}
    assert expected["num_detections"].sum() > 0
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-4, err_msg=key)


def test_learns(trained, data):
    detector, _ = trained
    scores = detector.evaluate(*data, batch_size=16, verbose=0, return_dict=True)
    assert list(scores) == ["loss", "AP", "AP50", "AP75"]
    assert scores["AP50"] > 0.9
    assert scores["AP"] > 0.5


def test_evaluate_is_the_metric_of_predict(trained, data):
    """The compiled step, and batches that do not divide the data, change no number."""
    detector, _ = trained
    metric = keras_cvx.metrics.MeanAveragePrecision(CLASSES)
    metric.update_state(data[1], detector.predict(data[0], verbose=0))
    scores = detector.evaluate(*data, batch_size=20, verbose=0, return_dict=True)
    for key, value in metric.result().items():
        assert scores[key] == pytest.approx(float(value), abs=1e-6)
    assert detector.evaluate(*data, batch_size=20, verbose=0) == pytest.approx(
        list(scores.values())
    )


def test_detections_are_in_the_image_and_sorted(trained, data):
    found = trained[0].predict(data[0], verbose=0)
    for image in range(len(data[0])):
        count = found["num_detections"][image]
        assert np.all(found["boxes"][image, :count] >= 0)
        assert np.all(found["boxes"][image, :count] <= 32)
        assert np.all(np.diff(found["confidence"][image, :count]) <= 0)
        for key in ("boxes", "confidence", "labels"):
            assert np.all(found[key][image, count:] == -1)


def test_predict_is_the_inference_graph(trained, data):
    detector, _ = trained
    expected = detector.predict(data[0][:8], verbose=0)
    assert_same(as_numpy(detector.inference_model(data[0][:8])), expected)
    assert_same(as_numpy(detector.predict_on_batch(data[0][:8])), expected)
    assert_same(as_numpy(detector.detections(detector(data[0][:8]))), expected)


def test_saved_and_loaded_in_a_fresh_process(trained, data, tmp_path):
    detector, _ = trained
    detector.save(tmp_path / "detector.keras")
    np.save(tmp_path / "images.npy", data[0][:8])
    program = (
        "import sys, keras, numpy as np, keras_cvx\n"
        "model = keras.saving.load_model(sys.argv[1] + '/detector.keras')\n"
        "found = model.predict(np.load(sys.argv[1] + '/images.npy'), verbose=0)\n"
        "np.savez(sys.argv[1] + '/found.npz', **found)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert_same(np.load(tmp_path / "found.npz"), detector.predict(data[0][:8], verbose=0))


def test_loaded_detector_goes_on_training(trained, data, tmp_path):
    detector, losses = trained
    detector.save(tmp_path / "detector.keras")
    loaded = keras_cvx.plugins.load_model(tmp_path / "detector.keras")
    assert isinstance(loaded, GridDetector)
    assert as_json(loaded.get_config()) == as_json(detector.get_config())
    assert loaded.optimizer.iterations == detector.optimizer.iterations
    first = loaded.evaluate(*data, verbose=0, return_dict=True)
    assert first == pytest.approx(detector.evaluate(*data, verbose=0, return_dict=True), abs=1e-4)
    again = loaded.fit(*data, batch_size=16, epochs=1, verbose=0).history["loss"][0]
    # A detector that begins anew passes through losses above that: its targets rise with its IoU.
    assert again < 1.5 * losses[-1] < 0.75 * max(losses)


def test_exported(trained, data, tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("torch needs optional packages; JAX's StableHLO is newer than TensorFlow reads")
    import tensorflow as tf

    detector, _ = trained
    detector.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    served = exported.serve(data[0][:8].astype("float32"))
    assert_same(as_numpy(served), detector.predict(data[0][:8], verbose=0))


@pytest.mark.parametrize("box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats(trained, data, box_format):
    detector, _ = trained
    images, truth = data[0][:8], {k: v[:8] for k, v in data[1].items()}
    config = {**detector.get_config(), "bounding_box_format": box_format}
    del config["non_max_suppression"], config["decoding"]
    other = GridDetector.from_config(config)
    other.set_weights(detector.get_weights())
    other.compile()
    expected = detector.predict(images, verbose=0)
    found = other.predict(images, verbose=0)
    size = {"height": 32, "width": 32}
    back = ops.convert_to_numpy(convert(found["boxes"], box_format, "xyxy", **size))
    valid = found["labels"] >= 0
    np.testing.assert_allclose(back[valid], expected["boxes"][valid], atol=1e-3)
    there = convert(truth["boxes"], "xyxy", box_format, **size)
    truth = {**truth, "boxes": ops.convert_to_numpy(there)}
    same = {k: v[:8] for k, v in data[1].items()}
    assert other.evaluate(images, truth, verbose=0) == pytest.approx(
        detector.evaluate(images, same, verbose=0), abs=1e-4
    )


@pytest.mark.parametrize("coding", ["anchor_free", "yolov1"])
@pytest.mark.parametrize("rows", [0, 2])
def test_images_without_objects(coding, rows):
    """Padding alone, or no rows at all, and one image a batch: the loss is finite and falls."""
    detector = GridDetector(make_backbone(32), CLASSES, coding=coding)
    detector.compile(optimizer=keras.optimizers.Adam(1e-3))
    images = squares(3)[0]
    truth = {"boxes": np.full((3, rows, 4), -1.0), "labels": np.full((3, rows), -1)}
    history = detector.fit(
        images, truth, validation_data=(images, truth), batch_size=1, epochs=3, verbose=0
    ).history
    assert np.all(np.isfinite(history["loss"]))
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_AP"] == [0.0] * 3
    assert all(np.all(np.isfinite(w)) for w in detector.get_weights())


def test_number_of_rows_that_varies(trained, data):
    """Padding to the batch, as `padded_batch` makes it, down to no rows at all."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces with an unknown number")
    images, truth = data
    widths, shapes = (6, 4, 0), {"boxes": (4,), "labels": ()}

    def padded(rows):
        return {
            key: np.full((len(images), rows, *shape), -1, truth[key].dtype)
            for key, shape in shapes.items()
        }

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return len(widths)

        def __getitem__(self, index):
            part = {key: value[16 * index :][:16] for key, value in padded(widths[index]).items()}
            for key, value in part.items():
                value[:, :2] = truth[key][16 * index :][:16, : widths[index]]
            return images[16 * index :][:16], part

    detector, _ = trained
    expected = detector.evaluate(*data, batch_size=16, verbose=0, return_dict=True)
    for rows in (6, 4):
        wide = padded(rows)
        for key, value in wide.items():
            value[:, :2] = truth[key]
        scores = detector.evaluate(images, wide, batch_size=16, verbose=0, return_dict=True)
        assert scores == pytest.approx(expected, abs=1e-5)
    other = GridDetector.from_config(detector.get_config())
    other.compile(optimizer=keras.optimizers.Adam(1e-3))
    history = other.fit(Batches(), validation_data=Batches(), epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert np.all(np.isfinite(history["val_AP"]))


def test_compiled_by_xla(data):
    if keras.backend.backend() == "torch":
        pytest.skip("torch has no XLA here")
    histories = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        detector = GridDetector(make_backbone(32), CLASSES, strides=8)
        detector.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
        histories.append(
            detector.fit(*data, validation_data=data, batch_size=24, epochs=2, verbose=0).history
        )
    assert set(histories[0]) == {"loss", "val_loss", "val_AP", "val_AP50", "val_AP75"}
    for name, expected in histories[0].items():
        np.testing.assert_allclose(histories[1][name], expected, rtol=1e-2, err_msg=name)


def test_parts_of_ones_own(data):
    """Another head, suppression, loss and metric than the default ones are used, and saved."""

    class Count(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state(y_pred["num_detections"])

    head = keras_cvx.layers.GridDetectionHead(CLASSES, 8, coding="yolov1", filters=8, depth=0)
    detector = GridDetector(
        make_backbone(),
        CLASSES,
        strides=8,
        coding="yolov1",
        head=head,
        non_max_suppression=keras_cvx.layers.NonMaxSuppression(
            0.25, confidence_threshold=0.0, max_detections=7
        ),
    )
    assert detector.head is head
    detector.compile(
        optimizer="sgd",
        loss=lambda y, predictions: ops.mean(ops.square(predictions[..., 3:])),
        metrics=[Count(name="count")],
    )
    scores = detector.evaluate(*data, verbose=0, return_dict=True)
    outputs = ops.convert_to_numpy(detector(data[0]))[..., 3:]
    assert scores["loss"] == pytest.approx(np.mean(outputs**2), rel=1e-3)
    found = detector.predict(data[0], verbose=0)
    assert found["boxes"].shape == (48, 7, 4)
    assert scores["count"] == pytest.approx(found["num_detections"].mean())
    again = GridDetector.from_config(detector.get_config())
    assert again.get_config() == detector.get_config()
    assert again.non_max_suppression.max_detections == 7


def test_dataset_of_batches(data):
    """Anything that Keras iterates over will do; here a `PyDataset`."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = slice(16 * index, 16 * index + 16)
            return data[0][rows], {k: v[rows] for k, v in data[1].items()}

    detector = GridDetector(make_backbone(), CLASSES)
    detector.compile()
    from_arrays = detector.evaluate(*data, batch_size=16, verbose=0)
    assert detector.evaluate(Batches(), verbose=0) == pytest.approx(from_arrays, abs=1e-5)
    assert np.isfinite(detector.fit(Batches(), epochs=1, verbose=0).history["loss"][0])


def test_compiled_again(trained, data):
    """As in fine-tuning: the metrics of the first `compile` are gone, and training goes on."""
    detector, _ = trained
    before = detector.evaluate(*data, verbose=0, return_dict=True)
    other = GridDetector.from_config(detector.get_config())
    other.set_weights(detector.get_weights())
    for _ in range(2):
        other.compile(optimizer=keras.optimizers.SGD(0.0))
        history = other.fit(*data, validation_data=data, epochs=1, verbose=0).history
        assert set(history) == {"loss", "val_loss", "val_AP", "val_AP50", "val_AP75"}
        assert len(other.metrics) == 2
    # Batch normalization has moved its averages, and no gradient anything.
    assert other.evaluate(*data, verbose=0, return_dict=True)["AP50"] == pytest.approx(
        before["AP50"], abs=0.05
    )


def test_suppression_can_be_replaced(trained, data):
    detector = GridDetector.from_config(trained[0].get_config())
    detector.set_weights(trained[0].get_weights())
    detector.compile()
    assert detector.evaluate(*data, verbose=0, return_dict=True)["AP50"] > 0.9
    assert np.any(detector.predict(data[0], verbose=0)["num_detections"] > 0)
    detector.non_max_suppression = keras_cvx.layers.NonMaxSuppression(
        0.5, confidence_threshold=1.0, max_detections=3
    )
    found = detector.predict(data[0], verbose=0)
    assert found["boxes"].shape == (48, 3, 4)
    assert not np.any(found["num_detections"])
    assert detector.evaluate(*data, verbose=0, return_dict=True)["AP50"] == 0.0


def test_parts_by_name_are_made_for_the_detector():
    detector = GridDetector(make_backbone(), CLASSES, bounding_box_format="xywh", coding="yolov1")
    detector.compile(loss="GridDetectionLoss", metrics=["MeanAveragePrecision"])
    assert detector.detection_loss.coding is detector.coding
    for part in (detector.detection_loss, *detector.detection_metrics):
        assert part.bounding_box_format == "xywh"


def test_one_metric_needs_no_list():
    detector = GridDetector(make_backbone(), CLASSES)
    for metric in ("MeanAveragePrecision", keras_cvx.metrics.MeanAveragePrecision(CLASSES)):
        detector.compile(metrics=metric)
        (made,) = detector.detection_metrics
        assert isinstance(made, keras_cvx.metrics.MeanAveragePrecision)
    with pytest.raises(ValueError, match="A plugin of kind 'metric' is required"):
        detector.compile(metrics=lambda y, found: 0.0)


def test_callbacks_that_watch_the_metric(trained, data, tmp_path):
    detector = GridDetector.from_config(trained[0].get_config())
    detector.compile(optimizer=keras.optimizers.SGD(0.0))
    images, truth = data[0][:8], {key: value[:8] for key, value in data[1].items()}
    best = tmp_path / "best.keras"
    watch = {"monitor": "val_AP", "mode": "max"}
    callbacks = [
        keras.callbacks.EarlyStopping(patience=1, **watch),
        keras.callbacks.ModelCheckpoint(best, save_best_only=True, **watch),
    ]
    options = {"validation_data": (images, truth), "verbose": 0}
    history = detector.fit(images, truth, epochs=4, callbacks=callbacks, **options).history
    assert len(history["val_AP"]) < 4
    assert best.exists()


def test_parts_that_could_not_be_loaded_are_refused():
    class Coding(keras_cvx.codings.YOLOv1Coding):
        pass

    class Head(keras_cvx.layers.GridDetectionHead):
        pass

    class Suppression(keras_cvx.layers.NonMaxSuppression):
        pass

    class Decoding(keras_cvx.layers.GridDecoding):
        pass

    for argument, part in {
        "coding": Coding(),
        "head": Head(CLASSES, [8, 16]),
        "non_max_suppression": Suppression(),
        "decoding": Decoding(),
    }.items():
        name = type(part).__name__
        message = rf"`{argument}` must be of a registered class.*register\(.{name}., kind="
        with pytest.raises(ValueError, match=message):
            GridDetector(make_backbone(), CLASSES, **{argument: part})
    with keras.saving.custom_object_scope({"Coding": Coding}):
        assert GridDetector(make_backbone(), CLASSES, coding=Coding()).coding


def assign_nothing(overlaps, scores, boxes, present, centers, strides, **_):
    nothing = ops.zeros_like(overlaps)
    return nothing > 0, ops.sum(nothing, axis=1)


@pytest.mark.usefixtures("clean_registry")
def test_a_coding_of_parts_that_could_not_be_loaded_is_refused():
    coding = keras_cvx.codings.AnchorFreeCoding(assigner=assign_nothing)
    with pytest.raises(ValueError, match=r"`coding` must come back from.*an assigner"):
        GridDetector(make_backbone(), CLASSES, coding=coding)
    keras_cvx.plugins.register("nothing", kind="assigner", package="acme")(assign_nothing)
    detector = GridDetector(make_backbone(), CLASSES, coding=coding)
    assert detector.coding.assigner is assign_nothing


@pytest.mark.usefixtures("clean_registry")
def test_parts_that_keras_knows_are_taken():
    @keras.saving.register_keras_serializable("acme")
    class Coding(keras_cvx.codings.YOLOv1Coding):
        pass

    assert GridDetector(make_backbone(), CLASSES, coding=Coding()).coding
    features = [keras.Input((None, None, 16)), keras.Input((None, None, 16))]
    head = keras_cvx.layers.GridDetectionHead(CLASSES, [8, 16])
    assert GridDetector(make_backbone(), CLASSES, head=keras.Model(features, head(features))).head


def test_backbone_of_a_trained_detector(trained, data):
    """It goes over to a detector of other classes, and stays as it is while it is frozen."""
    detector = GridDetector.from_config(trained[0].get_config())
    detector.set_weights(trained[0].get_weights())
    other = GridDetector(detector.backbone, num_classes=7)
    other.backbone.trainable = False
    other.compile(optimizer=keras.optimizers.Adam(1e-3))
    before = [w.copy() for w in detector.backbone.get_weights()]
    head = [w.copy() for w in other.head.get_weights()]
    assert {id(w) for w in other.trainable_weights} == {id(w) for w in other.head.trainable_weights}
    other.fit(*data, verbose=0)
    for old, new in zip(before, other.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    changed = zip(head, other.head.get_weights(), strict=True)
    assert any(np.any(old != new) for old, new in changed)
    other.backbone.trainable = True
    other.compile()
    assert len(other.trainable_weights) == len(detector.trainable_weights)


def test_heads_of_no_grid_are_refused():
    with pytest.raises(ValueError, match="`head` must be a layer that is called on a list"):
        GridDetector(make_backbone(), CLASSES, head=keras.layers.GRUCell(3))
    for head in (keras.layers.Identity(), keras.layers.Concatenate(axis=1)):
        with pytest.raises(ValueError, match=r"`head` must give predictions \(B, cells, 3"):
            GridDetector(make_backbone(), CLASSES, strides=[8, 8], head=head)


def test_parts_that_disagree_are_refused():
    parts, losses = keras_cvx.layers, keras_cvx.losses
    for argument, part in {
        "non_max_suppression": parts.NonMaxSuppression(bounding_box_format="xywh"),
        "head": parts.GridDetectionHead(CLASSES, [8, 16], coding="yolov1"),
        "decoding": parts.GridDecoding(bounding_box_format="yxyx"),
    }.items():
        with pytest.raises(ValueError, match=f"`{argument}` must have the detector's"):
            GridDetector(make_backbone(), CLASSES, **{argument: part})
    with pytest.raises(ValueError, match="`head` must have the detector's num_classes=3"):
        GridDetector(make_backbone(), 3, head=parts.GridDetectionHead(4, [8, 16]))
    detector = GridDetector(make_backbone(), CLASSES)
    with pytest.raises(ValueError, match="`loss` must have the detector's bounding_box_format"):
        detector.compile(loss=losses.GridDetectionLoss(bounding_box_format="xywh"))
    with pytest.raises(ValueError, match="`metric` must have the detector's num_classes=3"):
        detector.compile(metrics=[keras_cvx.metrics.MeanAveragePrecision(4)])
    with pytest.raises(ValueError, match="`loss_weights` must be None"):
        detector.compile(loss_weights=[1.0])


WRONG = {
    "label": ({"labels": 3}, r"`labels` must be integers from 0 to 2.*labels\[5, 1\] = 3"),
    "half a label": ({"labels": 1.5}, r"`labels` must be integers.*labels\[5, 1\] = 1.5"),
    "negative label": ({"labels": -2}, r"labels\[5, 1\] = -2"),
    "NaN": ({"boxes": [0, 0, np.nan, 4]}, r"`boxes` must be finite.*boxes\[5, 1\]"),
    "outside": ({"boxes": [20, 0, 40, 8]}, r"lie in their image of height 32 and width 32"),
    "padding": (
        {"boxes": [0] * 4},
        r"label −1 where there is no object, such as in rows of.*boxes\[5, 1\]",
    ),
    "swapped": ({"boxes": [20, 0, 10, 8]}, r"no negative side.*boxes\[5, 1\]"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_wrong_ground_truth_is_named(trained, data, case, method):
    images, truth = data
    truth = {key: value.copy() for key, value in truth.items()}
    change, message = WRONG[case]
    truth["labels"] = truth["labels"].astype("float32")
    truth["labels"][5, 1] = 0
    truth["boxes"][5, 1] = 0, 0, 8, 8
    for key, value in change.items():
        truth[key][5, 1] = value
    with pytest.raises(ValueError, match=message):
        getattr(trained[0], method)(images, truth, verbose=0)
    packed = np.concatenate([truth["boxes"], truth["labels"][..., None]], -1)
    with pytest.raises(ValueError, match=message):
        getattr(trained[0], method)(ops.convert_to_tensor(images), packed, verbose=0)


def test_wrong_validation_data_is_named_before_training(trained, data):
    images, truth = data
    wrong = {**truth, "labels": np.where(truth["labels"] == 1, 7, truth["labels"])}
    before = trained[0].get_weights()
    with pytest.raises(ValueError, match=r"`labels` must be integers from 0 to 2"):
        trained[0].fit(images, truth, validation_data=(images, wrong), verbose=0)
    for old, new in zip(before, trained[0].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_packed_ground_truth(trained, data):
    images, truth = data
    packed = np.concatenate([truth["boxes"], truth["labels"][..., None]], -1)
    assert trained[0].evaluate(images, packed, 16, verbose=0) == pytest.approx(
        trained[0].evaluate(images, truth, 16, verbose=0)
    )


@pytest.mark.parametrize("loss", ["auto", lambda y, p: ops.mean(ops.square(p), axis=(1, 2))])
def test_weights_of_images(data, loss):
    """Keras hands them to each array of a dictionary; packed, they come as they are."""
    images, truth = data[0][:3], {key: value[:3] for key, value in data[1].items()}
    packed = np.concatenate([truth["boxes"], truth["labels"][..., None]], -1)
    weights = np.array([2.0, 0.0, 0.5])
    detector = GridDetector(make_backbone(32), CLASSES, strides=8)
    detector.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss, metrics=None)
    each = [detector.evaluate(images[i : i + 1], packed[i : i + 1], verbose=0) for i in range(3)]
    expected = np.mean(weights * np.reshape(each, -1))
    for y in (truth, packed):
        for w in (weights, weights[:, None]):
            found = detector.evaluate(images, y, sample_weight=w, verbose=0)
            assert found == pytest.approx([expected], rel=1e-4)
    history = detector.fit(
        images, truth, sample_weight=weights, validation_data=(images, truth, weights), verbose=0
    ).history
    again = detector.fit(images, packed, sample_weight=weights, verbose=0).history
    assert history["loss"] == pytest.approx(again["loss"], rel=1e-4)
    # Validation came after the first epoch, which moved the averages of batch normalization.
    unweighted = detector.fit(images, packed, validation_data=(images, packed), verbose=0).history
    assert history["val_loss"][0] != pytest.approx(unweighted["val_loss"][0], rel=1e-2)


def test_weights_that_have_no_meaning(trained, data):
    packed = np.concatenate([data[1]["boxes"], data[1]["labels"][..., None]], -1)
    with pytest.raises(ValueError, match=r"one number an image, \(B,\). Received: .*2\)"):
        trained[0].evaluate(data[0], packed, sample_weight=np.ones((48, 2)), verbose=0)
    with pytest.raises(ValueError, match="`class_weight` must be None: an image has no class"):
        trained[0].fit(*data, class_weight={0: 2.0})


def test_lists_in_the_dictionary(trained, data):
    images, truth = data[0][:8], {key: value[:8] for key, value in data[1].items()}
    lists = {key: value.tolist() for key, value in truth.items()}
    expected = trained[0].evaluate(images, truth, verbose=0)
    assert trained[0].evaluate(images, lists, verbose=0) == pytest.approx(expected, abs=1e-5)
    lists["labels"][1].append(0)
    with pytest.raises(ValueError, match=r"The labels of `y` must be an array .*rows of label −1"):
        trained[0].fit(images, lists)


def scenes_of(images, truth):
    return {"images": images, "bounding_boxes": truth}


STRUCTURES = {
    "none": (lambda x, y: (x, None), "one array .*Received: y=None"),
    "pair": (
        lambda x, y: (x, (y["boxes"], y["labels"])),
        'a tuple of length 2. Of boxes and labels, pass `{"boxes": boxes, "labels": labels}`',
    ),
    "list": (lambda x, y: (x, y["boxes"].tolist()), "a list of length 48"),
    "boxes": (lambda x, y: (x, y["boxes"]), r"Received: shape \(48, 2, 4\)"),
    "keys": (lambda x, y: (x, {"boxes": y["boxes"]}), r"of the keys \['boxes'\]"),
    "scenes": (lambda x, y: (scenes_of(x, y), None), '`x` must be images.*`scenes\\["images"\\]`'),
    "scenes as y": (lambda x, y: (x, scenes_of(x, y)), 'Pass `y\\["bounding_boxes"\\]`'),
    "one image": (lambda x, y: (x[0], y), r"`x` must be images .*Received: shape \(32, 32, 3\)"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_structures_that_are_refused(trained, data, case):
    change, message = STRUCTURES[case]
    x, y = change(*data)
    with pytest.raises(ValueError, match=message):
        trained[0].fit(x, y)
    with pytest.raises(ValueError, match=message):
        trained[0].evaluate(x, y)
    with pytest.raises(ValueError, match=message):
        trained[0].fit(*data, validation_data=x if y is None and isinstance(x, dict) else (x, y))


def test_lengths_that_differ(trained, data):
    images, truth = data
    with pytest.raises(ValueError, match="for each of the 47 images"):
        trained[0].fit(images[1:], truth)
    with pytest.raises(ValueError, match=r"Received: boxes \(48, 2, 4\), labels \(48, 1\)"):
        trained[0].fit(images, {**truth, "labels": truth["labels"][:, :1]})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1"),
        ({"bounding_box_format": "yxhw"}, "`bounding_box_format` must be one of"),
        ({"coding": "yolo_v1"}, "Did you mean 'yolov1'"),
        (
            {"strides": [8, 64]},
            r"among those of the backbone 'backbone', which are \[1, 4, 8, 16\]",
        ),
        ({"backbone": make_backbone(40)}, "multiple of 16.*height=40. Pad to 48"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridDetector(**{"backbone": make_backbone(), "num_classes": 2, **arguments})


def test_image_size_that_no_grid_covers(trained):
    images = np.zeros((1, 32, 40, 3))
    with pytest.raises(ValueError, match=r"multiple of 16.*width=40. Pad to 48"):
        trained[0](images)
    with pytest.raises(ValueError, match=r"multiple of 16.*width=40. Pad to 48"):
        trained[0].predict(images, verbose=0)
