import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.losses import (
    BoundaryLoss,
    FocalTversky,
    GeneralizedDice,
    IgnoreClass,
    LovaszHinge,
    LovaszSoftmax,
)

CLASSES = 4
ONE_HOT = {
    "dice": lambda logits: keras.losses.Dice(),
    "tversky": lambda logits: keras.losses.Tversky(alpha=0.7, beta=0.3),
    "crossentropy": lambda logits: keras.losses.CategoricalCrossentropy(from_logits=logits),
    "smoothed": lambda logits: keras.losses.CategoricalCrossentropy(
        from_logits=logits, label_smoothing=0.1
    ),
    "focal": lambda logits: keras.losses.CategoricalFocalCrossentropy(
        alpha=0.4, from_logits=logits
    ),
    "binary": lambda logits: keras.losses.BinaryCrossentropy(from_logits=logits),
}
SPARSE = {
    "sparse": lambda logits: keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    "lovasz": LovaszSoftmax,
    "rounded_lovasz": lambda logits: LovaszSoftmax(logits, exact=False),
    "focal_tversky": lambda logits: FocalTversky(logits, alpha=0.6),
    "generalized_dice": GeneralizedDice,
}
ALL = {**ONE_HOT, **SPARSE}
OF_PROBABILITIES = ("dice", "tversky")


def with_holes(ids, seed, labels=(255, 254)):
    """The same masks with ignored pixels."""
    rng = np.random.default_rng(seed)
    ids = ids.copy()
    for label in labels:
        ids[rng.uniform(size=ids.shape) < 0.2] = label
    return ids


@pytest.mark.parametrize(
    ("name", "from_logits"),
    [
        (name, logits)
        for name in ALL
        for logits in (False, True)
        if not logits or name not in OF_PROBABILITIES
    ],
)
def test_is_the_loss_of_what_is_left(segmentation, jitted, name, from_logits):
    """The ignored pixels really cut out: one row of pixels of one image."""
    ids, p, logits = segmentation(0, images=1)
    scores, ids = (logits if from_logits else p), with_holes(ids, 1)
    loss = ALL[name](from_logits)
    got = float(jitted(IgnoreClass(loss, (254, 255)))(ids, scores))
    kept = ids < CLASSES
    assert 0 < kept.sum() < kept.size
    cut, left = ids[kept][None, None], scores[kept][None, None]
    if name in ONE_HOT:
        cut = np.eye(CLASSES, dtype="float32")[cut]
    assert got == pytest.approx(float(jitted(loss)(cut, left)), rel=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_no_slope_where_ignored_and_nothing_where_all_are(segmentation, gradient, jitted, name):
    ids, p, logits = segmentation(2)
    scores, ids = p if name in OF_PROBABILITIES else logits, with_holes(ids, 3)
    loss = jitted(IgnoreClass(ALL[name](name not in OF_PROBABILITIES), [254, 255]))
    _, slope = gradient(lambda x: loss(ids, x), scores)
    ignored = ids >= CLASSES
    assert not slope[ignored].any()
    assert np.isfinite(slope).all()
    assert slope[~ignored].any(axis=-1).all() or name.endswith("lovasz")
    value, slope = gradient(lambda x: loss(np.full_like(ids, 255), x), scores)
    assert value == 0
    assert not slope.any()


@pytest.mark.parametrize("name", ALL)
def test_what_is_predicted_there_is_no_matter(segmentation, jitted, name):
    ids, p, logits = segmentation(4)
    scores, ids = p if name in OF_PROBABILITIES else logits, with_holes(ids, 5)
    loss = jitted(IgnoreClass(ALL[name](name not in OF_PROBABILITIES), (254, 255)))
    other = np.where((ids >= CLASSES)[..., None], 1e6, scores).astype("float32")
    assert float(loss(ids, other)) == float(loss(ids, scores))


def test_without_ids_it_is_the_loss(segmentation, jitted):
    ids, p, _ = segmentation(6)
    for name, make in ALL.items():
        truth = np.eye(CLASSES, dtype="float32")[ids] if name in ONE_HOT else ids
        expected = float(jitted(make(False))(truth, p))
        for ignored in (None, 255):
            got = float(jitted(IgnoreClass(make(False), ignored))(ids[..., None], p))
            assert got == pytest.approx(expected, rel=1e-5), name


def test_as_keras_ignores(segmentation):
    ids, _, logits = segmentation(7)
    ids = with_holes(ids, 8, (255,))
    for reduction in ("sum_over_batch_size", "mean", "sum", "none"):
        options = {"from_logits": True, "reduction": reduction}
        own = keras.losses.SparseCategoricalCrossentropy(ignore_class=255, **options)
        ours = IgnoreClass(keras.losses.SparseCategoricalCrossentropy(**options))
        got, expected = (ops.convert_to_numpy(loss(ids, logits)) for loss in (ours, own))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    weight = np.random.default_rng(9).uniform(size=ids.shape).astype("float32")
    own = keras.losses.SparseCategoricalCrossentropy(ignore_class=255, from_logits=True)
    ours = IgnoreClass(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert float(ours(ids, logits, weight)) == pytest.approx(
        float(own(ids, logits, weight)), rel=1e-5
    )


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "sum", "none", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("weighted", [None, "images", "pixels", "pixels of one channel"])
def test_weights_of_images_and_pixels(segmentation, jitted, reduction, weighted):
    """As many images as there are columns, so that weights of images could be taken for those."""
    ids, p, _ = segmentation(17, images=6)
    ids = with_holes(ids, 18, (255,))
    weights = np.random.default_rng(19).uniform(0.5, 2, ids.shape).astype("float32")
    if weighted == "images":
        weights[:] = weights[:, :1, :1]
    given = {None: None, "images": weights[:, 0, 0], "pixels": weights}.get(
        weighted, weights[..., None]
    )
    kept = ids < CLASSES
    weights = kept * (1 if given is None else weights)
    each = -np.log(np.take_along_axis(p, np.where(kept, ids, 0)[..., None], -1))[..., 0] * weights
    expected = {
        "sum_over_batch_size": each.sum() / kept.sum(),
        "sum": each.sum(),
        "none": each,
        "mean_with_sample_weight": each.sum() / weights.sum(),
    }[reduction]
    loss = keras.losses.SparseCategoricalCrossentropy(reduction=reduction)
    got = ops.convert_to_numpy(jitted(IgnoreClass(loss))(ids, p, given))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_weights_that_do_not_fit(segmentation):
    ids, p, _ = segmentation(17)
    with pytest.raises(ValueError, match=r"`sample_weight` must broadcast to the masks.*\(5,\)"):
        IgnoreClass("SparseCategoricalCrossentropy")(ids, p, np.ones(5, "float32"))


def test_a_loss_that_ignores_by_itself():
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    with pytest.raises(ValueError, match=r"`loss` must ignore no class itself.*ignore_class=0"):
        IgnoreClass(loss, 255)


def test_negative_ids_of_unsigned_masks(segmentation):
    ids, p, _ = segmentation(20)
    weights = np.ones(ids.shape, "float32")
    loss = IgnoreClass("SparseCategoricalCrossentropy", (-1, 255))
    assert float(loss(ids.astype("uint8"), p, weights)) == pytest.approx(float(loss(ids, p)))


def test_one_class_and_channels_first(segmentation, jitted):
    ids, _, logits = segmentation(10)
    truth, scores = with_holes((ids > 1).astype("int32"), 11), logits[..., :1]
    kept = truth < 2
    cut, left = truth[kept][None, None, :, None].astype("float32"), scores[kept][None, None]
    for loss, own in (
        (keras.losses.BinaryCrossentropy(from_logits=True),) * 2,
        (LovaszHinge(per_image=False),) * 2,
    ):
        got = float(jitted(IgnoreClass(loss, (254, 255)))(truth, scores))
        assert got == pytest.approx(float(jitted(own)(cut, left)), rel=1e-5)
    ids, first = with_holes(ids, 12), np.moveaxis(logits, -1, 1)
    for make in (LovaszSoftmax, GeneralizedDice, keras.losses.CategoricalCrossentropy):
        last = IgnoreClass(make(from_logits=True), (254, 255))
        got = IgnoreClass(make(from_logits=True, axis=1), (254, 255), axis=1)
        got, last = jitted(got)(ids, first), jitted(last)(ids, logits)
        assert float(got) == pytest.approx(float(last), rel=1e-5)


def test_images_of_which_nothing_is_left(segmentation, jitted):
    ids, p, _ = segmentation(13)
    ids[1] = 255
    dice = keras.losses.Dice(axis=(1, 2), reduction="none")
    for loss in (dice, FocalTversky(reduction="none"), BoundaryLoss(reduction="none")):
        each = ops.convert_to_numpy(jitted(IgnoreClass(loss))(ids, p))
        assert not each[1].any()
        assert each[[0, 2]].all()


def test_config_keeps_the_inner_loss():
    loss = IgnoreClass(keras.losses.Tversky(alpha=0.2, beta=0.8, reduction="sum"), (1, 254), axis=1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert (again.loss.alpha, again.reduction, again.axis) == (0.2, "sum", 1)
    assert isinstance(IgnoreClass("Dice").loss, keras.losses.Dice)


def test_in_fit(segmentation):
    ids, _, logits = segmentation(14)
    inputs = keras.Input((5, 6, CLASSES))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax")(inputs))
    model.compile(keras.optimizers.Adam(0.05), IgnoreClass(keras.losses.Dice(axis=(1, 2, 3))))
    ids = with_holes(ids, 15, (255,))
    losses = model.fit(logits, ids, batch_size=2, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.01


def test_bad_input(segmentation):
    _, p, _ = segmentation(16)
    with pytest.raises(ValueError, match=r"`loss` must be a `keras.losses.Loss`.*'dice'"):
        IgnoreClass("dice")
    with pytest.raises(ValueError, match=r"`axis` must be one of the 4 axes of `y_pred`.*axis=-5"):
        IgnoreClass("Dice", axis=-5)(p, p)
    with pytest.raises(ValueError, match=r"`y_true` must be ids.*\(3, 5, 6, 4\)"):
        IgnoreClass("Dice")(p, p)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Dice", keras.losses.Dice),
        ("SparseCategoricalCrossentropy", keras.losses.SparseCategoricalCrossentropy),
        ("LovaszSoftmax", LovaszSoftmax),
        ("keras_cvx>GeneralizedDice", GeneralizedDice),
    ],
)
def test_by_the_name_of_a_class(name, expected):
    assert type(IgnoreClass(name).loss) is expected


@pytest.mark.parametrize("name", ["dice", "Dicee", "keras_cvx>Lovasz", "IoU"])
def test_names_of_no_class(name):
    message = f"`loss` must be a .* such as 'Dice' or 'LovaszSoftmax'. Received: loss='{name}'"
    with pytest.raises(ValueError, match=message):
        IgnoreClass(name)


def test_a_name_that_is_nearly_right():
    with pytest.raises(ValueError, match=r"named 'LovaszSoftmaxx'\. Did you mean 'LovaszSoftmax'"):
        IgnoreClass("LovaszSoftmaxx")
