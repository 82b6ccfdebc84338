"""Windows, classified one by one and suppressed by a plain loop, are what the detector gives."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx.layers import NonMaxSuppression
from keras_cvx.models import SlidingWindowDetector
from keras_cvx.ops import convert
from keras_cvx.ops.resizing import resize

BACKEND = keras.backend.backend()
WINDOW, CLASSES = (12, 9), 4


def make_classifier(padding="valid", classes=CLASSES, head=layers.Flatten, dtype="float32"):
    """Total strides 2 down and 4 across."""
    inputs = keras.Input((*WINDOW, 3), dtype=dtype)
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    x = layers.Conv2D(6, (4, 3), (1, 2), padding=padding, activation="relu")(x)
    x = layers.Conv2D(6, (3, 2), (2, 2), padding=padding, activation="tanh")(x)
    classifier = keras.Model(inputs, layers.Dense(classes, "softmax")(head()(x)))
    rng = np.random.default_rng(2)
    for variable in classifier.variables:
        variable.assign(rng.normal(0, 2 * variable.shape[0] ** -0.5, variable.shape))
    return classifier


def photographs(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype("uint8")


def greedy(boxes, scores, iou_threshold, confidence_threshold):
    """Rows of box, confidence and class, of one image."""
    rows = [
        (*box, score, label)
        for box, of_box in zip(boxes, scores, strict=True)
        for label, score in enumerate(of_box)
        if score > confidence_threshold
    ]
    kept = []
    for row in sorted(rows, key=lambda row: -row[4]):
        if all(row[5] != other[5] or iou(row, other) <= iou_threshold for other in kept):
            kept.append(row)
    return np.reshape(kept, (-1, 6))


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


def one_by_one(classifier, image, scales, strides, background=(), thresholds=(0.3, 0.5)):
    """The oracle, of one image."""
    boxes, scores = [], []
    for scale in scales:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        level = resize(image.astype("float32"), (height, width), antialias=True)
        for top in range(0, height - WINDOW[0] + 1, strides[0]):
            for left in range(0, width - WINDOW[1] + 1, strides[1]):
                crop = level[top : top + WINDOW[0], left : left + WINDOW[1]]
                found = ops.convert_to_numpy(classifier(crop[None]))[0].copy()
                found[list(background)] = 0
                scores.append(found)
                corners = left, top, left + WINDOW[1], top + WINDOW[0]
                boxes.append(np.multiply(corners, np.tile(image.shape[1::-1], 2)))
                boxes[-1] = boxes[-1] / np.tile([width, height], 2)
    return greedy(boxes, scores, *thresholds)


def run(detector, images):
    # JAX would compile each operation by itself, which takes longer.
    found = detector.predict_on_batch(images) if BACKEND == "jax" else detector(images)
    return {key: ops.convert_to_numpy(x) for key, x in found.items()}


def rows_of(detections, index=0):
    count = detections["num_detections"][index]
    parts = [detections[key][index][:count] for key in ("confidence", "labels")]
    assert (detections["labels"][index][count:] == -1).all()
    return np.concatenate([detections["boxes"][index][:count], np.stack(parts, -1)], -1)


@pytest.mark.parametrize("method", ["convolutional", "crops"])
@pytest.mark.parametrize(
    ("scales", "strides", "background"),
    [([1.0], None, []), ([1.0, 0.6, 0.2], [4, 4], [1, 3]), ([1.3], [6, 8], [2])],
)
def test_windows_one_by_one(method, scales, strides, background):
    classifier = make_classifier()
    detector = SlidingWindowDetector(
        classifier,
        scales,
        method=method,
        strides=strides,
        background_classes=background,
        non_max_suppression=NonMaxSuppression(0.2, 0.45),
    )
    images = photographs(2, 31, 26)
    found = run(detector, images)
    for index, image in enumerate(images):
        expected = one_by_one(classifier, image, scales, strides or (2, 4), background, (0.2, 0.45))
        assert len(expected) > 2
        got = rows_of(found, index)
        assert not set(got[:, 5]) & set(background)
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("head", [layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])
def test_both_methods_agree_at_any_size(head):
    classifier = make_classifier(head=head)
    settings = {"non_max_suppression": NonMaxSuppression(0.4, 0.3)}
    ways = [
        SlidingWindowDetector(classifier, [1.0, 0.7], method=method, **settings)
        for method in ("convolutional", "crops")
    ]
    for size in ((12, 9), (25, 22)):
        images = photographs(1, *size)
        one, other = (rows_of(run(way, images)) for way in ways)
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert len(one)


def test_a_padded_network_sees_its_windows_in_place():
    """Padding changes scores at the borders of windows, but never shifts the windows."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(1, 3, 2, padding="same", kernel_initializer="ones")(inputs)
    x = layers.Conv2D(1, 3, 2, padding="same", kernel_initializer="ones")(x)
    classifier = keras.Model(inputs, layers.GlobalMaxPooling2D()(x))
    for side in (12, 13, 18):
        image = np.zeros((1, side, side, 1), "float32")
        image[:, 5:7, 5:7] = 0.01
        scores = [
            run(
                SlidingWindowDetector(
                    classifier,
                    method=method,
                    strides=4,
                    non_max_suppression=NonMaxSuppression(1.0, 0.0, max_detections=9),
                ),
                image,
            )["confidence"]
            for method in ("convolutional", "crops")
        ]
        # Zeros around the spot: what lies outside a window is what padding puts there.
        np.testing.assert_allclose(scores[0].max(), scores[1].max(), rtol=1e-5)


def spot_classifier():
    """Class 1 is a bright cross on a dark window, and peaks where the cross is in the middle."""
    cross = np.full((12, 9, 1), -1.0)
    cross[2:10, 3:6] = cross[4:8, 1:8] = 1.0
    inputs = keras.Input((12, 9, 1))
    dense = layers.Dense(1, "sigmoid")
    classifier = keras.Model(inputs, dense(layers.Flatten()(inputs)))
    dense.kernel.assign(cross.reshape(-1, 1) / 255)
    dense.bias.assign([-0.6 * (cross > 0).sum()])
    return classifier, (cross[..., 0] > 0)


@pytest.mark.parametrize("method", ["convolutional", "crops"])
@pytest.mark.parametrize(
    ("factor", "size", "within"),
    # Where the scaled image has no whole pixel for the cross, the nearest is half of one away.
    [(1, (40, 60), 0.01), (2, (80, 60), 0.01), (2, (81, 61), 1.0), (3, (99, 96), 0.01)],
)
def test_a_painted_cross_is_found_in_its_place(method, factor, size, within):
    classifier, cross = spot_classifier()
    large = 255 * np.kron(cross, np.ones((factor, factor)))
    image = np.zeros((1, *size, 1), "float32")
    places = [(3 * factor, 2 * factor), (size[0] - 14 * factor, size[1] - 11 * factor)]
    places[1] = tuple(place // factor * factor for place in places[1])
    for top, left in places:
        image[0, top : top + len(large), left : left + large.shape[1], 0] = large
    detector = SlidingWindowDetector(classifier, [1.0, 1 / 2, 1 / 3], method=method, strides=1)
    found = rows_of(run(detector, image))
    expected = [(x, y, x + 9 * factor, y + 12 * factor) for y, x in places]
    assert len(found) == 2
    order = np.lexsort(found[:, :2].T)
    np.testing.assert_allclose(found[order, :4], sorted(expected), atol=within)


def test_formats_and_replaced_suppression():
    classifier = make_classifier()
    plain = SlidingWindowDetector(classifier, [0.8])
    other = SlidingWindowDetector(classifier, [0.8], bounding_box_format="rel_yxyx")
    image = photographs(1, 30, 40)
    boxes, relative = (rows_of(d.predict(image, verbose=0))[:, :4] for d in (plain, other))
    assert len(boxes) > 1
    expected = convert(boxes, "xyxy", "rel_yxyx", height=30, width=40)
    np.testing.assert_allclose(relative, expected, atol=1e-5)
    plain.non_max_suppression = NonMaxSuppression(0.3, 1.0)
    assert plain.predict(image, verbose=0)["num_detections"] == 0
    with pytest.raises(ValueError, match="`non_max_suppression` must have the detector's bound"):
        plain.non_max_suppression = NonMaxSuppression(bounding_box_format="xywh")


def test_images_of_any_sizes(tmp_path):
    from PIL import Image

    detector = SlidingWindowDetector(make_classifier(), [1.0, 0.5])
    images = [photographs(30, 40), photographs(12, 20, seed=1), photographs(30, 40, seed=2)]
    Image.fromarray(images[1]).save(tmp_path / "1.png")
    found = detector.predict([images[0], tmp_path / "1.png", images[2]], verbose=0)
    assert found["boxes"].shape == (3, 100, 4)
    for index, image in enumerate(images):
        alone = rows_of(detector.predict_on_batch(image[None]))
        np.testing.assert_allclose(rows_of(found, index), alone, atol=1e-5)
    # One compiled model for each of the sizes.
    assert detector.inference_model(30, 40) is detector.inference_model(30, 40)
    assert detector.inference_model(30, 40) is not detector.inference_model(12, 20)
    batches = [(images[0][None], None), (images[2][None], None)]
    of_dataset = detector.predict(iter(batches), verbose=0)
    np.testing.assert_array_equal(of_dataset["boxes"], found["boxes"][[0, 2]])


def test_integer_classifier():
    classifier = make_classifier(dtype="uint8")
    images = photographs(1, 20, 25)
    found = run(SlidingWindowDetector(classifier), images)
    expected = one_by_one(classifier, images[0], [1.0], (2, 4))
    np.testing.assert_allclose(rows_of(found), expected, atol=1e-4)


def test_weights_are_the_classifiers():
    classifier = make_classifier()
    detector = SlidingWindowDetector(classifier)
    assert [id(v) for v in detector.variables] == [id(v) for v in classifier.variables]
    images = photographs(1, 30, 30)
    before = rows_of(detector.predict(images, verbose=0))
    for variable in classifier.trainable_variables:
        variable.assign(variable * -0.5)
    after = rows_of(detector.predict(images, verbose=0))
    assert before.shape != after.shape or np.abs(before - after).max() > 0.01
    expected = one_by_one(classifier, images[0], [1.0], (2, 4))
    np.testing.assert_allclose(after, expected, atol=1e-4)
    with pytest.raises(NotImplementedError, match="`fit` of its `classifier`, on images of 12 × 9"):
        detector.fit(images, images)
    with pytest.raises(NotImplementedError, match="compile its `classifier`"):
        detector.compile("adam")
    with pytest.raises(NotImplementedError, match=r"`inference_model\(height, width\).export"):
        detector.export("folder")


def test_saved_and_loaded(tmp_path):
    detector = SlidingWindowDetector(
        make_classifier(),
        [1.0, 0.75],
        strides=(2, 8),
        background_classes=[2],
        bounding_box_format="xywh",
    )
    images = photographs(1, 40, 35)
    found = detector.predict(images, verbose=0)
    assert found["num_detections"][0] > 1
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    again = loaded.predict(images, verbose=0)
    np.testing.assert_allclose(rows_of(again), rows_of(found), atol=1e-5)

    # Where the weights are in a file does not hang on the method.
    detector.save_weights(tmp_path / "detector.weights.h5")
    config = {**detector.get_config(), "method": "crops", "classifier": make_classifier()}
    other = SlidingWindowDetector(**config)
    other.load_weights(tmp_path / "detector.weights.h5")
    again = run(other, images)
    np.testing.assert_allclose(rows_of(again), rows_of(found), atol=1e-4)


def test_inside_another_model():
    detector = SlidingWindowDetector(make_classifier())
    images = photographs(2, 25, 30)
    inputs = keras.Input((25, 30, 3))
    model = keras.Model(inputs, detector(inputs))
    found, expected = (m.predict(images, verbose=0) for m in (model, detector))
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-5)


def patches_classifier():
    """No feature map, so nothing to slide."""
    inputs = keras.Input((*WINDOW, 3))
    x = layers.Reshape((-1, 9))(layers.Rescaling(1 / 127.5, -1)(inputs))
    x = layers.GlobalAveragePooling1D()(x)
    dense = layers.Dense(3, "softmax")
    classifier = keras.Model(inputs, dense(x))
    dense.kernel.assign(np.random.default_rng(2).normal(0, 8, dense.kernel.shape))
    return classifier


def test_crops_of_what_cannot_be_convolutional():
    classifier = patches_classifier()
    detector = SlidingWindowDetector(classifier, method="crops", strides=3)
    images = photographs(1, 20, 20)
    expected = one_by_one(classifier, images[0], [1.0], (3, 3))
    np.testing.assert_allclose(rows_of(run(detector, images)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "patches"}, "`method` must be one of"),
        ({"scales": []}, "`scales` must be positive numbers"),
        ({"scales": [1.0, -0.5]}, "`scales` must be positive numbers"),
        ({"scales": ["1"]}, "`scales` must be"),
        ({"strides": 0}, "`strides` must be an integer of at least 1"),
        ({"strides": [2, 2, 2]}, "`strides` must be a positive integer, or a pair"),
        ({"strides": 2}, "`strides` must be multiples of the classifier's own, 2 down and 4 acr"),
        ({"background_classes": [4]}, "`background_classes` must be ids of the classifier's 4"),
        ({"background_classes": [0, 1, 2, 3]}, r"`background_classes` .* leave one of objects"),
        ({"background_classes": 3}, "`background_classes` must be a list of class ids"),
        ({"background_classes": [-1]}, "`background_classes` must be an integer of at least 0"),
        ({"bounding_box_format": "corners"}, "`bounding_box_format` must be one of"),
        ({"non_max_suppression": "no such layer"}, "no such layer"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SlidingWindowDetector(make_classifier(), **settings)


def test_classifiers_that_cannot_slide():
    with pytest.raises(ValueError, match=r"`classifier`.*no spatial feature map"):
        SlidingWindowDetector(patches_classifier())
    with pytest.raises(ValueError, match=r"`classifier`.*no spatial feature map"):
        SlidingWindowDetector(patches_classifier(), method="crops")
    with pytest.raises(ValueError, match="`classifier` must be a functional or built"):
        SlidingWindowDetector(layers.Dense(3))
    free = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()])
    with pytest.raises(ValueError, match="`classifier` must take images of a fixed size"):
        SlidingWindowDetector(free, method="crops", strides=2)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (photographs(1, 11, 40), r"`images` must be at least as large as the window, 12 × 9 pix.*"
         r"11 × 40 pixels. Pad them, or add 1.1 to `scales`"),
        (photographs(30, 40), r"`images` must be of shape .* Of one image, pass `x\[None\]`"),
        (photographs(1, 30, 40)[..., :2], "`images` must be of shape"),
        (keras.Input((None, 40, 3)), "`images` must have a known height and width"),
    ],
)  # fmt: skip
def test_wrong_images(images, message):
    detector = SlidingWindowDetector(make_classifier(), [1.0, 0.5])
    with pytest.raises(ValueError, match=message):
        detector(images)
    if not isinstance(images, keras.KerasTensor):
        with pytest.raises(ValueError, match=message):
            detector.predict(images, verbose=0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([], "`x` must hold at least one image"),
        (photographs(0, 30, 40), "`x` must hold at least one image"),
        (photographs(1, 0, 40), "`images` must have pixels. Received: 0 × 40"),
        ("photograph.png", r"`x` must be images, a list or a dataset.*photograph.png.*`\[x\]`"),
        ({"images": photographs(1, 30, 40)}, '`scenes\\["images"\\]` as `x`'),
        ([photographs(30, 40), photographs(1, 30, 40)], r"`x\[1\]` must be one image \(H, W, 3\)"),
        ([photographs(30, 40)[..., 0]], r"`x\[0\]` must be one image .* shape \(30, 40\)"),
    ],
)
def test_what_cannot_be_predicted(x, message):
    detector = SlidingWindowDetector(make_classifier())
    with pytest.raises(ValueError, match=message):
        detector.predict(x, verbose=0)
    with pytest.raises(ValueError, match="`images` must be of shape"):
        detector.predict_on_batch([photographs(30, 40)])
    # Nothing is spoilt by it.
    assert detector.predict(photographs(1, 12, 9), verbose=0)["boxes"].shape == (1, 100, 4)


def test_batches_of_a_dataset():
    detector = SlidingWindowDetector(make_classifier())
    images = photographs(1, 20, 20)
    expected = detector.predict(images, verbose=0)
    assert expected["num_detections"] > 0
    for batch in (images, (images, None), [images, None], {"images": images}):
        found = detector.predict(iter([batch]), verbose=0)
        np.testing.assert_array_equal(found["boxes"], expected["boxes"])


def last(*following):
    """A classifier that ends in some layers."""
    inputs = keras.Input((*WINDOW, 3))
    x = layers.Flatten()(inputs)
    for layer in following:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "following",
    [
        [layers.Dense(3, name="odd")],
        [layers.Dense(5, "relu"), layers.Dense(3, name="odd"), layers.Activation("linear")],
        [layers.Dense(3, name="odd"), layers.Dropout(0.5), layers.Reshape((1, 3))],
        [keras.Sequential([layers.Dense(3, name="odd"), layers.Identity()])],
    ],
)
@pytest.mark.parametrize("method", ["convolutional", "crops"])
def test_logits_are_refused(following, method):
    message = r"scores in \[0, 1\].* 'odd', a Dense without an activation.* Pass `keras.Sequential"
    classifier = last(*following)
    with pytest.raises(ValueError, match=message):
        SlidingWindowDetector(classifier, method=method, strides=1)
    mended = keras.Sequential([classifier, layers.Softmax()])
    assert SlidingWindowDetector(mended, method=method, strides=1).classifier is mended


@pytest.mark.parametrize(
    "following",
    [
        [layers.Dense(3, "sigmoid")],
        [layers.Dense(3, "softmax"), layers.Activation("linear", dtype="float32")],
        [layers.Dense(3), layers.Activation("softmax"), layers.Dropout(0.5)],
        [layers.Dense(3), layers.Rescaling(0.1), ops.sigmoid],
    ],
)
def test_probabilities_are_taken(following):
    classifier = last(*following)
    assert SlidingWindowDetector(classifier, method="crops", strides=1).classifier is classifier


def test_settings_as_arrays():
    detector = SlidingWindowDetector(
        make_classifier(), np.linspace(1, 0.5, 2), background_classes=np.array([3])
    )
    assert (detector.scales, detector.background_classes) == ([1.0, 0.5], [3])
    json.dumps(detector.get_config())


def test_what_cannot_be_made_convolutional_can_be_cropped():
    inputs = keras.Input((12, 9, 3))
    x = layers.Reshape((12 * 9 * 3,))(inputs)
    classifier = keras.Model(inputs, layers.Dense(4, activation="softmax")(x))
    for method in ("convolutional", "crops"):
        with pytest.raises(ValueError, match="Or pass method='crops' and `strides`"):
            SlidingWindowDetector(classifier, method=method)
    images = np.random.default_rng(0).uniform(0, 1, (1, 14, 13, 3)).astype("float32")
    detector = SlidingWindowDetector(classifier, method="crops", strides=2)
    found = rows_of(detector.predict(images, verbose=0))
    expected = one_by_one(classifier, images[0], [1.0], (2, 2))
    np.testing.assert_allclose(found, expected, atol=1e-4)
