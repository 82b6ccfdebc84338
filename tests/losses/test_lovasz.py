import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import LovaszHinge, LovaszSoftmax
from tests.ops.test_lovasz import by_hand

CLASSES = 4


def softmax_by_hand(ids, probabilities, classes):
    values = []
    for c in range(CLASSES) if classes in ("present", "all") else classes:
        truth = (ids == c).reshape(-1)
        if classes == "all" or truth.any():
            values.append(by_hand(np.abs(truth - probabilities[..., c].reshape(-1)), truth))
    return np.mean(values) if values else 0.0


@pytest.mark.parametrize("classes", ["present", "all", [0, 1], (3,)])
def test_softmax_is_the_papers(segmentation, compiled, classes):
    ids, p, _ = segmentation(0)

    def losses(ids, p):
        return [
            LovaszSoftmax(per_image=per_image, classes=classes, exact=exact, reduction=None)(ids, p)
            for exact in (True, False)
            for per_image in (False, True)
        ]

    got = compiled(losses)(ops.convert_to_tensor(ids), ops.convert_to_tensor(p))
    whole, each, rounded, each_rounded = map(ops.convert_to_numpy, got)
    expected = softmax_by_hand(ids, p, classes)
    assert whole == pytest.approx(expected, rel=1e-5)
    assert rounded == pytest.approx(expected, rel=2e-4)
    expected = [softmax_by_hand(*image, classes) for image in zip(ids, p, strict=True)]
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    np.testing.assert_allclose(each_rounded, expected, rtol=2e-3)


def test_softmax_of_zeros_and_ones_is_the_mean_jaccard_loss(segmentation, jitted):
    ids, p, _ = segmentation(1)
    found = p.argmax(-1)
    overlaps = [
        np.sum((ids == c) & (found == c)) / np.sum((ids == c) | (found == c)) for c in range(4)
    ]
    for loss in (jitted(LovaszSoftmax()), jitted(LovaszSoftmax(exact=False))):
        got = loss(ids, np.eye(CLASSES, dtype="float32")[found])
        assert float(got) == pytest.approx(1 - np.mean(overlaps), rel=1e-5)
        assert float(loss(ids, np.eye(CLASSES, dtype="float32")[ids])) == 0


def test_hinge_is_the_papers(jitted):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (3, 5, 6))
    truth[0] = 0
    logits = rng.normal(0, 2, (3, 5, 6, 1)).astype("float32")
    errors = np.maximum(1 - logits[..., 0] * (2 * truth - 1), 0).reshape(3, -1)
    expected = [by_hand(*row) for row in zip(errors, truth.reshape(3, -1), strict=True)]
    for y_true in (truth, truth[..., None].astype("float32")):
        each = jitted(LovaszHinge(reduction=None))(y_true, logits)
        np.testing.assert_allclose(ops.convert_to_numpy(each), expected, rtol=1e-5)
    whole = jitted(LovaszHinge(per_image=False))(truth, logits)
    assert float(whole) == pytest.approx(by_hand(errors.ravel(), truth.ravel()), rel=1e-5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_hinge_has_finite_slopes(gradient, jitted, size):
    truth = np.array([[[1, 0, 1, 0]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    logits = size * np.float32([[[1, -1, -1, 1]]] * 3)[..., None]
    value, slope = gradient(jitted(lambda x: LovaszHinge()(truth, x)), logits)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert np.any(slope != 0)


def test_hinge_is_of_one_class(segmentation):
    ids, _, logits = segmentation(3)
    with pytest.raises(ValueError, match="`y_pred` must be of one class"):
        LovaszHinge()(ids, logits)


def test_classes_that_are_none(segmentation):
    ids, p, _ = segmentation(4)
    with pytest.raises(ValueError, match=r"`classes` must be ids of the 4 classes.*\[0, 4\]"):
        LovaszSoftmax(classes=[0, 4])(ids, p)
