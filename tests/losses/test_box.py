import functools
import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import plugins, testing
from keras_cvx.losses import CIoULoss, DIoULoss, GIoULoss, IoULoss
from keras_cvx.losses.box import box_overlap_loss
from keras_cvx.ops import convert
from keras_cvx.ops.boxes import FORMATS

LOSSES = {"iou": IoULoss, "giou": GIoULoss, "diou": DIoULoss, "ciou": CIoULoss}
VARIANTS = pytest.mark.parametrize("variant", LOSSES)
PADDING = np.full((2, 3, 4), -1, "float32")


def published(truth, found, variant):
    """The losses of the papers, on corners `(..., 4)` in float64; boxes have area."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = (
        np.moveaxis(np.asarray(x, "float64"), -1, 0) for x in (truth, found)
    )
    aw, ah, bw, bh = ax1 - ax0, ay1 - ay0, bx1 - bx0, by1 - by0
    width = np.clip(np.minimum(ax1, bx1) - np.maximum(ax0, bx0), 0, None)
    height = np.clip(np.minimum(ay1, by1) - np.maximum(ay0, by0), 0, None)
    union = aw * ah + bw * bh - width * height
    iou = width * height / union
    around = (
        np.maximum(ax1, bx1) - np.minimum(ax0, bx0),
        np.maximum(ay1, by1) - np.minimum(ay0, by0),
    )
    if variant == "iou":
        return 1 - iou
    if variant == "giou":
        hull = around[0] * around[1]
        return 1 - (iou - (hull - union) / hull)
    between = (ax0 + ax1 - bx0 - bx1) ** 2 / 4 + (ay0 + ay1 - by0 - by1) ** 2 / 4
    diou = 1 - iou + between / (around[0] ** 2 + around[1] ** 2)
    if variant == "diou":
        return diou
    v = 4 / math.pi**2 * (np.arctan(aw / ah) - np.arctan(bw / bh)) ** 2
    return diou + v * np.divide(v, 1 - iou + v, out=np.zeros_like(v), where=v > 0)


def pairs(seed, shape=(2, 3)):
    """Overlapping, nested and distant boxes with area, in pixels."""
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 30, (2, *shape, 2)), rng.uniform(1, 25, (2, *shape, 2))
    return np.concatenate([corner, corner + side], -1).astype("float32")


def numpy(x):
    return ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def made(jitted):
    """Function of a variant and a reduction: the loss, on JAX compiled once for all examples."""
    return functools.cache(lambda variant, **options: jitted(LOSSES[variant](**options)))


@VARIANTS
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_nothing_to_lose(variant, reduction):
    loss = LOSSES[variant](reduction=reduction)
    for shape in ((0, 3, 4), (2, 0, 4), (0, 0, 4)):
        assert float(loss(np.zeros(shape, "float32"), np.zeros(shape, "float32"))) == 0.0
    assert float(loss(PADDING, np.ones_like(PADDING))) == 0.0


@VARIANTS
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_published_formula(variant, made, seed):
    truth, found = pairs(seed)
    got = numpy(made(variant, reduction="none")(truth, found))
    np.testing.assert_allclose(got, published(truth, found, variant), atol=1e-6)


@VARIANTS
def test_least_on_the_truth(variant):
    truth, found = pairs(0, (4, 5))
    loss = LOSSES[variant](reduction="none")
    np.testing.assert_allclose(numpy(loss(truth, truth)), 0.0, atol=1e-6)
    assert (numpy(loss(truth, found)) > 1e-3).all()


@VARIANTS
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-20, 2.0**-6, 2.0**12])
def test_the_unit_changes_nothing(variant, scale):
    truth, found = pairs(1)
    loss = LOSSES[variant](reduction="none")
    expected = published(truth, found, variant)
    np.testing.assert_allclose(numpy(loss(truth * scale, found * scale)), expected, atol=1e-6)


@VARIANTS
@pytest.mark.parametrize("source", FORMATS)
def test_formats(variant, source):
    truth, found = pairs(2)
    # On a square image a relative format changes no shape.
    given = [convert(x, "xyxy", source, height=64, width=64) for x in (truth, found)]
    got = numpy(LOSSES[variant](source, reduction="none")(*given))
    np.testing.assert_allclose(got, published(truth, found, variant), atol=3e-6)


@VARIANTS
def test_relative_boxes_are_those_of_a_square_image(variant):
    truth, found = pairs(3)
    given = [convert(x, "xyxy", "rel_xywh", height=32, width=96) for x in (truth, found)]
    got = numpy(LOSSES[variant]("rel_xywh", reduction="none")(*given))
    stretched = published(*(x * np.float64([1, 3, 1, 3]) for x in (truth, found)), variant)
    np.testing.assert_allclose(got, stretched, atol=3e-6)
    same = np.allclose(stretched, published(truth, found, variant), atol=1e-6)
    assert same == (variant in ("iou", "giou"))


@VARIANTS
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("weighted", [None, "samples", "boxes"])
def test_padded_rows_change_nothing(variant, reduction, weighted):
    truth, found = pairs(4)
    truth[1, 2] = -1
    weights = np.float32([[0.5, 2.0, 1.0], [3.0, 0.25, 7.0]])
    each = np.zeros((2, 3))
    each.ravel()[:5] = published(truth.reshape(6, 4)[:5], found.reshape(6, 4)[:5], variant)
    of_boxes = {
        None: np.ones((2, 3)),
        "samples": np.repeat(weights[:, :1], 3, axis=1),
        "boxes": weights,
    }[weighted]
    divisor = {"sum": 1.0, "mean_with_sample_weight": of_boxes.ravel()[:5].sum()}.get(reduction, 5)
    loss = LOSSES[variant](reduction=reduction)
    # Garbage in the predictions of padding, NaN too.
    more = np.full((2, 4, 4), [np.nan, 1e30, -5.0, 0.0], "float32")
    for extra in (0, 4):
        sample_weight = {None: None, "samples": weights[:, 0]}.get(
            weighted, np.pad(weights, ((0, 0), (0, extra)), constant_values=9.0)
        )
        got = loss(
            np.concatenate([truth, np.full((2, extra, 4), -1, "float32")], 1),
            np.concatenate([found, more[:, :extra]], 1),
            sample_weight=sample_weight,
        )
        assert float(got) == pytest.approx((each * of_boxes).sum() / divisor, abs=2e-6)


def test_weights_of_one_more_axis():
    """As KerasCV's YOLOV8Detector gives them."""
    truth, found = pairs(5)
    weights = np.float32([[0.5, 2.0, 1.0], [3.0, 0.25, 7.0]])
    loss = GIoULoss(reduction="sum")
    assert float(loss(truth, found, weights[..., None])) == float(loss(truth, found, weights))


@VARIANTS
@settings(max_examples=25, deadline=None)
@given(boxes=testing.boxes((2, 2, 4), ordered=False), padded=st.lists(st.booleans(), min_size=8))
def test_gradients_are_finite(variant, gradient, made, boxes, padded):
    """Of empty, inverted, equal, tiny, huge, distant and padded boxes; 0 in padded rows."""
    truth, found = boxes
    padded = np.array(padded[:8]).reshape(2, 4)
    truth = np.where(padded[..., None], np.float32(-1), truth)
    value, slope = gradient(lambda x: made(variant)(truth, x), found)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert not slope[(truth == -1).all(-1)].any()
    _, slope = gradient(lambda x: made(variant)(truth, x), truth)
    assert np.isfinite(slope).all()


@VARIANTS
def test_gradient(variant, gradient):
    """That of the published formula by differences; CIoU's with its weight held."""
    truth, found = (x.reshape(-1, 4).astype("float64") for x in pairs(6))
    _, got = gradient(lambda x: LOSSES[variant](reduction="sum")(truth.astype("float32"), x), found)

    def held(x):
        if variant != "ciou":
            return published(truth, x, variant)
        v, alpha = aspect(truth, x), aspect(truth, found)
        alpha = alpha / (published(truth, found, "iou") + alpha)
        return published(truth, x, "diou") + alpha * v

    expected = np.stack(
        [(held(found + step) - held(found - step)) / 2e-5 for step in 1e-5 * np.eye(4)], -1
    )
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-4)
    if variant == "ciou":
        steps = 1e-5 * np.eye(4)
        whole = [published(truth, found + step, "ciou") for step in (steps[0], -steps[0])]
        assert np.abs((whole[0] - whole[1]) / 2e-5 - got[:, 0]).max() > 1e-4


def aspect(truth, found):
    """The `v` of equation 9."""
    angles = (np.arctan((x[:, 2] - x[:, 0]) / (x[:, 3] - x[:, 1])) for x in (truth, found))
    return 4 / math.pi**2 * (next(angles) - next(angles)) ** 2


@pytest.mark.parametrize("encoding", ["center_xywh", "center_yxhw"])
@pytest.mark.parametrize("variance", [(0.1, 0.1, 0.2, 0.2), [1, 2, 0.5, 0.25]])
@VARIANTS
def test_offsets_are_boxes_beside_their_anchor(variant, encoding, variance):
    """Whatever the anchor, for IoU and GIoU; by square ones, for the variants that see shapes."""
    truth, found = pairs(7)
    anchors = pairs(8, (3,))[0]
    if variant in ("diou", "ciou"):
        anchors[:, 2:] = anchors[:, :2] + np.float32([[7], [2], [30]])
    offsets = [
        keras.utils.bounding_boxes.encode_box_to_deltas(
            anchors,
            boxes,
            anchor_format="xyxy",
            box_format="xyxy",
            encoding_format=encoding,
            variance=list(variance),
        )
        for boxes in (truth, found)
    ]
    loss = LOSSES[variant](box_variance=variance, reduction="none")
    np.testing.assert_allclose(
        numpy(loss(*offsets)), published(truth, found, variant), rtol=1e-5, atol=1e-5
    )


@VARIANTS
def test_wild_offsets_have_finite_gradients(variant, gradient):
    truth = np.float32([[0, 0, 0, 0], [1, 2, 3, 4], [-1, -1, -1, -1]] * 3)
    found = np.repeat(
        np.float32([[3e38, -3e38, 3e38, 200], [-9, 1e9, -300, -1e30], [-0.75] * 4]), 3, 0
    )
    loss = LOSSES[variant](box_variance=(1, 1, 1, 1))
    value, slope = gradient(lambda x: loss(truth, x), found)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert slope[-1].any()  # offsets of −1 are no padding


def test_half_precision_moves_no_corner():
    truth, found = np.float32([[[500, 500, 600, 600]]]), np.float32([[[501, 500, 601, 600]]])
    policy = keras.config.floatx()
    keras.config.set_floatx("float16")
    try:
        got = float(IoULoss()(truth, found))
    finally:
        keras.config.set_floatx(policy)
    assert got == pytest.approx(1 - 99 / 101, abs=1e-6)


def test_a_single_box():
    got = float(CIoULoss()(np.float32([0, 0, 4, 2]), np.float32([0, 0, 2, 2])))
    expected = published(np.float32([0, 0, 4, 2]), np.float32([0, 0, 2, 2]), "ciou")
    assert got == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("name", ["GIoULoss", "DIoULoss", "CIoULoss"])
def test_trains_by_name(name):
    """A step of `fit` is a compiled one; the boxes come to their ground truth."""
    inputs = keras.Input((2,))
    boxes = keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer="ones")(inputs)
    model = keras.Model(inputs, boxes)
    model.compile(
        keras.optimizers.Adam(0.02), loss=plugins.lookup(name, kind="loss")("center_xywh")
    )
    x = np.eye(2, dtype="float32")
    y = np.float32([[0.75, 1.25, 1.5, 0.75], [1.5, 0.75, 0.75, 1.25]])
    history = model.fit(np.tile(x, (64, 1)), np.tile(y, (64, 1)), batch_size=2, verbose=0, epochs=2)
    assert history.history["loss"][-1] < 0.15


@pytest.mark.parametrize(
    ("y_true", "y_pred", "sample_weight", "message"),
    [
        (np.zeros((2, 3, 5)), np.zeros((2, 3, 5)), None, "`y_true` must have a last axis of 4"),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 5)), None, "`y_pred` must have a last axis of 4"),
        (np.zeros((2, 1, 4)), np.zeros((2, 3, 4)), None, "the same number of boxes"),
        (np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.ones(3), "`sample_weight` must have one"),
        (np.zeros((2, 4)), np.zeros((2, 4)), np.ones((2, 4)), "`sample_weight` must have one"),
    ],
)
def test_bad_input(y_true, y_pred, sample_weight, message):
    with pytest.raises(ValueError, match=message):
        IoULoss()(y_true, y_pred, sample_weight=sample_weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounding_box_format": "xyxz"}, "`bounding_box_format` must be one of"),
        ({"box_variance": (0.1, 0.2)}, "`box_variance` must be None or four positive"),
        ({"box_variance": (1, 1, 1, 0)}, "`box_variance` must be None or four positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        IoULoss(**arguments)


def test_unknown_variant():
    with pytest.raises(ValueError, match="`variant` must be one of"):
        box_overlap_loss(np.zeros(4), np.zeros(4), variant="eiou")


@pytest.mark.parametrize("loss", [IoULoss, GIoULoss, DIoULoss, CIoULoss])
@pytest.mark.parametrize("variance", [None, (1, 1, 1, 1)])
@pytest.mark.parametrize("of_truth", [False, True])
def test_nan_stays_and_stays_alone(loss, variance, of_truth):
    """One box of NaN: its own loss is NaN, and no other's; in padding it is nothing."""
    truth = np.float32([[0, 0, 0.5, 0.25], [0, 0, 0.5, 0.5], [-1, -1, -1, -1]])
    found = np.float32([[0, 0, 0.5, 0.25], [0, 0, 0.5, 0.5], [np.nan] * 4])
    if variance:
        truth, found = truth[:2], found[:2]
    (truth if of_truth else found)[1, 3] = np.nan
    got = ops.convert_to_numpy(loss(box_variance=variance, reduction="none")(truth, found))
    np.testing.assert_allclose(got, [0, np.nan, 0][: len(got)], atol=1e-6)


@VARIANTS
@pytest.mark.parametrize("source", ["xyxy", "center_xywh"])
def test_finite_boxes_of_any_size_have_finite_losses_and_gradients(variant, source, gradient):
    most = 3.4e38
    rows = [
        [0, 0, most, most], [-most, -most, most, most], [1e20, 1e20, 2e20, 2e20], [most] * 4,
        [-most] * 4, [0, -most, 1e-30, most],
    ]  # fmt: skip
    found = np.float32(rows)
    loss = LOSSES[variant](source, reduction="sum")
    for truth in (np.tile(np.float32([0, 0, 4, 2]), (len(rows), 1)), found[::-1].copy()):
        value, slope = gradient(lambda x, t=truth: loss(t, x), found)
        assert 0 <= value <= 3 * len(rows)
        assert np.isfinite(slope).all()


@VARIANTS
@pytest.mark.parametrize("of_truth", [False, True])
def test_an_infinite_box_is_as_bad_as_nan(variant, of_truth):
    for value in (np.inf, -np.inf):
        boxes = np.float32([[[0, 0, 4, 2], [0, 0, 4, 4]]] * 2)
        boxes[int(not of_truth), 1, 3] = value
        got = numpy(LOSSES[variant](reduction="none")(*boxes))
        np.testing.assert_allclose(got, [0, np.nan], atol=1e-6)


class Masking(keras.layers.Layer):
    """Boxes, with Keras' mask of those whose first number is below 50."""

    supports_masking = True

    def call(self, x):
        return x

    def compute_mask(self, x, mask=None):
        return x[..., 0] < 50


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_outside_of_keras_mask_count_nowhere(reduction, weighted):
    """Some of them padding, which has a mask of its own; some not."""
    truth, found = pairs(9, (2, 4))
    truth[0, 3] = truth[1, 2] = -1
    found[0, 3] = found[1, 3] = 60
    weights = np.float32([[0.5, 2.0, 1.0, 5.0], [3.0, 0.25, 7.0, 9.0]]) if weighted else None
    left = np.array([[True, True, True, False], [True, True, False, False]])
    expected = GIoULoss(reduction=reduction)(
        truth[left], found[left], None if weights is None else weights[left]
    )
    got = GIoULoss(reduction=reduction)(truth, Masking()(found), weights)
    assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_variances_of_numpy():
    loss = IoULoss(box_variance=[np.float32(0.5), np.float64(0.5), 1, 1])
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(stored)
    assert list(again.box_variance) == [0.5, 0.5, 1, 1]
