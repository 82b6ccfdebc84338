"""The layers that make detections and masks of what a task model gives, replaced by name."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.layers import (
    GridDecoding,
    LocalizationDecoding,
    NonMaxSuppression,
    ResizeWithPad,
)
from keras_cvx.models import GridDetector, Localizer, Segmenter

pytestmark = pytest.mark.usefixtures("clean_registry", "parts")
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")


@pytest.fixture
def parts():
    @plugins.register("FirstOnly", kind="layer", package="other")
    class FirstOnly(GridDecoding):
        """The scores of all cells but the first are 0."""

        def call(self, predictions):
            boxes, scores = super().call(predictions)
            first = np.zeros((scores.shape[1], 1), "float32")
            first[0] = 1.0
            return boxes, scores * ops.convert_to_tensor(first)

    @plugins.register("Doubtful", kind="layer", package="other")
    class Doubtful(LocalizationDecoding):
        """Finds nothing that is less probable than `least`."""

        def __init__(self, least=2.0, **kwargs):
            super().__init__(**kwargs)
            self.least = least

        def call(self, predictions):
            scores = predictions["labels"]
            nothing = np.zeros(scores.shape[-1], "float32")
            nothing[-1] = 1e-6
            scores = ops.where(scores >= self.least, scores, ops.convert_to_tensor(nothing))
            return super().call({**predictions, "labels": scores})

        def get_config(self):
            return {**super().get_config(), "least": self.least}

    @plugins.register("Threshold", kind="layer", package="other", alias="threshold")
    class Threshold(keras.layers.Layer):
        """Class 1 wherever its probability reaches a threshold, whatever the others have."""

        def __init__(self, threshold=0.0, **kwargs):
            super().__init__(**kwargs)
            self.threshold = threshold
            self.built = True

        def call(self, logits):
            confidence = ops.softmax(ops.cast(logits, "float32"))[..., 1]
            return {
                "masks": ops.cast(confidence >= self.threshold, "int32"),
                "confidence": confidence,
            }

        def get_config(self):
            return {**super().get_config(), "threshold": self.threshold}


def backbone(size=32):
    x = inputs = keras.Input((size, size, 3))
    for _ in range(5):
        x = layers.Conv2D(3, 3, 2, padding="same")(x)
    return keras.Model(inputs, x)


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return plugins.load_model(folder / "model.keras")


def test_of_a_detector(tmp_path):
    suppression = NonMaxSuppression(confidence_threshold=1e-6, bounding_box_format="rel_xyxy")
    detector = GridDetector(
        backbone(),
        2,
        strides=[8],
        bounding_box_format="rel_xyxy",
        coding="yolov1",
        decoding="other>FirstOnly",
        non_max_suppression=suppression,
    )
    assert detector.decoding.coding is detector.coding
    assert detector.decoding.bounding_box_format == "rel_xyxy"
    # Each box is its own cell, with the score 1 for class 0.
    outputs = np.tile(np.float32([0.5, 0.5, 0.5, 0.5, 1, 0.5, 0.5, 0, 0, 0, 1, 0]), (2, 16, 1))
    cells = ops.convert_to_numpy(detector(IMAGES))[..., :3]
    raw = ops.convert_to_tensor(np.concatenate([cells, outputs], -1))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(detector.detections(raw)["num_detections"]), [1, 1]
    )
    again = reloaded(detector, tmp_path)
    assert type(again.decoding) is type(detector.decoding)
    before = detector.predict(IMAGES, verbose=0)["num_detections"]
    detector.decoding = GridDecoding(detector.coding, "rel_xyxy")
    assert (ops.convert_to_numpy(detector.detections(raw)["num_detections"]) == 16).all()
    assert (before <= 1).all()


def test_of_a_localizer(tmp_path):
    localizer = Localizer(backbone(), 2, decoding="other>Doubtful")
    assert localizer.predict(IMAGES, verbose=0)["num_detections"].tolist() == [0, 0]
    kernel, _ = localizer.head._classes.get_weights()
    localizer.head._classes.set_weights([0 * kernel, np.float32([0, 9, 0])])
    assert localizer.predict(IMAGES, verbose=0)["num_detections"].tolist() == [0, 0]
    again = reloaded(localizer, tmp_path)
    assert again.decoding.least == 2.0
    assert again.predict(IMAGES, verbose=0)["num_detections"].tolist() == [0, 0]
    again.decoding = plugins.get("other>Doubtful", kind="layer").__class__(0.5)
    assert again.predict(IMAGES, verbose=0)["labels"].tolist() == [[1], [1]]
    again.decoding = LocalizationDecoding
    assert again.predict(IMAGES, verbose=0)["labels"].tolist() == [[1], [1]]


def test_of_a_segmenter(tmp_path):
    segmenter = Segmenter(backbone(None), 3, decoder="fcn32s", classification="other>threshold")
    probabilities = ops.convert_to_numpy(ops.softmax(segmenter(IMAGES)))
    found = segmenter.predict(IMAGES, verbose=0)
    assert (found["masks"] == 1).all()
    np.testing.assert_allclose(found["confidence"], probabilities[..., 1], atol=1e-5)
    tiled = segmenter.predict_tiled(IMAGES)
    assert (tiled["masks"] == 1).all()
    np.testing.assert_allclose(tiled["confidence"], probabilities[..., 1], atol=1e-5)
    again = reloaded(segmenter, tmp_path)
    assert (again.predict(IMAGES, verbose=0)["masks"] == 1).all()
    again.classification = type(segmenter.classification)(1.1)
    assert (again.predict(IMAGES, verbose=0)["masks"] == 0).all()
    again.classification = None
    expected = probabilities.argmax(-1)
    np.testing.assert_array_equal(again.predict(IMAGES, verbose=0)["masks"], expected)


@pytest.mark.parametrize("sizes", [[(16, 24), (20, 20)], [(16, 24), (16, 24)]])
def test_of_a_segmenter_at_the_size_of_the_images(sizes):
    """On the host too, and in the graph; where nothing was cut off."""
    segmenter = Segmenter(
        backbone(),
        3,
        decoder="fcn32s",
        classification="other>threshold",
        preprocessing=ResizeWithPad(32, 32),
    )
    images = [IMAGES[0, :height, :width] for height, width in sizes]
    found = segmenter.predict(images if len(set(sizes)) > 1 else np.stack(images), verbose=0)
    assert [mask.shape for mask in found["masks"]] == sizes
    assert all((mask == 1).all() for mask in found["masks"])


def test_what_is_no_layer_or_not_registered_is_refused():
    class Unregistered(layers.Layer):
        pass

    for model, argument in ((Localizer, "decoding"), (Segmenter, "classification")):
        with pytest.raises(ValueError, match="A plugin of kind 'layer' is required"):
            model(backbone(), 2, **{argument: 3})
        with pytest.raises(ValueError, match=f"`{argument}` must be of a registered class"):
            model(backbone(), 2, **{argument: Unregistered()})
    with pytest.raises(
        ValueError, match=r"no plugin of kind 'layer' named 'other>Doubtfull'\. Did"
    ):
        Localizer(backbone(), 2, decoding="other>Doubtfull")
