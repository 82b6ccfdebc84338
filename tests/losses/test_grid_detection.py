import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.codings import AnchorFreeCoding, YOLOv1Coding
from keras_cvx.layers import GridDecoding, GridDetectionHead
from keras_cvx.losses import GridDetectionLoss
from keras_cvx.ops import attach_cells, cell_centers, convert, pairwise_iou
from keras_cvx.ops.boxes import FORMATS

CELLS = cell_centers(2, 3, 16)  # an image 48 pixels wide and 32 high
CODINGS = {"yolov1": YOLOv1Coding(), "anchor_free": AnchorFreeCoding()}


def scene(coding, images=3, objects=4, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, [36, 20], (images, objects, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 12, corner.shape)], -1)
    labels = rng.integers(0, 2, (images, objects)).astype("int32")
    labels[0, 1:] = labels[1] = -1
    channels = sum(n for n, _ in coding.branches(2))
    outputs = rng.normal(0.3, 0.5, (images, 6, channels)).astype("float32")
    return boxes.astype("float32"), labels, attach_cells(outputs, CELLS)


@pytest.fixture(params=CODINGS)
def coding(request):
    return CODINGS[request.param]


def pack(boxes, labels):
    return np.concatenate([boxes, labels[..., None]], -1).astype("float32")


def test_no_objects(coding):
    _, _, predictions = scene(coding)
    loss = GridDetectionLoss(coding, reduction=None)
    none = loss({"boxes": np.zeros((3, 0, 4)), "labels": np.zeros((3, 0), "int32")}, predictions)
    packed = loss(np.zeros((3, 0, 5), "float32"), predictions)
    padded = loss(np.full((3, 2, 5), -1.0, "float32"), predictions)
    assert np.all(np.isfinite(ops.convert_to_numpy(none)))
    assert np.all(ops.convert_to_numpy(none) > 0)
    np.testing.assert_array_equal(ops.convert_to_numpy(packed), ops.convert_to_numpy(none))
    np.testing.assert_allclose(ops.convert_to_numpy(padded), ops.convert_to_numpy(none), rtol=1e-6)


def test_packed_is_the_dictionary(coding):
    boxes, labels, predictions = scene(coding)
    loss = GridDetectionLoss(coding)
    one = float(loss(pack(boxes, labels), predictions))
    assert one == float(loss({"boxes": boxes, "labels": labels}, predictions))
    # Other keys of a sample do not disturb, nor do integer boxes of whole pixels.
    whole = np.round(boxes)
    assert float(
        loss({"boxes": whole.astype("int32"), "labels": labels, "areas": labels}, predictions)
    ) == float(loss(pack(whole, labels), predictions))


@pytest.mark.parametrize("box_format", FORMATS)
def test_every_format_is_the_same_loss(coding, box_format):
    boxes, labels, predictions = scene(coding)
    expected = ops.convert_to_numpy(
        GridDetectionLoss(coding, reduction=None)(pack(boxes, labels), predictions)
    )
    other = ops.convert_to_numpy(convert(boxes, "xyxy", box_format, height=32, width=48))
    other[labels < 0] = np.nan
    got = GridDetectionLoss(coding, box_format, reduction=None)(pack(other, labels), predictions)
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-4)


def test_reductions_and_sample_weight(coding):
    boxes, labels, predictions = scene(coding)
    truth = pack(boxes, labels)
    each = ops.convert_to_numpy(GridDetectionLoss(coding, reduction=None)(truth, predictions))
    assert each.shape == (3,)
    assert len(set(each.tolist())) == 3
    weight = np.array([0.0, 2.0, 0.5], "float32")
    for reduction, expected in {
        "sum": each.sum(),
        "sum_over_batch_size": each.mean(),
        "mean": each.mean(),
    }.items():
        loss = GridDetectionLoss(coding, reduction=reduction)
        assert float(loss(truth, predictions)) == pytest.approx(expected, rel=1e-5)
    loss = GridDetectionLoss(coding)
    weighted = float(loss(truth, predictions, sample_weight=weight))
    assert weighted == pytest.approx((each * weight).sum() / 3, rel=1e-5)
    loss = GridDetectionLoss(coding, reduction=None)
    np.testing.assert_allclose(
        ops.convert_to_numpy(loss(truth, predictions, sample_weight=weight)), each * weight,
        rtol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("name", CODINGS)
def test_plain_model_with_packed_truth(name):
    """No class of ours but head and loss: functional model, `compile`, `fit`, `evaluate`."""
    inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(8, 3, 16, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, GridDetectionHead(2, 16, coding=name, filters=8)(x))
    model.compile(keras.optimizers.Adam(0.01), GridDetectionLoss(name))
    boxes, labels, _ = scene(CODINGS[name], images=8, seed=1)
    images = np.random.default_rng(2).normal(size=(8, 32, 48, 3)).astype("float32")
    truth = pack(boxes, labels)

    def best_overlap():
        found, _ = GridDecoding(name)(model(images))
        overlaps = ops.convert_to_numpy(pairwise_iou(boxes, found))
        return overlaps.max(-1)[labels >= 0].mean()

    # Not the loss, whose targets of a dynamic assignment grow with the overlap.
    before = best_overlap()
    losses = model.fit(images, truth, batch_size=4, epochs=30, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses))
    assert best_overlap() > before + 0.05
    direct = GridDetectionLoss(name)(truth, model(images))
    assert model.evaluate(images, truth, batch_size=8, verbose=0) == pytest.approx(
        float(ops.convert_to_numpy(direct)), rel=1e-3
    )


def test_config_round_trip():
    loss = GridDetectionLoss(
        YOLOv1Coding(3, no_object_weight=0.25), "rel_yxyx", reduction="sum", name="l"
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert again.coding.get_config() == loss.coding.get_config()
    assert (again.bounding_box_format, again.reduction, again.name) == ("rel_yxyx", "sum", "l")


def test_half_precision_predictions_are_reckoned_in_float32(coding):
    boxes, labels, predictions = scene(coding)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        loss = GridDetectionLoss(coding)
        got = loss(pack(boxes, labels), predictions)
    finally:
        keras.config.set_dtype_policy("float32")
    assert loss.dtype == "float32"
    assert float(got) == float(GridDetectionLoss(coding)(pack(boxes, labels), predictions))


@pytest.mark.parametrize(
    ("y_true", "message"),
    [
        (np.zeros((1, 2, 4)), r"`y_true` must be a dictionary.*\(1, 2, 4\)"),
        (np.zeros((2, 5)), r"`y_true` must be a dictionary.*\(2, 5\)"),
        ({"boxes": np.zeros((1, 2, 4))}, r"`y_true` must have the keys.*\['boxes'\]"),
        (
            {"boxes": np.zeros((1, 2, 5)), "labels": np.zeros((1, 2))},
            r"`y_true` must hold boxes.*\(1, 2, 5\)",
        ),
        (
            {"boxes": np.zeros((1, 2, 4)), "labels": np.zeros((1, 2, 1))},
            r"`y_true` must hold boxes.*labels \(1, 2, 1\)",
        ),
        (
            {"boxes": np.zeros((1, 2, 4)), "labels": np.zeros((1, 3))},
            r"`y_true` must hold boxes.*labels \(1, 3\)",
        ),
    ],
)
def test_wrong_truth_is_named(y_true, message):
    predictions = attach_cells(np.zeros((1, 6, 12), "float32"), CELLS)
    with pytest.raises(ValueError, match=message):
        GridDetectionLoss("yolov1")(y_true, predictions)


def test_wrong_predictions_are_named():
    with pytest.raises(ValueError, match="`predictions` must be a `GridDetectionHead`'s output"):
        GridDetectionLoss("yolov1")(np.zeros((1, 2, 5), "float32"), np.zeros((1, 6), "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coding": "anchorfree"}, "Did you mean 'anchor_free'"),
        ({"coding": 3}, "kind 'coding' is required.*Received: 3"),
        ({"coding": None}, "kind 'coding' is required.*Received: None"),
        ({"coding": keras.layers.Identity()}, "kind 'coding' is required.*Received: <Identity"),
        ({"coding": "GridDetectionHead"}, "must be a plugin of kind 'coding'.*is a 'layer'"),
        ({"bounding_box_format": "xyxz"}, "`bounding_box_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridDetectionLoss(**arguments)
