import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.layers import LocalizationHead
from keras_cvx.ops import convert
from keras_cvx.ops.boxes import FORMATS

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2, 3, 5, 4)).astype("float32")
# 64 wide, 48 high: no multiple of the cells, as an unpadded network leaves them.
IMAGES = np.zeros((2, 48, 64, 3), "uint8")


def as_numpy(outputs):
    return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}


def make(scale=1.0, seed=0, **options):
    """A head whose weights are random and not small, with their names."""
    head = LocalizationHead(3, **{"bounding_box_format": "rel_xyxy", **options})
    head.build(
        (None, 3, 5, 4) if head.data_format == "channels_last" else (None, 4, 3, 5), (None,) * 4
    )
    rng = np.random.default_rng(seed)
    head.set_weights([scale * rng.normal(size=w.shape) for w in head.get_weights()])
    return head


def slowly(head, features):
    """By loops over cells and edges: labels, and boxes as fractions, before they are clipped."""
    attention, bias, class_kernel, class_bias, edge_kernel, edge_bias = head.get_weights()
    height, width = features.shape[1:3]
    labels, boxes = [], []
    for image in features.astype("float64"):
        cells = [(row, column) for row in range(height) for column in range(width)]
        edges, pooled = [], 0.0
        for edge in range(4):
            logits = np.array([image[cell] @ attention[:, edge] + bias[edge] for cell in cells])
            shares = np.exp(logits - logits.max())
            place = 0.0
            for share, cell in zip(shares / shares.sum(), cells, strict=True):
                along = cell[1 - edge % 2] + 0.5 + (-1 if edge < 2 else 1)
                guess = along + 0.1 * (image[cell] @ edge_kernel[:, edge] + edge_bias[edge])
                place += share * guess / (height if edge % 2 else width)
                pooled = pooled + share * image[cell] / 4
            edges.append(place)
        scores = np.exp(pooled @ class_kernel + class_bias)
        labels.append(scores / scores.sum())
        (left, right), (top, bottom) = sorted(edges[::2]), sorted(edges[1::2])
        boxes.append([left, top, right, bottom])
    return np.array(labels), np.array(boxes)


def test_empty_batch():
    outputs = make()(FEATURES[:0])
    assert outputs["labels"].shape == (0, 3)
    assert outputs["boxes"].shape == (0, 4)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_is_the_loop_over_the_cells(scale):
    head = make(scale)
    found = as_numpy(head(FEATURES))
    labels, boxes = slowly(head, FEATURES)
    np.testing.assert_allclose(found["labels"], labels, atol=1e-5)
    np.testing.assert_allclose(found["boxes"], np.clip(boxes, 0, 1), atol=1e-5)
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.01


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (1, 4)])
def test_looks_where_the_bright_cell_is(row, column):
    """Two cells wide and high around it at first, cut at the border."""
    head = LocalizationHead(2)
    features = np.zeros((1, 3, 5, 4), "float32")
    features[0, row, column] = 1.0
    head(features, IMAGES[:1])
    head.set_weights(
        [np.full(w.shape, 20.0 if i == 0 else 0.0) for i, w in enumerate(head.get_weights())]
    )
    found = as_numpy(head(features, IMAGES[:1]))
    edges = np.array([column - 0.5, row - 0.5, column + 1.5, row + 1.5]) * [64 / 5, 16, 64 / 5, 16]
    expected = np.clip(edges.reshape(2, 2), 0, [64, 48]).reshape(4)
    np.testing.assert_allclose(found["boxes"], [expected], atol=1e-3)
    np.testing.assert_array_equal(found["labels"], [[0.5, 0.5]])


def test_each_edge_has_cells_of_its_own():
    """A channel that marks an edge's cell moves that edge, and no other."""
    head = LocalizationHead(2, bounding_box_format="rel_xyxy")
    features = np.zeros((1, 3, 5, 4), "float32")
    for channel, cell in enumerate([(2, 1), (1, 3), (0, 4), (2, 0)]):
        features[0, *cell, channel] = 20.0
    head(features)
    head.set_weights(
        [np.eye(4) if i == 0 else np.zeros(w.shape) for i, w in enumerate(head.get_weights())]
    )
    # One cell to the left of column 1, above row 1, to the right of column 4, below row 2.
    expected = np.clip([0.5 / 5, 0.5 / 3, 5.5 / 5, 3.5 / 3], 0, 1)
    np.testing.assert_allclose(as_numpy(head(features))["boxes"], [expected], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(scale=st.sampled_from([0.0, 1e-30, 1.0, 30.0, 1e4, 1e18, 1e35]), seed=st.integers(0, 99))
def test_boxes_stay_in_the_image_and_in_order(scale, seed):
    found = as_numpy(make(scale, seed)(FEATURES))
    boxes = found["boxes"]
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    np.testing.assert_allclose(found["labels"].sum(-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("box_format", FORMATS)
def test_formats(box_format):
    head, other = make(), make(bounding_box_format=box_format)
    expected = as_numpy(head(FEATURES))["boxes"]
    found = other(FEATURES, IMAGES)["boxes"]
    back = convert(found, box_format, "rel_xyxy", height=48, width=64)
    np.testing.assert_allclose(ops.convert_to_numpy(back), expected, atol=1e-5)
    if box_format.startswith("rel_"):
        np.testing.assert_array_equal(as_numpy(other(FEATURES))["boxes"], as_numpy(
            other(FEATURES, IMAGES))["boxes"])  # fmt: skip


@pytest.mark.parametrize("size", [1.0, 1e3, 1e18])
def test_gradients_are_finite(gradient, size):
    head = make(size)
    value, slope = gradient(
        lambda x: ops.sum(head(x)["boxes"][:, :2]) + ops.sum(head(x)["labels"][:, :1]), FEATURES
    )
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    if size == 1.0:
        assert (np.abs(slope) > 1e-6).mean() > 0.9


def test_a_box_as_large_as_the_image_can_shrink(gradient):
    """Beyond the border the edges are clipped, and still have a slope."""
    head = make(0.0)
    weights = head.get_weights()
    weights[-1][:] = [-90, -90, 90, 90]
    weights[-2][:] = [[-1, -1, 1, 1]] * 4
    head.set_weights(weights)
    ones = np.ones_like(FEATURES)
    assert ops.convert_to_numpy(head(ones)["boxes"]).tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2

    def area(x):
        boxes = head(x)["boxes"]
        return ops.sum(ops.prod(boxes[:, 2:] - boxes[:, :2], axis=-1))

    _, slope = gradient(area, ones)
    assert slope.min() > 1e-4


def test_channels_first_is_channels_last():
    last, first = make(data_format="channels_last"), make(data_format="channels_first")
    expected = as_numpy(last(FEATURES))
    found = as_numpy(first(np.moveaxis(FEATURES, -1, 1)))
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], atol=1e-6)
    pixels = make(data_format="channels_first", bounding_box_format="xyxy")
    found = as_numpy(pixels(np.moveaxis(FEATURES, -1, 1), np.moveaxis(IMAGES, -1, 1)))
    np.testing.assert_allclose(found["boxes"], expected["boxes"] * [64, 48, 64, 48], atol=1e-4)


def test_images_of_any_size():
    """Symbolic sides, one model for several sizes, and the same as a head called directly."""
    head = make(bounding_box_format="xywh")
    inputs = [keras.Input((None, None, 4)), keras.Input((None, None, 3))]
    model = keras.Model(inputs, head(*inputs))
    shapes = {key: tuple(output.shape) for key, output in model.output.items()}
    assert shapes == {"labels": (None, 3), "boxes": (None, 4)}
    for height, width in ((1, 1), (2, 3), (4, 1)):
        features = RNG.normal(size=(2, height, width, 4)).astype("float32")
        images = np.zeros((2, 10 * height, 12 * width, 3), "float32")
        found = model.predict([features, images], verbose=0)
        for key, expected in as_numpy(head(features, images)).items():
            np.testing.assert_allclose(found[key], expected, atol=1e-4)
        assert found["boxes"][:, 2].max() > 0.5 * width


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_policies_cost_only_the_features(policy):
    half = "float16" if policy == "mixed_float16" else "bfloat16"
    narrow = ops.cast(FEATURES, half)
    expected = as_numpy(make()(ops.cast(narrow, "float32")))
    found = make(dtype=policy)(narrow)
    assert {keras.backend.standardize_dtype(x.dtype) for x in found.values()} == {"float32"}
    for key, value in as_numpy(found).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1"),
        ({"bounding_box_format": "corners"}, "`bounding_box_format` must be one of"),
        ({"data_format": "channels"}, "`data_format` must be"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        LocalizationHead(**{"num_classes": 2, **options})


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"`inputs` must be a feature map of rank 4.*before any"):
        LocalizationHead(2, bounding_box_format="rel_xyxy")(FEATURES[:, 0])
    with pytest.raises(ValueError, match=r"`images` must be given for boxes in pixels.*relative"):
        LocalizationHead(2)(FEATURES)
    with pytest.raises(ValueError, match="`images` must be of rank 4"):
        LocalizationHead(2)(FEATURES, IMAGES[..., 0])
