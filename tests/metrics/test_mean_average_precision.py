import contextlib
import io

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_cvx.metrics import MeanAveragePrecision
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
    return MeanAveragePrecision(CLASSES, max_images=16, max_detections=12)


def scored(metric, truth, found):
    metric.reset_state()
    metric.update_state(truth, found)
    return metric.result()


def values(metric, truth, found):
    return list(scored(metric, truth, found).values())


def test_nothing_seen(metric):
    metric.reset_state()
    assert metric.result() == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}


@pytest.mark.parametrize(("truths", "detections"), [(0, 4), (4, 0), (0, 0)])
def test_nothing_to_find_or_nothing_found(metric, truths, detections):
    truth = {"boxes": np.ones((2, truths, 4)), "labels": np.ones((2, truths), int)}
    found = {
        "boxes": np.ones((2, detections, 4)),
        "labels": np.ones((2, detections), int),
        "confidence": np.ones((2, detections)),
    }
    assert values(metric, truth, found) == [0.0, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans(), ties=st.booleans())
def test_equals_pycocotools(metric, seed, whole, ties):
    truth, found = scenes(seed, whole=whole, ties=ties)
    np.testing.assert_allclose(values(metric, truth, found), coco(truth, found), atol=1e-6)


# Unions of 20 make IoUs of 10/20, 11/20, … 19/20: each exactly on a threshold.
@pytest.mark.parametrize("twentieths", range(9, 21))
def test_overlap_exactly_on_a_threshold(metric, twentieths):
    truth = {"boxes": np.array([[[0, 0, 20, 1]]], "float32"), "labels": np.array([[1]])}
    found = {
        "boxes": np.array([[[0, 0, twentieths, 1]]], "float32"),
        "labels": np.array([[1]]),
        "confidence": np.array([[0.5]], "float32"),
    }
    assert values(metric, truth, found) == pytest.approx(coco(truth, found), abs=1e-9)


def test_batched_is_one_by_one(metric):
    truth, found = scenes(1)
    at_once = values(metric, truth, found)
    metric.reset_state()
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        metric.update_state(sliced(truth, start, stop), sliced(found, start, stop))
    assert list(metric.result().values()) == at_once


def test_order_of_images_and_padding_change_nothing(metric):
    truth, found = scenes(2, ties=False)
    expected = values(metric, truth, found)
    order = [3, 5, 0, 1, 4, 2]
    turned = [{k: v[order] for k, v in side.items()} for side in (truth, found)]
    assert values(metric, *turned) == pytest.approx(expected, abs=1e-12)

    def padded(side):
        return {
            key: np.pad(v, ((0, 0), (0, 3), *[(0, 0)] * (v.ndim - 2)), constant_values=-1)
            for key, v in side.items()
        }

    assert values(metric, padded(truth), padded(found)) == expected


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
def test_formats(metric, source):
    truth, found = scenes(4)
    other = MeanAveragePrecision(CLASSES, source, max_images=16, max_detections=12)
    sides = [
        {**side, "boxes": convert(side["boxes"], "xyxy", source, height=64, width=64)}
        for side in (truth, found)
    ]
    assert values(other, *sides) == pytest.approx(values(metric, truth, found), abs=1e-6)


def test_compiled_update_equals_eager(metric, compiled):
    truth, found = scenes(5)
    expected = values(metric, truth, found)
    metric.reset_state()
    as_tensors = [keras.tree.map_structure(ops.convert_to_tensor, side) for side in (truth, found)]
    if keras.backend.backend() == "jax":
        state = [variable.value for variable in metric.variables]
        state = compiled(metric.stateless_update_state)(state, *as_tensors)
        for variable, value in zip(metric.variables, state, strict=True):
            variable.assign(value)
    else:
        compiled(metric.update_state)(*as_tensors)
    assert list(metric.result().values()) == expected


def test_result_inside_a_compiled_function_says_what_to_do(metric, compiled):
    if keras.backend.backend() == "torch":
        pytest.skip("nothing is traced on torch")
    metric.reset_state()

    def read(x):
        with keras.StatelessScope([(metric.images, ops.cast(x, "int32"))]):
            return x * metric.result()["AP"]

    with pytest.raises(RuntimeError, match="call `result\\(\\)` after the loop"):
        compiled(read)(ops.convert_to_tensor(1.0))


def test_too_many_images(metric):
    truth, found = scenes(6)
    metric.reset_state()
    for _ in range(3):
        metric.update_state(truth, found)
    with pytest.raises(ValueError, match="max_images=16, and 18 images"):
        metric.result()


@pytest.mark.parametrize("name", ["num_classes", "max_detections", "max_images"])
def test_bad_arguments(name):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
        MeanAveragePrecision(**{"num_classes": 2, name: 0})


@pytest.mark.parametrize("key", ["boxes", "labels", "confidence"])
def test_missing_keys(metric, key):
    truth, found = scenes(7)
    del found[key]
    with pytest.raises(ValueError, match="`y_pred` must have the keys"):
        metric.update_state(truth, found)
