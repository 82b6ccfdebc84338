import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.metrics import COCOEvaluation, coco_matching
from keras_cvx.metrics.average_precision import IOU_THRESHOLDS
from keras_cvx.metrics.coco_matching import AREA_RANGES, MAX_DETECTIONS, coco_verdicts
from keras_cvx.metrics.detection_records import read_detections, read_truths

CLASSES = 2


def verdicts(truth, found):
    """Right and ignored `(D, A, T)`, in the order of the verdicts, those, and the counts."""
    _, truths = read_truths(truth, CLASSES, "xywh")
    _, detections = read_detections(found, CLASSES, "xywh")
    got, num_truths = coco_verdicts(truths, detections, CLASSES)
    shape = (len(AREA_RANGES), len(IOU_THRESHOLDS))
    hits, ignored = (
        np.unpackbits(bits, axis=-1, count=np.prod(shape)).reshape(-1, *shape)
        for bits in (got.hits, got.ignored)
    )
    return hits > 0, ignored > 0, got, num_truths


def scene(seed, images=3, objects=4, detections=6):
    rng = np.random.default_rng(seed)
    boxes = rng.integers(0, 12, (images, objects, 4)).astype(float)
    boxes[..., 2:] += rng.choice([1, 40], (images, objects, 1))
    labels = rng.integers(0, CLASSES, (images, objects))
    copies = rng.integers(0, objects, (images, detections))
    found = np.take_along_axis(boxes, copies[..., None], 1)
    found += rng.integers(-2, 3, found.shape)
    found[..., 2:] = np.maximum(found[..., 2:], 0)
    return (
        {
            "boxes": boxes,
            "labels": labels,
            "is_crowd": rng.uniform(size=labels.shape) < 0.2,
            "ignored": rng.uniform(size=labels.shape) < 0.2,
        },
        {
            "boxes": found,
            "labels": np.take_along_axis(labels, copies, 1),
            "confidence": rng.permutation(images * detections).reshape(images, -1) / 100,
        },
    )


def test_nothing():
    truth = {"boxes": [[]], "labels": [[]]}
    hits, ignored, got, num_truths = verdicts(truth, {**truth, "confidence": [[]]})
    assert hits.shape == ignored.shape == (0, 4, 10)
    assert len(got.images) == 0
    assert num_truths.tolist() == [[0] * 4] * CLASSES


def overlap(box, other, crowd):
    sides = [
        max(min(box[i] + box[i + 2], other[i] + other[i + 2]) - max(box[i], other[i]), 0)
        for i in range(2)
    ]
    shared = sides[0] * sides[1]
    whole = box[2] * box[3] + (0 if crowd else other[2] * other[3] - shared)
    return shared / whole if whole > 0 else 0.0


def by_hand(truth, found, image, label, low, high, threshold):
    """`evaluateImg`, detection by detection: their places, and what becomes of each."""
    objects = [i for i, x in enumerate(truth["labels"][image]) if x == label]
    rows = [i for i, x in enumerate(found["labels"][image]) if x == label]
    rows.sort(key=lambda i: -found["confidence"][image][i])
    unwanted, crowd = {}, {}
    for i in objects:
        area = truth["boxes"][image][i][2] * truth["boxes"][image][i][3]
        crowd[i] = truth["is_crowd"][image][i]
        unwanted[i] = truth["ignored"][image][i] or crowd[i] or not low <= area <= high
    objects.sort(key=lambda i: unwanted[i])
    free, result = set(objects), {}
    for row in rows:
        box, best, taken = found["boxes"][image][row], min(threshold, 1 - 1e-10), None
        for i in objects:
            if i not in free or (taken is not None and not unwanted[taken] and unwanted[i]):
                continue
            value = overlap(box, truth["boxes"][image][i], crowd[i])
            if value >= best:
                best, taken = value, i
        if taken is None:
            result[row] = (False, not low <= box[2] * box[3] <= high)
            continue
        result[row] = (not unwanted[taken], bool(unwanted[taken]))
        if not crowd[taken]:
            free.discard(taken)
    return result, sum(not x for x in unwanted.values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_is_the_rule_of_coco(seed):
    truth, found = scene(seed)
    hits, ignored, got, num_truths = verdicts(truth, found)
    place = {
        (image, confidence): row
        for row, (image, confidence) in enumerate(zip(got.images, got.confidence, strict=True))
    }
    for area, (low, high) in enumerate(AREA_RANGES):
        for label in range(CLASSES):
            counted = 0
            for t, threshold in enumerate(IOU_THRESHOLDS):
                counted = 0
                for image in range(3):
                    expected, number = by_hand(truth, found, image, label, low, high, threshold)
                    counted += number
                    for row, (right, neither) in expected.items():
                        at = place[image, found["confidence"][image][row]]
                        assert hits[at, area, t] == right
                        assert ignored[at, area, t] == neither
            assert num_truths[label, area] == counted


@pytest.mark.parametrize("number", [MAX_DETECTIONS, MAX_DETECTIONS + 20])
def test_a_hundred_of_an_image_and_class_count(number):
    box = np.tile([0.0, 0.0, 8.0, 8.0], (1, number, 1))
    confidence = np.linspace(0, 1, number)[None]
    found = {"boxes": box, "labels": np.ones((1, number), int), "confidence": confidence}
    hits, _, got, _ = verdicts({"boxes": box[:, :1], "labels": [[1]]}, found)
    assert len(got.ranks) == MAX_DETECTIONS
    assert got.ranks.tolist() == list(range(MAX_DETECTIONS))
    # The most confident is right, in the two ranges of its area, and the rest come too late.
    assert hits.any(-1).sum(0).tolist() == [1, 1, 0, 0]
    assert got.confidence[hits.any((1, 2))].tolist() == [1.0]


def test_arrays_of_many_parts_are_small(monkeypatch):
    sizes = []
    real = coco_matching.match_detections

    def recorded(overlaps, *given, **flags):
        sizes.append(overlaps.shape)
        return real(overlaps, *given, **flags)

    monkeypatch.setattr(coco_matching, "match_detections", recorded)
    images, detections, objects = 30, 40, 25
    boxes = np.tile([0.0, 0.0, 8.0, 8.0], (images, detections, 1))
    evaluation = COCOEvaluation(1)
    evaluation.update_state(
        {"boxes": boxes[:, :objects], "labels": np.zeros((images, objects), int)},
        {
            "boxes": boxes,
            "labels": np.zeros((images, detections), int),
            "confidence": np.full((images, detections), 0.5),
        },
    )
    assert evaluation.result()["AR100"] == 1
    assert sum(parts for parts, *_ in sizes) == images
    conditions = len(AREA_RANGES) * len(IOU_THRESHOLDS)
    assert max(np.prod(shape) for shape in sizes) * conditions <= 2**20


def test_more_objects_in_one_part_than_an_array_is_to_hold():
    boxes = np.tile([0.0, 0.0, 8.0, 8.0], (1, 30_000, 1))
    evaluation = COCOEvaluation(1)
    evaluation.update_state(
        {"boxes": boxes, "labels": np.zeros((1, 30_000), int)},
        {"boxes": boxes[:, :1], "labels": [[0]], "confidence": [[0.5]]},
    )
    assert evaluation.result()["AR100"] == 1 / 30_000
