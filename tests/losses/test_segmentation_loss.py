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


@pytest.fixture
def made(make, jitted):
    """As `make`, but what it gives is compiled as a whole on JAX."""
    return lambda *arguments, **options: jitted(make(*arguments, **options))


def numpy(x):
    return ops.convert_to_numpy(x)


def test_no_images(made):
    ids, scores = np.zeros((0, 5, 6), "int32"), np.zeros((0, 5, 6, CLASSES), "float32")
    assert not np.any(numpy(made(reduction="none")(ids, scores)))


def test_forms_of_truth_and_predictions_are_the_same(made, segmentation):
    ids, probabilities, logits = segmentation(0)
    expected = numpy(made(reduction="none")(ids, probabilities))
    one_hot = np.eye(CLASSES, dtype="float32")[ids]
    first = np.moveaxis(logits, -1, 1)
    for got in (
        made(reduction="none")(ids[..., None], probabilities),
        made(reduction="none")(one_hot, probabilities),
        made(True, reduction="none")(ids, logits),
        made(True, axis=1, reduction="none")(ids, first),
        made(True, axis=1, reduction="none")(np.moveaxis(one_hot, -1, 1), first),
    ):
        np.testing.assert_allclose(numpy(got), expected, rtol=1e-4)


def test_one_by_one_is_batched(made, segmentation):
    ids, probabilities, _ = segmentation(1)
    whole = numpy(made(reduction="none")(ids, probabilities))
    if not whole.shape:
        return  # one value of the batch
    loss = made()
    for i in range(len(ids)):
        one = loss(ids[i : i + 1], probabilities[i : i + 1])
        assert float(one) == pytest.approx(whole[i], rel=1e-5)


def test_permutations_of_classes_and_pixels_change_nothing(made, segmentation):
    ids, probabilities, _ = segmentation(2)
    order, loss = np.array([2, 0, 3, 1]), made()
    renamed = np.argsort(order)[ids].astype("int32"), probabilities[..., order]
    mirrored = ids[:, ::-1], probabilities[:, ::-1]
    for other in (renamed, mirrored):
        got = loss(*map(np.ascontiguousarray, other))
        assert float(got) == pytest.approx(float(loss(ids, probabilities)), rel=1e-5)


def test_slopes_are_finite_everywhere(made, segmentation, gradient):
    ids, _, logits = segmentation(3)
    one_hot = np.eye(CLASSES, dtype="float32")
    absent = np.zeros_like(ids)
    of_logits, of_probabilities = made(True), made()
    for truth, scores in (
        (ids, logits),
        (ids, 1e4 * one_hot[ids]),
        (ids, -1e4 * one_hot[ids]),
        (ids, np.zeros_like(logits)),
        (absent, 200 * one_hot[absent]),
        (absent, 200 * one_hot[absent + 1]),
        (np.full_like(ids, 77), logits),
    ):
        value, slope = gradient(lambda x, t=truth: of_logits(t, x), scores)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        p = numpy(ops.softmax(scores))
        value, slope = gradient(lambda x, t=truth: of_probabilities(t, x), p)
        assert np.isfinite(slope).all()


def test_slopes_are_finite_where_probabilities_are_tiny(made, gradient):
    """Of what a trained model is sure, their squares leave float32's range."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2, (2, 5, 6)).astype("int32")
    of_logits, of_probabilities = made(True), made()
    for logit in (-30, -60, -80, -88, -95, -103):
        scores = np.full((*ids.shape, CLASSES), logit, "float32")
        scores[..., :2] = rng.normal(size=(*ids.shape, 2))
        foreground = np.full((*ids.shape, 1), logit, "float32")
        cases = [(ids, scores)] + [(truth, foreground) for truth in (0 * ids, ids, 0 * ids + 1)]
        for truth, logits in cases:
            p = numpy(ops.softmax(logits) if logits.shape[-1] > 1 else ops.sigmoid(logits))
            for loss, x in ((of_logits, logits), (of_probabilities, p)):
                value, slope = gradient(lambda x, f=loss, t=truth: f(t, x), x)
                assert np.isfinite(value), logit
                assert np.isfinite(slope).all(), logit


def test_slopes_are_those_of_differences(make, made, segmentation, gradient):
    """By small steps of the loss itself along random ways, where it has no kink nearby."""
    if make is MAKERS["lovasz_softmax_rounded"]:
        pytest.skip("its slopes are those of the exact loss, nearly")
    ids, probabilities, _ = segmentation(7)
    loss = made()
    _, slope = gradient(lambda x: loss(ids, x), probabilities)
    rng, step = np.random.default_rng(0), 2.0**-9
    for _ in range(3):
        way = rng.choice([-1.0, 1.0], probabilities.shape).astype("float32")
        ahead, behind = (float(loss(ids, probabilities + s * way)) for s in (step, -step))
        assert (ahead - behind) / (2 * step) == pytest.approx((slope * way).sum(), abs=2e-3)


def test_no_such_axis(make, segmentation):
    ids, probabilities, _ = segmentation(6)
    with pytest.raises(ValueError, match=r"`axis` must be one of the 4 axes of `y_pred`.*axis=4"):
        make(axis=4)(ids, probabilities)
    with pytest.raises(ValueError, match="`axis` must be an integer"):
        make(axis=True)
    assert make(axis=np.int64(1)).get_config()["axis"] == 1


@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_keras_float_of_half_precision_is_no_matter(make, segmentation, floatx):
    ids, probabilities, _ = segmentation(8)
    ids, probabilities = ops.convert_to_tensor(ids), ops.convert_to_tensor(probabilities)
    expected = float(make()(ids, probabilities))
    if floatx == "bfloat16" and keras.backend.backend() == "jax":
        pytest.skip("there, Keras makes floats of any integer")
    keras.config.set_floatx(floatx)
    try:
        got = float(make()(ids, probabilities))
    finally:
        keras.config.set_floatx("float32")
    assert got == expected


def test_trains(make, segmentation):
    ids, _, logits = segmentation(4)
    inputs = keras.Input((5, 6, CLASSES))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(inputs))
    model.compile(keras.optimizers.Adam(0.05), make(True))
    history = model.fit(logits, ids, batch_size=3, epochs=15, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.02


def test_half_precision_is_reckoned_in_float32(made, segmentation):
    ids, _, logits = segmentation(5)
    half = ops.cast(logits, "float16")
    got = float(made(True)(ids, half))
    assert got == float(made(True)(ids, ops.cast(half, "float32")))


def test_bad_shapes(make, segmentation):
    ids, probabilities, _ = segmentation(6)
    with pytest.raises(ValueError, match=r"`y_true` must be ids.*\(3, 4, 6\) and \(3, 5, 6, 4\)"):
        make()(ids[:, 1:], probabilities)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("pixels", [1, None])
def test_nan_is_never_a_good_loss(made, segmentation, from_logits, pixels):
    """A model that has diverged must not look like one that has converged."""
    ids, probabilities, logits = segmentation(0)
    scores = np.array(logits if from_logits else probabilities)
    scores.reshape(-1)[:pixels] = np.nan
    assert np.isnan(numpy(made(from_logits)(ids, scores)))


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
