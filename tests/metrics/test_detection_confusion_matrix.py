from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.metrics import DetectionConfusionMatrix, MeanAveragePrecision
from keras_cvx.ops import convert

CLASSES = 3
SURE, NEAR = 0.25, 0.4


def scenes(seed, images=4, truths=5, detections=8, *, extra=True):
    """Padded ground truth, and detections that are shaken copies of it among false ones."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner, side = (
            rng.integers(0, 20, (images, count, 2)),
            rng.integers(0, 9, (images, count, 2)),
        )
        return np.concatenate([corner, corner + side], -1)

    truth, labels = boxes(truths), rng.integers(-1, CLASSES, (images, truths))
    labels[rng.uniform(size=images) < 0.2] = -1
    copies = rng.integers(0, truths, (images, detections))
    found = np.take_along_axis(truth, copies[..., None], 1)
    found = found + rng.integers(-1, 2, found.shape)
    found[..., 2:] = np.maximum(found[..., :2], found[..., 2:])
    wrong = rng.uniform(size=(images, detections)) < 0.3
    found_labels = np.take_along_axis(labels, copies, 1)
    found_labels = np.where(wrong, rng.integers(-1, CLASSES, wrong.shape), found_labels)
    y_true = {"boxes": truth.astype("float32"), "labels": labels.astype("int32")}
    if extra:
        y_true["ignored"], y_true["is_crowd"] = rng.uniform(size=(2, *labels.shape)) < 0.15
    return y_true, {
        "boxes": found.astype("float32"),
        "labels": found_labels.astype("int32"),
        # Equal ones among them, and such as equal the threshold.
        "confidence": (rng.integers(0, 9, wrong.shape) / 8).astype("float32"),
    }


def by_hand(truth, found, confidence_threshold=SURE, iou_threshold=NEAR, classes=CLASSES):
    """From the definition, box by box, in fractions."""
    counts = np.zeros((classes + 1, classes + 1))
    least = Fraction(round(iou_threshold * 100), 100)
    for image in range(len(truth["labels"])):
        objects = [
            (
                *(np.int64(truth["boxes"][image][n]), label),
                *(
                    bool(truth[key][image][n]) if key in truth else False
                    for key in ("ignored", "is_crowd")
                ),
            )
            for n, label in enumerate(truth["labels"][image])
            if label >= 0
        ]
        order = np.argsort(-found["confidence"][image], kind="stable")
        free = [True] * len(objects)
        for k in order:
            label = found["labels"][image][k]
            if label < 0 or not found["confidence"][image][k] > confidence_threshold:
                continue
            box, choice = np.int64(found["boxes"][image][k]), None
            for n, (other, _, ignored, crowd) in enumerate(objects):
                overlap = overlap_of(box, other, crowd)
                # Objects that count come first, then the highest overlap, then the last.
                rank = not (ignored or crowd), overlap, n
                if (free[n] or crowd) and overlap >= least and (choice is None or rank > choice):
                    choice = rank
            if choice is None:
                counts[-1, label] += 1
                continue
            free[choice[2]] = False
            if choice[0]:
                counts[objects[choice[2]][1], label] += 1
        for (_, label, ignored, crowd), left in zip(objects, free, strict=True):
            if left and not ignored and not crowd:
                counts[label, -1] += 1
    return counts


def overlap_of(box, other, crowd):
    sides = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
    shared, area, others = (
        int(np.prod(x)) for x in (sides, box[2:] - box[:2], other[2:] - other[:2])
    )
    whole = area if crowd else area + others - shared
    return Fraction(shared, whole) if whole else Fraction(0)


@pytest.fixture(scope="module")
def metric():
    return DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR)


@pytest.fixture(scope="module")
def matrix(metric, compiled):
    """Function of ground truth and detections: the matrix, by an update that is compiled."""
    jax = keras.backend.backend() == "jax"
    step = compiled(metric.stateless_update_state if jax else metric.update_state)

    def of(*batches):
        metric.reset_state()
        for batch in batches:
            sides = [keras.tree.map_structure(ops.convert_to_tensor, side) for side in batch]
            if jax:
                [value] = step([metric.counts.value], *sides)
                metric.counts.assign(value)
            else:
                step(*sides)
        return metric.confusion_matrix

    return of


def scores(metric):
    return {name: float(x) for name, x in metric.result().items()}


def taken(source, index):
    return {key: value[index] for key, value in source.items()}


def padded(source, rows):
    return {
        key: np.pad(
            value,
            ((0, 0), (1, rows), *[(0, 0)] * (value.ndim - 2)),
            constant_values=value.dtype.type(-1),
        )
        for key, value in source.items()
    }


def test_nothing_seen():
    metric = DetectionConfusionMatrix(CLASSES)
    assert scores(metric) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    np.testing.assert_array_equal(metric.confusion_matrix, np.zeros((4, 4)))


@pytest.mark.parametrize(("truths", "detections"), [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_find_or_nothing_found(matrix, truths, detections):
    truth = {"boxes": np.ones((2, truths, 4)), "labels": np.ones((2, truths), "int32")}
    found = {
        "boxes": np.ones((2, detections, 4)),
        "labels": np.full((2, detections), 2, "int32"),
        "confidence": np.ones((2, detections)),
    }
    expected = np.zeros((4, 4))
    expected[1, 3], expected[3, 2] = 2 * truths, 2 * detections
    np.testing.assert_array_equal(matrix((truth, found)), expected)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_is_the_definition(matrix, metric, seed):
    truth, found = scenes(seed)
    expected = by_hand(truth, found)
    np.testing.assert_array_equal(matrix((truth, found)), expected)
    right, total = np.trace(expected), [expected[:, :-1].sum(), expected[:-1].sum()]
    assert scores(metric) == pytest.approx(
        {
            "precision": right / max(total[0], 1),
            "recall": right / max(total[1], 1),
            "f1": 2 * right / max(sum(total), 1),
        },
        rel=1e-6,
    )


def test_the_oracle_meets_every_case():
    """Confused, missed, made up and ignored: a seed may lack some, all seeds together do not."""
    total = sum(by_hand(*scenes(seed)) for seed in range(40))
    assert (total[~np.eye(CLASSES + 1, dtype=bool)] > 0).all()
    assert (np.diagonal(total)[:-1] > 0).all()
    assert total[-1, -1] == 0
    with_ignored = sum(by_hand(*scenes(seed)).sum() for seed in range(40))
    without = sum(by_hand(*scenes(seed, extra=False)).sum() for seed in range(40))
    assert with_ignored < without


def one(truth, found, labels=(0,), found_labels=(0,), **others):
    """One image; detections by falling confidence."""
    return (
        {
            "boxes": np.float32([truth]),
            "labels": np.int32([labels]),
            **{key: np.array([value]) for key, value in others.items()},
        },
        {
            "boxes": np.float32([found]),
            "labels": np.int32([found_labels]),
            "confidence": np.linspace(0.9, 0.8, len(found), dtype="float32")[None],
        },
    )


BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def placed(*cells):
    expected = np.zeros((CLASSES + 1, CLASSES + 1))
    for cell in cells:
        expected[cell] += 1
    return expected


@pytest.mark.parametrize(
    ("scene", "cells"),
    [
        (one([BOX], [BOX], [1], [1]), [(1, 1)]),
        (one([BOX], [BOX], [1], [2]), [(1, 2)]),
        (one([BOX], [FAR], [1], [2]), [(1, 3), (3, 2)]),
        # The surer of two takes the object, though the other has its class.
        (one([BOX], [BOX, BOX], [1], [2, 1]), [(1, 2), (3, 1)]),
        # 40 of 100 is just enough, 30 is not.
        (one([BOX], [[0, 0, 4, 10]], [0], [0]), [(0, 0)]),
        (one([BOX], [[0, 0, 3, 10]], [0], [0]), [(0, 3), (3, 0)]),
        # Ignored objects take their detection away, of whatever class, and are not missed.
        (one([BOX], [BOX], [1], [2], ignored=[True]), []),
        (one([BOX], [FAR], [1], [2], ignored=[True]), [(3, 2)]),
        (one([BOX, BOX], [BOX, BOX], [1, 0], [2, 1], ignored=[False, True]), [(1, 2)]),
        # A crowd swallows any number that lie in it.
        (one([BOX], [[0, 0, 2, 2], [5, 5, 8, 9]], [1], [1, 0], is_crowd=[True]), []),
        (one([BOX], [[0, 0, 2, 2], [5, 5, 8, 9]], [1], [1, 0]), [(1, 3), (3, 1), (3, 0)]),
    ],
)  # fmt: skip
def test_cases_one_by_one(scene, cells):
    metric = DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR)
    metric.update_state(*scene)
    np.testing.assert_array_equal(metric.confusion_matrix, placed(*cells))
    np.testing.assert_array_equal(by_hand(*scene), placed(*cells))


def test_only_detections_above_the_threshold_count():
    truth, found = one([BOX], [BOX], [1], [1])
    for confidence, cells in (
        (0.3, [(1, 3)]),
        (np.nextafter(np.float32(0.3), np.float32(1)), [(1, 1)]),
        (np.nan, [(1, 3)]),
    ):
        found["confidence"][:] = confidence
        metric = DetectionConfusionMatrix(CLASSES)
        metric.update_state(truth, found)
        np.testing.assert_array_equal(metric.confusion_matrix, placed(*cells))


def test_nan_leaves_the_others_in_order(matrix):
    truth, found = scenes(3)
    expected = by_hand(truth, found)
    blank = {key: np.insert(value, [0, 4, 8], 1, axis=1) for key, value in found.items()}
    blank["confidence"][:, [0, 5, 10]] = np.nan
    np.testing.assert_array_equal(matrix((truth, blank)), expected)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permutations_permute(matrix, seed):
    truth, found = scenes(seed)
    expected = matrix((truth, found))
    rng = np.random.default_rng(seed)
    images, names = rng.permutation(4), np.append(rng.permutation(CLASSES), -1).astype("int32")
    turned = [
        {**taken(side, images), "labels": names[side["labels"][images]]} for side in (truth, found)
    ]
    order = np.append(names[:-1], CLASSES)
    np.testing.assert_array_equal(matrix(turned)[np.ix_(order, order)], expected)


def test_batched_is_one_by_one(matrix):
    truth, found = scenes(1)
    parts = [(taken(truth, slice(i, i + 1)), taken(found, slice(i, i + 1))) for i in range(4)]
    np.testing.assert_array_equal(matrix(*parts), matrix((truth, found)))


def test_padding_changes_nothing(matrix):
    truth, found = scenes(2)
    expected = matrix((truth, found))
    # Of a padded row nothing is read but its label.
    more = padded(truth, 2), padded(found, 3)
    assert more[0]["is_crowd"][:, 0].all()
    np.testing.assert_array_equal(matrix(more), expected)
    more[0]["boxes"][:, 0], more[1]["boxes"][:, 0] = 1e30, np.nan
    more[1]["confidence"][:, 0] = 1.0
    np.testing.assert_array_equal(matrix(more), expected)


@pytest.mark.parametrize("source", ["xywh", "rel_yxyx"])
def test_formats(matrix, source):
    truth, found = scenes(4)
    expected = matrix((truth, found))
    assert expected.sum() > 10
    metric = DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR, bounding_box_format=source)
    metric.update_state(
        *(
            {**side, "boxes": convert(side["boxes"], "xyxy", source, height=32, width=64)}
            for side in (truth, found)
        )
    )
    np.testing.assert_array_equal(metric.confusion_matrix, expected)


def test_packed_ground_truth(matrix):
    truth, found = scenes(5, extra=False)
    packed = np.concatenate([truth["boxes"], truth["labels"][..., None]], -1).astype("float32")
    expected = by_hand(truth, found)
    np.testing.assert_array_equal(matrix((packed, found)), expected)


def test_agrees_with_the_curves_at_their_best_threshold():
    """Where there is one class, what is class-agnostic is not."""
    truth, found = scenes(6, images=20)
    for side in (truth, found):
        side["labels"] = np.minimum(side["labels"], 0)
    found["confidence"] = np.random.default_rng(0).uniform(0, 1, (20, 8)).astype("float32")
    average = MeanAveragePrecision(1)
    average.update_state(truth, found)
    curves = average.curves(0.5)
    best = float(curves["best_confidence"][0])
    place = np.argmax(curves["f1"][0])
    metric = DetectionConfusionMatrix(1, best)
    metric.update_state(truth, found)
    expected = {name: curves[name][0, place] for name in ("precision", "recall", "f1")}
    assert 0.1 < best < 0.9
    assert scores(metric) == pytest.approx(expected, rel=1e-6)


def test_merging_is_evaluating_at_once(matrix):
    truth, found = scenes(7)
    parts = [
        DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR, name=f"part_{i}")
        for i in range(4)
    ]
    for i, part in enumerate(parts):
        part.update_state(taken(truth, slice(i, i + 1)), taken(found, slice(i, i + 1)))
    parts[0].merge_state(parts[1:])
    np.testing.assert_array_equal(parts[0].confusion_matrix, matrix((truth, found)))
    for other in (DetectionConfusionMatrix(CLASSES), DetectionConfusionMatrix(5, SURE)):
        with pytest.raises(ValueError, match="`metrics` must be of the class DetectionConf"):
            parts[0].merge_state([other])


def test_labels_out_of_range_are_named():
    truth, found = one([BOX, FAR], [BOX, FAR], [CLASSES, 0], [0, CLASSES + 1])
    metric = DetectionConfusionMatrix(CLASSES)
    metric.update_state(truth, found)
    message = r"labels of `y_true` and `y_pred` must be in \[0, 3\).* of 1 objects .* of 1 more"
    for read in (metric.result, lambda: metric.confusion_matrix):
        with pytest.raises(ValueError, match=message):
            read()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_numbers_of_images_and_objects(jit_compile):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces with unknown sizes")
    import tensorflow as tf

    truth, found = scenes(8)
    signature = [
        {key: tf.TensorSpec((None, None, *x.shape[2:]), x.dtype) for key, x in truth.items()},
        {key: tf.TensorSpec((None, *x.shape[1:]), x.dtype) for key, x in found.items()},
    ]
    metric = DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR)
    step = tf.function(metric.update_state, input_signature=signature, jit_compile=jit_compile)
    nothing = {key: value[3:, :0] for key, value in truth.items()}
    for part in (
        (taken(truth, slice(0, 3)), taken(found, slice(0, 3))),
        (taken(truth, slice(0, 0)), taken(found, slice(0, 0))),
        (nothing, taken(found, slice(3, 4))),
    ):
        step(*part)
    truth["labels"][3] = -1
    np.testing.assert_array_equal(metric.confusion_matrix, by_hand(truth, found))


def test_in_a_compiled_fit_of_plain_keras():
    truth, found = scenes(9)
    truth = {key: truth[key] for key in ("boxes", "labels")}

    class Constant(keras.Model):
        def __init__(self):
            super().__init__()
            self.shift = self.add_weight(shape=(), initializer="zeros")
            self.confusion = DetectionConfusionMatrix(CLASSES, SURE, iou_threshold=NEAR)

        def call(self, found):
            return {**found, "boxes": found["boxes"] + self.shift}

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return self.shift**2

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            self.confusion.update_state(y, y_pred)
            return self.get_metrics_result()

    model = Constant()
    model.compile("sgd")
    log = model.fit(found, truth, batch_size=2, verbose=0).history
    expected = by_hand(truth, found)
    assert log["recall"] == pytest.approx([np.trace(expected) / expected[:-1].sum()])
    assert log["precision"] == pytest.approx([np.trace(expected) / expected[:, :-1].sum()])
    np.testing.assert_array_equal(model.confusion.confusion_matrix, expected)
    truth["labels"][0, 0] = CLASSES
    with pytest.raises(ValueError, match="labels of `y_true` and `y_pred` must be in"):
        model.evaluate(found, truth, batch_size=2, verbose=0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("num_classes", [0, 2.0, None]),
        ("confidence_threshold", [-0.1, 1, "0.5", float("nan"), None]),
        ("iou_threshold", [0, 1.5, float("nan"), None]),
        ("bounding_box_format", ["corners"]),
    ],
)
def test_bad_arguments(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}` must be .*Received"):
            DetectionConfusionMatrix(**{"num_classes": 2, name: value})


def test_bad_inputs(metric):
    truth, found = scenes(0)
    for y_true, y_pred, message in (
        (truth, {**found, "labels": found["labels"][:, 1:]}, "`y_pred` must hold boxes"),
        (truth, found["boxes"], "`y_pred` must be a dictionary"),
        ({**truth, "ignored": truth["ignored"][:1]}, found, r"`y_true\['ignored'\]` must be of"),
        (taken(truth, slice(1)), found, "`y_true` must hold boxes .* B=4"),
        (truth["boxes"], found, "`y_true` must be a dictionary"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update_state(y_true, y_pred)
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        metric.update_state(truth, found, np.ones(4))
