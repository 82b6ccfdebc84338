import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.codings import AnchorFreeCoding, YOLOv1Coding
from keras_cvx.layers import GridDecoding, NonMaxSuppression
from keras_cvx.ops import attach_cells, cell_centers, convert
from keras_cvx.ops.boxes import FORMATS

HEIGHT, WIDTH = 32, 48
CELLS = ops.concatenate([cell_centers(4, 6, 8), cell_centers(2, 3, 16)], axis=0)
CODINGS = {"yolov1": (YOLOv1Coding(3), 3), "anchor_free": (AnchorFreeCoding(bins=5), 1)}


def random_predictions(coding, images=2, seed=0):
    channels = sum(n for n, _ in coding.branches(2))
    rng = np.random.default_rng(seed)
    return attach_cells(rng.normal(0.4, 1.0, (images, 30, channels)).astype("float32"), CELLS)


def run(layer, predictions):
    return tuple(map(ops.convert_to_numpy, layer(predictions)))


@pytest.fixture(params=CODINGS)
def coding(request):
    return CODINGS[request.param]


def test_empty_batch(coding):
    coding, per_cell = coding
    boxes, scores = GridDecoding(coding)(random_predictions(coding, images=0))
    assert boxes.shape == (0, 30 * per_cell, 4)
    assert scores.shape == (0, 30 * per_cell, 2)


def test_is_the_coding_clipped_to_the_image(coding):
    coding, per_cell = coding
    predictions = ops.convert_to_numpy(random_predictions(coding))
    boxes, scores = run(GridDecoding(coding), predictions)
    raw, expected = coding.decode(*map(
        ops.convert_to_tensor, (predictions[..., 3:], predictions[..., :2], predictions[..., 2:3])
    ))  # fmt: skip
    raw = ops.convert_to_numpy(raw)
    assert raw.min() < -1
    assert raw[..., 2].max() > WIDTH + 1
    assert boxes.shape == (2, 30 * per_cell, 4)
    np.testing.assert_allclose(boxes[..., 0::2], np.clip(raw[..., 0::2], 0, WIDTH), atol=1e-4)
    np.testing.assert_allclose(boxes[..., 1::2], np.clip(raw[..., 1::2], 0, HEIGHT), atol=1e-4)
    np.testing.assert_allclose(scores, ops.convert_to_numpy(expected), atol=1e-6)
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("box_format", FORMATS)
def test_formats(coding, box_format):
    coding, _ = coding
    predictions = random_predictions(coding)
    expected, scores = run(GridDecoding(coding), predictions)
    got, same = run(GridDecoding(coding, box_format), predictions)
    back = convert(got, box_format, "xyxy", height=HEIGHT, width=WIDTH)
    np.testing.assert_allclose(ops.convert_to_numpy(back), expected, atol=1e-4)
    np.testing.assert_array_equal(same, scores)
    if box_format in {"rel_xyxy", "rel_yxyx"}:
        assert got.max() == pytest.approx(1.0)


@pytest.mark.parametrize("box_format", FORMATS)
def test_detections_do_not_depend_on_the_format(box_format):
    """Decoding and suppression in one format, then converted, is the same in any other."""
    coding, predictions = CODINGS["yolov1"][0], random_predictions(CODINGS["yolov1"][0], seed=1)
    options = {"confidence_threshold": 0.1, "max_detections": 40}

    def detect(name):
        found = NonMaxSuppression(0.3, bounding_box_format=name, **options)(
            *GridDecoding(coding, name)(predictions)
        )
        return {key: ops.convert_to_numpy(value) for key, value in found.items()}

    expected, got = detect("xyxy"), detect(box_format)
    assert expected["num_detections"].min() > 3
    for key in ("num_detections", "labels"):
        np.testing.assert_array_equal(got[key], expected[key])
    np.testing.assert_allclose(got["confidence"], expected["confidence"], atol=1e-6)
    back = ops.convert_to_numpy(
        convert(got["boxes"], box_format, "xyxy", height=HEIGHT, width=WIDTH)
    )
    valid = expected["labels"] >= 0
    np.testing.assert_allclose(back[valid], expected["boxes"][valid], atol=1e-3)
    np.testing.assert_array_equal(got["boxes"][~valid], -1.0)


def test_compiled_and_symbolic_are_eager(coding, compiled):
    coding, per_cell = coding
    layer, predictions = GridDecoding(coding, "rel_xywh"), random_predictions(coding)
    eager = run(layer, predictions)
    for got, expected in zip(compiled(layer)(predictions), eager, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(got), expected, atol=1e-5)
    for rows in (30, None):
        inputs = keras.Input((rows, predictions.shape[-1]))
        boxes, scores = layer(inputs)
        assert boxes.shape == (None, rows and rows * per_cell, 4)
        assert scores.shape == (None, rows and rows * per_cell, 2)
        assert (boxes.dtype, scores.dtype) == ("float32", "float32")
        model = keras.Model(inputs, [boxes, scores])
        for got, expected in zip(model.predict(predictions, verbose=0), eager, strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16"])
def test_half_precision_policies_change_nothing(coding, policy):
    coding, _ = coding
    predictions = random_predictions(coding)
    for got, expected in zip(
        run(GridDecoding(coding, dtype=policy), predictions),
        run(GridDecoding(coding), predictions),
        strict=True,
    ):
        assert got.dtype == "float32"
        np.testing.assert_array_equal(got, expected)


def test_config_round_trip():
    layer = GridDecoding(YOLOv1Coding(3, coordinate_weight=2.0), "rel_xywh", name="decoding")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert again.coding.get_config() == layer.coding.get_config()
    assert (again.bounding_box_format, again.name) == ("rel_xywh", "decoding")


@pytest.mark.parametrize("shape", [(1, 6), (1, 6, 3), (1, 2, 3, 9)])
def test_wrong_predictions_are_named(shape):
    with pytest.raises(ValueError, match="`predictions` must be a `GridDetectionHead`'s output"):
        GridDecoding()(np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coding": "yolo1"}, "Did you mean 'yolov1'"),
        ({"coding": None}, "kind 'coding' is required.*Received: None"),
        ({"bounding_box_format": "XYXY"}, "`bounding_box_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridDecoding(**arguments)
