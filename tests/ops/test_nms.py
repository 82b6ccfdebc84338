import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import non_max_suppression, pairwise_iou


def scene(seed, batch=2, boxes=60, classes=3, crowded=True):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 20 if crowded else 200, (batch, boxes, 2))
    size = rng.integers(0, 12, (batch, boxes, 2))
    scores = rng.permutation(batch * boxes * classes).reshape(batch, boxes, classes)
    scores = (scores / scores.size).astype("float32")
    return np.concatenate([corner, corner + size], -1).astype("float32"), scores


def reference(boxes, scores, iou_threshold, score_threshold, max_detections):
    """One image, candidate by candidate, as the definition says."""
    overlap = ops.convert_to_numpy(pairwise_iou(boxes, boxes))
    kept = []
    for flat in np.argsort(-scores.reshape(-1), kind="stable"):
        box, label = divmod(int(flat), scores.shape[1])
        if scores[box, label] <= score_threshold or len(kept) == max_detections:
            break
        if all(label != c or overlap[box, b] <= iou_threshold for b, c in kept):
            kept.append((box, label))
    return kept


def as_numpy(result):
    return [ops.convert_to_numpy(x) for x in result]


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3), (1, 1, 1)])
def test_empty(shape):
    batch, boxes, classes = shape
    result = non_max_suppression(
        np.zeros((batch, boxes, 4)), np.zeros((batch, boxes, classes)), max_detections=5
    )
    indices, labels, confidence, count = as_numpy(result)
    assert indices.shape == labels.shape == confidence.shape == (batch, 5)
    assert np.all(indices == -1)
    assert np.all(labels == -1)
    assert np.all(confidence == -1)
    assert np.all(count == 0)


# Fixed numbers of boxes keep the number of compilations small: 200 candidates are several blocks.
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    iou_threshold=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    score_threshold=st.sampled_from([0.0, 0.5, 0.99]),
)
def test_equals_the_definition(seed, iou_threshold, score_threshold):
    boxes, scores = scene(seed)
    result = non_max_suppression(
        boxes,
        scores,
        iou_threshold=iou_threshold,
        score_threshold=score_threshold,
        max_detections=20,
    )
    indices, labels, confidence, count = as_numpy(result)
    for image in range(2):
        expected = reference(boxes[image], scores[image], iou_threshold, score_threshold, 20)
        got = list(zip(indices[image].tolist(), labels[image].tolist(), strict=True))
        assert got == expected + [(-1, -1)] * (20 - len(expected))
        assert count[image] == len(expected)
        kept = [scores[image][pair] for pair in expected]
        assert confidence[image].tolist() == kept + [-1.0] * (20 - len(expected))


def test_idempotent():
    boxes, scores = scene(1)
    indices, labels, confidence, count = as_numpy(non_max_suppression(boxes, scores))
    rows = np.arange(2)[:, None]
    again = np.where(
        np.eye(3, dtype=bool)[labels] & (labels >= 0)[..., None], confidence[..., None], 0.0
    )
    second = as_numpy(non_max_suppression(boxes[rows, indices], again))
    assert second[3].tolist() == count.tolist()
    for image in range(2):
        assert second[0][image, : count[image]].tolist() == list(range(count[image]))


def test_classes_do_not_suppress_each_other_and_images_are_apart():
    boxes = np.tile(np.array([0, 0, 10, 10], "float32"), (2, 2, 1))
    scores = np.array([[[0.9, 0.0], [0.0, 0.8]], [[0.7, 0.0], [0.6, 0.0]]], "float32")
    indices, labels, _, count = as_numpy(non_max_suppression(boxes, scores, max_detections=3))
    assert count.tolist() == [2, 1]
    assert indices.tolist() == [[0, 1, -1], [0, -1, -1]]
    assert labels.tolist() == [[0, 1, -1], [0, -1, -1]]


def test_a_chain_longer_than_a_block():
    """Each box suppresses the next one, so that every second survives."""
    start = np.arange(150, dtype="float32")
    boxes = np.stack([start * 4, 0 * start, start * 4 + 10, 0 * start + 10], -1)[None]
    scores = (1.0 - start / 1000)[None, :, None]
    indices, *_ = as_numpy(
        non_max_suppression(boxes, scores, iou_threshold=0.3, max_detections=100)
    )
    assert indices[0, :75].tolist() == list(range(0, 150, 2))
    assert np.all(indices[0, 75:] == -1)


def test_only_the_best_candidates_are_visited():
    boxes, scores = scene(2, crowded=False)
    few = as_numpy(non_max_suppression(boxes, scores, iou_threshold=1.0, max_candidates=7))
    assert few[3].tolist() == [7, 7]
    assert np.all(np.sort(few[2][:, :7])[:, ::-1] == np.sort(scores.reshape(2, -1))[:, :-8:-1])


def test_compiled_equals_eager(compiled):
    boxes, scores = scene(3)
    boxes, scores = ops.convert_to_tensor(boxes), ops.convert_to_tensor(scores)

    def suppress(boxes, scores):
        return non_max_suppression(boxes, scores, max_detections=30)

    for eager, fast in zip(
        as_numpy(suppress(boxes, scores)), as_numpy(compiled(suppress)(boxes, scores)), strict=True
    ):
        np.testing.assert_array_equal(eager, fast)


def test_gradient_is_zero_and_not_an_error(gradient):
    boxes, scores = scene(4)
    _, slope = gradient(
        lambda x: ops.sum(x * 2.0) + ops.sum(non_max_suppression(boxes, x)[2]), scores
    )
    np.testing.assert_array_equal(slope, 2.0)
