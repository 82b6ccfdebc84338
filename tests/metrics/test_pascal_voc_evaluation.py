import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.metrics import COCOEvaluation, PascalVOCEvaluation

CLASSES = 3


def kit(truth, found, least):
    """AP of each class over all points and over eleven, by the loops of VOCevaldet.m and VOCap.m.

    Boxes are as in the kit's files: whole corners, the last pixel included.
    """
    results = {"AP": [], "AP11": []}
    for label in range(CLASSES):
        objects, detections, positives = {}, [], 0
        for image in range(len(truth["labels"])):
            rows = np.flatnonzero(truth["labels"][image] == label)
            difficult = truth["ignored"][image][rows]
            positives += int((~difficult).sum())
            objects[image] = {
                "bb": truth["boxes"][image][rows], "diff": difficult, "det": [False] * len(rows)
            }  # fmt: skip
            for row in np.flatnonzero(found["labels"][image] == label):
                detections.append(
                    (found["confidence"][image][row], image, found["boxes"][image][row])
                )
        true, false = [], []
        for _, image, bb in sorted(detections, key=lambda detection: -detection[0]):
            gt, best, owner = objects[image], Fraction(-1), None
            for j, other in enumerate(gt["bb"]):
                width = min(bb[2], other[2]) - max(bb[0], other[0]) + 1
                height = min(bb[3], other[3]) - max(bb[1], other[1]) + 1
                if width > 0 and height > 0:
                    union = (
                        (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
                        + (other[2] - other[0] + 1) * (other[3] - other[1] + 1)
                        - width * height
                    )
                    overlap = Fraction(int(width * height), int(union))
                    if overlap > best:
                        best, owner = overlap, j
            hit = best >= Fraction(str(least))
            if hit and gt["diff"][owner]:
                right = wrong = False
            else:
                right = hit and not gt["det"][owner]
                wrong = not right
                if right:
                    gt["det"][owner] = True
            true.append(right)
            false.append(wrong)
        if not positives:
            results["AP"].append(-1)
            results["AP11"].append(-1)
            continue
        points = [
            (Fraction(tp, positives), Fraction(tp, max(tp + fp, 1)))
            for tp, fp in zip(np.cumsum(true).tolist(), np.cumsum(false).tolist(), strict=True)
        ]
        eleven = [max([p for r, p in points if r >= Fraction(t, 10)], default=0) for t in range(11)]
        results["AP11"].append(float(sum(eleven) / 11))
        recall = [0, *(r for r, _ in points), 1]
        precision = [0, *(p for _, p in points), 0]
        for i in reversed(range(len(precision) - 1)):
            precision[i] = max(precision[i], precision[i + 1])
        area = sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))
        results["AP"].append(float(area))
    return results


def scenes(seed, images=6, truths=6, detections=12):
    """Boxes as in the kit's files, with equal confidences, twins and difficult objects."""
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.integers(1, 30, (images, count, 2))
        return np.concatenate([corner, corner + rng.integers(0, 15, corner.shape)], -1)

    truth = boxes(truths)
    labels = rng.integers(-1, CLASSES - seed % 2, (images, truths))
    copies = rng.integers(0, truths, (images, detections))
    found = np.take_along_axis(truth, copies[..., None], 1)
    found = found + rng.integers(-2, 3, found.shape)
    found[..., 2:] = np.maximum(found[..., 2:], found[..., :2])
    found_labels = np.take_along_axis(labels, copies, 1)
    other = rng.uniform(size=copies.shape) < 0.2
    found_labels = np.where(other, rng.integers(-1, CLASSES, copies.shape), found_labels)
    return (
        {"boxes": truth, "labels": labels, "ignored": rng.uniform(size=labels.shape) < 0.25},
        {
            "boxes": found,
            "labels": found_labels,
            "confidence": rng.integers(0, 6, found_labels.shape) / 6,
        },
    )


def evaluated(*batches, **arguments):
    evaluation = PascalVOCEvaluation(CLASSES, **arguments)
    for sides in batches:
        # From the kit's inclusive pixels to the package's corners.
        evaluation.update_state(
            *({**side, "boxes": side["boxes"] - [1, 1, 0, 0]} for side in sides)
        )
    return evaluation


def sliced(sides, part):
    return [{key: value[part] for key, value in side.items()} for side in sides]


def test_nothing_seen():
    evaluation = evaluated()
    assert evaluation.result() == {"AP": -1.0, "AP11": -1.0}
    assert {k: v.tolist() for k, v in evaluation.per_class().items()} == {
        "AP": [-1] * 3, "AP11": [-1] * 3, "num_truths": [0] * 3
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), least=st.sampled_from([0.5, 0.25, 0.75, 1.0]))
def test_equals_the_loops_of_the_kit(seed, least):
    truth, found = scenes(seed)
    evaluation = evaluated((truth, found), iou_threshold=least)
    expected, table = kit(truth, found, least), evaluation.per_class()
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, rtol=0, atol=1e-12)
        present = [value for value in values if value >= 0]
        assert evaluation.result()[name] == pytest.approx(np.mean(present), abs=1e-12)


def one(truth, found, ignored=False):
    return (
        {
            "boxes": np.array([truth]),
            "labels": np.ones((1, len(truth)), int),
            "ignored": np.broadcast_to(ignored, (1, len(truth))),
        },
        {
            "boxes": np.array([found]),
            "labels": np.ones((1, len(found)), int),
            "confidence": np.linspace(0.9, 0.1, len(found))[None],
        },
    )


def test_a_second_detection_is_a_false_alarm_though_another_object_is_near():
    # COCO would give the second to the neighbour, which it overlaps by two thirds.
    left, right = [1, 1, 10, 10], [3, 1, 12, 10]
    scene = one([left, right], [left, left])
    scores = evaluated(scene).result()
    assert scores["AP"] == 0.5
    assert scores["AP11"] == pytest.approx(6 / 11)
    coco = COCOEvaluation(2)
    coco.update_state(*scene)
    assert coco.result()["AP50"] == pytest.approx(1)


def test_difficult_objects_count_neither_way():
    easy, hard = [1, 1, 10, 10], [51, 51, 60, 60]
    found = [hard, hard, easy]
    assert evaluated(one([easy, hard], found, [[False, True]])).result()["AP"] == 1
    assert evaluated(one([easy, hard], found)).result()["AP"] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_recall_of_tenths_is_reached(tenths):
    boxes = [[20 * i + 1, 1, 20 * i + 9, 9] for i in range(10)]
    scores = evaluated(one(boxes, boxes[:tenths])).result()
    assert scores == {"AP": pytest.approx(tenths / 10), "AP11": pytest.approx((tenths + 1) / 11)}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_merging_is_evaluating_at_once(seed):
    sides = scenes(seed)
    shards = [evaluated(sliced(sides, part)) for part in (slice(0, 2), slice(2, 3), slice(3, None))]
    shards = [pickle.loads(pickle.dumps(shard)) for shard in shards]  # noqa: S301
    shards[0].merge_state(shards[1:])
    assert shards[0].result() == evaluated(sides).result()


def test_fractions_of_the_image_will_do():
    truth, found = one([[1, 1, 8, 8], [9, 9, 24, 16]], [[1, 1, 8, 6], [9, 9, 20, 16]])
    relative = PascalVOCEvaluation(CLASSES, bounding_box_format="rel_xyxy")
    relative.update_state(*(
        {**side, "boxes": (side["boxes"] - [1, 1, 0, 0]) / [64, 32, 64, 32]}
        for side in (truth, found)
    ))  # fmt: skip
    assert relative.result() == evaluated((truth, found)).result()


@pytest.mark.parametrize("iou_threshold", [0, -0.5, 1.5, np.nan, "0.5", None])
def test_bad_threshold(iou_threshold):
    with pytest.raises(ValueError, match="`iou_threshold` must be a number above 0"):
        PascalVOCEvaluation(CLASSES, iou_threshold=iou_threshold)


def test_merging_with_another_threshold():
    with pytest.raises(ValueError, match="of the same class and arguments"):
        evaluated().merge_state([evaluated(iou_threshold=0.75)])
