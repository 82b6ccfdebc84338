import contextlib
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
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
