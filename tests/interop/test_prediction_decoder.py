"""Our suppression and our metric in the detectors of KerasCV and KerasHub."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.interop import PredictionDecoder, from_keras_cv
from keras_cvx.layers import NonMaxSuppression
from keras_cvx.metrics import MeanAveragePrecision

SIZE = 64
IMAGES = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")

pytestmark = [
    # KerasCV's RetinaNet is built on a dictionary of images, and takes an array of them.
    pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match:UserWarning"),
    # PyTorch's tensors and NumPy 2, inside Keras.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


class Kept(PredictionDecoder):
    """What the detector hands over is kept."""

    def call(self, boxes, scores, images=None, image_shape=None):
        self.given = boxes, scores
        return super().call(boxes, scores, images, image_shape)


def backbone():
    """Channels at strides 2 to 32, with the names by which the libraries find them."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x, outputs = layers.Rescaling(1 / 255)(inputs), {}
    for level in range(1, 6):
        x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name=f"level_{level}")(x)
        outputs[f"P{level}"] = x
    model = keras.Model(inputs, x)
    model.pyramid_level_inputs = {name: f"level_{name[1]}" for name in outputs}
    model.pyramid_outputs = outputs
    return model


def retinanet_of_keras_cv(decoder):
    heads = [layers.Conv2D(9 * size, 3, padding="same") for size in (4, 3)]
    return pytest.importorskip("keras_cv").models.RetinaNet(
        backbone(),
        num_classes=3,
        bounding_box_format="xywh",
        box_head=heads[0],
        classification_head=heads[1],
        prediction_decoder=decoder,
    )


def yolov8_of_keras_cv(decoder):
    return pytest.importorskip("keras_cv").models.YOLOV8Detector(
        backbone(), 3, "xywh", fpn_depth=1, prediction_decoder=decoder
    )


def retinanet_of_keras_hub(decoder):
    keras_hub = pytest.importorskip("keras_hub")
    features = keras_hub.models.RetinaNetBackbone(
        backbone(), min_level=3, max_level=5, use_p5=False, image_shape=(SIZE, SIZE, 3)
    )
    return keras_hub.models.RetinaNetObjectDetector(
        features,
        num_classes=3,
        bounding_box_format="xywh",
        pre_logits_num_conv_layers=1,
        prediction_decoder=decoder,
    )


@pytest.mark.parametrize(
    ("make", "from_logits", "label_key"),
    [
        (retinanet_of_keras_cv, True, "classes"),
        (yolov8_of_keras_cv, False, "classes"),
        (retinanet_of_keras_hub, True, "labels"),
    ],
)
def test_in_detectors(make, from_logits, label_key):
    options = {"max_detections": 20, "bounding_box_format": "xywh"}
    decoder = Kept(0.5, 0.01, from_logits=from_logits, label_key=label_key, **options)
    detector = make(decoder)
    found = detector.decode_predictions(detector(IMAGES), ops.convert_to_tensor(IMAGES))
    boxes, scores = decoder.given
    scores = ops.sigmoid(scores) if from_logits else scores
    expected = NonMaxSuppression(0.5, 0.01, **options)(boxes, scores)
    assert int(ops.max(expected["num_detections"])) > 1
    assert label_key in found
    found = found if label_key == "labels" else from_keras_cv(found)
    for name, values in expected.items():
        np.testing.assert_allclose(
            ops.convert_to_numpy(found[name]), ops.convert_to_numpy(values), rtol=1e-5, atol=1e-4
        )
    # What was found is scored as if it were the truth.
    metric = MeanAveragePrecision(3, bounding_box_format="xywh")
    metric.update_state({"boxes": found["boxes"], "labels": found["labels"]}, found)
    assert float(metric.result()["AP"]) == pytest.approx(1.0, abs=1e-6)


def test_predict():
    """The whole road, where `predict` compiles it."""
    decoder = PredictionDecoder(0.5, 0.01, max_detections=20, bounding_box_format="xywh")
    detector = yolov8_of_keras_cv(decoder)
    found = from_keras_cv(detector.predict(IMAGES, verbose=0))
    expected = detector.decode_predictions(detector(IMAGES), ops.convert_to_tensor(IMAGES))
    np.testing.assert_allclose(
        found["boxes"], ops.convert_to_numpy(expected["boxes"]), rtol=1e-4, atol=1e-3
    )
    np.testing.assert_array_equal(found["labels"], ops.convert_to_numpy(expected["classes"]))
