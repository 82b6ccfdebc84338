"""Detections of images of any size, in each image's own pixels."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx import geometry
from keras_cvx.layers import NonMaxSuppression, RandomCropAndResize, ResizeWithPad
from keras_cvx.models import GridDetector

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 256, (*size, 3)).astype("uint8") for size in ((50, 90), (33, 20), (32, 48))
]


def make_detector(bounding_box_format="xyxy", size=(32, 48), dtype="float32", **kwargs):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((*size, 3), dtype=dtype)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(8, 8, 8, activation="tanh")(x)
    backbone = keras.Model(inputs, [x, layers.Conv2D(8, 2, 2, activation="tanh")(x)])
    suppression = NonMaxSuppression(max_detections=5, bounding_box_format=bounding_box_format)
    return GridDetector(
        backbone, 3, non_max_suppression=suppression, bounding_box_format=bounding_box_format,
        **kwargs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    return make_detector(preprocessing=ResizeWithPad(32, 48, pad_position="top_left"))


def assert_equal(got, expected):
    assert set(got) == set(expected)
    for name in expected:
        atol = 1e-5 if name == "confidence" else 1e-3
        np.testing.assert_allclose(got[name], expected[name], atol=atol, err_msg=name)


def test_a_list_is_letterboxed_detected_and_restored(detector):
    """Step by step, by parts that have tests of their own."""
    found = detector.predict(IMAGES, verbose=0)
    plain = make_detector()
    plain.set_weights(detector.get_weights())
    for index, image in enumerate(IMAGES):
        sample = detector.preprocessing({"images": image[None].astype("float32")})
        expected = plain.predict(sample["images"], verbose=0)
        count = expected["num_detections"][0]
        assert count > 0
        boxes = geometry.restore_boxes(expected["boxes"], sample["geometry"])[0]
        np.testing.assert_allclose(found["boxes"][index], boxes, atol=1e-3)
        np.testing.assert_allclose(found["confidence"][index], expected["confidence"][0], atol=1e-5)
        height, width = image.shape[:2]
        inside = found["boxes"][index][:count]
        assert (inside >= 0).all()
        assert (inside <= [width, height, width, height]).all()
        # Something lies beyond the network's own frame, where the image does.
        assert (inside[:, 2] > 48).any() == (width > 48)


def test_the_graph_does_as_the_list(detector, tmp_path):
    together = detector.predict(IMAGES, verbose=0)
    detector.save(tmp_path / "detector.keras")
    reloaded = keras.saving.load_model(tmp_path / "detector.keras")
    for index, image in enumerate(IMAGES):
        expected = {name: value[index : index + 1] for name, value in together.items()}
        assert_equal(detector.predict(image[None], verbose=0), expected)
        assert_equal(reloaded.predict(image[None], verbose=0), expected)
        assert_equal(detector.predict([image], verbose=0), expected)


def test_files(detector, tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{index}.png" for index in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    assert_equal(detector.predict(paths, verbose=0), detector.predict(IMAGES, verbose=0))
    paths[1].write_text("no image")
    with pytest.raises(ValueError, match=r"`images\[1\]` must be an image, or the path of a file"):
        detector.predict(paths, verbose=0)


def test_relative_formats_are_of_the_original_image(detector):
    relative = make_detector("rel_yxyx", preprocessing=detector.preprocessing)
    relative.set_weights(detector.get_weights())
    found, expected = (d.predict(IMAGES, verbose=0) for d in (relative, detector))
    for index, image in enumerate(IMAGES):
        height, width = image.shape[:2]
        count = expected["num_detections"][index]
        boxes = expected["boxes"][index, :count][:, [1, 0, 3, 2]]
        boxes = boxes / [height, width, height, width]
        np.testing.assert_allclose(found["boxes"][index, :count], boxes, atol=1e-5)
        assert (found["boxes"][index, count:] == -1).all()


def test_a_random_layer_is_calm(tmp_path):
    """Whatever the road, no image is cropped at random: each is resized as a whole."""
    layer = RandomCropAndResize(32, 48, seed=1, scale=(0.1, 0.3))
    detector = make_detector(preprocessing=layer)
    expected = detector.predict(IMAGES[:1], verbose=0)
    assert expected["num_detections"].min() > 0
    assert_equal(detector.predict(IMAGES[:1], verbose=0), expected)
    found = detector.inference_model(IMAGES[0][None].astype("float32"))
    assert_equal(keras.tree.map_structure(ops.convert_to_numpy, found), expected)
    detector.save(tmp_path / "detector.keras")
    reloaded = keras.saving.load_model(tmp_path / "detector.keras")
    assert_equal(reloaded.predict(IMAGES[0][None], verbose=0), expected)


def test_preprocessing_can_be_replaced():
    detector = make_detector(preprocessing=ResizeWithPad(32, 48, pad_position="top_left"))
    one = IMAGES[1][None]
    before = detector.predict(one, verbose=0)
    other = ResizeWithPad(32, 48, pad_position="bottom_right")
    expected = make_detector(preprocessing=other).predict([IMAGES[1]], verbose=0)
    assert np.abs(before["confidence"] - expected["confidence"]).max() > 1e-3
    detector.preprocessing = other
    with pytest.raises(ValueError, match="`preprocessing` must make images"):
        detector.preprocessing = ResizeWithPad(48, 32)
    assert_equal(detector.predict(one, verbose=0), expected)
    detector.preprocessing = None
    assert detector.inference_model.input_shape == (None, 32, 48, 3)
    with pytest.raises(ValueError, match=r"shape \(B, 32, 48, 3\)"):
        detector.predict(one)


def test_preprocessing_is_not_of_the_model_that_is_trained():
    """Where XLA cannot compile it, as a cubic kernel on TensorFlow, the training keeps its own."""
    layer = ResizeWithPad(32, 48, interpolation="bicubic")
    detector = make_detector(preprocessing=layer)
    assert detector.predict(IMAGES[0][None], verbose=0)["num_detections"].min() > 0
    layer.supports_jit = False
    # Keras would warn, and go without.
    detector.compile(jit_compile=True)
    assert detector.jit_compile
    assert detector.get_config()["preprocessing"]["config"]["interpolation"] == "bicubic"


def test_a_backbone_of_integers():
    """What is letterboxed is rounded in the same place on either road."""
    detector = make_detector(dtype="uint8", preprocessing=ResizeWithPad(32, 48))
    # By two, where no sum of pixels is rounded.
    for size in ((64, 96), (16, 22)):
        image = RNG.integers(0, 256, (*size, 3)).astype("uint8")
        together = detector.predict([image], verbose=0)
        assert together["num_detections"].min() > 0
        alone = detector.predict(image[None], verbose=0)
        for name in ("boxes", "confidence"):
            np.testing.assert_allclose(alone[name], together[name], rtol=1e-5)


def test_ragged_images(detector):
    """On every backend as in a list, and not as padded by Keras."""
    tf = pytest.importorskip("tensorflow")
    expected = detector.predict(IMAGES, verbose=0)
    assert_equal(detector.predict(tf.ragged.stack(IMAGES), verbose=0), expected)
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(IMAGES), output_signature=tf.TensorSpec((None, None, 3), "uint8")
    ).apply(tf.data.experimental.assert_cardinality(3))
    batches = dataset.ragged_batch(2)
    assert_equal(detector.predict(batches, verbose=0), expected)
    samples = batches.map(lambda images: ({"images": images, "name": tf.zeros(())}, tf.zeros(())))
    assert_equal(detector.predict(samples, verbose=0), expected)


def test_exported(detector, tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("torch needs optional packages; JAX's StableHLO is newer than TensorFlow reads")
    import tensorflow as tf

    detector.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    expected = detector.predict(IMAGES, verbose=0)
    for index, image in enumerate(IMAGES):
        served = exported.serve(image[None].astype("float32"))
        served = {name: value.numpy()[0] for name, value in served.items()}
        assert_equal(served, {name: value[index] for name, value in expected.items()})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Resizing(32, 48), r"must be one layer that records .*Received: <Resizing"),
        ((32, 48), r"must be one layer .*`keras_cvx.layers.ResizeWithPad\(32, 48\)`.*\(32, 48\)$"),
        ([ResizeWithPad(32, 48)], r"must be one layer .*Received: \[<ResizeWithPad"),
        (ResizeWithPad(48, 32), r"height=32, width=48.* ResizeWithPad with height=48, width=32"),
        (
            ResizeWithPad(32, 48, data_format="channels_first"),
            "'channels_last'. Received: ResizeWithPad with .*data_format='channels_first'. Give",
        ),
    ],
)
def test_preprocessing_that_is_refused(layer, message):
    with pytest.raises(ValueError, match=f"`preprocessing` {message}|`preprocessing`.*{message}"):
        make_detector(preprocessing=layer)


def test_preprocessing_for_a_backbone_of_any_size():
    with pytest.raises(ValueError, match=r"multiples of 16.*: height=32, width=48,.*height=30"):
        make_detector(size=(None, None), preprocessing=ResizeWithPad(30, 40))
    detector = make_detector(size=(None, None), preprocessing=ResizeWithPad(32, 48))
    expected = make_detector(preprocessing=ResizeWithPad(32, 48)).predict(IMAGES, verbose=0)
    assert_equal(detector.predict(IMAGES, verbose=0), expected)
    with pytest.raises(ValueError, match=r"ResizeWithPad\(height, width\)`"):
        make_detector(size=(None, None)).predict(IMAGES)
