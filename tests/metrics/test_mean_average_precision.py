import contextlib
import io
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_cvx.metrics import MeanAveragePrecision
from keras_cvx.metrics import mean_average_precision as module
from keras_cvx.ops import convert

CLASSES = 3


def coco(truth, found):
    """AP, AP50 and AP75 by pycocotools."""

    def annotation(box, **others):
        x0, y0, x1, y1 = (float(x) for x in box)
        sides = x1 - x0, y1 - y0
        return {"bbox": [x0, y0, *sides], "area": sides[0] * sides[1], "iscrowd": 0, **others}

    def rows(source):
        for image, labels in enumerate(source["labels"]):
            for row, label in enumerate(labels):
                if label >= 0:
                    yield image, row, int(label)

    score = found["confidence"]
    truths = [
        annotation(truth["boxes"][i][r], image_id=i, category_id=c, id=n + 1)
        for n, (i, r, c) in enumerate(rows(truth))
    ]
    results = [
        annotation(found["boxes"][i][r], image_id=i, category_id=c, score=float(score[i][r]))
        for i, r, c in rows(found)
    ]
    if not truths or not results:
        return [0.0, 0.0, 0.0]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "images": [{"id": i} for i in range(len(truth["labels"]))],
            "annotations": truths,
            "categories": [{"id": c} for c in range(CLASSES)],
        }
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3].tolist()


def scenes(seed, images=6, truths=5, detections=12, *, whole=True, ties=True):
    """Padded ground truth, and detections that are shaken copies of it among false ones."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner, side = (
            rng.uniform(0, 30, (images, count, 2)),
            rng.uniform(0, 12, (images, count, 2)),
        )
        return np.concatenate([corner, corner + side], -1)

    truth = boxes(truths)
    labels = rng.integers(-1, CLASSES - seed % 2, (images, truths))  # a class may be absent
    labels[rng.uniform(size=images) < 0.2] = -1
    copies = rng.integers(0, truths, (images, detections))
    found = np.take_along_axis(truth, copies[..., None], 1) + rng.uniform(
        -2, 2, (images, detections, 4)
    )
    found_labels = np.take_along_axis(labels, copies, 1)
    wrong = rng.uniform(size=(images, detections)) < 0.3
    found = np.where(wrong[..., None], boxes(detections), found)
    found_labels = np.where(wrong, rng.integers(-1, CLASSES, found_labels.shape), found_labels)
    found[..., 2:] = np.maximum(found[..., :2], found[..., 2:])
    if whole:
        truth, found = np.round(truth), np.round(found)
    levels = 5 if ties else 2**20
    confidence = rng.integers(0, levels, (images, detections)) / levels
    return (
        {"boxes": truth.astype("float32"), "labels": labels.astype("int32")},
        {
            "boxes": found.astype("float32"),
            "labels": found_labels.astype("int32"),
            "confidence": confidence.astype("float32"),
        },
    )


def sliced(source, start, stop):
    return {key: value[start:stop] for key, value in source.items()}


@pytest.fixture(scope="module")
def metric():
    return MeanAveragePrecision(CLASSES, max_images=16, max_detections=20)


@pytest.fixture(scope="module")
def compiled_update(metric, compiled):
    """`metric.update_state`, compiled where the backend compiles."""
    jax = keras.backend.backend() == "jax"
    step = compiled(metric.stateless_update_state if jax else metric.update_state)

    def update(truth, found):
        sides = [keras.tree.map_structure(ops.convert_to_tensor, side) for side in (truth, found)]
        if not jax:
            step(*sides)
            return
        state = step([variable.value for variable in metric.variables], *sides)
        for variable, value in zip(metric.variables, state, strict=True):
            variable.assign(value)

    return update


@pytest.fixture(scope="module")
def score(metric, compiled_update):
    """Function of ground truth and detections: AP, AP50 and AP75 by the compiled metric."""

    def of(truth, found):
        metric.reset_state()
        compiled_update(truth, found)
        return list(metric.result().values())

    return of


def values(metric, truth, found):
    """The same by any metric, without compilation."""
    metric.reset_state()
    metric.update_state(truth, found)
    return list(metric.result().values())


def test_nothing_seen(metric):
    metric.reset_state()
    assert metric.result() == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


@pytest.mark.parametrize(("truths", "detections"), [(0, 4), (4, 0), (0, 0)])
def test_nothing_to_find_or_nothing_found(score, truths, detections):
    truth = {"boxes": np.ones((2, truths, 4)), "labels": np.ones((2, truths), int)}
    found = {
        "boxes": np.ones((2, detections, 4)),
        "labels": np.ones((2, detections), int),
        "confidence": np.ones((2, detections)),
    }
    assert score(truth, found) == [0.0, 0.0, 0.0]


def one(truth, found):
    """One image of class 1: boxes of the ground truth, and of the detections by confidence."""
    confidence = np.linspace(0.9, 0.1, len(found))
    return (
        {
            "boxes": np.array([truth], "float32"),
            "labels": np.ones((1, len(truth)), "int32"),
        },
        {
            "boxes": np.array([found], "float32"),
            "labels": np.ones((1, len(found)), "int32"),
            "confidence": confidence[None].astype("float32"),
        },
    )


# The usual case, a crowd with fewer detections than objects, and false alarms around few objects.
@pytest.mark.parametrize(
    ("images", "truths", "detections"), [(6, 5, 12), (3, 30, 20), (8, 2, 15), (8, 12, 4)]
)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans(), ties=st.booleans())
def test_equals_pycocotools(score, images, truths, detections, seed, whole, ties):
    truth, found = scenes(seed, images, truths, detections, whole=whole, ties=ties)
    np.testing.assert_allclose(score(truth, found), coco(truth, found), atol=1e-6)


def test_rounding_of_a_threshold_decides_an_exact_tie():
    three_fifths = np.float32(3) / np.float32(5)
    assert three_fifths >= module._float32_threshold(0.6)
    assert three_fifths >= module._float32_threshold(np.nextafter(0.6, 0.0))
    assert three_fifths < module._float32_threshold(np.nextafter(0.6, 1.0))


def test_verdicts_on_whole_boxes():
    # Overlaps on every threshold and one pixel beside it, up to the union that float32 allows.
    rng = np.random.default_rng(0)
    union = np.concatenate([20 * rng.integers(1, 50, 20), rng.integers(20, 2**24 // 20, 80)])
    union = np.append(union, 2**24 // 20)[:, None, None]
    part = np.round(union * module.IOU_THRESHOLDS[:, None]) + np.array([-1, 0, 1])
    union, part = (x.astype("float32").ravel() for x in np.broadcast_arrays(union, part))

    def boxes(width):
        zero, unit = np.zeros_like(width), np.ones_like(width)
        return np.stack([zero, zero, width, unit], -1)[:, None]

    label = np.zeros((len(union), 1), "int32")
    hits = module.hits_of(boxes(union), label, boxes(part), label)
    passed = (part.astype(float) / union)[:, None] >= np.minimum(module.IOU_THRESHOLDS, 1 - 1e-10)
    np.testing.assert_array_equal(ops.convert_to_numpy(hits)[:, 0], passed @ 2 ** np.arange(10))


# The first detection overlaps both objects alike; only if it takes the right one does the second,
# which sees the left one alone, hit.
@pytest.mark.parametrize(("left_first", "expected"), [(True, 1.0), (False, 51 / 101)])
def test_of_equal_overlaps_the_last_is_taken(metric, score, left_first, expected):
    left, right = [0, 0, 10, 10], [4, 0, 14, 10]
    scene = one([left, right] if left_first else [right, left], [[2, 0, 12, 10], left])
    assert score(*scene) == pytest.approx(coco(*scene), abs=1e-9)
    assert metric.result()["AP50"] == pytest.approx(expected, abs=1e-9)


def test_boxes_without_area_are_never_hit(metric, score):
    empty, full = [3, 3, 3, 9], [0, 0, 8, 8]
    scene = one([empty, full], [empty, full])
    assert score(*scene) == pytest.approx(coco(*scene), abs=1e-9)
    assert 0 < metric.result()["AP"] < 1


def test_pycocotools_counts_a_hundred_detections_of_an_image():
    truth, found = scenes(8, images=2, truths=40, detections=130, ties=False)
    for side in (truth, found):
        side["labels"] = np.ones_like(side["labels"])
    default = MeanAveragePrecision(CLASSES, max_images=2)
    np.testing.assert_allclose(values(default, truth, found), coco(truth, found), atol=1e-6)


# Unions of 20 make IoUs of 10/20, 11/20, … 19/20: each exactly on a threshold.
@pytest.mark.parametrize("twentieths", range(9, 21))
def test_overlap_exactly_on_a_threshold(score, twentieths):
    truth = {"boxes": np.array([[[0, 0, 20, 1]]], "float32"), "labels": np.array([[1]])}
    found = {
        "boxes": np.array([[[0, 0, twentieths, 1]]], "float32"),
        "labels": np.array([[1]]),
        "confidence": np.array([[0.5]], "float32"),
    }
    assert score(truth, found) == pytest.approx(coco(truth, found), abs=1e-9)


def test_batched_is_one_by_one(metric, score, compiled_update):
    truth, found = scenes(1)
    at_once = score(truth, found)
    metric.reset_state()
    for start in range(6):
        compiled_update(sliced(truth, start, start + 1), sliced(found, start, start + 1))
    assert list(metric.result().values()) == at_once


def test_order_of_images_and_padding_change_nothing(score):
    truth, found = scenes(2, ties=False)
    expected = score(truth, found)
    order = [3, 5, 0, 1, 4, 2]
    turned = [{k: v[order] for k, v in side.items()} for side in (truth, found)]
    assert score(*turned) == pytest.approx(expected, abs=1e-12)

    def padded(side):
        return {
            key: np.pad(v, ((0, 0), (0, 3), *[(0, 0)] * (v.ndim - 2)), constant_values=-1)
            for key, v in side.items()
        }

    assert score(padded(truth), padded(found)) == expected


def test_only_the_most_confident_count():
    truth, found = scenes(3, ties=False)
    few = MeanAveragePrecision(CLASSES, max_images=6, max_detections=4)
    best = np.argsort(-np.where(found["labels"] >= 0, found["confidence"], -1), axis=1)[:, :4]
    cut = {
        key: np.take_along_axis(v, best[..., None] if v.ndim == 3 else best, 1)
        for key, v in found.items()
    }
    np.testing.assert_allclose(values(few, truth, found), coco(truth, cut), atol=1e-6)


@pytest.mark.parametrize("source", ["xywh", "rel_yxyx"])
def test_formats(score, source):
    truth, found = scenes(4)
    other = MeanAveragePrecision(
        CLASSES, bounding_box_format=source, max_images=16, max_detections=12
    )
    sides = [
        {**side, "boxes": convert(side["boxes"], "xyxy", source, height=64, width=64)}
        for side in (truth, found)
    ]
    assert values(other, *sides) == pytest.approx(score(truth, found), abs=1e-6)


def test_compiled_update_equals_eager(metric, compiled_update):
    truth, found = scenes(5)
    expected = values(metric, truth, found)
    metric.reset_state()
    compiled_update(truth, found)
    assert list(metric.result().values()) == expected
    assert 0 < expected[0] < 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_numbers_of_images_and_objects(metric, score, jit_compile):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces with unknown sizes")
    import tensorflow as tf

    truth, found = scenes(5)
    expected = score(truth, found)
    signature = [
        {key: tf.TensorSpec((None, None, *x.shape[2:]), x.dtype) for key, x in truth.items()},
        {key: tf.TensorSpec((None, *x.shape[1:]), x.dtype) for key, x in found.items()},
    ]
    step = tf.function(metric.update_state, input_signature=signature, jit_compile=jit_compile)
    metric.reset_state()
    for start, stop in ((0, 4), (4, 4), (4, 6)):
        step(sliced(truth, start, stop), sliced(found, start, stop))
    assert list(metric.result().values()) == expected


def test_state_stays_where_a_compiled_step_reaches_it(metric):
    # TensorFlow keeps int32 variables on the host, where a step compiled for a GPU finds none.
    kinds = [keras.backend.standardize_dtype(v.dtype) for v in metric.variables]
    integer = "int64" if keras.backend.backend() == "tensorflow" else "int32"
    assert kinds == ["float32"] + [integer] * 4


def test_config_round_trip():
    metric = MeanAveragePrecision(
        np.int64(2),
        bounding_box_format="xywh",
        max_detections=7,
        max_images=9,
        name="ap",
        dtype="float16",
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    assert config["registered_name"] == "keras_cvx>MeanAveragePrecision"
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == metric.get_config()
    assert metric.get_config() == {
        "name": "ap", "dtype": "float16", "num_classes": 2, "bounding_box_format": "xywh",
        "max_detections": 7, "max_images": 9,
    }  # fmt: skip


def test_reset_empties_the_state(metric):
    metric.update_state(*scenes(0))
    metric.reset_state()
    assert all(not ops.convert_to_numpy(v).any() for v in metric.variables)


def test_result_inside_a_compiled_function_says_what_to_do(metric, compiled):
    if keras.backend.backend() == "torch":
        pytest.skip("nothing is traced on torch")
    metric.reset_state()

    def read(x):
        with keras.StatelessScope([(metric.images, ops.cast(x, "int32"))]):
            return x * metric.result()["AP"]

    with pytest.raises(RuntimeError, match="call `result\\(\\)` after the loop"):
        compiled(read)(ops.convert_to_tensor(1.0))


def test_result_in_a_tensorflow_graph_says_what_to_do(metric):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a graph is TensorFlow's")
    import tensorflow as tf

    with pytest.raises(RuntimeError, match="call `result\\(\\)` after the loop"):
        tf.function(lambda: metric.result()["AP"], autograph=False)()


def test_too_many_images(metric):
    truth, found = scenes(6)
    metric.reset_state()
    for _ in range(3):
        metric.update_state(truth, found)
    with pytest.raises(ValueError, match=r"max_images=16, and 18 images\..*max_images=18 or more"):
        metric.result()


def test_a_batch_beyond_the_room():
    small = MeanAveragePrecision(CLASSES, max_images=4)
    small.update_state(*scenes(6))
    with pytest.raises(ValueError, match="max_images=4, and 6 images"):
        small.result()


@pytest.mark.parametrize("name", ["num_classes", "max_detections", "max_images"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1"):
        MeanAveragePrecision(**{"num_classes": 2, name: value})


def test_bad_format():
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of"):
        MeanAveragePrecision(2, bounding_box_format="corners")


@pytest.mark.parametrize("key", ["boxes", "labels", "confidence"])
def test_missing_keys(metric, key):
    truth, found = scenes(7)
    del found[key]
    with pytest.raises(ValueError, match="`y_pred` must be a dictionary, and must have the keys"):
        metric.update_state(truth, found)
    with pytest.raises(ValueError, match="`y_pred` must be a dictionary, and must have the keys"):
        metric.update_state(truth, np.zeros((6, 12, 6), "float32"))


# Each of these would broadcast to a wrong score.
@pytest.mark.parametrize("key", ["boxes", "labels", "confidence"])
def test_lengths_that_do_not_go_together(metric, key):
    truth, found = scenes(7)
    with pytest.raises(ValueError, match=r"`y_pred` must hold boxes \(B, K, 4\)"):
        metric.update_state(truth, {**found, key: found[key][:, :1]})
    with pytest.raises(ValueError, match=r"`y_true` must hold boxes \(B, N, 4\)"):
        metric.update_state(sliced(truth, 0, 1), found)


def test_weights_are_refused(metric):
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        metric.update_state(*scenes(7), sample_weight=np.ones(6))
