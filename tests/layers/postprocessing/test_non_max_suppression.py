import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.layers import NonMaxSuppression
from keras_cvx.ops import convert
from keras_cvx.ops.boxes import FORMATS

KEYS = {"boxes", "confidence", "labels", "num_detections"}


def random_scene(seed=0, images=3, rows=40, classes=3):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (images, rows, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, corner.shape)], -1)
    return boxes.astype("float32"), rng.uniform(size=(images, rows, classes)).astype("float32")


def run(layer, boxes, scores):
    found = {key: ops.convert_to_numpy(value) for key, value in layer(boxes, scores).items()}
    assert set(found) == KEYS
    assert found["boxes"].dtype == found["confidence"].dtype == "float32"
    assert found["labels"].dtype == found["num_detections"].dtype == "int32"
    return found


def greedy(boxes, scores, iou_threshold, confidence_threshold, max_detections):
    """The detections of one image as rows (confidence, label, box), by the textbook."""

    def overlap(a, b):
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        both = max(width, 0.0) * max(height, 0.0)
        union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - both
        return both / union if union > 0 else 0.0

    candidates = [
        (float(scores[i, k]), k, [float(v) for v in boxes[i]])
        for i, k in np.ndindex(*scores.shape)
        if scores[i, k] > confidence_threshold
    ]
    kept = []
    for score, label, box in sorted(candidates, key=lambda c: -c[0]):
        if all(other[1] != label or overlap(box, other[2]) <= iou_threshold for other in kept):
            kept.append((score, label, box))
    return kept[:max_detections]


def assert_is(found, image, expected):
    count = found["num_detections"][image]
    assert count == len(expected)
    for row, (score, label, box) in enumerate(expected):
        assert found["confidence"][image, row] == pytest.approx(score, abs=1e-6)
        assert found["labels"][image, row] == label
        np.testing.assert_allclose(found["boxes"][image, row], box, atol=1e-5)
    for key in ("boxes", "confidence", "labels"):
        np.testing.assert_array_equal(found[key][image, count:], -1)


@pytest.mark.parametrize(("images", "rows"), [(0, 5), (2, 0), (0, 0)])
def test_nothing_to_do(images, rows):
    found = run(
        NonMaxSuppression(max_detections=4),
        np.zeros((images, rows, 4)),
        np.zeros((images, rows, 2)),
    )
    assert found["boxes"].shape == (images, 4, 4)
    assert found["confidence"].shape == found["labels"].shape == (images, 4)
    np.testing.assert_array_equal(found["num_detections"], np.zeros(images))
    assert all(np.all(found[key] == -1) for key in ("boxes", "confidence", "labels"))


def test_nothing_above_the_threshold():
    boxes, scores = random_scene()
    found = run(NonMaxSuppression(confidence_threshold=1.0), boxes, scores)
    assert found["num_detections"].tolist() == [0, 0, 0]
    assert all(np.all(found[key] == -1) for key in ("boxes", "confidence", "labels"))


@pytest.mark.parametrize("iou_threshold", [0.0, 0.35, 1.0])
@pytest.mark.parametrize(("threshold", "most"), [(0.01, 100), (0.6, 100), (0.2, 7)])
def test_is_greedy_suppression(iou_threshold, threshold, most):
    boxes, scores = random_scene(seed=most)
    layer = NonMaxSuppression(iou_threshold, threshold, max_detections=most)
    found = run(layer, boxes, scores)
    for image in range(3):
        expected = greedy(boxes[image], scores[image], iou_threshold, threshold, most)
        assert_is(found, image, expected)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="The oracle is TensorFlow's")
@pytest.mark.parametrize("seed", range(4))
def test_is_tensorflows(seed):
    import tensorflow as tf

    boxes, scores = random_scene(seed, rows=60)
    most, iou_threshold, threshold = 50, 0.4, 0.3
    expected = tf.image.combined_non_max_suppression(
        boxes[:, :, None], scores, most, most, iou_threshold, threshold, clip_boxes=False
    )
    layer = NonMaxSuppression(iou_threshold, threshold, max_detections=most)
    found = run(layer, boxes, scores)
    np.testing.assert_array_equal(found["num_detections"], expected.valid_detections.numpy())
    assert found["num_detections"].min() > 5
    for image, count in enumerate(found["num_detections"]):
        for key, other in (
            ("boxes", expected.nmsed_boxes),
            ("confidence", expected.nmsed_scores),
            ("labels", expected.nmsed_classes),
        ):
            np.testing.assert_allclose(
                found[key][image, :count], other.numpy()[image, :count], atol=1e-6
            )


@pytest.mark.parametrize("box_format", FORMATS)
def test_formats(box_format):
    """Each format gives the same detections, in that format; the image is not square."""
    boxes, scores = random_scene()
    size = {"height": 100, "width": 200}
    there = ops.convert_to_numpy(convert(boxes, "xyxy", box_format, **size))
    options = {"iou_threshold": 0.3, "confidence_threshold": 0.2, "max_detections": 30}
    expected = run(NonMaxSuppression(**options), boxes, scores)
    found = run(NonMaxSuppression(bounding_box_format=box_format, **options), there, scores)
    for key in ("confidence", "labels", "num_detections"):
        np.testing.assert_array_equal(found[key], expected[key])
    back = ops.convert_to_numpy(convert(found["boxes"], box_format, "xyxy", **size))
    valid = expected["labels"] >= 0
    np.testing.assert_allclose(back[valid], expected["boxes"][valid], atol=1e-3)
    # What is kept is a box that was given, to the bit.
    given = {tuple(box) for box in there.reshape(-1, 4).tolist()}
    assert {tuple(box) for box in found["boxes"][valid].tolist()} <= given


def test_thresholds_are_exclusive():
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 2], [8, 8, 9, 9]]]  # overlap of 0.5
    scores = [[[0.75], [0.5], [0.25]]]
    boxes, scores = np.float32(boxes), np.float32(scores)

    def count(iou, confidence):
        found = run(NonMaxSuppression(iou, confidence, max_detections=5), boxes, scores)
        return int(found["num_detections"][0])

    assert count(0.5, 0.0) == 3
    assert count(0.49, 0.0) == 2
    assert count(0.5, 0.25) == 2
    assert count(0.5, 0.24) == 3


def test_a_box_of_two_classes_is_two_detections():
    found = run(NonMaxSuppression(max_detections=3), np.float32([[[1, 2, 3, 4]]]),
                np.float32([[[0.25, 0.0, 0.5]]]))  # fmt: skip
    assert found["labels"].tolist() == [[2, 0, -1]]
    assert found["boxes"].tolist() == [[[1, 2, 3, 4], [1, 2, 3, 4], [-1, -1, -1, -1]]]


def test_only_the_best_candidates_are_visited():
    boxes, scores = random_scene(rows=30, classes=1)
    best = np.argsort(-scores[..., 0])[:, :10, None]
    expected = run(
        NonMaxSuppression(0.2), *(np.take_along_axis(x, best, 1) for x in (boxes, scores))
    )
    found = run(NonMaxSuppression(0.2, max_candidates=10), boxes, scores)
    for key in KEYS:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-6)


def test_idempotent():
    boxes, scores = random_scene(classes=1)
    layer = NonMaxSuppression(0.3, max_detections=20)
    once = run(layer, boxes, scores)
    assert once["num_detections"].min() > 2
    twice = run(layer, once["boxes"], once["confidence"][..., None])
    for key in KEYS:
        np.testing.assert_array_equal(twice[key], once[key])


def test_compiled_and_symbolic_are_eager(compiled):
    boxes, scores = random_scene()
    layer = NonMaxSuppression(0.3, max_detections=12)
    eager = run(layer, boxes, scores)
    outputs = {
        "compiled": compiled(layer)(ops.convert_to_tensor(boxes), ops.convert_to_tensor(scores))
    }
    for rows in (40, None):
        inputs = [keras.Input((rows, 4)), keras.Input((rows, 3))]
        symbolic = layer(*inputs)
        assert {key: (x.shape, x.dtype) for key, x in symbolic.items()} == {
            "boxes": ((None, 12, 4), "float32"),
            "confidence": ((None, 12), "float32"),
            "labels": ((None, 12), "int32"),
            "num_detections": ((None,), "int32"),
        }
        outputs[rows] = keras.Model(inputs, symbolic).predict([boxes, scores], verbose=0)
    for name, found in outputs.items():
        for key in KEYS:
            np.testing.assert_allclose(
                ops.convert_to_numpy(found[key]), eager[key], atol=1e-6, err_msg=f"{name} {key}"
            )


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_half_precision_policies_change_nothing(policy):
    boxes, scores = random_scene()
    expected = run(NonMaxSuppression(), boxes * 50, scores)
    found = run(NonMaxSuppression(dtype=policy), boxes * 50, scores)
    for key in KEYS:
        np.testing.assert_array_equal(found[key], expected[key])


def test_config_round_trip():
    layer = NonMaxSuppression(
        0.3, 0.2, max_detections=7, max_candidates=50, bounding_box_format="rel_xywh", name="nms"
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert (again.iou_threshold, again.confidence_threshold) == (0.3, 0.2)
    assert (again.max_detections, again.max_candidates) == (7, 50)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"iou_threshold": 1.5},
            r"`iou_threshold` must be in \[0, 1\]. Received: iou_threshold=1.5",
        ),
        ({"iou_threshold": float("nan")}, "`iou_threshold` must be in"),
        ({"confidence_threshold": -0.1}, "`confidence_threshold` must be at least 0.*=-0.1"),
        ({"max_detections": 0}, "`max_detections` must be an integer of at least 1.*=0"),
        ({"max_detections": 7.0}, "`max_detections` must be an integer of at least 1.*=7.0"),
        ({"max_candidates": "all"}, "`max_candidates` must be an integer of at least 1.*='all'"),
        ({"bounding_box_format": "coco"}, "`bounding_box_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NonMaxSuppression(**arguments)


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ((1, 4), (1, 2), r"`boxes` must be of shape \(B, N, 4\). Received: \(1, 4\)"),
        ((1, 3, 5), (1, 3, 2), r"`boxes` must be of shape \(B, N, 4\). Received: \(1, 3, 5\)"),
        ((1, 3, 4), (1, 3), r"`scores` must be of shape \(B, N, classes\)"),
        ((1, 3, 4), (1, 2, 2), r"`scores` must be .* Received: \(1, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("built", [False, True])
def test_wrong_shapes_are_named(boxes, scores, message, built):
    layer = NonMaxSuppression()
    if built:
        layer(np.zeros((1, 3, 4)), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(boxes), np.zeros(scores))
