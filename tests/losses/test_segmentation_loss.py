"""What all losses of masks keep."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx import losses

CLASSES = 4
MAKERS = {
    "boundary": losses.BoundaryLoss,
    "focal_tversky": losses.FocalTversky,
    "generalized_dice": losses.GeneralizedDice,
    "lovasz_softmax": losses.LovaszSoftmax,
    "lovasz_softmax_per_image": lambda *a, **k: losses.LovaszSoftmax(*a, per_image=True, **k),
    "lovasz_softmax_rounded": lambda *a, **k: losses.LovaszSoftmax(*a, exact=False, **k),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def numpy(x):
    return ops.convert_to_numpy(x)


def test_no_images(make):
    ids, scores = np.zeros((0, 5, 6), "int32"), np.zeros((0, 5, 6, CLASSES), "float32")
    assert not np.any(numpy(make(reduction="none")(ids, scores)))


def test_forms_of_truth_and_predictions_are_the_same(make, segmentation):
    ids, probabilities, logits = segmentation(0)
    expected = numpy(make(reduction="none")(ids, probabilities))
    one_hot = np.eye(CLASSES, dtype="float32")[ids]
    first = np.moveaxis(logits, -1, 1)
    for got in (
        make(reduction="none")(ids[..., None], probabilities),
        make(reduction="none")(one_hot, probabilities),
        make(True, reduction="none")(ids, logits),
        make(True, axis=1, reduction="none")(ids, first),
        make(True, axis=1, reduction="none")(np.moveaxis(one_hot, -1, 1), first),
    ):
        np.testing.assert_allclose(numpy(got), expected, rtol=1e-4)


def test_one_by_one_is_batched(make, segmentation):
    ids, probabilities, _ = segmentation(1)
    whole = numpy(make(reduction="none")(ids, probabilities))
    if not whole.shape:
        return  # one value of the batch
    for i in range(len(ids)):
        one = make()(ids[i : i + 1], probabilities[i : i + 1])
        assert float(one) == pytest.approx(whole[i], rel=1e-5)


def test_permutations_of_classes_and_pixels_change_nothing(make, segmentation):
    ids, probabilities, _ = segmentation(2)
    order = np.array([2, 0, 3, 1])
    renamed = np.argsort(order)[ids].astype("int32"), probabilities[..., order]
    mirrored = ids[:, ::-1], probabilities[:, ::-1]
    for other in (renamed, mirrored):
        got = make()(*map(np.ascontiguousarray, other))
        assert float(got) == pytest.approx(float(make()(ids, probabilities)), rel=1e-5)


def test_slopes_are_finite_everywhere(make, segmentation, gradient):
    ids, _, logits = segmentation(3)
    one_hot = np.eye(CLASSES, dtype="float32")
    absent = np.zeros_like(ids)
    for truth, scores in (
        (ids, logits),
        (ids, 1e4 * one_hot[ids]),
        (ids, -1e4 * one_hot[ids]),
        (ids, np.zeros_like(logits)),
        (absent, 200 * one_hot[absent]),
        (absent, 200 * one_hot[absent + 1]),
        (np.full_like(ids, 77), logits),
    ):
        value, slope = gradient(lambda x, t=truth: make(True)(t, x), scores)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        p = numpy(ops.softmax(scores))
        value, slope = gradient(lambda x, t=truth: make()(t, x), p)
        assert np.isfinite(slope).all()


def test_trains(make, segmentation):
    ids, _, logits = segmentation(4)
    inputs = keras.Input((5, 6, CLASSES))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs))
    model.compile(keras.optimizers.Adam(0.05), make(True))
    history = model.fit(logits, ids, batch_size=3, epochs=15, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.02


def test_half_precision_is_reckoned_in_float32(make, segmentation):
    ids, _, logits = segmentation(5)
    half = ops.cast(logits, "float16")
    got = float(make(True)(ids, half))
    assert got == float(make(True)(ids, ops.cast(half, "float32")))


def test_bad_shapes(make, segmentation):
    ids, probabilities, _ = segmentation(6)
    with pytest.raises(ValueError, match=r"`y_true` must be ids.*\(3, 4, 6\) and \(3, 5, 6, 4\)"):
        make()(ids[:, 1:], probabilities)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("pixels", [1, None])
def test_nan_is_never_a_good_loss(make, segmentation, from_logits, pixels):
    """A model that has diverged must not look like one that has converged."""
    ids, probabilities, logits = segmentation(0)
    scores = np.array(logits if from_logits else probabilities)
    scores.reshape(-1)[:pixels] = np.nan
    assert np.isnan(numpy(make(from_logits)(ids, scores)))


def test_weights_of_pixels_are_refused(make, segmentation):
    ids, probabilities, _ = segmentation(0)
    loss = make()
    for of_images in (2.0, np.full(len(ids), 2.0), np.full((len(ids), 1), 2.0)):
        np.testing.assert_allclose(
            numpy(loss(ids, probabilities, sample_weight=of_images)),
            2 * numpy(loss(ids, probabilities)),
            rtol=1e-5,
        )
    message = r"`sample_weight` must be one number an image.*`keras_cvx.losses.IgnoreClass`"
    for made in (loss, losses.IgnoreClass(loss)):
        with pytest.raises(ValueError, match=message):
            made(ids, probabilities, sample_weight=np.ones(ids.shape))
