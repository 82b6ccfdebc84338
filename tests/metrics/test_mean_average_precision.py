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

from keras_cvx.metrics import COCOEvaluation, MeanAveragePrecision
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


def scenes(seed, images=6, truths=5, detections=12, *, whole=True, ties=False):
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
    if ties:
        confidence = rng.integers(0, 5, (images, detections)) / 5
    else:
        # So far apart that each has a bin of its own.
        confidence = 0.05 + 0.003 * rng.permutation(300)[: images * detections]
        confidence = confidence.reshape(images, detections)
    return (
        {"boxes": truth.astype("float32"), "labels": labels.astype("int32")},
        {
            "boxes": found.astype("float32"),
            "labels": found_labels.astype("int32"),
            "confidence": confidence.astype("float32"),
        },
    )


def read(metric):
    return [float(value) for value in metric.result().values()]


def sliced(source, start, stop):
    return {key: value[start:stop] for key, value in source.items()}


@pytest.fixture(scope="module")
def metric():
    return MeanAveragePrecision(CLASSES, max_detections=20)


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
        return read(metric)

    return of


def values(metric, truth, found):
    """The same by any metric, without compilation."""
    metric.reset_state()
    metric.update_state(truth, found)
    return read(metric)


def test_nothing_seen(metric):
    metric.reset_state()
    assert {name: float(x) for name, x in metric.result().items()} == {
        "AP": 0.0, "AP50": 0.0, "AP75": 0.0
    }  # fmt: skip


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
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans())
def test_equals_pycocotools(score, images, truths, detections, seed, whole):
    truth, found = scenes(seed, images, truths, detections, whole=whole)
    np.testing.assert_allclose(score(truth, found), coco(truth, found), atol=1e-6)


def many(seed, spread, images=400):
    """A data set of usual size; confidences crowd at 0 and 1 the more, the larger `spread`."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 500, (images, 8, 2)), rng.uniform(5, 150, (images, 8, 2))
    truth, labels = np.concatenate([corner, corner + side], -1), rng.integers(-1, 3, (images, 8))
    copies = rng.integers(0, 8, (images, 50))
    sides = np.take_along_axis(np.concatenate([side, side], -1), copies[..., None], 1)
    blur = rng.uniform(0.01, 0.3, (images, 50, 1))
    boxes = np.take_along_axis(truth, copies[..., None], 1)
    boxes = boxes + rng.normal(0, 1, boxes.shape) * blur * sides
    boxes[..., 2:] = np.maximum(boxes[..., :2], boxes[..., 2:])
    found = np.take_along_axis(labels, copies, 1)
    wrong = rng.uniform(size=found.shape) < 0.5
    found = np.where(wrong, rng.integers(0, 3, found.shape), found)
    logit = spread * (1.0 - 8.0 * blur[..., 0] - 1.5 * wrong + rng.normal(0, 0.7, found.shape))
    return (
        {"boxes": truth.astype("float32"), "labels": labels.astype("int32")},
        {
            "boxes": boxes.astype("float32"),
            "labels": found.astype("int32"),
            "confidence": (1.0 / (1.0 + np.exp(-logit))).astype("float32"),
        },
    )


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_is_within_two_thousandths_on_a_data_set_of_usual_size(spread):
    truth, found = many(7, spread)
    # Crowds, ignored objects, and areas that are not those of the boxes.
    rng = np.random.default_rng(0)
    truth["is_crowd"] = rng.uniform(size=truth["labels"].shape) < 0.1
    truth["ignored"] = rng.uniform(size=truth["labels"].shape) < 0.1
    truth["areas"] = rng.uniform(0, 150**2, truth["labels"].shape).astype("float32")
    exact = COCOEvaluation(3)
    exact.update_state(truth, found)
    metric = MeanAveragePrecision(3, area_ranges=True)
    for start in range(0, 400, 50):
        metric.update_state(sliced(truth, start, start + 50), sliced(found, start, start + 50))
    expected = exact.result()
    result = {name: float(value) for name, value in metric.result().items()}
    assert result == pytest.approx({name: expected[name] for name in result}, abs=2e-3)
    assert all(0.05 < value < 0.95 for value in result.values())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equal_confidences_lie_between_the_best_and_the_worst_order(score, seed):
    truth, found = scenes(seed)
    # One detection each, so that their order decides nothing but the order.
    found = {key: value[:, :1] for key, value in found.items()}
    right = np.array([
        score(sliced(truth, i, i + 1), sliced(found, i, i + 1))[1] > 0 for i in range(6)
    ])[:, None]  # fmt: skip
    best, worst = (
        coco(truth, {**found, "confidence": np.where(order, 0.9, 0.1)})[1]
        for order in (right, ~right)
    )
    level = np.full_like(found["confidence"], 0.5)
    assert worst - 1e-6 <= score(truth, {**found, "confidence": level})[1] <= best + 1e-6


def test_states_are_merged_by_adding_them(metric):
    truth, found = scenes(9)
    expected = values(metric, truth, found)
    shards = [MeanAveragePrecision(CLASSES, max_detections=20) for _ in range(2)]
    shards[0].update_state(sliced(truth, 0, 4), sliced(found, 0, 4))
    shards[1].update_state(sliced(truth, 4, 6), sliced(found, 4, 6))
    metric.reset_state()
    metric.merge_state(shards)
    assert read(metric) == pytest.approx(expected, abs=1e-6)
    # The shards have what they had.
    shards[0].merge_state(shards[1:])
    assert read(shards[0]) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="`metrics` must be of the class MeanAveragePrecision"):
        metric.merge_state([MeanAveragePrecision(CLASSES + 1)])


def test_result_is_compiled_too(metric, compiled):
    truth, found = scenes(5)
    expected = values(metric, truth, found)
    if keras.backend.backend() == "jax":
        got = compiled(metric.stateless_result)([variable.value for variable in metric.variables])
    else:
        got = compiled(metric.result)()
    assert [float(value) for value in got.values()] == pytest.approx(expected, abs=1e-6)


def test_in_a_compiled_fit_of_plain_keras():
    """In the steps of any model whose outputs are detections; the loss is of no matter."""
    truth, found = scenes(5)

    class Constant(keras.Model):
        def __init__(self):
            super().__init__()
            self.shift = self.add_weight(shape=(), initializer="zeros")
            self.average = MeanAveragePrecision(CLASSES, max_detections=20)

        def call(self, found):
            return {**found, "boxes": found["boxes"] + self.shift}

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return self.shift**2

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            self.average.update_state(y, y_pred)
            return self.get_metrics_result()

    model = Constant()
    model.compile("sgd")
    logs = model.fit(found, truth, batch_size=3, verbose=0).history
    assert logs["AP50"][0] == pytest.approx(coco(truth, found)[1], abs=1e-6)
    assert model.evaluate(found, truth, batch_size=2, verbose=0, return_dict=True)[
        "AP75"
    ] == pytest.approx(coco(truth, found)[2], abs=1e-6)


def test_curves_of_nothing():
    curves = MeanAveragePrecision(CLASSES, bins=4).curves()
    assert (curves["precision"] == 0).all()
    for name in ("recall", "f1", "best_confidence", "best_mean_confidence"):
        assert np.isnan(curves[name]).all()


def test_curves():
    truth, found = scenes(5)
    metric = MeanAveragePrecision(CLASSES)
    metric.update_state(truth, found)
    curves = metric.curves(0.5)
    assert (np.diff(curves["confidence"]) <= 0).all()
    truths = np.array([(truth["labels"] == c).sum() for c in range(CLASSES)])
    assert sorted(truths > 0) == [False, True, True]
    for least in (0.0, 0.3, 0.7):
        at = np.argmin(np.abs(curves["confidence"] - least))
        # Those above this confidence alone: their share that is right, and what they find.
        sure = found["confidence"] > curves["confidence"][at]
        some = MeanAveragePrecision(CLASSES)
        some.update_state(truth, {**found, "labels": np.where(sure, found["labels"], -1)})
        hits = ops.convert_to_numpy(some.counts)[..., 0, 0].sum(1).T
        for c in range(CLASSES):
            precision = hits[0, c] / max(hits[1, c], 1)
            assert curves["precision"][c, at] == pytest.approx(precision)
            if not truths[c]:
                assert np.isnan([curves["recall"][c, at], curves["f1"][c, at]]).all()
                continue
            recall = hits[0, c] / truths[c]
            assert curves["recall"][c, at] == pytest.approx(recall)
            f1 = 2 * precision * recall / max(precision + recall, 1e-9)
            assert curves["f1"][c, at] == pytest.approx(f1)
    with pytest.raises(ValueError, match=r"`iou_threshold` must be one of 0\.5, 0\.55"):
        metric.curves(0.52)


def test_best_confidences():
    truth, found = scenes(5)
    metric = MeanAveragePrecision(CLASSES)
    metric.update_state(truth, found)
    curves = metric.curves(0.5)
    for c in range(CLASSES):
        best = curves["best_confidence"][c]
        if not (truth["labels"] == c).any():
            assert np.isnan(best)
            continue
        at = np.flatnonzero(curves["confidence"] == best)[0]
        assert curves["f1"][c, at] == curves["f1"][c].max() > 0
    means = np.nanmean(curves["f1"], axis=0)
    at = np.flatnonzero(curves["confidence"] == np.float32(curves["best_mean_confidence"]))[0]
    assert means[at] == pytest.approx(means.max())
    # What is only ever wrong has no best.
    found["boxes"] = found["boxes"] + 100
    metric.reset_state()
    metric.update_state(truth, found)
    curves = metric.curves()
    assert np.isnan(curves["best_confidence"]).all()
    assert np.isnan(curves["best_mean_confidence"])


def test_what_is_no_number_or_no_class_counts_least_or_nowhere():
    truth, found = one([[0, 0, 8, 8]], [[0, 0, 8, 8], [4, 4, 9, 9]])
    metric = MeanAveragePrecision(CLASSES)
    found["confidence"][0, 0] = np.nan
    assert values(metric, truth, found)[1] == pytest.approx(0.5)
    # Of a tensor, which may stand in a graph, such a label is found nowhere.
    found["labels"][0, 1] = CLASSES
    labels = ops.convert_to_tensor(found["labels"])
    assert values(metric, truth, {**found, "labels": labels})[1] == pytest.approx(1.0)


# The first detection overlaps both objects alike; only if it takes the right one does the second,
# which sees the left one alone, hit.
@pytest.mark.parametrize(("left_first", "expected"), [(True, 1.0), (False, 51 / 101)])
def test_of_equal_overlaps_the_last_is_taken(metric, score, left_first, expected):
    left, right = [0, 0, 10, 10], [4, 0, 14, 10]
    scene = one([left, right] if left_first else [right, left], [[2, 0, 12, 10], left])
    assert score(*scene) == pytest.approx(coco(*scene), abs=1e-6)
    assert read(metric)[1] == pytest.approx(expected, abs=1e-6)


def test_boxes_without_area_are_never_hit(metric, score):
    empty, full = [3, 3, 3, 9], [0, 0, 8, 8]
    scene = one([empty, full], [empty, full])
    assert score(*scene) == pytest.approx(coco(*scene), abs=1e-6)
    assert 0 < metric.result()["AP"] < 1


@pytest.mark.parametrize("classes", [1, CLASSES])
def test_pycocotools_counts_a_hundred_detections_of_an_image_and_class(classes):
    truth, found = scenes(8, images=2, truths=40, detections=130, ties=False)
    for side in (truth, found):
        side["labels"] = np.arange(side["labels"].shape[1]) % classes + 0 * side["labels"]
    default = MeanAveragePrecision(CLASSES)
    np.testing.assert_allclose(values(default, truth, found), coco(truth, found), atol=1e-6)


def test_a_share_in_a_crowd_on_a_threshold():
    truth = {
        "boxes": [[[100.0, 0, 157, 50], [500, 500, 600, 600]]],
        "labels": [[0, 0]],
        "is_crowd": [[True, False]],
    }
    found = {
        "boxes": [[[99.0, 0, 101, 10], [500, 500, 600, 600]]],
        "labels": [[0, 0]],
        "confidence": [[0.75, 0.5]],
    }
    exact = COCOEvaluation(1)
    exact.update_state(truth, found)
    expected = [exact.result()[name] for name in ("AP", "AP50", "AP75")]
    assert values(MeanAveragePrecision(1), truth, found) == pytest.approx(expected, abs=1e-6)


def test_beside_one_that_is_no_number_the_others_are_sorted():
    box = [0, 0, 8, 8]
    truth, found = one([box], [box, box, box])
    found["confidence"] = np.float32([[np.nan, 0.25, 0.75]])
    assert values(MeanAveragePrecision(2), truth, found) == pytest.approx([1, 1, 1])


# Unions of 20 make IoUs of 10/20, 11/20, … 19/20: each exactly on a threshold.
@pytest.mark.parametrize("twentieths", range(9, 21))
def test_overlap_exactly_on_a_threshold(score, twentieths):
    truth = {"boxes": np.array([[[0, 0, 20, 1]]], "float32"), "labels": np.array([[1]])}
    found = {
        "boxes": np.array([[[0, 0, twentieths, 1]]], "float32"),
        "labels": np.array([[1]]),
        "confidence": np.array([[0.5]], "float32"),
    }
    assert score(truth, found) == pytest.approx(coco(truth, found), abs=1e-6)


def test_batched_is_one_by_one(metric, score, compiled_update):
    truth, found = scenes(1)
    at_once = score(truth, found)
    metric.reset_state()
    for start in range(6):
        compiled_update(sliced(truth, start, start + 1), sliced(found, start, start + 1))
    assert read(metric) == at_once


def test_order_of_images_and_padding_change_nothing(score):
    truth, found = scenes(2, ties=False)
    expected = score(truth, found)
    order = [3, 5, 0, 1, 4, 2]
    turned = [{k: v[order] for k, v in side.items()} for side in (truth, found)]
    assert score(*turned) == pytest.approx(expected, abs=1e-6)

    def padded(side):
        return {
            key: np.pad(v, ((0, 0), (0, 3), *[(0, 0)] * (v.ndim - 2)), constant_values=-1)
            for key, v in side.items()
        }

    assert score(padded(truth), padded(found)) == expected


def test_only_the_most_confident_count():
    truth, found = scenes(3, ties=False)
    few = MeanAveragePrecision(CLASSES, max_detections=2)
    labels, confidence = found["labels"], found["confidence"]
    same = labels[:, :, None] == labels[:, None]
    surer = (same & (confidence[:, :, None] < confidence[:, None])).sum(-1)
    assert (surer[labels >= 0] >= 2).any()
    cut = {**found, "labels": np.where(surer < 2, labels, -1)}
    np.testing.assert_allclose(values(few, truth, found), coco(truth, cut), atol=1e-6)


@pytest.mark.parametrize("source", ["xywh", "rel_yxyx"])
def test_formats(score, source):
    truth, found = scenes(4)
    other = MeanAveragePrecision(CLASSES, bounding_box_format=source, max_detections=12)
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
    assert read(metric) == expected
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
    assert read(metric) == expected


def test_config_round_trip():
    metric = MeanAveragePrecision(
        np.int64(2),
        bounding_box_format="xywh",
        max_detections=7,
        area_ranges=True,
        bins=50,
        name="ap",
        dtype="float16",
    )
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    assert config["registered_name"] == "keras_cvx>MeanAveragePrecision"
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == metric.get_config()
    assert metric.get_config() == {
        "name": "ap", "dtype": "float16", "num_classes": 2, "bounding_box_format": "xywh",
        "max_detections": 7, "area_ranges": True, "bins": 50,
    }  # fmt: skip


def test_reset_empties_the_state(metric):
    metric.update_state(*scenes(0))
    metric.reset_state()
    assert all(not ops.convert_to_numpy(v).any() for v in metric.variables)


@pytest.mark.parametrize("name", ["num_classes", "max_detections"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_bad_arguments(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1"):
        MeanAveragePrecision(**{"num_classes": 2, name: value})


def test_bad_bins_and_ranges():
    for value in (1, 2.5, None):
        with pytest.raises(ValueError, match="`bins` must be an integer of at least 2"):
            MeanAveragePrecision(2, bins=value)
    with pytest.raises(ValueError, match="`area_ranges` must be a Boolean"):
        MeanAveragePrecision(2, area_ranges="small")
    with pytest.raises(ValueError, match="`area_ranges` are in square pixels"):
        MeanAveragePrecision(2, area_ranges=True, bounding_box_format="rel_xywh")


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


@pytest.mark.parametrize("key", ["is_crowd", "ignored", "areas"])
def test_what_belongs_to_objects_is_one_for_each(metric, key):
    truth, found = scenes(7)
    with pytest.raises(ValueError, match=rf"`y_true\['{key}'\]` must be of the shape"):
        metric.update_state({**truth, key: np.ones((6, 1))}, found)


def test_weights_are_refused(metric):
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        metric.update_state(*scenes(7), sample_weight=np.ones(6))


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        ("truth", "labels", [[3]], r"labels of `y_true` must be in \[0, 3\).*Received: 3"),
        ("truth", "labels", [[-2]], r"labels of `y_true` must be in \[0, 3\).*Received: -2"),
        ("found", "labels", [[5]], r"labels of `y_pred` must be in \[0, 3\).*Received: 5"),
        ("found", "confidence", [[55.0]], r"confidence of `y_pred` must be in \[0, 1\].*55"),
        ("found", "confidence", [[-0.5]], r"confidence of `y_pred` must be in \[0, 1\].*sigmoid"),
        ("truth", "iscrowd", [[0]], r"no other keys than.*\['iscrowd'\]. Did you mean 'is_crowd'"),
        ("truth", "area", [[0]], "Did you mean 'areas'"),
    ],
)
def test_values_and_keys_on_the_host(where, key, value, message):
    box = [[[0.0, 0.0, 4.0, 2.0]]]
    truth = {"boxes": box, "labels": [[2]]}
    found = {**truth, "confidence": [[0.5]]}
    metric = MeanAveragePrecision(3)
    metric.update_state(truth, {**found, "num_detections": [1]})
    # Padding may have any confidence.
    metric.update_state(truth, {**found, "labels": [[-1]], "confidence": [[-1.0]]})
    (truth if where == "truth" else found)[key] = value
    with pytest.raises(ValueError, match=message):
        metric.update_state(truth, found)
    assert float(ops.sum(ops.convert_to_tensor(metric.truths))) == 2.0


@pytest.fixture
def half_precision():
    keras.config.set_floatx("float16")
    yield
    keras.config.set_floatx("float32")


def test_counts_are_whole_numbers_where_floats_are_halves(half_precision):
    """With that setting `ops.arange` of integers has 16 bits on TensorFlow."""
    truth, found = one([[0, 0, 8, 8], [1, 1, 4, 4]], [[0, 0, 8, 8], [5, 5, 9, 9]])
    assert values(MeanAveragePrecision(CLASSES), truth, found)[1] == pytest.approx(51 / 101)
