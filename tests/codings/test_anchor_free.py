import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.codings import AnchorFreeCoding
from keras_cvx.losses import GIoULoss, GridDetectionLoss
from keras_cvx.ops import attach_cells, cell_centers, elementwise_iou

# Two levels on an image 48 pixels wide and 32 high.
CELLS = np.concatenate(
    [ops.convert_to_numpy(cell_centers(4, 6, 8)), ops.convert_to_numpy(cell_centers(2, 3, 16))]
)
CLASSES, BINS = 3, 7
CODING = AnchorFreeCoding(bins=BINS)
# In strides: −½, 0 and on to 5, each step the same number of times the last.
RATIO = math.exp(2.5 / 5)
DISTANCES = np.array([-0.5, *(5 * (RATIO**k - 1) / (RATIO**5 - 1) for k in range(6))])


def place(outputs, boxes=(), labels=()):
    """Arguments of `AnchorFreeCoding.loss`."""
    cells = np.repeat(CELLS[None], len(outputs), axis=0)
    rest = cells[..., :2], cells[..., 2:], np.float32(boxes), np.int32(labels)
    return [ops.convert_to_tensor(x) for x in (outputs, *rest)]


def loss_of(outputs, boxes, labels, coding=CODING):
    return ops.convert_to_numpy(coding.loss(*place(np.float32(outputs), boxes, labels)))


def decode(outputs):
    return map(ops.convert_to_numpy, CODING.decode(*place(np.float32(outputs))[:3]))


def random_scene(rng, images, objects):
    """Outputs, boxes and labels; the boxes of an image differ, some rows are padding."""
    corner = rng.uniform(0, [36, 20], (images, objects, 2))
    side = rng.uniform(2, 24, (images, objects, 2))
    labels = rng.integers(-1, CLASSES, (images, objects))
    outputs = rng.normal(0, 1.0, (images, len(CELLS), 4 * BINS + CLASSES))
    boxes = np.concatenate([corner, corner + side], -1)
    return outputs.astype("float32"), boxes.astype("float32"), labels


def distances(cell, box):
    """Left, upper, right and lower distance of the sides from the cell's centre, in strides."""
    (x, y, stride), (x0, y0, x1, y1) = cell, box
    return [(x - x0) / stride, (y - y0) / stride, (x1 - x) / stride, (y1 - y) / stride]


def shares(distance):
    """The two neighbouring bins that have `distance` as their mean, and their shares."""
    distance = min(max(distance, DISTANCES[0]), DISTANCES[-1])
    lower = max(j for j in range(BINS - 1) if DISTANCES[j] <= distance)
    upper_share = (distance - DISTANCES[lower]) / (DISTANCES[lower + 1] - DISTANCES[lower])
    return {lower: 1 - upper_share, lower + 1: upper_share}


def sure_and_right(boxes, labels, sure=30.0):
    """Outputs of one image whose cells in a box predict it."""
    outputs = np.zeros((len(CELLS), 4 * BINS + CLASSES), "float32")
    outputs[:, 4 * BINS :] = -sure
    for box, label in zip(boxes, labels, strict=True):
        for a, (x, y, stride) in enumerate(CELLS):
            if stride == 8 and box[0] < x < box[2] and box[1] < y < box[3]:
                outputs[a, 4 * BINS + label] = sure
                for side, distance in enumerate(distances(CELLS[a], box)):
                    for j, share in shares(distance).items():
                        outputs[a, BINS * side + j] = sure + math.log(max(share, 1e-9))
    return outputs


def iou(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return both / (sum(areas) - both)


def complete_iou(box, other):
    overlap = iou(box, other)
    distance = sum((box[i] + box[i + 2] - other[i] - other[i + 2]) ** 2 / 4 for i in (0, 1))
    diagonal = sum((max(box[i + 2], other[i + 2]) - min(box[i], other[i])) ** 2 for i in (0, 1))
    angles = [math.atan((b[2] - b[0]) / (b[3] - b[1])) for b in (box, other)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return overlap - distance / diagonal - (v * v / (1 - overlap + v) if v > 0 else 0.0)


def published(outputs, boxes, labels, top_k, alpha, beta, box_weight, distribution_weight):
    """The loss of one image from the class's docstring, cell by cell."""
    sides = outputs[:, : 4 * BINS].astype("float64").reshape(-1, 4, BINS)
    sides = sides - np.log(np.exp(sides).sum(-1, keepdims=True))
    logits = outputs[:, 4 * BINS :].astype("float64")
    objects = [i for i, label in enumerate(labels) if label >= 0]
    predicted = []
    for (x, y, stride), side in zip(CELLS, np.exp(sides) @ DISTANCES, strict=True):
        left, upper, right, lower = side * stride
        predicted.append((x - left, y - upper, x + right, y + lower))
    scores = 1 / (1 + np.exp(-logits))
    overlaps = {(i, a): iou(boxes[i], p) for i in objects for a, p in enumerate(predicted)}
    alignment, claims = {}, {}
    for i in objects:
        x0, y0, x1, y1 = (float(v) for v in boxes[i])
        for a, (x, y, stride) in enumerate(CELLS):
            inside = x0 < x < x1 and y0 < y < y1
            holds = max(abs((x0 + x1) / 2 - x), abs((y0 + y1) / 2 - y)) <= stride / 2
            if inside or holds:
                alignment[i, a] = scores[a, labels[i]] ** alpha * overlaps[i, a] ** beta
        mine = sorted((a for j, a in alignment if j == i), key=lambda a: -alignment[i, a])
        for a in mine[:top_k]:
            if alignment[i, a] > 0:
                claims.setdefault(a, []).append(i)
    owner = {a: max(rivals, key=lambda i: overlaps[i, a]) for a, rivals in claims.items()}
    targets = {}
    for i in objects:
        mine = [a for a in owner if owner[a] == i]
        if mine:
            best = max(overlaps[i, a] for a in mine) / max(alignment[i, a] for a in mine)
            targets.update({a: alignment[i, a] * best for a in mine})
    class_loss = box_loss = 0.0
    for a in range(len(CELLS)):
        for k in range(CLASSES):
            t = targets[a] if a in owner and labels[owner[a]] == k else 0.0
            logit = logits[a, k]
            class_loss += t * np.logaddexp(0, -logit) + (1 - t) * np.logaddexp(0, logit)
        if a in owner:
            box = boxes[owner[a]].astype("float64")
            box_loss += box_weight * targets[a] * (1 - complete_iou(predicted[a], box))
            for side, distance in zip(sides[a], distances(CELLS[a], box), strict=True):
                entropy = -sum(share * side[j] for j, share in shares(distance).items())
                box_loss += distribution_weight * targets[a] * entropy / 4
    return (class_loss + box_loss) / max(sum(targets.values()), 1.0)


@pytest.mark.parametrize("rows", [0, 2])
def test_no_objects(rows, gradient):
    """What is left is the cross-entropy of scores that should be 0."""
    outputs = np.random.default_rng(0).normal(size=(2, 30, 4 * BINS + 3)).astype("float32")
    boxes, labels = np.full((2, rows, 4), -1.0), np.full((2, rows), -1)
    logits = outputs[..., 4 * BINS :].astype("float64")
    expected = np.logaddexp(0, logits).sum((1, 2))
    np.testing.assert_allclose(loss_of(outputs, boxes, labels), expected, rtol=1e-5)
    _, slope = gradient(lambda x: ops.sum(CODING.loss(*place(x, boxes, labels))), outputs)
    np.testing.assert_array_equal(slope[..., : 4 * BINS], 0.0)
    np.testing.assert_allclose(slope[..., 4 * BINS :], 1 / (1 + np.exp(-logits)), rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 7, "alpha": 0.5, "beta": 4.0, "box_weight": 7.5, "distribution_weight": 1.5},
        {"top_k": 3, "alpha": 1.25, "beta": 0.75, "box_weight": 0.3, "distribution_weight": 2.0},
        {"top_k": 99, "alpha": 0.5, "beta": 2.0, "box_weight": 0.0, "distribution_weight": 0.0},
    ],
)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_equations(options, seed):
    outputs, boxes, labels = random_scene(np.random.default_rng(seed), 2, 4)
    labels[0, 0] = 1
    expected = [published(*image, **options) for image in zip(outputs, boxes, labels, strict=True)]
    got = loss_of(outputs, boxes, labels, AnchorFreeCoding(bins=BINS, **options))
    np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_channels():
    sides, classes = AnchorFreeCoding(bins=9).branches(20)
    assert sides == (36, 0.0)
    assert classes[0] == 20
    assert 1 / (1 + math.exp(-classes[1])) == pytest.approx(0.01)


def test_decode():
    """A sharp distribution says one distance, an even one the mean, −½ is beyond the centre."""
    outputs = np.zeros((1, 30, 4 * BINS + 1), "float32")
    for side, index in enumerate((2, 1, 0, 6)):
        outputs[0, 7, BINS * side + index] = 90.0
    outputs[0, 29, -1] = 90.0
    boxes, scores = decode(outputs)
    assert boxes.shape == (1, 30, 4)
    near = 8 * DISTANCES[2]
    np.testing.assert_allclose(boxes[0, 7], [12 - near, 12, 12 - 4, 12 + 40], atol=1e-5)
    mean = 16 * DISTANCES.mean()
    np.testing.assert_allclose(
        boxes[0, 29], [40 - mean, 24 - mean, 40 + mean, 24 + mean], atol=1e-4
    )
    assert scores[0, [7, 29], 0].tolist() == [0.5, 1.0]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_decode_inverts_the_distances(seed):
    rng = np.random.default_rng(seed)
    reach = rng.uniform(-0.49, BINS - 2.01, (30, 4))
    outputs = np.full((1, 30, 4 * BINS + 1), -90.0)
    for (a, side), distance in np.ndenumerate(reach):
        for j, share in shares(distance).items():
            outputs[0, a, BINS * side + j] = math.log(max(share, 1e-30))
    boxes, _ = decode(outputs)
    expected = CELLS[:, [0, 1, 0, 1]] + CELLS[:, 2:] * reach * [-1, -1, 1, 1]
    np.testing.assert_allclose(boxes[0], expected, atol=1e-3)


@pytest.mark.parametrize("fill", [1e4, -1e4, 3e38])
def test_boxes_of_any_output_are_finite(fill):
    outputs = np.where(np.random.default_rng(0).uniform(size=(1, 30, 4 * BINS + 1)) < 0.5, fill, 0)
    assert all(np.isfinite(x).all() for x in decode(outputs))


def test_least_where_sure_and_right():
    # Between two distances no distribution is sure, so its loss has another least value.
    coding = AnchorFreeCoding(top_k=1, bins=BINS, distribution_weight=0.0)
    boxes, labels = np.float32([[[4, 4, 20, 20], [28, 12, 44, 28]]]), [[2, 0]]
    right = sure_and_right(boxes[0], labels[0])[None]
    best = loss_of(right, boxes, labels, coding)[0]
    assert best == pytest.approx(0.0, abs=1e-4)
    wrong = {"class": right.copy(), "box": right.copy(), "unsure": right.copy()}
    wrong["class"][..., 4 * BINS :] = np.roll(right[..., 4 * BINS :], 1, axis=-1)
    wrong["box"][..., :BINS] = np.roll(right[..., :BINS], 1, axis=-1)
    wrong["unsure"][..., 4 * BINS :] *= 0.02
    for name, outputs in wrong.items():
        assert loss_of(outputs, boxes, labels, coding)[0] > best + 0.1, name
    # An object more than the prediction knows, and one fewer.
    more = np.concatenate([boxes, [[[4, 12, 20, 28]]]], 1)
    assert loss_of(right, more, [[2, 0, 1]], coding)[0] > best + 0.01
    assert loss_of(right, boxes, [[2, -1]], coding)[0] > best + 1.0


def test_least_distribution_has_the_distance_as_its_mean(gradient):
    coding = AnchorFreeCoding(bins=BINS, box_weight=0.0)
    boxes, labels = np.float32([[[5, 6, 26, 21]]]), [[1]]
    right = sure_and_right(boxes[0], labels[0])[None]

    def slope_of(outputs):
        slope = gradient(lambda x: ops.sum(coding.loss(*place(x, boxes, labels))), outputs)[1]
        return np.abs(slope[..., : 4 * BINS]).max()

    assert slope_of(right) < 1e-5
    assert slope_of(np.roll(right, 1, axis=-1)) > 1e-2


def test_gradient_pulls_the_box_to_the_object(gradient):
    """Descent on the loss alone moves the assigned cells' boxes onto the object."""
    boxes, labels = np.float32([[[9, 6, 26, 22]]]), [[1]]
    outputs = np.zeros((1, 30, 4 * BINS + CLASSES), "float32")
    outputs[..., 4 * BINS :] = -2.0

    def best_overlap(outputs):
        found, scores = decode(outputs)
        overlaps = ops.convert_to_numpy(elementwise_iou(found, boxes))[0]
        return overlaps[np.argmax(scores[0, :, 1])]

    losses, before = [], best_overlap(outputs)
    for _ in range(10):
        value, slope = gradient(lambda x: ops.sum(CODING.loss(*place(x, boxes, labels))), outputs)
        assert np.isfinite(slope).all()
        outputs = outputs - slope
        losses.append(value)
    assert losses[-1] < 0.7 * losses[0]
    assert best_overlap(outputs) > before + 0.3


def test_batched_is_one_by_one():
    outputs, boxes, labels = random_scene(np.random.default_rng(5), 4, 5)
    labels[2] = -1
    alone = [loss_of(*(x[i : i + 1] for x in (outputs, boxes, labels)))[0] for i in range(4)]
    np.testing.assert_allclose(loss_of(outputs, boxes, labels), alone, rtol=1e-5)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_objects_and_padding_change_nothing(seed):
    rng = np.random.default_rng(seed)
    outputs, boxes, labels = random_scene(rng, 2, 5)
    expected = loss_of(outputs, boxes, labels)
    order = rng.permutation(5)
    np.testing.assert_allclose(
        loss_of(outputs, boxes[:, order], labels[:, order]), expected, rtol=1e-4
    )
    more = np.concatenate([rng.uniform(0, 32, (2, 2, 4)), boxes, np.zeros((2, 1, 4))], 1)
    padded = loss_of(outputs, more, np.pad(labels, ((0, 0), (2, 1)), constant_values=-1))
    np.testing.assert_allclose(padded, expected, rtol=1e-5)


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 1e30, -1.0])
def test_contents_of_padding_change_nothing(fill, gradient):
    """Through the loss that users call; gradients too."""
    outputs, boxes, labels = random_scene(np.random.default_rng(6), 2, 4)
    labels[:, 1:3] = 2, -1

    def of(boxes):
        truth = {"boxes": boxes, "labels": labels}
        loss = GridDetectionLoss(CODING)
        return gradient(lambda x: loss(truth, attach_cells(x, CELLS)), outputs)

    value, slope = of(np.where(labels[..., None] < 0, np.float32(0), boxes))
    got_value, got_slope = of(np.where(labels[..., None] < 0, np.float32(fill), boxes))
    assert np.isfinite(value)
    assert got_value == value
    np.testing.assert_array_equal(got_slope, slope)


@pytest.mark.parametrize("fill", [0.0, 1e4, -1e4])
@pytest.mark.parametrize(
    "box", [(8, 8, 8, 8), (0, 0, 0, 0), (20, 20, 2, 2), (-99, -99, 400, 400), (4, 4, 4, 20)]
)
def test_gradients_are_finite(fill, box, gradient):
    value, slope = gradient(
        lambda x: ops.sum(CODING.loss(*place(x, [[box, box]], [[0, 2]]))),
        np.full((1, 30, 4 * BINS + 3), fill),
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))


def test_compiled_is_eager(compiled):
    arguments = place(*random_scene(np.random.default_rng(7), 2, 4))
    loss = AnchorFreeCoding(top_k=3, bins=BINS).loss
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled(loss)(*arguments)),
        ops.convert_to_numpy(loss(*arguments)),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "`top_k` must be an integer of at least 1. Received: top_k=0"),
        ({"top_k": 2.5}, "`top_k` must be an integer of at least 1"),
        ({"top_k": 7.0}, "`top_k` must be an integer of at least 1"),
        ({"top_k": "seven"}, "`top_k` must be an integer of at least 1"),
        ({"bins": 2}, "`bins` must be an integer of at least 3. Received: bins=2"),
        ({"distribution_weight": -1}, "`distribution_weight` must be at least 0"),
        ({"alpha": 0}, "`alpha` must be positive. Received: alpha=0"),
        ({"beta": -1.0}, "`beta` must be positive. Received: beta=-1.0"),
        ({"beta": float("nan")}, "`beta` must be positive"),
        ({"assigner": "task_alined"}, "Did you mean 'task_aligned'"),
        ({"assigner": "yolov1"}, "'yolov1' must be a plugin of kind 'assigner'"),
        ({"assigner": None}, "of kind 'assigner' is required.*Received: None"),
        ({"box_loss": "CIoULos"}, "Did you mean 'CIoULoss'"),
        ({"box_loss": GIoULoss("xywh")}, "`box_loss` must have bounding_box_format='xyxy'"),
        ({"box_weight": -0.5}, "`box_weight` must be at least 0. Received: box_weight=-0.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnchorFreeCoding(**arguments)
