import functools
import json
import math

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.metrics import BoundaryIoU
from keras_cvx.metrics.boundary_iou import near_contour

CLASSES = 3


def blobs(seed, images=2, height=23, width=31):
    """Masks of a few rectangles and specks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, height, width), "int32")
    for mask in masks:
        for _ in range(4):
            y, x = rng.integers(0, height), rng.integers(0, width)
            tall, wide = rng.integers(1, 16, 2)
            mask[y : y + tall, x : x + wide] = rng.integers(0, CLASSES)
        mask[tuple(rng.integers(0, [[height], [width]], (2, 3)))] = rng.integers(0, CLASSES)
    return masks


def edge_by_opencv(mask, distance):
    """The reference: the mask minus its erosion; beyond the image is no mask."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), "uint8"), iterations=distance)
    return mask - eroded[1:-1, 1:-1]


def by_opencv(truth, found, ratio=0.02, ignored=(255,)):
    """Boundary IoU of each class, from the masks of each class and image."""
    distance = max(1, round(ratio * math.sqrt(truth.shape[1] ** 2 + truth.shape[2] ** 2)))
    both, either = np.zeros(CLASSES), np.zeros(CLASSES)
    for t, p in zip(truth, found, strict=True):
        kept = ~np.isin(t, ignored)
        for c in range(CLASSES):
            edges = [edge_by_opencv((x == c).astype("uint8"), distance) > 0 for x in (t, p)]
            both[c] += np.sum(edges[0] & edges[1] & kept)
            either[c] += np.sum((edges[0] | edges[1]) & kept)
    with np.errstate(invalid="ignore"):
        return both / either


def test_nothing():
    metric = BoundaryIoU(CLASSES)
    assert float(metric.result()["mean_boundary_iou"]) == 0.0
    metric.update_state(np.zeros((0, 4, 5), "int32"), np.zeros((0, 4, 5), "int32"))
    assert np.isnan(metric.per_class()["boundary_iou"]).all()


@pytest.fixture(scope="module")
def jitted_contours(jitted):
    """`near_contour` of a distance; one function for each, so that it is compiled once."""
    return functools.cache(lambda distance: jitted(lambda masks: near_contour(masks, distance)))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1, 1), (1, 25, 14), (3, 14, 25), (12, 24, 25), (4, 25, 1)]),
)
def test_contours_are_opencvs(jitted_contours, seed, sizes):
    distance, height, width = sizes
    [mask] = blobs(seed, 1, height, width)
    near = ops.convert_to_numpy(jitted_contours(distance)(mask[None]))[0]
    expected = sum(
        edge_by_opencv((mask == c).astype("uint8"), distance).astype(int) for c in range(CLASSES)
    )
    np.testing.assert_array_equal(near.astype(int), expected)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.05, 0.2]),
    st.sampled_from([(), (255,), (255, -1)]),
)
def test_is_the_reference(seed, ratio, ignored):
    truth, found = blobs(seed), blobs(seed + 1)
    found = np.where(np.random.default_rng(seed).uniform(size=(2, 1, 1)) < 0.5, found, truth)
    for i, ids in enumerate(ignored):
        truth[i, 3:9, 4:11] = ids
    metric = BoundaryIoU(CLASSES, ignored, dilation_ratio=ratio)
    metric.update_state(truth, found)
    expected = by_opencv(truth, found, ratio, ignored)
    np.testing.assert_allclose(metric.per_class()["boundary_iou"], expected, rtol=1e-6)
    mean = np.nanmean(expected) if np.isfinite(expected).any() else 0.0
    assert float(metric.result()["mean_boundary_iou"]) == pytest.approx(mean, rel=1e-6)


def test_a_wide_erosion_is_plain_iou():
    """The boundary of everything is everything."""
    truth, found = blobs(1), blobs(2)
    metric = BoundaryIoU(CLASSES, dilation_ratio=0.9)
    metric.update_state(truth, found)
    expected = [
        np.sum((truth == c) & (found == c)) / np.sum((truth == c) | (found == c))
        for c in range(CLASSES)
    ]
    np.testing.assert_allclose(metric.per_class()["boundary_iou"], expected, rtol=1e-6)


def test_one_by_one_is_batched_and_merged():
    truth, found = blobs(3, 4), blobs(4, 4)
    whole, first, second = (BoundaryIoU(CLASSES, dilation_ratio=0.05) for _ in range(3))
    whole.update_state(truth, found)
    for i in range(4):
        (first, second)[i % 2].update_state(truth[i : i + 1], found[i : i + 1])
    first.merge_state([second])
    np.testing.assert_array_equal(ops.convert_to_numpy(first.counts),
                                  ops.convert_to_numpy(whole.counts))  # fmt: skip


def test_logits_and_one_hot():
    truth, found = blobs(5), blobs(6)
    truth[0, :4, :4] = 255
    sparse, dense = BoundaryIoU(CLASSES), BoundaryIoU(
        CLASSES, sparse_y_true=False, sparse_y_pred=False
    )  # fmt: skip
    sparse.update_state(truth[..., None], found)
    dense.update_state(truth[..., None] == np.arange(CLASSES), np.eye(CLASSES)[found] * 5 - 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(dense.counts), ops.convert_to_numpy(sparse.counts)
    )


def test_ids_out_of_range():
    truth = blobs(7)
    # One more than the classes is no class either, though a class more is kept inside.
    truth[0, 10:13, 10:13] = CLASSES
    metric = BoundaryIoU(CLASSES)
    metric.update_state(truth, blobs(8))
    with pytest.raises(ValueError, match=r"`y_true` and `y_pred` must hold ids.*for 9 pixels"):
        metric.result()


def test_a_ratio_of_numpy():
    stored = json.dumps(
        keras.saving.serialize_keras_object(BoundaryIoU(3, dilation_ratio=np.float32(0.25)))
    )
    assert keras.saving.deserialize_keras_object(json.loads(stored)).dilation_ratio == 0.25


def test_keras_float_of_half_precision_is_no_matter():
    truth, found = map(ops.convert_to_tensor, (blobs(9), blobs(10)))
    metrics = [BoundaryIoU(CLASSES, dilation_ratio=0.05) for _ in range(2)]
    for metric, floatx in zip(metrics, ("float32", "float16"), strict=True):
        keras.config.set_floatx(floatx)
        try:
            metric.update_state(truth, found)
        finally:
            keras.config.set_floatx("float32")
    np.testing.assert_array_equal(*(metric.confusion_matrix for metric in metrics))


def test_bad_input():
    with pytest.raises(ValueError, match=r"must be masks \(B, H, W\).*\(4, 5\)"):
        BoundaryIoU(CLASSES).update_state(np.zeros((4, 5), "int32"), np.zeros((4, 5), "int32"))


def test_predictions_of_no_class_are_missed():
    """As ids are that lie away from every contour; the regions beside them have contours there."""
    truth = np.array([[[0, 0, 1, 1]] * 4])
    metric = BoundaryIoU(2)
    metric.update_state(truth, np.where(truth == 1, -1, truth))
    assert metric.per_class()["boundary_iou"].tolist() == [1.0, 0.0]
    metric.reset_state()
    metric.update_state([truth[0], truth[0][:2]], [truth[0], -np.ones((2, 4), int)])
    assert metric.per_class()["boundary_iou"].tolist() == pytest.approx([8 / 12, 8 / 12])
