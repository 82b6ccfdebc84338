import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import testing
from keras_cvx.metrics import BoxIoU
from keras_cvx.ops import convert, elementwise_iou


def iou_of(box, other):
    """One pair, in float64."""
    width = max(min(box[2], other[2]) - max(box[0], other[0]), 0.0)
    height = max(min(box[3], other[3]) - max(box[1], other[1]), 0.0)
    areas = [max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0) for b in (box, other)]
    union = sum(areas) - width * height
    return width * height / union if min(areas) > 0 else 0.0


def expected(truth, found, weights=None, threshold=None, class_aware=False):
    """The weighted mean by a loop over the boxes."""
    total = count = 0.0
    for place in np.ndindex(truth["labels"].shape):
        box = truth["boxes"][place].astype("float64")
        if truth["labels"][place] < 0 or (box == -1).all():
            continue
        score = iou_of(box, found["boxes"][place].astype("float64"))
        if threshold is not None:
            score = float(score >= threshold)
        if class_aware and found["labels"][place] != truth["labels"][place]:
            score = 0.0
        weight = 1.0 if weights is None else float(weights[place])
        total, count = total + weight * score, count + weight
    return total / count if count else 0.0


def scene(seed, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, 20, (*shape, 2)), rng.integers(1, 20, (*shape, 2))
    boxes = np.concatenate([corner, corner + side], -1).astype("float32")
    labels = rng.integers(-1, 3, shape).astype("int32")
    found = boxes + rng.integers(-3, 4, boxes.shape)
    wrong = rng.uniform(size=shape) < 0.3
    return (
        {"boxes": boxes, "labels": labels},
        {"boxes": found.astype("float32"), "labels": np.where(wrong, 0, labels).astype("int32")},
    )


def value(metric, *arguments, **others):
    metric.reset_state()
    metric.update_state(*arguments, **others)
    return float(metric.result())


def test_nothing_seen():
    metric = BoxIoU()
    assert float(metric.result()) == 0.0
    for shape in ((0, 4), (2, 0, 4)):
        assert value(metric, np.zeros(shape), np.zeros(shape)) == 0.0
    assert value(metric, np.full((2, 4), -1.0), np.ones((2, 4))) == 0.0
    assert value(metric, np.ones((2, 4)), np.ones((2, 4)), sample_weight=np.zeros(2)) == 0.0


# On whole boxes an overlap is a ratio of small integers: exact ties are judged alike.
@pytest.mark.parametrize("threshold", [None, 0.25, 0.5])
@pytest.mark.parametrize("weighted", [None, "samples", "boxes"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), class_aware=st.booleans())
def test_equals_the_loop(threshold, weighted, seed, class_aware):
    truth, found = scene(seed)
    class_aware = class_aware and threshold is not None
    weights = np.random.default_rng(seed).uniform(0, 3, (4, 3)).astype("float32")
    if weighted == "samples":
        weights[:] = weights[:, :1]
    sample_weight = {None: None, "samples": weights[:, 0], "boxes": weights}[weighted]
    metric = BoxIoU(threshold=threshold, class_aware=class_aware)
    got = value(metric, truth, found, sample_weight=sample_weight)
    of_loop = expected(truth, found, weights if weighted else None, threshold, class_aware)
    assert got == pytest.approx(of_loop, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(truth=testing.labelled_boxes(3, 2, inside=False), found=testing.boxes((3, 2)))
def test_hard_boxes(truth, found):
    got = value(BoxIoU(threshold=0.5), truth, found)
    overlap = ops.convert_to_numpy(elementwise_iou(truth["boxes"], found))
    present = truth["labels"] >= 0
    assert got == pytest.approx((overlap[present] >= 0.5).mean() if present.any() else 0.0)
    mean = value(BoxIoU(), truth, found)
    assert 0.0 <= mean <= 1.0 + 1e-6
    assert mean >= 0.5 * got - 1e-6  # Markov's inequality, turned round


def test_threshold_is_reached_exactly():
    truth, found = np.float32([[0, 0, 10, 1]]), np.float32([[0, 0, 6, 1]])
    assert value(BoxIoU(threshold=0.6), truth, found) == 1.0
    assert value(BoxIoU(threshold=0.600001), truth, found) == 0.0


@pytest.mark.parametrize("variant", ["giou", "diou", "ciou"])
def test_variants(variant):
    truth, found = (side["boxes"] for side in scene(1))
    overlap = ops.convert_to_numpy(elementwise_iou(truth, found, variant=variant))
    assert value(BoxIoU(variant), truth, found) == pytest.approx(overlap.mean(), abs=1e-6)
    share = (overlap >= 0.5).mean()
    assert 0 < share < 1
    assert value(BoxIoU(variant, 0.5), truth, found) == pytest.approx(share, abs=1e-6)


def test_padded_rows_change_nothing():
    truth, found = scene(2)
    weights = np.random.default_rng(0).uniform(0, 3, (4, 3)).astype("float32")
    metric = BoxIoU(threshold=0.5, class_aware=True)
    before = value(metric, truth, found, sample_weight=weights)
    assert 0 < before < 1

    def padded(array, filler):
        width = ((0, 0), (0, 2), *[(0, 0)] * (array.ndim - 2))
        return np.pad(array, width, constant_values=filler)

    more = {"boxes": padded(found["boxes"], np.nan), "labels": padded(found["labels"], 1)}
    boxes, labels = truth["boxes"], truth["labels"]
    by_label = {"labels": padded(labels, -1), "boxes": padded(boxes, np.nan)}
    by_box = {"labels": padded(labels, 1), "boxes": padded(boxes, -1)}
    for marked in (by_label, by_box):
        after = value(metric, marked, more, sample_weight=padded(weights, 7))
        assert after == pytest.approx(before, abs=1e-6)
    # Without labels the boxes alone mark padding.
    got = value(BoxIoU(), padded(boxes, -1), more)
    assert got == pytest.approx(value(BoxIoU(), boxes, found["boxes"]), abs=1e-6)


@pytest.mark.parametrize("variant", ["iou", "giou", "diou", "ciou"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_nan_and_a_miss(variant, number):
    truth = np.float32([[0, 0, 4, 4], [2, 2, 6, 6]])
    found = truth.copy()
    found[1, 2] = number
    assert np.isnan(value(BoxIoU(variant), truth, found))
    assert value(BoxIoU(variant, 0.5), truth, found) == 0.5


@pytest.mark.parametrize("variant", ["iou", "giou", "diou", "ciou"])
def test_finite_boxes_of_any_size_have_an_overlap(variant):
    truth = np.float32([[0, 0, 4, 4], [-3e38, -3e38, 3e38, 3e38]])
    found = np.float32([[0, 0, 4, 3e38], [-3e38, -3e38, 3e38, 3e38]])
    # Of the first pair, one is the hull, with its centre half of it away: v is 1/4, its weight 1/5.
    least = {"iou": 0, "giou": 0, "diou": -0.25, "ciou": -0.25 - 0.05}[variant]
    assert value(BoxIoU(variant), truth, found) == pytest.approx((least + 1) / 2, abs=1e-3)


def test_scores_with_nan_are_of_no_class():
    truth = {"boxes": np.float32([[0, 0, 4, 4]] * 4), "labels": np.int32([0, 1, 2, 0])}
    scores = np.eye(3, dtype="float32")[truth["labels"]]
    scores[0, 1] = scores[1, 1] = scores[2, :] = np.nan
    found = {"boxes": truth["boxes"], "labels": scores}
    assert value(BoxIoU(threshold=0.5, class_aware=True), truth, found) == 0.25


def test_a_missing_prediction_is_a_miss():
    truth = np.float32([[0, 0, 4, 4], [2, 2, 6, 6]])
    found = np.float32([[0, 0, 4, 4], [-1] * 4])
    assert value(BoxIoU(), truth, found) == 0.5


@pytest.mark.parametrize("form", ["labels", "column", "probabilities", "logits", "one class"])
def test_forms_of_labels(form):
    truth, found = scene(3, (6,))
    truth["labels"] = np.int32([0, 1, 2, 0, 1, 2])
    classes = np.int32([0, 1, 1, 0, 2, 2])
    if form == "one class":
        truth["labels"], classes = truth["labels"] * 0, classes * 0
    scores = np.eye(3, dtype="float32")[classes]
    found["labels"] = {
        "labels": classes,
        "column": classes[:, None],
        "probabilities": 0.5 * scores + 0.1,
        "logits": 5 * scores - 9,
        "one class": np.float32([[0.9]] * 6),
    }[form]
    metric = BoxIoU(threshold=0.25, class_aware=True)
    of_loop = expected(truth, {**found, "labels": classes}, None, 0.25, True)
    assert 0 < of_loop < 1
    assert value(metric, truth, found) == pytest.approx(of_loop)
    column = {**truth, "labels": truth["labels"][:, None]}
    assert value(metric, column, found) == pytest.approx(of_loop)


@pytest.mark.parametrize("source", ["xywh", "rel_yxyx"])
def test_formats(source):
    truth, found = (side["boxes"] for side in scene(4))
    given = [convert(x, "xyxy", source, height=64, width=32) for x in (truth, found)]
    got = value(BoxIoU(bounding_box_format=source), *given)
    assert got == pytest.approx(value(BoxIoU(), truth, found), abs=1e-6)


def test_batched_is_one_by_one():
    truth, found = scene(5)
    metric = BoxIoU(threshold=0.5, class_aware=True)
    at_once = value(metric, truth, found)
    metric.reset_state()
    for i in range(4):
        metric.update_state(*({k: v[i : i + 1] for k, v in x.items()} for x in (truth, found)))
    assert float(metric.result()) == pytest.approx(at_once)


def test_sums_are_float32_under_any_dtype():
    metric = BoxIoU(dtype="float16")
    boxes = np.tile(np.float32([0, 0, 4, 4]), (3000, 1))
    assert value(metric, boxes, boxes) == 1.0


class Localizer(keras.Model):
    """Class and box of one object; its metrics see the whole of what it gives."""

    def __init__(self):
        super().__init__()
        self.boxes = keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones")
        self.classes = keras.layers.Dense(3, activation="softmax")
        self.accuracy = BoxIoU(
            threshold=0.5, class_aware=True, bounding_box_format="xywh", name="accuracy"
        )

    def call(self, x):
        return {"boxes": self.boxes(x), "labels": self.classes(x)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        # Nothing is to be learned; but every weight has its gradient.
        return ops.mean(y_pred["boxes"]) + ops.mean(y_pred["labels"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        # Keras repeats a sample's weight for each entry of `y`.
        weight = None if sample_weight is None else sample_weight["boxes"]
        self.accuracy.update_state(y, y_pred, sample_weight=weight)
        return {"accuracy": self.accuracy.result()}


def test_in_a_compiled_fit():
    x = np.eye(4, dtype="float32")
    boxes = np.float32([[1, 1, 1, 1], [1, 1, 2, 2], [1, 1, 1, 1.5], [-1] * 4])
    model = Localizer()
    model.compile(keras.optimizers.SGD(0.0))
    labels = ops.convert_to_numpy(model(x)["labels"]).argmax(-1).astype("int32")
    labels[2] = (labels[2] + 1) % 3
    y = {"boxes": boxes, "labels": labels}
    # The first is right, the second too small, the third of another class, the fourth padding.
    for batch_size in (2, 4):
        logs = model.fit(x, y, batch_size=batch_size, verbose=0).history
        assert logs["accuracy"] == [pytest.approx(1 / 3)]
    weights = np.float32([3, 1, 0, 5])
    logs = model.fit(x, y, sample_weight=weights, batch_size=2, verbose=0).history
    assert logs["accuracy"] == [pytest.approx(3 / 4)]


def test_a_threshold_of_numpy_is_saved():
    config = BoxIoU(threshold=np.float32(0.75)).get_config()
    assert BoxIoU.from_config(json.loads(json.dumps(config))).threshold == 0.75


def test_in_plain_keras():
    """One metric of one output, given by `compile`."""
    inputs = keras.Input((2,))
    boxes = keras.layers.Dense(
        4, kernel_initializer="zeros", bias_initializer="ones", name="boxes"
    )(inputs)
    classes = keras.layers.Dense(3, name="labels")(inputs)
    model = keras.Model(inputs, {"boxes": boxes, "labels": classes})
    model.compile(
        loss={"boxes": "mse", "labels": keras.losses.SparseCategoricalCrossentropy(True)},
        metrics={"boxes": BoxIoU(bounding_box_format="xywh")},
    )
    y = {"boxes": np.float32([[1, 1, 1, 2], [1, 1, 1, 1]]), "labels": np.int32([0, 1])}
    logs = model.evaluate(np.eye(2, dtype="float32"), y, verbose=0, return_dict=True)
    assert logs["boxes_box_iou"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "eiou"}, "`variant` must be one of"),
        ({"threshold": 0.0}, "`threshold` must be None or a number above 0"),
        ({"threshold": True}, "`threshold` must be None or a number above 0"),
        ({"class_aware": True}, "`class_aware` must be False, or True beside a `threshold`"),
        ({"bounding_box_format": "xyxz"}, "`bounding_box_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BoxIoU(**arguments)


BOXES, LABELS = np.ones((2, 4), "float32"), np.ones(2, "int32")


@pytest.mark.parametrize(
    ("y_true", "y_pred", "sample_weight", "message"),
    [
        (BOXES, BOXES, None, "`y_true` must be a dictionary of 'boxes' and 'labels'"),
        ({"boxes": BOXES}, BOXES, None, r"`y_true` must have the keys \['boxes', 'labels'\]"),
        ({"boxes": BOXES, "labels": LABELS}, BOXES, None, "`y_pred` must be a dictionary"),
        ({"boxes": BOXES, "labels": LABELS[:1]}, {"boxes": BOXES, "labels": LABELS}, None,
         "`y_true` must hold one label for each box. Received"),
        ({"boxes": BOXES, "labels": LABELS}, {"boxes": BOXES, "labels": LABELS[:1]}, None,
         "`y_pred` must hold one label for each box, or the scores"),
        ({"boxes": BOXES, "labels": np.ones((2, 3))}, {"boxes": BOXES, "labels": LABELS}, None,
         "`y_true` must hold one label for each box"),
        ({"boxes": BOXES[:, :3], "labels": LABELS}, {"boxes": BOXES, "labels": LABELS}, None,
         "`y_true` must have a last axis of 4"),
        ({"boxes": BOXES, "labels": LABELS}, {"boxes": BOXES[:1], "labels": LABELS}, None,
         "`y_pred` must hold as many boxes"),
        ({"boxes": BOXES, "labels": LABELS}, {"boxes": BOXES, "labels": LABELS}, np.ones(3),
         "`sample_weight` must have one number"),
    ],
)  # fmt: skip
def test_bad_input(y_true, y_pred, sample_weight, message):
    with pytest.raises(ValueError, match=message):
        BoxIoU(threshold=0.5, class_aware=True).update_state(y_true, y_pred, sample_weight)


@pytest.mark.parametrize("class_aware", [False, True])
def test_detections_of_one_object(class_aware):
    truth = {"boxes": [[0.0, 0.0, 4.0, 2.0]] * 2, "labels": [1, 0]}
    found = {"boxes": [[[0.0, 0.0, 4.0, 1.5]]] * 2, "labels": [[1]] * 2}
    metric = BoxIoU(threshold=0.5, class_aware=class_aware)
    metric.update_state(truth, found)
    assert float(metric.result()) == (0.5 if class_aware else 1.0)
