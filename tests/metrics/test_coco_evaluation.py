import contextlib
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from keras_cvx.metrics import COCOEvaluation, coco_matching
from keras_cvx.metrics.coco_evaluation import AREA_RANGES
from keras_cvx.ops import convert

CLASSES = 3
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
EXACT = {"rtol": 0, "atol": 1e-9}


def coco(truth, found):
    """The twelve numbers by pycocotools, and its precision and recall."""
    count = len(truth["labels"])
    ids = truth.get("image_ids", np.arange(count)).tolist()

    def rows(source):
        for image in range(count):
            for row in np.flatnonzero(source["labels"][image] >= 0):
                box = source["boxes"][image, row].tolist()
                label = int(source["labels"][image, row])
                yield image, row, {"image_id": ids[image], "category_id": label, "bbox": box}

    truths = [
        {
            **annotation,
            "id": n + 1,
            "area": float(truth["areas"][i, r]),
            "iscrowd": int(truth["is_crowd"][i, r]),
        }
        for n, (i, r, annotation) in enumerate(rows(truth))
    ]
    results = [
        {**result, "score": float(found["confidence"][i, r])} for i, r, result in rows(found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        ground, detected = COCO(), COCO()
        ground.dataset = {
            "images": [{"id": i} for i in ids],
            "annotations": truths,
            "categories": [{"id": c} for c in range(CLASSES)],
        }
        ground.createIndex()
        # pycocotools cannot load an empty list.
        detected.dataset = {**ground.dataset, "annotations": []}
        detected.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(results) if results else detected, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats, evaluation.eval


def scenes(seed, images=6, truths=5, detections=12, *, whole=True, ties=True, classes=CLASSES):
    """Padded ground truth in COCO's format, and shaken copies of it among false alarms."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.uniform(0, 60, (images, count, 2))
        side = rng.uniform(0, 1, (images, count, 2)) * rng.choice([9, 40, 150], (images, count, 1))
        return np.concatenate([corner, side], -1)

    truth = boxes(truths)
    labels = rng.integers(-1, classes - seed % 2, (images, truths))  # a class may be absent
    labels[rng.uniform(size=images) < 0.2] = -1
    copies = rng.integers(0, truths, (images, detections))
    size = np.take_along_axis(truth, copies[..., None], 1)
    shake = rng.uniform(-0.2, 0.2, (images, detections, 4)) * np.tile(size[..., 2:], 2)
    found = size + shake
    found_labels = np.take_along_axis(labels, copies, 1)
    wrong = rng.uniform(size=(images, detections)) < 0.3
    found = np.where(wrong[..., None], boxes(detections), found)
    found_labels = np.where(wrong, rng.integers(-1, classes, found_labels.shape), found_labels)
    if whole:
        truth, found = np.round(truth), np.round(found)
    levels = 5 if ties else 2**40
    # The area of an object is not that of its box, and may lie on the border of a range.
    areas = truth[..., 2] * truth[..., 3] * rng.uniform(0.5, 1, labels.shape)
    areas = np.where(rng.uniform(size=labels.shape) < 0.2, 32.0**2, areas)
    return (
        {
            "boxes": truth,
            "labels": labels,
            "areas": areas,
            "is_crowd": rng.uniform(size=labels.shape) < 0.2,
            "image_ids": rng.permutation(7 * np.arange(images)),
        },
        {
            "boxes": found,
            "labels": found_labels,
            "confidence": rng.integers(0, levels, (images, detections)) / levels,
        },
    )


def evaluated(*batches):
    evaluation = COCOEvaluation(CLASSES, bounding_box_format="xywh")
    for truth, found in batches:
        evaluation.update_state(truth, found)
    return evaluation


def numbers(evaluation):
    return list(evaluation.result().values())


def taken(source, images):
    return {key: value[images] for key, value in source.items()}


def assert_equals_pycocotools(evaluation, truth, found):
    stats, details = coco(truth, found)
    assert list(evaluation.result()) == NAMES
    np.testing.assert_allclose(numbers(evaluation), stats, **EXACT)
    # pycocotools has thresholds, recalls and classes in this order, then ranges and detections.
    precision = np.moveaxis(details["precision"][..., 0, -1], 2, 0)
    np.testing.assert_allclose(evaluation.precision_recall()["precision"], precision, **EXACT)
    table = evaluation.per_class()
    np.testing.assert_allclose(
        table["APs"], details["precision"][:, :, :, 1, 2].mean((0, 1)), **EXACT
    )
    np.testing.assert_allclose(table["AR10"], details["recall"][:, :, 0, 1].mean(0), **EXACT)
    np.testing.assert_allclose(table["AP75"], details["precision"][5, :, :, 0, 2].mean(0), **EXACT)


def test_nothing_seen():
    evaluation = evaluated()
    assert evaluation.result() == dict.fromkeys(NAMES, -1.0)
    table = evaluation.per_class()
    assert table.pop("num_truths").tolist() == [0] * CLASSES
    assert all(values.tolist() == [-1.0] * CLASSES for values in table.values())
    assert (evaluation.precision_recall()["precision"] == -1).all()


@pytest.mark.parametrize(("images", "truths", "detections"), [(0, 2, 2), (2, 0, 4), (2, 4, 0)])
def test_nothing_to_find_or_nothing_found(images, truths, detections):
    truth, found = scenes(0, 3, 5, 5)
    truth, found = taken(truth, np.arange(images)), taken(found, np.arange(images))
    truth = {k: v if k == "image_ids" else v[:, :truths] for k, v in truth.items()}
    found = {k: v[:, :detections] for k, v in found.items()}
    evaluation = evaluated((truth, found))
    expected = coco(truth, found)[0] if images else [-1.0] * 12
    assert numbers(evaluation) == list(expected)
    assert set(expected) <= {-1.0, 0.0}


# The usual case; crowds with few detections; false alarms around few objects; more than a hundred
# detections of a class, where pycocotools drops the rest; and many objects of a class.
@pytest.mark.parametrize(
    ("images", "truths", "detections", "classes"),
    [(6, 5, 12, 3), (3, 20, 8, 3), (6, 2, 15, 3), (2, 6, 160, 1), (2, 40, 90, 1)],
)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), whole=st.booleans(), ties=st.booleans())
def test_equals_pycocotools(images, truths, detections, classes, seed, whole, ties):
    truth, found = scenes(
        2 * seed if classes == 1 else seed, images, truths, detections,
        whole=whole, ties=ties, classes=classes,
    )  # fmt: skip
    assert_equals_pycocotools(evaluated((truth, found)), truth, found)


def test_scenes_hold_what_they_are_to_hold(monkeypatch):
    """Crowds, ignored areas and objects that compete change the numbers of these scenes."""
    truth, found = scenes(1, 30, 20, 20)
    stats = numbers(evaluated((truth, found)))
    for change in (
        {"is_crowd": np.zeros_like(truth["is_crowd"])},
        {"areas": np.full_like(truth["areas"], 50.0**2)},
    ):
        assert numbers(evaluated(({**truth, **change}, found)))[:9] != stats[:9]
    real = coco_matching.match_detections

    def without_preference(*given, **flags):
        taken = real(*given)
        return np.repeat(taken[:, None], 4, axis=1) if flags else taken

    monkeypatch.setattr(coco_matching, "match_detections", without_preference)
    assert numbers(evaluated((truth, found)))[:9] != stats[:9]


def test_constants_are_those_of_pycocotools():
    params = Params("bbox")
    assert params.areaRng == AREA_RANGES.tolist()
    assert params.maxDets == [1, 10, coco_matching.MAX_DETECTIONS]


def one(truth, found):
    """One image of class 1, in COCO's format; detections by falling confidence."""
    truth, found = (np.array([boxes], "float64") for boxes in (truth, found))
    return (
        {
            "boxes": truth,
            "labels": np.ones(truth.shape[:2], int),
            "areas": truth[..., 2] * truth[..., 3],
            "is_crowd": np.zeros(truth.shape[:2], bool),
        },
        {
            "boxes": found,
            "labels": np.ones(found.shape[:2], int),
            "confidence": np.linspace(0.9, 0.1, found.shape[1])[None],
        },
    )


def test_boxes_without_area():
    boxes = [[3, 3, 0, 9], [3, 3, 9, 0], [3, 3, 0, 0], [0, 0, 8, 8]]
    scene = one(boxes, boxes)
    evaluation = evaluated(scene)
    assert_equals_pycocotools(evaluation, *scene)
    assert evaluation.result()["AR100"] == 0.25


# Unions of 20 make IoUs of 9/20, 10/20, … 20/20: on each threshold, at several scales and places.
@pytest.mark.parametrize("twentieths", range(9, 21))
@pytest.mark.parametrize("scale", [1, 3, 7])
def test_overlap_on_a_threshold(twentieths, scale):
    start = 11 * scale
    scene = one([[start, 0, 20 * scale, 5]], [[start, 0, twentieths * scale, 5]])
    assert_equals_pycocotools(evaluated(scene), *scene)


def test_many_detections_in_a_crowd():
    truth, found = one(
        [[0, 0, 100, 100], [200, 0, 50, 50]], [[9, 9, 20, 20]] * 4 + [[200, 0, 50, 50]]
    )
    truth["is_crowd"][0, 0] = True
    evaluation = evaluated((truth, found))
    assert_equals_pycocotools(evaluation, truth, found)
    assert evaluation.result()["AP"] == pytest.approx(1)
    assert evaluation.per_class()["num_truths"].tolist() == [0, 1, 0]


def test_ignored_ground_truth_is_no_crowd():
    truth, found = one(
        [[0, 0, 40, 40], [200, 0, 50, 50]], [[0, 0, 40, 40]] * 2 + [[200, 0, 50, 50]]
    )
    truth["ignored"] = np.array([[True, False]])
    # The first is neither right nor wrong, the second a false alarm before the third.
    scores = evaluated((truth, found)).result()
    assert (scores["AP"], scores["AR100"]) == (pytest.approx(0.5), 1)


@pytest.fixture
def scene():
    return scenes(5, 12, 8, 15)


def test_batches_are_as_good_as_one(scene):
    expected = numbers(evaluated(scene))
    order = np.argsort(scene[0]["image_ids"])
    for size in (1, 5):
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        batches = [[taken(side, part) for side in scene] for part in parts]
        np.testing.assert_allclose(numbers(evaluated(*batches)), expected, **EXACT)


def test_parts_of_any_size_are_judged_alike(scene, monkeypatch):
    expected = numbers(evaluated(scene))
    monkeypatch.setattr("keras_cvx.metrics.detection_evaluation._TOGETHER", 1)
    monkeypatch.setattr("keras_cvx.metrics.detection_pairs._AT_ONCE", 3)
    monkeypatch.setattr(coco_matching, "_AT_ONCE", 1)
    batches = [[taken(side, [image]) for side in scene] for image in range(12)]
    np.testing.assert_allclose(numbers(evaluated(*batches)), expected, **EXACT)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_images_with_ids_changes_nothing(seed):
    truth, found = scenes(seed)
    order = np.random.default_rng(seed).permutation(len(truth["labels"]))
    permuted = evaluated((taken(truth, order), taken(found, order)))
    assert permuted.result() == evaluated((truth, found)).result()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_images_without_ids_changes_nothing_if_no_confidence_is_equal(seed):
    truth, found = scenes(seed, ties=False)
    del truth["image_ids"]
    order = np.random.default_rng(seed).permutation(len(truth["labels"]))
    permuted = evaluated((taken(truth, order), taken(found, order)))
    assert permuted.result() == evaluated((truth, found)).result()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_permuted_classes_permute_the_table(seed):
    truth, found = scenes(seed)
    new = np.random.default_rng(seed).permutation(CLASSES)
    renamed = [
        {**side, "labels": np.where(side["labels"] < 0, -1, new[side["labels"]])}
        for side in (truth, found)
    ]
    expected, permuted = evaluated((truth, found)), evaluated(renamed)
    np.testing.assert_allclose(numbers(permuted), numbers(expected), **EXACT)
    for name, values in expected.per_class().items():
        np.testing.assert_array_equal(permuted.per_class()[name][new], values)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), with_ids=st.booleans())
def test_merging_is_evaluating_at_once(seed, with_ids):
    truth, found = scenes(seed)
    if not with_ids:
        del truth["image_ids"]
    shards = [evaluated([taken(side, part) for side in (truth, found)])
              for part in (slice(0, 1), slice(1, 4), slice(4, None))]  # fmt: skip
    # As they come back from other processes.
    shards = [pickle.loads(pickle.dumps(shard)) for shard in shards]  # noqa: S301
    if with_ids:
        shards = shards[::-1]
    shards[0].merge_state(iter([evaluated(), *shards[1:]]))
    expected = evaluated((truth, found))
    assert shards[0].result() == expected.result()
    np.testing.assert_array_equal(
        shards[0].per_class()["num_truths"], expected.per_class()["num_truths"]
    )


@pytest.mark.parametrize("bounding_box_format", ["xyxy", "yxyx", "center_xywh"])
def test_formats(scene, bounding_box_format):
    other = COCOEvaluation(CLASSES, bounding_box_format=bounding_box_format)
    other.update_state(*(
        {**side, "boxes": convert(side["boxes"], "xywh", bounding_box_format, dtype="float64")}
        for side in scene
    ))  # fmt: skip
    assert other.result() == evaluated(scene).result()


def test_areas_are_those_of_the_boxes_unless_given(scene):
    truth, found = scene
    areas = truth["boxes"][..., 2] * truth["boxes"][..., 3]
    without = {key: value for key, value in truth.items() if key != "areas"}
    assert (
        evaluated((without, found)).result()
        == evaluated(({**truth, "areas": areas}, found)).result()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "`num_classes`"),
        ({"num_classes": 2, "bounding_box_format": "coco"}, "`bounding_box_format`"),
        ({"num_classes": 2, "bounding_box_format": "rel_xyxy"}, "must be in pixels"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        COCOEvaluation(**arguments)
