"""Detections of images of any size, in each image's own pixels."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_cvx import geometry
from keras_cvx.layers import NonMaxSuppression, ResizeWithPad
from keras_cvx.models import GridDetector

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 256, (*size, 3)).astype("uint8") for size in ((50, 90), (33, 20), (32, 48))
]


def make_detector(bounding_box_format="xyxy", **kwargs):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 48, 3))
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
        np.testing.assert_allclose(got[name], expected[name], atol=1e-3, err_msg=name)


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


def test_preprocessing_must_record_what_it_does():
    with pytest.raises(ValueError, match="`preprocessing` must be a layer that records"):
        make_detector(preprocessing=layers.Resizing(32, 48))
