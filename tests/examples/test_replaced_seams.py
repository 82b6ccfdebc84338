"""Every seam is a plugin: each part of the example's package takes the place of ours by its name.

What is looked for is a number or a pixel that only that part can give.
"""

import importlib
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from keras_cvx import backbones, codings, models, plugins
from keras_cvx.__main__ import main
from keras_cvx.layers import NonMaxSuppression
from keras_cvx.plugins import registry

PACKAGE = Path(__file__).parents[2] / "examples" / "plugin_package"
LN2 = np.log(2.0)


@pytest.fixture(scope="module", autouse=True)
def acme():
    """The package, imported from its folder, and forgotten with all that it registered."""
    custom, known = dict(keras.saving.get_custom_objects()), dict(registry._plugins)
    sys.path.insert(0, str(PACKAGE))
    yield importlib.import_module("keras_cvx_acme")
    sys.path.remove(str(PACKAGE))
    for name in [name for name in sys.modules if name.startswith("keras_cvx_acme")]:
        del sys.modules[name]
    registry._plugins = known
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(custom)


def backbone(channels=3):
    x = inputs = keras.Input((32, 32, channels))
    for _ in range(4):
        x = layers.Conv2D(3, 3, 2, padding="same")(x)
    return keras.Model(inputs, x)


# Two images of 32 × 32, whose first object has its centre at a corner of four cells of stride 8.
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
TRUTH = {
    "boxes": np.float32([[[0, 0, 32, 32], [2, 4, 8, 9]], [[0, 0, 32, 32], [-1, -1, -1, -1]]]),
    "labels": np.int32([[1, 0], [1, -1]]),
}


def silent(**arguments):
    """A detector of two classes whose head gives nothing but zeros."""
    detector = models.GridDetector(
        backbone(), 2, strides=[8], bounding_box_format="xyxy", **arguments
    )
    detector.head.set_weights([np.zeros_like(weight) for weight in detector.head.get_weights()])
    return detector


def loss_of(detector, rows=slice(None)):
    detector.compile(metrics=None, jit_compile=False)
    truth = {name: x[rows] for name, x in TRUTH.items()}
    return detector.evaluate(IMAGES[rows], truth, verbose=0, return_dict=True)["loss"]


def test_each_kind_is_there(acme):
    kinds = {plugin.kind for plugin in plugins.registered() if plugin.name.startswith("acme>")}
    assert kinds == {
        "assigner", "backbone", "coding", "decoder", "layer", "loss", "metric", "reader",
        "visualizer",
    }  # fmt: skip
    assert len(acme.__all__) == len(kinds)


def test_coding():
    """Of zeros it makes boxes whose sides are ln 2 strides from the centre of the cell."""
    detector = silent(coding="acme>distances")
    boxes, scores = detector.decoding(detector(IMAGES))
    side = 8 * LN2
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(boxes)[0, 5],
        [12 - side, 12 - side, 12 + side, 12 + side],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(scores), 0.5)


@pytest.fixture
def of_classes():
    """Arguments of a coding whose loss is that of the classes, over the number of cells."""
    return {"box_weight": 0.0, "distribution_weight": 0.0}


def test_assigner(of_classes):
    """The object has the 16 cells within 1.5 strides, each with the target 1."""
    loss = {
        name: loss_of(silent(coding=codings.AnchorFreeCoding(assigner=name, **of_classes)), [1])
        for name in ("acme>CenterSampling", "task_aligned")
    }
    assert loss["acme>CenterSampling"] == pytest.approx(16 * 2 * LN2 / 16, rel=1e-5)
    assert loss["task_aligned"] > 2 * loss["acme>CenterSampling"]


def test_box_loss_of_a_coding(of_classes):
    """What it adds is the mean of log(1 + gap / 4) over the corners of the assigned boxes."""
    of_boxes = {**of_classes, "assigner": "acme>CenterSampling", "box_weight": 1.0}
    coding = codings.AnchorFreeCoding(box_loss="acme>LogarithmicBoxLoss", **of_boxes)
    detector = silent(coding=coding)
    boxes, _ = detector.coding.decode(*_cells(detector))
    gaps = np.abs(keras.ops.convert_to_numpy(boxes)[0] - [0, 0, 32, 32])
    expected = 2 * LN2 + np.log1p(gaps / 4).mean()
    assert loss_of(detector, [1]) == pytest.approx(expected, rel=1e-5)


def _cells(detector):
    raw = detector(IMAGES[1:])
    return raw[..., 3:], raw[..., :2], raw[..., 2:3]


def test_loss():
    localizer = models.Localizer(backbone(), 2, bounding_box_format="xyxy")
    localizer.compile(loss={"boxes": "acme>LogarithmicBoxLoss"}, metrics=None, jit_compile=False)
    truth = {"labels": TRUTH["labels"][:, 0], "boxes": TRUTH["boxes"][:, 0]}
    loss = localizer.evaluate(IMAGES, truth, verbose=0, return_dict=True)["loss"]
    gaps = np.abs(keras.ops.convert_to_numpy(localizer(IMAGES)["boxes"]) - truth["boxes"])
    assert loss == pytest.approx(np.log1p(gaps / 4).mean(), rel=1e-5)


def test_metric():
    """All 16 cells have the score 0.5 for both classes, of which suppression keeps 5 in all."""
    suppression = NonMaxSuppression(
        1.0, 0.25, max_detections=5, bounding_box_format="xyxy", name="suppression"
    )
    detector = silent(non_max_suppression=suppression)
    detector.compile(metrics="acme>CountError", jit_compile=False)
    scores = detector.evaluate(IMAGES, TRUTH, verbose=0, return_dict=True)
    # Five found, of two objects and of one.
    assert scores["count_error"] == 3.5


def test_head(acme):
    """Its levels share their weights: the same features give the same in both."""
    detector = models.GridDetector(
        backbone(), 2, strides=[8, 16], bounding_box_format="xyxy", head="acme>shared"
    )
    assert detector.head.strides == [8, 16]
    first, second = detector.head.lateral
    second.set_weights(first.get_weights())
    maps = np.random.default_rng(1).normal(size=(1, 4, 4, 3)).astype("float32")
    raw = keras.ops.convert_to_numpy(detector.head([maps, maps]))
    np.testing.assert_array_equal(raw[:, :16, 3:], raw[:, 16:, 3:])
    assert np.ptp(raw[..., 3:]) > 0.01
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(detector(IMAGES)),
        keras.ops.convert_to_numpy(detector.head(detector.get_layer("feature_extractor")(IMAGES))),
        rtol=1e-5,
        atol=1e-5,
    )


def test_head_on_one_map():
    """It gets a list of one, as it does of several."""
    detector = silent(head="acme>shared")
    raw = keras.ops.convert_to_numpy(detector(IMAGES))
    np.testing.assert_array_equal(raw[0, 6], [20, 12, 8, *[0] * (raw.shape[-1] - 3)])


def test_decoder():
    segmenter = models.Segmenter(backbone(), 3, decoder="acme>one_map")
    kernel = segmenter.decoder.scores.get_weights()[0]
    segmenter.decoder.scores.set_weights([np.zeros_like(kernel), np.float32([0, 2, 1])])
    logits = keras.ops.convert_to_numpy(segmenter(IMAGES))
    np.testing.assert_allclose(logits, np.broadcast_to([0, 2, 1], logits.shape), atol=1e-6)
    found = segmenter.predict(IMAGES, verbose=0)
    assert (found["masks"] == 1).all()


def test_backbone():
    """One channel goes in, and its own layer makes three of it for the colours' network."""
    grey = IMAGES[..., :1]
    made = backbones.get(
        "acme>grayscale", model="MobileNet", weights=None, input_shape=(32, 32, 1), alpha=0.25
    )
    localizer = models.Localizer(made, 2, bounding_box_format="xyxy")
    three = localizer.backbone.get_layer("three_channels")([grey] * 3)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(three), grey.repeat(3, axis=-1))
    maps = made.layers[-1](grey.repeat(3, axis=-1))
    expected = localizer.head(maps, keras.ops.convert_to_tensor(grey))["boxes"]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(localizer(grey)["boxes"]),
        keras.ops.convert_to_numpy(expected),
        rtol=1e-4,
        atol=1e-4,
    )


def test_reader_and_visualizer(tmp_path, capsys):
    """The command reads what only the reader knows, and draws what only the visualizer does."""
    pixels = np.full((40, 40, 3), 90, "uint8")
    pixels[10:20, 5:25] = 255, 0, 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "boxes.txt").write_text("a.png 5 10 25 20 poppy\na.png 5 10\n")
    chosen = ["--format", "acme>lines", "--visualizer", "acme>close_ups"]
    picture = tmp_path / "poppies.png"
    arguments = ["datasets", "check", str(tmp_path / "boxes.txt"), "--picture", str(picture)]
    assert main([*arguments, *chosen]) == 1
    printed = capsys.readouterr().out
    assert "1 images, 1 labels in 1 classes\n  poppy  1\n" in printed
    assert "line 2: a line must be a name, four numbers and a class" in printed
    with Image.open(picture) as drawn:
        colours = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    # Nothing of the image around the object.
    assert (colours == [255, 0, 0]).all(-1).sum() > 500
    assert not (colours == 90).all(-1).any()
