import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_cvx
from keras_cvx.layers import LocalizationHead
from keras_cvx.models import Localizer
from keras_cvx.ops import convert, elementwise_iou

CLASSES = 3


def make_backbone(size=32, channels=3, **kwargs):
    inputs = keras.Input((size, size, channels), **kwargs)
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    for stride, filters in ((4, 8), (2, 16)):
        x = layers.Conv2D(filters, 5, stride, padding="same", activation="relu")(x)
    return keras.Model(inputs, x, name="backbone")


def squares(count, size=32, seed=0):
    """A bright square on dark noise, the class by the colour; every fourth image has none."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, (count, size, size, 3)).astype("uint8")
    boxes, labels = np.full((count, 4), -1, "float32"), np.full(count, -1, "int32")
    for i in range(count):
        if i % 4:
            width, height = rng.integers(8, 20, 2)
            x, y = rng.integers(0, size - width + 1), rng.integers(0, size - height + 1)
            labels[i] = rng.integers(CLASSES)
            images[i, y : y + height, x : x + width, labels[i]] = 255
            boxes[i] = x, y, x + width, y + height
    return images, {"labels": labels, "boxes": boxes}


@pytest.fixture(scope="module")
def data():
    return squares(64)


@pytest.fixture(scope="module")
def trained(data):
    """A localizer that has learnt the squares by heart."""
    keras.utils.set_random_seed(1)
    localizer = Localizer(make_backbone(), CLASSES)
    localizer.compile(optimizer=keras.optimizers.Adam(5e-3))
    history = localizer.fit(*data, batch_size=16, epochs=40, verbose=0).history
    return localizer, history


def clone(localizer, **changes):
    other = Localizer.from_config({**localizer.get_config(), **changes})
    other.set_weights(localizer.get_weights())
    return other


def as_numpy(outputs):
    return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}


def assert_same(found, expected):
    assert set(found) == set(expected) == {"boxes", "confidence", "labels", "num_detections"}
    assert 0 < expected["num_detections"].sum() < len(expected["labels"])
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-4, err_msg=key)


def test_learns(trained, data):
    localizer, history = trained
    assert set(history) == {
        "loss", "labels_loss", "boxes_loss", "labels_accuracy", "boxes_box_iou",
    }  # fmt: skip
    scores = localizer.evaluate(*data, batch_size=16, verbose=0, return_dict=True)
    assert set(scores) == set(history)
    assert scores["labels_accuracy"] == 1.0
    assert scores["boxes_box_iou"] > 0.75


def test_evaluate_is_by_hand(trained, data):
    """Accuracy over all images, IoU and box loss over those with an object; so each its mean."""
    localizer, _ = trained
    images, truth = data
    outputs = as_numpy(localizer(images))
    scores = localizer.evaluate(images, truth, batch_size=64, verbose=0, return_dict=True)
    there = truth["labels"] >= 0
    classes = np.where(there, truth["labels"], CLASSES)
    right = outputs["labels"].argmax(-1) == classes
    assert scores["labels_accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    pair = truth["boxes"][there], outputs["boxes"][there]
    assert scores["boxes_box_iou"] == pytest.approx(
        float(np.mean(ops.convert_to_numpy(elementwise_iou(*pair)))), abs=1e-5
    )
    giou = ops.convert_to_numpy(elementwise_iou(*pair, variant="giou"))
    assert scores["boxes_loss"] == pytest.approx(float(np.mean(1 - giou)), abs=1e-5)
    logs = -np.log(outputs["labels"][np.arange(64), classes])
    assert scores["labels_loss"] == pytest.approx(logs.mean(), rel=1e-3, abs=1e-6)
    assert scores["loss"] == pytest.approx(scores["labels_loss"] + scores["boxes_loss"], abs=1e-5)


def test_outputs(trained, data):
    outputs = as_numpy(trained[0](data[0]))
    np.testing.assert_allclose(outputs["labels"].sum(-1), 1.0, atol=1e-5)
    assert (outputs["boxes"] >= 0).all()
    assert (outputs["boxes"] <= 32).all()
    assert (outputs["boxes"][:, :2] <= outputs["boxes"][:, 2:]).all()


def test_detections(trained, data):
    """Of the images with an object one each, and of the others none."""
    found = trained[0].predict(data[0], verbose=0)
    outputs = as_numpy(trained[0](data[0]))
    np.testing.assert_array_equal(found["labels"][:, 0], data[1]["labels"])
    there = data[1]["labels"] >= 0
    np.testing.assert_array_equal(found["num_detections"], there)
    np.testing.assert_allclose(found["boxes"][there, 0], outputs["boxes"][there], atol=1e-4)
    best = outputs["labels"].max(-1)
    np.testing.assert_allclose(found["confidence"][there, 0], best[there], atol=1e-5)
    for key in ("boxes", "confidence", "labels"):
        assert (found[key][~there] == -1).all()


def test_predict_is_the_inference_graph(trained, data):
    localizer, _ = trained
    expected = localizer.predict(data[0][:8], verbose=0)
    assert_same(as_numpy(localizer.inference_model(data[0][:8])), expected)
    assert_same(as_numpy(localizer.predict_on_batch(data[0][:8])), expected)
    assert_same(as_numpy(localizer.detections(localizer(data[0][:8]))), expected)


def test_saved_and_loaded_in_a_fresh_process(trained, data, tmp_path):
    trained[0].save(tmp_path / "localizer.keras")
    np.save(tmp_path / "images.npy", data[0][:8])
    program = (
        "import sys, keras, numpy as np, keras_cvx\n"
        "model = keras.saving.load_model(sys.argv[1] + '/localizer.keras')\n"
        "found = model.predict(np.load(sys.argv[1] + '/images.npy'), verbose=0)\n"
        "np.savez(sys.argv[1] + '/found.npz', **found)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert_same(np.load(tmp_path / "found.npz"), trained[0].predict(data[0][:8], verbose=0))


def test_loaded_localizer_goes_on_training(trained, data, tmp_path):
    localizer, history = trained
    localizer.save(tmp_path / "localizer.keras")
    loaded = keras_cvx.plugins.load_model(tmp_path / "localizer.keras")
    assert isinstance(loaded, Localizer)
    assert json.dumps(loaded.get_config()) == json.dumps(localizer.get_config())
    assert loaded.optimizer.iterations == localizer.optimizer.iterations
    first = loaded.evaluate(*data, verbose=0, return_dict=True)
    assert first == pytest.approx(localizer.evaluate(*data, verbose=0, return_dict=True), abs=1e-4)
    again = loaded.fit(*data, batch_size=16, epochs=1, verbose=0).history["loss"][0]
    assert again < 2 * history["loss"][-1] < 0.5 * history["loss"][0]


def test_exported(trained, data, tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("torch needs optional packages; JAX's StableHLO is newer than TensorFlow reads")
    import tensorflow as tf

    trained[0].export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    served = exported.serve(data[0][:8].astype("float32"))
    assert_same(as_numpy(served), trained[0].predict(data[0][:8], verbose=0))


@pytest.mark.parametrize("box_format", ["xywh", "rel_yxyx", "center_xywh"])
def test_formats(trained, data, box_format):
    """The same boxes, and the same numbers where the loss is of no unit."""
    localizer, _ = trained
    config = localizer.get_config()
    del config["head"]
    other = Localizer.from_config({**config, "bounding_box_format": box_format})
    other.set_weights(localizer.get_weights())
    other.compile()
    expected, found = (x.predict(data[0], verbose=0) for x in (localizer, other))
    size = {"height": 32, "width": 32}
    back = ops.convert_to_numpy(convert(found["boxes"], box_format, "xyxy", **size))
    there = expected["labels"] >= 0
    np.testing.assert_allclose(back[there], expected["boxes"][there], atol=1e-3)
    assert (found["boxes"][~there] == -1).all()
    boxes = ops.convert_to_numpy(convert(data[1]["boxes"], "xyxy", box_format, **size))
    truth = {"labels": data[1]["labels"], "boxes": boxes}
    assert other.evaluate(data[0], truth, verbose=0, return_dict=True) == pytest.approx(
        localizer.evaluate(*data, verbose=0, return_dict=True), abs=1e-4
    )


def test_rows_of_data_for_detectors(trained, data):
    rows = {"labels": data[1]["labels"][:, None], "boxes": data[1]["boxes"][:, None]}
    expected = trained[0].evaluate(*data, verbose=0)
    assert trained[0].evaluate(data[0], rows, verbose=0) == pytest.approx(expected, abs=1e-5)
    lists = {key: value.tolist() for key, value in rows.items()}
    assert trained[0].evaluate(data[0], lists, verbose=0) == pytest.approx(expected, abs=1e-5)


def test_images_without_an_object_teach_the_class_alone():
    """Whatever their boxes and their weight are, the weights of the edges stay."""
    images = squares(4)[0]
    for boxes, loss in (
        (np.full((4, 4), -1.0), "GIoULoss"),
        (np.full((4, 4), 7.0), "huber"),
        (np.full((4, 4), np.nan), "mse"),
    ):
        localizer = Localizer(make_backbone(), CLASSES)
        localizer.compile(
            optimizer=keras.optimizers.SGD(0.1),
            loss={"labels": "sparse_categorical_crossentropy", "boxes": loss},
        )
        head = [w.copy() for w in localizer.head.get_weights()]
        truth = {"labels": np.full(4, -1), "boxes": boxes}
        weights = np.array([1.0, 3.0, 0.0, 1.0])
        history = localizer.fit(images, truth, sample_weight=weights, verbose=0).history
        assert history["boxes_loss"] == [0.0]
        assert history["labels_loss"][0] > 0
        after = localizer.head.get_weights()
        np.testing.assert_array_equal(after[-1], head[-1])
        np.testing.assert_array_equal(after[-2], head[-2])
        assert np.abs(after[-3] - head[-3]).max() > 1e-3
        assert all(np.isfinite(w).all() for w in localizer.get_weights())
        assert (localizer.predict(images, verbose=0)["num_detections"] == 0).any()


def test_losses_by_choice(trained, data):
    """Those of Keras see only the boxes that are there, and `loss_weights` count as in Keras."""
    localizer = clone(trained[0])
    images, truth = data
    outputs, there = as_numpy(localizer(images)), truth["labels"] >= 0
    error = np.where(there[:, None], outputs["boxes"] - truth["boxes"], 0.0)
    for loss, expected in (
        ("mse", np.mean(error**2)),
        (keras.losses.MeanAbsoluteError(), np.mean(np.abs(error))),
        (lambda y, p: ops.max(ops.abs(y - p), -1), np.mean(np.abs(error).max(-1))),
    ):
        localizer.compile(
            loss={"labels": "sparse_categorical_crossentropy", "boxes": loss},
            loss_weights={"labels": 0.5, "boxes": 0.25},
            metrics=None,
        )
        scores = localizer.evaluate(images, truth, batch_size=64, verbose=0, return_dict=True)
        assert scores["boxes_loss"] == pytest.approx(expected, rel=1e-3)
        assert scores["loss"] == pytest.approx(
            0.5 * scores["labels_loss"] + 0.25 * scores["boxes_loss"], rel=1e-4
        )
    localizer.compile(loss={"boxes": "CIoULoss"}, metrics=None)
    assert set(localizer.evaluate(*data, verbose=0, return_dict=True)) == {"loss"}


def test_metrics_by_choice(trained, data):
    localizer = clone(trained[0], bounding_box_format="rel_xywh", head=None)
    truth = {**data[1], "boxes": ops.convert_to_numpy(
        convert(data[1]["boxes"], "xyxy", "rel_xywh", height=32, width=32))}  # fmt: skip
    localizer.compile(
        metrics={
            "boxes": [
                "BoxIoU",
                keras_cvx.metrics.BoxIoU(bounding_box_format="rel_xywh", name="again"),
            ]
        },
        weighted_metrics={"boxes": "mae", "labels": ["accuracy"]},
    )
    scores = localizer.evaluate(data[0], truth, verbose=0, return_dict=True)
    assert scores["boxes_box_iou"] == pytest.approx(scores["boxes_again"])
    assert scores["boxes_box_iou"] == pytest.approx(
        trained[0].evaluate(*data, verbose=0, return_dict=True)["boxes_box_iou"], abs=1e-5
    )
    there = truth["labels"] >= 0
    error = np.abs(as_numpy(localizer(data[0]))["boxes"] - truth["boxes"])[there]
    name = next(key for key in scores if "mean_absolute" in key or "mae" in key)
    assert scores[name] == pytest.approx(error.mean(), rel=1e-3)


@pytest.mark.parametrize("loss", ["GIoULoss", "mse"])
def test_weights_of_images(data, loss):
    images, truth = data[0][1:4], {key: value[1:4] for key, value in data[1].items()}
    weights = np.array([2.0, 0.0, 0.5])
    localizer = Localizer(make_backbone(), CLASSES)
    localizer.compile(
        optimizer=keras.optimizers.SGD(0.0),
        loss={"labels": "sparse_categorical_crossentropy", "boxes": loss},
        metrics=None,
    )

    def score(sample_weight, rows=slice(None)):
        return localizer.evaluate(
            images[rows], {key: value[rows] for key, value in truth.items()},
            sample_weight=sample_weight, verbose=0, return_dict=True,
        )  # fmt: skip

    each = [score(None, slice(i, i + 1)) for i in range(3)]
    both = score({"labels": weights, "boxes": weights[::-1]})
    for key, used in (("labels_loss", weights), ("boxes_loss", weights[::-1])):
        expected = np.mean(used * [scores[key] for scores in each])
        assert both[key] == pytest.approx(expected, rel=1e-4)
    expected = np.mean(weights * [scores["loss"] for scores in each])
    for used in (weights, weights[:, None]):
        assert score(used)["loss"] == pytest.approx(expected, rel=1e-4)
    history = localizer.fit(
        images, truth, sample_weight=weights, validation_data=(images, truth, weights), verbose=0
    ).history
    assert history["loss"] == pytest.approx([expected], rel=1e-4)
    assert history["val_loss"] == pytest.approx([expected], rel=1e-4)


def test_datasets(trained, data):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            rows = slice(16 * index, 16 * index + 16)
            return data[0][rows], {k: v[rows] for k, v in data[1].items()}

    localizer = clone(trained[0])
    localizer.compile(optimizer=keras.optimizers.SGD(1e-3))
    expected = localizer.evaluate(*data, batch_size=16, verbose=0)
    assert localizer.evaluate(Batches(), verbose=0) == pytest.approx(expected, abs=1e-5)
    tf = pytest.importorskip("tensorflow")
    rows = {"labels": data[1]["labels"][:, None], "boxes": data[1]["boxes"][:, None]}
    for truth in (data[1], rows):
        dataset = tf.data.Dataset.from_tensor_slices((data[0], truth)).batch(16)
        assert localizer.evaluate(dataset, verbose=0) == pytest.approx(expected, abs=1e-5)
    weighted = tf.data.Dataset.from_tensor_slices((data[0], data[1], np.ones(64))).batch(16)
    assert localizer.evaluate(weighted, verbose=0) == pytest.approx(expected, abs=1e-5)
    options = {"validation_data": weighted, "shuffle": False, "verbose": 0}
    assert np.isfinite(localizer.fit(dataset, **options).history["loss"])


def test_compiled_by_xla(data):
    if keras.backend.backend() == "torch":
        pytest.skip("torch has no XLA here")
    histories = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        localizer = Localizer(make_backbone(), CLASSES)
        localizer.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
        histories.append(localizer.fit(*data, batch_size=32, epochs=2, verbose=0).history)
    assert len(histories[0]) == 5
    for name, expected in histories[0].items():
        np.testing.assert_allclose(histories[1][name], expected, rtol=1e-2, atol=1e-3, err_msg=name)


def test_images_of_any_size(trained, data, tmp_path):
    """Each is letterboxed, and the box is in its own pixels."""
    localizer = clone(trained[0])
    localizer.preprocessing = keras_cvx.layers.ResizeWithPad(32, 32, pad_position="top_left")
    image, truth = data[0][1], data[1]["boxes"][1]
    expected = localizer.predict(image[None], verbose=0)
    assert expected["num_detections"] == [1]
    large = np.pad(image.repeat(3, 0).repeat(3, 1), [(0, 12), (0, 0), (0, 0)])[:96]
    wide = image[:, :30]
    localizer.save(tmp_path / "localizer.keras")
    reloaded = keras.saving.load_model(tmp_path / "localizer.keras")
    for model in (localizer, reloaded):
        found = model.predict([large, wide, image], verbose=0)
        np.testing.assert_array_equal(found["labels"], np.full((3, 1), data[1]["labels"][1]))
        np.testing.assert_allclose(found["boxes"][2], expected["boxes"][0], atol=1e-3)
        np.testing.assert_allclose(found["boxes"][0, 0], 3 * truth, atol=9)
        assert (found["boxes"][1] <= [30, 32, 30, 32]).all()
        alone = model.predict(large[None], verbose=0)
        np.testing.assert_allclose(alone["boxes"][0], found["boxes"][0], atol=1e-3)


def test_backbone_of_any_size():
    localizer = Localizer(make_backbone(None), CLASSES)
    localizer.compile()
    for size in (24, 40):
        images, truth = squares(8, size)
        assert np.isfinite(localizer.fit(images, truth, verbose=0).history["loss"])
        boxes = as_numpy(localizer(images))["boxes"]
        assert (boxes <= size).all()
        assert boxes.max() > 0.5 * size


def test_backbone_of_several_outputs():
    inputs = keras.Input((32, 32, 3))
    fine = layers.Conv2D(4, 4, 4, activation="tanh")(inputs)
    coarse = layers.Conv2D(5, 2, 2, activation="tanh")(fine)
    unused = layers.Conv2D(6, 2, 2)(coarse)
    backbone = keras.Model(inputs, [unused, fine, coarse])
    localizer = Localizer(backbone, CLASSES)
    assert localizer.backbone is backbone
    # Layers that lead nowhere would have no gradient.
    assert len(localizer.trainable_weights) == 4 + len(localizer.head.trainable_weights)
    again = Localizer.from_config(localizer.get_config())
    again.set_weights(localizer.get_weights())
    images = squares(3)[0]
    for key, value in as_numpy(localizer(images)).items():
        np.testing.assert_allclose(ops.convert_to_numpy(again(images)[key]), value, atol=1e-5)


@pytest.mark.parametrize("kind", ["sequential", "list", "dictionary"])
def test_backbone_of_one_output(kind):
    backbone = make_backbone()
    if kind == "sequential":
        backbone = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 8, 8)])
    else:
        x = backbone.output
        backbone = keras.Model(backbone.input, [x] if kind == "list" else {"x": x})
    localizer = Localizer(backbone, CLASSES)
    again = Localizer.from_config(localizer.get_config())
    again.set_weights(localizer.get_weights())
    images = squares(3)[0]
    for key, value in as_numpy(localizer(images)).items():
        np.testing.assert_allclose(ops.convert_to_numpy(again(images)[key]), value, atol=1e-5)


def test_frozen_backbone(trained, data):
    localizer = clone(trained[0])
    other = Localizer(localizer.backbone, num_classes=7)
    other.backbone.trainable = False
    other.compile(optimizer=keras.optimizers.Adam(1e-3))
    before = [w.copy() for w in other.backbone.get_weights()]
    other.fit(*data, verbose=0)
    for old, new in zip(before, other.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {id(w) for w in other.trainable_weights} == {id(w) for w in other.head.trainable_weights}


@pytest.mark.usefixtures("clean_registry")
def test_head_of_ones_own(data, tmp_path):
    @keras.saving.register_keras_serializable("acme")
    class Head(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.classes = layers.Dense(CLASSES + 1, activation="softmax")
            self.corners = layers.Dense(4, activation="sigmoid")

        def build(self, features_shape, images_shape):
            self.classes.build((None, features_shape[-1]))
            self.corners.build((None, features_shape[-1]))

        def call(self, features, images):
            x = ops.mean(features, axis=(1, 2))
            return {"boxes": 32 * self.corners(x), "labels": self.classes(x)}

    localizer = Localizer(make_backbone(), CLASSES, head=Head())
    localizer.compile(loss={"labels": "sparse_categorical_crossentropy", "boxes": "mse"})
    localizer.fit(*data, verbose=0)
    expected = as_numpy(localizer(data[0]))
    localizer.save(tmp_path / "localizer.keras")
    for key, value in as_numpy(
        keras.saving.load_model(tmp_path / "localizer.keras")(data[0])
    ).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-5)
    with pytest.raises(ValueError, match=r"'labels' \(B, 6\), the last .*\(None, 4\)"):
        Localizer(make_backbone(), 5, head=Head())


def test_parts_by_name_are_made_for_the_localizer():
    localizer = Localizer(make_backbone(), CLASSES, bounding_box_format="xywh")
    localizer.compile(
        loss={"labels": "sparse_categorical_crossentropy", "boxes": "DIoULoss"},
        metrics={"labels": ["accuracy"], "boxes": ["BoxIoU", "keras_cvx>BoxIoU"]},
    )
    config = localizer.get_compile_config()
    assert config["loss"]["boxes"]["class_name"] == "DIoULoss"
    for part in (config["loss"]["boxes"], *config["metrics"]["boxes"]):
        assert part["config"]["bounding_box_format"] == "xywh"


@pytest.mark.parametrize(
    ("argument", "part", "near"),
    [
        ("loss", "GIoU", "GIoULoss"),
        ("loss", "giou_loss", "GIoULoss"),
        ("metrics", "IoU", "BoxIoU"),  # which Keras has of classes, with arguments
        ("weighted_metrics", ["mae", "boxiou"], "BoxIoU"),
    ],
)
def test_names_that_nobody_has(argument, part, near):
    with pytest.raises(ValueError, match=f"There is no plugin of kind .*Did you mean '{near}'"):
        Localizer(make_backbone(), CLASSES).compile(**{argument: {"boxes": part}})


def test_names_that_keras_has(data):
    localizer = Localizer(make_backbone(), CLASSES)
    localizer.compile(
        loss={"labels": "SparseCategoricalCrossentropy", "boxes": "log_cosh"},
        metrics={
            "labels": ["acc", "sparse_categorical_crossentropy"],
            "boxes": "MeanSquaredError",
        },
    )
    assert len(localizer.evaluate(*data, verbose=0)) == 6


def test_losses_of_logits_are_refused():
    """Silently, they would train a softmax of a softmax."""
    localizer = Localizer(make_backbone(), CLASSES)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match=r"loss must take probabilities.*from_logits=False"):
        localizer.compile(loss={"labels": loss, "boxes": "mse"})


def test_weights_of_some_losses(data):
    """What is not given is 1, and what weighs no loss is refused."""
    localizer = Localizer(make_backbone(), CLASSES)
    localizer.compile(loss_weights={"boxes": 3.0}, metrics=None)
    scores = localizer.evaluate(*data, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(scores["labels_loss"] + 3 * scores["boxes_loss"])
    for loss in ({"labels": "sparse_categorical_crossentropy"}, {"labels": "mse", "boxes": None}):
        with pytest.raises(ValueError, match=r"of outputs that have a loss, \['labels'\].*'boxes'"):
            localizer.compile(loss=loss, loss_weights={"labels": 1.0, "boxes": 2.0})
    localizer.compile(
        loss={"labels": "sparse_categorical_crossentropy"}, loss_weights={"labels": 2.0}
    )
    assert np.isfinite(localizer.evaluate(*data, verbose=0)[0])


def test_parts_that_disagree_are_refused():
    localizer = Localizer(make_backbone(), CLASSES, bounding_box_format="xywh")
    with pytest.raises(ValueError, match="`loss` must have the localizer's bounding_box_format"):
        localizer.compile(loss={"boxes": keras_cvx.losses.GIoULoss()})
    with pytest.raises(ValueError, match="`metric` must have the localizer's bounding_box_format"):
        localizer.compile(metrics={"boxes": ["mae", keras_cvx.metrics.BoxIoU()]})
    with pytest.raises(ValueError, match="`head` must be a layer that is called on a feature map"):
        Localizer(make_backbone(), CLASSES, head=layers.Dense(4))
    head = LocalizationHead(CLASSES)
    with pytest.raises(ValueError, match="`head` must have num_classes=4, the 3 of the localizer"):
        Localizer(make_backbone(), CLASSES, head=head)
    with pytest.raises(ValueError, match="`head` must have the localizer's bounding_box_format"):
        Localizer(make_backbone(), CLASSES, head=LocalizationHead(4, bounding_box_format="xywh"))

    other = LocalizationHead(4, data_format="channels_first")
    with pytest.raises(ValueError, match="`head` must have the localizer's data_format"):
        Localizer(make_backbone(), CLASSES, head=other)

    class Head(LocalizationHead):
        pass

    with pytest.raises(ValueError, match=r"`head` must be of a registered class.*`@keras_cvx"):
        Localizer(make_backbone(), CLASSES, head=Head(4))


@pytest.mark.parametrize("argument", ["loss", "loss_weights", "metrics", "weighted_metrics"])
@pytest.mark.parametrize("wrong", ["mse", ["mse", "mse"], {"box": "mse"}])
def test_what_is_of_no_output_is_refused(argument, wrong):
    message = f"`{argument}` must be None or a dictionary with the keys 'labels' and 'boxes'"
    with pytest.raises(ValueError, match=message):
        Localizer(make_backbone(), CLASSES).compile(**{argument: wrong})


WRONG = {
    "label": ({"labels": 3}, r"`labels` must be integers from 0 to 2.*labels\[5\] = 3"),
    "half a label": ({"labels": 1.5}, r"`labels` must be integers.*labels\[5\] = 1.5"),
    "NaN": ({"boxes": [0, 0, np.nan, 4]}, r"`boxes` must be finite.*boxes\[5\]"),
    "outside": ({"boxes": [20, 0, 40, 8]}, r"lie in their image of height 32 and width 32"),
    "zeros": (
        {"boxes": [0] * 4},
        r"label −1 where there is no object, such as in rows of.*boxes\[5\]",
    ),
    "swapped": ({"boxes": [20, 0, 10, 8]}, r"no negative side.*boxes\[5\]"),
}


def test_rows_are_named_as_they_were_given(trained, data):
    labels = data[1]["labels"][:, None].copy()
    labels[5] = 3
    for boxes in (data[1]["boxes"], data[1]["boxes"][:, None]):
        with pytest.raises(ValueError, match=r"where there is no object.*labels\[5, 0\] = 3"):
            trained[0].fit(data[0], {"labels": labels, "boxes": boxes})


def test_relative_boxes_are_no_pixels(trained, data):
    truth = {**data[1], "boxes": data[1]["boxes"] / 32}
    with pytest.raises(
        ValueError, match=r"`boxes` must be xyxy in pixels.*bounding_box_format='re"
    ):
        trained[0].fit(data[0], truth)
    # Of one small box among others nothing can be said, nor of images without an object.
    truth = {key: value.copy() for key, value in data[1].items()}
    truth["boxes"][1] = [0, 0, 1, 1]
    assert len(trained[0].evaluate(data[0], truth, verbose=0)) == 5
    none = {"labels": np.full(4, -1), "boxes": np.full((4, 4), -1.0)}
    assert len(trained[0].evaluate(data[0][:4], none, verbose=0)) == 5


@pytest.mark.parametrize("case", WRONG)
def test_wrong_ground_truth_is_named(trained, data, case):
    images, truth = data
    change, message = WRONG[case]
    truth = {"labels": truth["labels"].astype("float32"), "boxes": truth["boxes"].copy()}
    for key, value in change.items():
        truth[key][5] = value
    for call in (
        lambda: trained[0].fit(images, truth),
        lambda: trained[0].evaluate(images, truth),
        lambda: trained[0].fit(*data, validation_data=(images, truth)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


STRUCTURES = {
    "none": (lambda x, y: (x, None), r"dictionary {\"labels\": \(B,\), .*Received: y=None"),
    "pair": (
        lambda x, y: (x, (y["boxes"], y["labels"])),
        'a tuple of length 2. Of boxes and labels, pass `{"boxes": boxes, "labels": labels}`',
    ),
    "packed": (lambda x, y: (x, np.zeros((64, 1, 5))), r"Received: shape \(64, 1, 5\)"),
    "scenes": (
        lambda x, y: ({"images": x, "bounding_boxes": y}, None),
        '`x` must be images.*`scenes\\["images"\\]`',
    ),
    "scenes as y": (lambda x, y: (x, {"bounding_boxes": y}), 'Pass `y\\["bounding_boxes"\\]`'),
    "one image": (lambda x, y: (x[0], y), r"`x` must be images .*Received: shape \(32, 32, 3\)"),
    "one-hot labels": (
        lambda x, y: (x, {**y, "labels": np.eye(4)[y["labels"]]}),
        r"one label \(B,\) and one box \(B, 4\) an image. Received: labels \(64, 4\)",
    ),
    "several objects": (
        lambda x, y: (x, {"labels": np.zeros((64, 2)), "boxes": np.ones((64, 2, 4))}),
        r"labels \(64, 2\), boxes \(64, 2, 4\). Several objects an image are for a `GridDetector`",
    ),
    "fewer": (lambda x, y: (x[1:], y), "for each of the 63 images"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_structures_that_are_refused(trained, data, case):
    change, message = STRUCTURES[case]
    x, y = change(*data)
    with pytest.raises(ValueError, match=message):
        trained[0].fit(x, y)
    with pytest.raises(ValueError, match=message):
        trained[0].evaluate(x, y)


def test_weights_that_have_no_meaning(trained, data):
    for weights in (np.ones((64, 2)), {"labels": np.ones(64), "boxes": np.ones((64, 4))}):
        with pytest.raises(ValueError, match=r"one number an image, \(B,\). Received: shape"):
            trained[0].fit(*data, sample_weight=weights)
    for weights in ({"boxes": np.ones(64)}, {"label": np.ones(64), "boxes": np.ones(64)}):
        with pytest.raises(ValueError, match=r"keys 'labels' and 'boxes'\. Received"):
            trained[0].fit(*data, sample_weight=weights)
    with pytest.raises(ValueError, match=r"must be an array.*`np.asarray\(sample_weight\)`"):
        trained[0].evaluate(*data, sample_weight=[1.0] * 64)
    with pytest.raises(ValueError, match="`class_weight` must be None"):
        trained[0].fit(*data, class_weight={0: 2.0})


BAD_BACKBONES = {
    "layer": (layers.Dense(2), "a functional or built sequential"),
    "name": ("MobileNetV2", r"`keras_cvx.backbones.get\('MobileNetV2'\)`"),
    "two inputs": (
        keras.Model([a := keras.Input((8, 8, 3)), b := keras.Input((8, 8, 3))], a + b),
        "have one input, a batch of images of rank 4",
    ),
    "tokens": (
        keras.Sequential([make_backbone(), layers.Reshape((16, 16))]),
        r"shape \(None, 16, 16\). Of a vision .*`keras_cvx.backbones.FeatureExtractor\(backbone, ",
    ),
    "pooled": (
        keras.Sequential([make_backbone(), layers.GlobalMaxPooling2D()]),
        r"feature map of rank 4 .*shape \(None, 16\). Build .*`include_top=False, pooling=None`",
    ),
    "unbuilt": (keras.Sequential([layers.Conv2D(4, 3)]), "a functional or built sequential"),
}


@pytest.mark.parametrize("case", BAD_BACKBONES)
def test_bad_backbones(case):
    backbone, message = BAD_BACKBONES[case]
    with pytest.raises(ValueError, match=f"`backbone` must .*{message}"):
        Localizer(backbone, CLASSES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1"),
        ({"bounding_box_format": "yxhw"}, "`bounding_box_format` must be one of"),
        (
            {"preprocessing": keras_cvx.layers.ResizeWithPad(16, 32)},
            "`preprocessing` must make images .*height=32, width=32",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Localizer(**{"backbone": make_backbone(), "num_classes": 2, **arguments})


def test_images_that_are_refused(trained):
    message = r"`x` must be images of shape \(B, 32, 32, 3\).*`keras_cvx.layers.ResizeWithPad"
    with pytest.raises(ValueError, match=message):
        trained[0].predict(np.zeros((2, 32, 40, 3)))


def test_localization_accuracy_of_the_right_class(trained, data):
    """Of one output it sees no classes; of detections it does."""
    images, truth = data
    metric = keras_cvx.metrics.BoxIoU(threshold=0.5, class_aware=True)
    with pytest.raises(ValueError, match="must not be class-aware"):
        Localizer(make_backbone(), CLASSES).compile(metrics={"boxes": metric})
    localizer, _ = trained
    metric.update_state(truth, localizer.predict(images, verbose=0))
    overlaps = keras_cvx.metrics.BoxIoU(threshold=0.5)
    overlaps.update_state(truth, localizer.predict(images, verbose=0))
    assert 0.5 < float(metric.result()) <= float(overlaps.result())
