"""KerasCV's augmentation before our models, and its detections in our metrics."""

import keras
import numpy as np
import pytest

from keras_cvx.interop import from_keras_cv, to_keras_cv
from keras_cvx.layers import ResizeWithPad
from keras_cvx.models import GridDetector

tf = pytest.importorskip("tensorflow")
keras_cv = pytest.importorskip("keras_cv")

SIZE = 32


@pytest.fixture
def sample():
    """Three images with a bright rectangle in each but the last, whose rows are padding."""
    images = np.zeros((3, SIZE, SIZE, 3), "float32")
    boxes = np.full((3, 2, 4), -1, "float32")
    labels = np.full((3, 2), -1, "int32")
    for i, (x0, y0, x1, y1) in enumerate([(2, 4, 14, 20), (16, 8, 30, 24)]):
        images[i, y0:y1, x0:x1] = 255
        boxes[i, i], labels[i, i] = (x0, y0, x1, y1), i + 1
    return {"images": images, "bounding_boxes": {"boxes": boxes, "labels": labels}}


def bright(image):
    """The corners of what is bright."""
    y, x = np.nonzero(np.asarray(image)[..., 0] > 127)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def augmented(layer, sample):
    """One batch, as a pipeline gives it under every backend."""
    pipeline = tf.data.Dataset.from_tensors(sample).map(to_keras_cv).map(layer).map(from_keras_cv)
    return next(pipeline.as_numpy_iterator())


def test_there_and_back(sample):
    there = to_keras_cv(sample)
    assert there["images"] is sample["images"]
    assert sorted(there["bounding_boxes"]) == ["boxes", "classes"]
    assert there["bounding_boxes"]["classes"].dtype == "float32"
    back = from_keras_cv(there)["bounding_boxes"]
    assert back["labels"].dtype == "int32"
    for name in ("boxes", "labels"):
        np.testing.assert_array_equal(back[name], sample["bounding_boxes"][name])


def test_tensors_of_the_backend(sample):
    boxes = keras.tree.map_structure(keras.ops.convert_to_tensor, sample["bounding_boxes"])
    back = from_keras_cv(to_keras_cv(boxes))
    for name, expected in sample["bounding_boxes"].items():
        assert keras.ops.is_tensor(back[name])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(back[name]), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda layers: layers.RandomFlip("horizontal", 1.0, bounding_box_format="xyxy"),
        lambda layers: layers.RandomFlip("vertical", 1.0, bounding_box_format="xyxy"),
        lambda layers: layers.Resizing(
            48, 64, pad_to_aspect_ratio=True, bounding_box_format="xyxy"
        ),
        lambda layers: layers.JitteredResize((48, 48), (0.9, 1.1), bounding_box_format="xyxy"),
    ],
    ids=["flip", "vertical flip", "resizing", "jitter"],
)
def test_boxes_go_with_the_pixels(sample, make):
    found = augmented(make(keras_cv.layers), sample)
    boxes, labels = (found["bounding_boxes"][name] for name in ("boxes", "labels"))
    assert labels.dtype == "int32"
    assert (labels >= 0).sum(-1).tolist() == [1, 1, 0]
    assert (boxes[labels < 0] == -1).all()
    for i in range(2):
        (box,) = boxes[i][labels[i] >= 0]
        assert labels[i].max() == i + 1
        np.testing.assert_allclose(box, bright(found["images"][i]), atol=1.0)


def test_mosaic_and_mixup(sample):
    """Every box has something bright in its middle."""
    for layer in (keras_cv.layers.Mosaic(bounding_box_format="xyxy"), keras_cv.layers.MixUp()):
        batch = {**sample, "labels": np.eye(3, dtype="float32")}
        found = augmented(layer, batch)
        for image, boxes, labels in zip(
            found["images"], *found["bounding_boxes"].values(), strict=True
        ):
            for box in boxes[labels >= 0]:
                x, y = ((box[:2] + box[2:]) / 2).astype(int)
                assert image[y, x, 0] > 0


def test_of_images_alone(sample):
    """`RandAugment` fails on boxes; where nothing moves, they need not go through it."""
    layer = keras_cv.layers.RandAugment((0, 255), geometric=False, augmentations_per_image=1)
    pipeline = tf.data.Dataset.from_tensors(sample)
    found = next(pipeline.map(lambda x: {**x, "images": layer(x["images"])}).as_numpy_iterator())
    assert found["images"].shape == sample["images"].shape
    np.testing.assert_array_equal(
        found["bounding_boxes"]["boxes"], sample["bounding_boxes"]["boxes"]
    )


def test_a_detector_trains_behind_it(sample):
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for _ in range(3):
        x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    detector = GridDetector(keras.Model(inputs, x), 3, strides=[8], bounding_box_format="xyxy")
    detector.compile("sgd")
    letterbox = ResizeWithPad(SIZE, SIZE, bounding_box_format="xyxy")
    pipeline = (
        tf.data.Dataset.from_tensors(sample)
        .map(to_keras_cv)
        .map(keras_cv.layers.RandomFlip("horizontal", bounding_box_format="xyxy"))
        .map(from_keras_cv)
        .map(letterbox)
        .map(lambda x: (x["images"], x["bounding_boxes"]))
    )
    before = detector.get_weights()
    losses = detector.fit(pipeline, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert any((a != b).any() for a, b in zip(before, detector.get_weights(), strict=True))


@pytest.mark.parametrize("function", [to_keras_cv, from_keras_cv])
@pytest.mark.parametrize("sample", [{}, {"bounding_boxes": {"boxes": np.zeros((1, 0, 4))}}])
def test_without_boxes(function, sample):
    name = "labels" if function is to_keras_cv else "classes"
    with pytest.raises(ValueError, match=rf"with 'boxes' and '{name}'.*Received the keys \["):
        function(sample)
