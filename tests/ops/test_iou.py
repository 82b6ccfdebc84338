import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from keras import ops

from keras_cvx import testing
from keras_cvx.ops import elementwise_iou, pairwise_iou
from keras_cvx.ops.iou import VARIANTS


def reference(box, other, variant):
    """The papers' equations, one pair at a time, in float64."""
    box, other = (tuple(float(np.float32(x)) for x in corners) for corners in (box, other))
    area = [max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0) for b in (box, other)]
    if min(area) > 0:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        intersection = max(width, 0.0) * max(height, 0.0)
    else:
        intersection = 0.0
    union = sum(area) - intersection
    iou = intersection / union if union > 0 else 0.0
    enclosing_width = max(max(box[2], other[2]) - min(box[0], other[0]), 0.0)
    enclosing_height = max(max(box[3], other[3]) - min(box[1], other[1]), 0.0)
    if variant == "iou":
        return iou
    if variant == "giou":
        enclosing = enclosing_width * enclosing_height
        return iou - ((enclosing - union) / enclosing if enclosing > 0 else 0.0)
    distance = (box[0] + box[2] - other[0] - other[2]) ** 2 / 4
    distance += (box[1] + box[3] - other[1] - other[3]) ** 2 / 4
    diagonal = enclosing_width**2 + enclosing_height**2
    diou = iou - (distance / diagonal if diagonal > 0 else 0.0)
    if variant == "diou":
        return diou
    sides = [(max(b[2] - b[0], 0.0), max(b[3] - b[1], 0.0)) for b in (box, other)]
    angles = [math.atan2(w, h) if max(w, h) > 0 else 0.0 for w, h in sides]
    v = 4 / math.pi**2 * (angles[1] - angles[0]) ** 2
    alpha = v / (1 - iou + v) if 1 - iou + v > 0 else 0.0
    return diou - alpha * v


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_boxes(variant):
    assert elementwise_iou(np.zeros((0, 4)), np.zeros((0, 4)), variant=variant).shape == (0,)
    assert pairwise_iou(np.zeros((2, 0, 4)), np.zeros((2, 3, 4)), variant=variant).shape == (
        2,
        0,
        3,
    )


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=25, deadline=None)
@given(pairs=testing.boxes((2, 8)))
def test_equals_the_papers(variant, pairs):
    boxes, others = pairs
    got = ops.convert_to_numpy(elementwise_iou(boxes, others, variant=variant))
    expected = [reference(a, b, variant) for a, b in zip(boxes, others, strict=True)]
    # Corners of 1e6 carry 0.06 px of rounding: compare where float32 can represent the sides.
    scale = np.maximum(np.abs(boxes).max(-1), np.abs(others).max(-1))
    side = np.minimum(boxes[:, 2:] - boxes[:, :2], others[:, 2:] - others[:, :2]).min(-1)
    fine = (side > scale * 1e-3) | (side == 0) & (scale < 100)
    np.testing.assert_allclose(got[fine], np.array(expected)[fine], atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=25, deadline=None)
@given(pairs=testing.boxes((2, 8), ordered=False))
def test_symmetric_and_bounded(variant, pairs):
    boxes, others = pairs
    forward = ops.convert_to_numpy(elementwise_iou(boxes, others, variant=variant))
    backward = ops.convert_to_numpy(elementwise_iou(others, boxes, variant=variant))
    np.testing.assert_allclose(forward, backward, atol=1e-6)
    lowest = {"iou": 0, "giou": -1, "diou": -1, "ciou": -2}[variant]
    assert np.all(forward >= lowest - 1e-5)
    assert np.all(forward <= 1 + 1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [2.0**-42, 2.0**-20, 2.0**-8, 2.0**10, 2.0**40])
def test_scale_changes_nothing(variant, scale, compiled):
    boxes = np.array([[1, 2, 4, 6], [0, 0, 3, 3], [5, 1, 6, 9]], "float32")
    others = np.array([[2, 2, 6, 5], [1, 1, 2, 2], [5, 1, 6, 9]], "float32")
    expected = ops.convert_to_numpy(elementwise_iou(boxes, others, variant=variant))
    scaled = [ops.convert_to_tensor(np.float32(x * scale)) for x in (boxes, others)]
    of_variant = partial(elementwise_iou, variant=variant)
    for function in (of_variant, compiled(of_variant)):
        got = ops.convert_to_numpy(function(*scaled))
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pairwise_is_elementwise_of_every_pair(variant):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 50, (2, 5, 2, 2)), axis=-2).reshape(2, 5, 4).astype("float32")
    others = corners[:, ::-1][:, :3] + 2.0
    got = ops.convert_to_numpy(pairwise_iou(corners, others, variant=variant))
    assert got.shape == (2, 5, 3)
    for b, i, j in np.ndindex(2, 5, 3):
        one = elementwise_iou(corners[b, i], others[b, j], variant=variant)
        assert got[b, i, j] == pytest.approx(float(one), abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 0),
        (2, 2, 2, 5),
        (3, 3, 1, 1),
        (10, 10, 12, 12),
        (1, 1, 3, 3),
        (1e-20, 0, 2e-20, 1e-20),
        (0, 0, 1e-12, 1e-12),
        (0, 0, 1e6, 1e-6),
    ],
)
def test_gradients_are_finite(variant, box, gradient):
    target = np.array([[1, 1, 3, 3], [0, 0, 0, 0]], "float32")
    value, slope = gradient(
        lambda x: ops.sum(elementwise_iou(x, target, variant=variant)),
        np.array([box, box], "float32"),
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))


def test_no_gradient_through_the_weight_of_the_aspect(gradient):
    """The slope of CIoU's penalty is that of `alpha * v` with alpha held."""
    box, target = np.array([0, 0, 4, 2], "float32"), np.array([0, 0, 2, 4], "float32")
    angle = math.atan(2 / 4) - math.atan(4 / 2)
    v = 4 / math.pi**2 * angle**2
    alpha = v / (1 - 4 / 12 + v)
    # d arctan(w / h) / dw = h / (w² + h²); v's slope is 8 / π² times the difference times that.
    expected = -alpha * 8 / math.pi**2 * (math.atan(2) - math.atan(0.5)) * 2 / (16 + 4)
    slopes = {
        variant: gradient(lambda x, v=variant: elementwise_iou(x, target, variant=v), box)[1]
        for variant in ("diou", "ciou")
    }
    assert (slopes["ciou"] - slopes["diou"])[2] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": np.zeros((2, 5)), "others": np.zeros((2, 4))}, "`boxes` must have a last axis"),
        ({"boxes": np.zeros((2, 4)), "others": np.zeros(())}, "`others` must have a last axis"),
        (
            {"boxes": np.zeros(4), "others": np.zeros(4), "variant": "eiou"},
            "`variant` must be one of",
        ),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        elementwise_iou(**arguments)
