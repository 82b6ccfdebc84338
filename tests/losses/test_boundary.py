import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import BoundaryLoss, IgnoreClass
from tests.ops.test_distance import by_scipy


def test_is_the_papers_integral(segmentation):
    ids, p, _ = segmentation(0)
    distances = np.stack([[by_scipy(mask == c) for mask in ids] for c in range(4)], -1)
    got = BoundaryLoss(reduction=None)(ids, p)
    expected = (distances * p).mean((1, 2, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-4, atol=1e-6)


def test_the_mask_itself_is_the_minimum():
    truth = np.zeros((1, 7, 9, 1), "float32")
    truth[0, 2:6, 1:7] = 1
    loss, rng = BoundaryLoss(), np.random.default_rng(1)
    least = float(loss(truth, truth))
    assert least < 0
    for _ in range(10):
        assert float(loss(truth, rng.uniform(size=truth.shape).astype("float32"))) > least


def test_ignored_pixels_leave_the_mean(segmentation):
    ids, p, _ = segmentation(2)
    ids[:, 0, :3] = 255
    distances = np.stack([[by_scipy(mask == c) for mask in ids] for c in range(4)], -1)
    kept = ids != 255
    expected = [np.mean((d * x)[k]) for d, x, k in zip(distances, p, kept, strict=True)]
    got = IgnoreClass(BoundaryLoss(reduction=None))(ids, p)
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-4, atol=1e-6)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"`y_pred` must be \(B, H, W, C\).*\(2, 5, 3\)"):
        BoundaryLoss()(np.zeros((2, 5), "int32"), np.zeros((2, 5, 3), "float32"))
