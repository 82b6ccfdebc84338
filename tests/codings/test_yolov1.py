import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.codings import YOLOv1Coding
from keras_cvx.ops import cell_centers

ROWS, COLUMNS, STRIDE, CLASSES = 2, 3, 16, 3
HEIGHT, WIDTH = ROWS * STRIDE, COLUMNS * STRIDE  # not square
CELLS = ops.convert_to_numpy(cell_centers(ROWS, COLUMNS, STRIDE))


def place(outputs, boxes, labels):
    """Arguments of `YOLOv1Coding.loss`."""
    cells = np.repeat(CELLS[None], len(outputs), axis=0)
    rest = cells[..., :2], cells[..., 2:], np.float32(boxes), np.int32(labels)
    return [ops.convert_to_tensor(x) for x in (outputs, *rest)]


def loss_of(coding, outputs, boxes, labels):
    return ops.convert_to_numpy(coding.loss(*place(np.float32(outputs), boxes, labels)))


def decode(outputs):
    return YOLOv1Coding().decode(*place(outputs, [], [])[:3])


def random_boxes(rng, *shape):
    middle = rng.uniform(0, [WIDTH, HEIGHT], (*shape, 2))
    half = rng.uniform(0.5, [WIDTH / 2, HEIGHT / 2], (*shape, 2))
    return np.concatenate([middle - half, middle + half], -1).astype("float32")


def overlap(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return both / (sum(areas) - both) if sum(areas) > both else 0.0


def owner_of_each_cell(boxes, labels):
    owners = {}
    for i, ((x0, y0, x1, y1), label) in enumerate(zip(boxes.tolist(), labels, strict=True)):
        if label >= 0:
            column = min(int((x0 + x1) / 2 // STRIDE), COLUMNS - 1)
            row = min(int((y0 + y1) / 2 // STRIDE), ROWS - 1)
            owners.setdefault((row, column), i)
    return owners


def published(outputs, boxes, labels, predictors, coordinate_weight, no_object_weight):
    """Equation 3 of the paper for one image, term by term."""
    owners, total = owner_of_each_cell(boxes, labels), 0.0
    for row, column in np.ndindex(ROWS, COLUMNS):
        cell = [float(x) for x in outputs[row * COLUMNS + column]]
        boxes_of_cell = [cell[5 * j : 5 * j + 5] for j in range(predictors)]
        if (row, column) not in owners:
            total += no_object_weight * sum(box[4] ** 2 for box in boxes_of_cell)
            continue
        i = owners[row, column]
        x0, y0, x1, y1 = (float(v) for v in boxes[i])
        overlaps = []
        for x, y, root_w, root_h, _ in boxes_of_cell:
            middle_x, middle_y = (column + x) * STRIDE, (row + y) * STRIDE
            w, h = max(root_w, 0.0) ** 2 * WIDTH, max(root_h, 0.0) ** 2 * HEIGHT
            predicted = (middle_x - w / 2, middle_y - h / 2, middle_x + w / 2, middle_y + h / 2)
            overlaps.append(overlap(predicted, (x0, y0, x1, y1)))
        responsible = overlaps.index(max(overlaps))
        # Which of two that float32 cannot tell apart is responsible is no one's fault.
        rivals = [max(overlaps) - o for j, o in enumerate(overlaps) if j != responsible]
        assume(max(overlaps) == 0.0 or not rivals or min(rivals) > 1e-6)
        for j, (x, y, root_w, root_h, confidence) in enumerate(boxes_of_cell):
            if j != responsible:
                total += no_object_weight * confidence**2
                continue
            total += coordinate_weight * (x - ((x0 + x1) / 2 / STRIDE - column)) ** 2
            total += coordinate_weight * (y - ((y0 + y1) / 2 / STRIDE - row)) ** 2
            total += coordinate_weight * (root_w - math.sqrt((x1 - x0) / WIDTH)) ** 2
            total += coordinate_weight * (root_h - math.sqrt((y1 - y0) / HEIGHT)) ** 2
            total += (confidence - overlaps[j]) ** 2
        for k, probability in enumerate(cell[5 * predictors :]):
            total += (probability - (labels[i] == k)) ** 2
    return total


def encode(boxes, labels, predictors=2, predictor=1):
    """The outputs that the truth asks for, of one image."""
    outputs = np.zeros((ROWS * COLUMNS, 5 * predictors + CLASSES), "float32")
    for (row, column), i in owner_of_each_cell(boxes, labels).items():
        x0, y0, x1, y1 = boxes[i]
        cell = outputs[row * COLUMNS + column]
        cell[5 * predictor : 5 * predictor + 5] = (
            (x0 + x1) / 2 / STRIDE - column,
            (y0 + y1) / 2 / STRIDE - row,
            math.sqrt((x1 - x0) / WIDTH),
            math.sqrt((y1 - y0) / HEIGHT),
            1.0,
        )
        cell[5 * predictors + labels[i]] = 1.0
    return outputs


def test_no_objects():
    outputs = np.random.default_rng(0).normal(size=(2, 6, 13)).astype("float32")
    expected = 0.5 * np.square(outputs[..., [4, 9]]).sum((1, 2))
    none = loss_of(YOLOv1Coding(), outputs, np.zeros((2, 0, 4)), np.zeros((2, 0)))
    padding = loss_of(YOLOv1Coding(), outputs, random_boxes(np.random.default_rng(1), 2, 3),
                      np.full((2, 3), -1))  # fmt: skip
    np.testing.assert_allclose(none, expected, rtol=1e-5)
    np.testing.assert_allclose(padding, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("predictors", "weights"), [(2, (5.0, 0.5)), (1, (3.0, 0.25)), (3, (0.0, 2.0))]
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equation_3(predictors, weights, seed):
    """Five objects on six cells, so that cells are shared; some rows are padding."""
    rng = np.random.default_rng(seed)
    boxes, labels = random_boxes(rng, 2, 5), rng.integers(-1, CLASSES, (2, 5))
    labels[:, 0] = 0, -1
    outputs = rng.normal(0.4, 0.4, (2, 6, 5 * predictors + CLASSES)).astype("float32")
    coding = YOLOv1Coding(predictors, coordinate_weight=weights[0], no_object_weight=weights[1])
    expected = [
        published(*image, predictors, *weights)
        for image in zip(outputs, boxes, labels, strict=True)
    ]
    np.testing.assert_allclose(loss_of(coding, outputs, boxes, labels), expected, rtol=2e-4)


def test_defaults_are_the_published_weights():
    assert YOLOv1Coding().get_config() == {
        "boxes_per_cell": 2,
        "coordinate_weight": 5.0,
        "no_object_weight": 0.5,
    }
    assert YOLOv1Coding().branches(20) == [(30, 0.0)]


def test_first_object_has_the_cell():
    boxes = np.float32([[[2, 2, 10, 10], [1, 3, 13, 9]]])
    outputs = encode(boxes[0], [2, 1])[None]
    assert loss_of(YOLOv1Coding(), outputs, boxes, [[2, 1]]) == pytest.approx([0.0], abs=1e-5)
    assert loss_of(YOLOv1Coding(), outputs, boxes[:, ::-1], [[1, 2]])[0] > 1.0


@pytest.mark.parametrize(
    ("corner", "cell"), [((WIDTH, HEIGHT), 5), ((WIDTH, 0), 2), ((0, HEIGHT), 3), ((16, 16), 4)]
)
def test_centre_on_an_edge(corner, cell):
    """On the far edges the last cell answers; between two cells, the later one."""
    x, y = corner
    boxes = np.float32([[[x - 4, y - 4, x + 4, y + 4]]])
    outputs = encode(boxes[0], [1])[None]
    assert np.flatnonzero(outputs[0].any(-1)).tolist() == [cell]
    assert loss_of(YOLOv1Coding(), outputs, boxes, [[1]]) == pytest.approx([0.0], abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_least_on_a_perfect_prediction(seed):
    rng = np.random.default_rng(seed)
    boxes, labels = random_boxes(rng, 1, 3), rng.integers(0, CLASSES, (1, 3))
    outputs = encode(boxes[0], labels[0])[None]
    best = loss_of(YOLOv1Coding(), outputs, boxes, labels)[0]
    assert best == pytest.approx(0.0, abs=1e-5)
    noise = rng.normal(size=outputs.shape) * 0.05
    assert loss_of(YOLOv1Coding(), outputs + noise, boxes, labels)[0] > best


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), predictor=st.integers(0, 1))
def test_decode_inverts_encode(seed, predictor):
    rng = np.random.default_rng(seed)
    boxes, labels = random_boxes(rng, 4), rng.integers(0, CLASSES, 4)
    outputs = encode(boxes, labels, predictor=predictor)[None]
    found, scores = map(
        ops.convert_to_numpy,
        decode(outputs),
    )
    assert found.shape == (1, 12, 4)
    assert scores.shape == (1, 12, CLASSES)
    owners = owner_of_each_cell(boxes, labels)
    expected = np.zeros((12, CLASSES))
    for (row, column), i in owners.items():
        rank = 2 * (row * COLUMNS + column) + predictor
        np.testing.assert_allclose(found[0, rank], boxes[i], atol=1e-3)
        expected[rank, labels[i]] = 1.0
    np.testing.assert_allclose(scores[0], expected, atol=1e-6)


def test_score_is_confidence_times_probability_in_its_range():
    outputs = np.zeros((1, 6, 13), "float32")
    outputs[0, 2, [4, 9]] = 0.5, 1.5
    outputs[0, 2, 10:] = 0.5, -2.0, 3.0
    scores = decode(outputs)[1]
    assert ops.convert_to_numpy(scores)[0, 4:6].tolist() == [[0.25, 0, 0.5], [0.5, 0, 1.0]]
    assert ops.convert_to_numpy(scores).sum() == 2.25


def test_extra_padding_and_batching_change_nothing():
    rng = np.random.default_rng(3)
    boxes, labels = random_boxes(rng, 3, 4), rng.integers(-1, CLASSES, (3, 4))
    outputs = rng.normal(size=(3, 6, 13)).astype("float32")
    together = loss_of(YOLOv1Coding(), outputs, boxes, labels)
    padded = loss_of(
        YOLOv1Coding(),
        outputs,
        np.concatenate([random_boxes(rng, 3, 2), boxes, random_boxes(rng, 3, 1)], 1),
        np.pad(labels, ((0, 0), (2, 1)), constant_values=-1),
    )
    alone = [loss_of(YOLOv1Coding(), outputs[i : i + 1], boxes[i : i + 1], labels[i : i + 1])[0]
             for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(padded, together, rtol=1e-6)
    np.testing.assert_allclose(alone, together, rtol=1e-6)


def test_gradient_holds_the_target_of_the_confidence(gradient):
    """The target IoU is a number, not a path for the gradient."""
    boxes, labels = np.float32([[[0, 0, 16, 16]]]), [[1]]
    outputs = encode(boxes[0], [1])[None]
    outputs[0, 0, 5:10] += 0.1, -0.1, 0.05, 0.02, -0.3
    target = encode(boxes[0], [1])[None]
    x, y, root_w, root_h = (float(v) for v in outputs[0, 0, 5:9])
    w, h = root_w**2 * WIDTH, root_h**2 * HEIGHT
    predicted = (x * 16 - w / 2, y * 16 - h / 2, x * 16 + w / 2, y * 16 + h / 2)
    target[0, 0, 9] = overlap(predicted, (0, 0, 16, 16))
    expected = 2 * (outputs - target)
    expected[..., 5:9] *= 5.0
    _, slope = gradient(
        lambda t: ops.sum(YOLOv1Coding().loss(*place(t, boxes, labels))), outputs
    )  # fmt: skip
    np.testing.assert_allclose(slope, expected, atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, -1.0, 1e3])
@pytest.mark.parametrize(
    "box", [(8, 8, 8, 8), (0, 0, 0, 0), (10, 10, 2, 2), (-99, -99, -50, 400), (0, 0, 1e-20, 1e-20)]
)
def test_gradients_are_finite(fill, box, gradient):
    value, slope = gradient(
        lambda t: ops.sum(YOLOv1Coding().loss(*place(t, [[box]], [[0]]))),
        np.full((1, 6, 13), fill),
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))


def test_compiled_is_eager(compiled):
    rng = np.random.default_rng(4)
    arguments = place(rng.normal(size=(2, 6, 13)).astype("float32"), random_boxes(rng, 2, 4),
                      rng.integers(-1, CLASSES, (2, 4)))  # fmt: skip
    coding = YOLOv1Coding()
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled(coding.loss)(*arguments)),
        ops.convert_to_numpy(coding.loss(*arguments)),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"boxes_per_cell": 0},
            "`boxes_per_cell` must be an integer of at least 1.*boxes_per_cell=0",
        ),
        ({"boxes_per_cell": 1.5}, "`boxes_per_cell` must be an integer of at least 1"),
        ({"boxes_per_cell": 2.0}, "`boxes_per_cell` must be an integer of at least 1"),
        ({"boxes_per_cell": "two"}, "`boxes_per_cell` must be an integer of at least 1"),
        ({"coordinate_weight": -1}, "`coordinate_weight` must be at least 0.*=-1"),
        ({"no_object_weight": float("nan")}, "`no_object_weight` must be at least 0.*=nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        YOLOv1Coding(**arguments)
