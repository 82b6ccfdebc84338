import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import cell_centers, containing_cell, near_cells, task_aligned

CELLS = ops.convert_to_numpy(cell_centers(3, 4, 8))[None]  # 32 wide, 24 high
CENTERS, STRIDES, SIZE = CELLS[..., :2], CELLS[..., 2:], np.array([[[32.0, 24.0]]], "float32")


def box_at(x, y, width=4.0, height=4.0):
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def test_no_objects():
    boxes, valid = np.zeros((1, 0, 4), "float32"), np.zeros((1, 0), bool)
    assert containing_cell(boxes, valid, CENTERS, STRIDES, SIZE).shape == (1, 0, 12)
    near = near_cells(boxes, valid, CENTERS, STRIDES)
    assert near.shape == (1, 0, 12)
    empty = np.zeros((1, 0, 12), "float32")
    assigned, targets = task_aligned(empty, empty, near)
    assert assigned.shape == (1, 0, 12)
    assert ops.convert_to_numpy(targets).tolist() == [[0.0] * 12]


@settings(max_examples=50, deadline=None)
@given(x=st.floats(0, 32, width=32), y=st.floats(0, 24, width=32))
def test_the_cell_of_a_centre(x, y):
    boxes = np.array([[box_at(np.float32(x), np.float32(y), 0, 0)]], "float32")
    got = ops.convert_to_numpy(
        containing_cell(boxes, np.ones((1, 1), bool), CENTERS, STRIDES, SIZE)
    )
    column, row = min(int(np.float32(x) // 8), 3), min(int(np.float32(y) // 8), 2)
    assert np.flatnonzero(got[0, 0]).tolist() == [row * 4 + column]


def test_the_first_of_several_has_the_cell_and_padding_has_none():
    boxes = np.array([[box_at(4, 4), box_at(5, 5), box_at(20, 4), box_at(20, 5)]], "float32")
    valid = np.array([[True, True, False, True]])
    got = ops.convert_to_numpy(containing_cell(boxes, valid, CENTERS, STRIDES, SIZE))
    assert np.argwhere(got[0]).tolist() == [[0, 0], [3, 2]]


def test_small_boxes_are_near_the_cell_that_holds_them():
    boxes = np.array([[box_at(5, 6, 1, 1), box_at(16, 4, 20, 2), [-1, -1, -1, -1]]], "float32")
    valid = np.array([[True, True, False]])
    got = ops.convert_to_numpy(near_cells(boxes, valid, CENTERS, STRIDES))
    assert np.argwhere(got[0]).tolist() == [[0, 0], [1, 1], [1, 2]]


def reference(overlaps, scores, candidates, top_k, alpha, beta):
    """One image of `task_aligned`, from the paper's equations."""
    objects, cells = overlaps.shape
    alignment = scores**alpha * overlaps**beta * candidates
    taken = np.zeros((objects, cells), bool)
    for i in range(objects):
        for j in np.argsort(-alignment[i], kind="stable")[:top_k]:
            taken[i, j] = alignment[i, j] > 0
    for j in range(cells):
        rivals = np.flatnonzero(taken[:, j])
        if len(rivals) > 1:
            taken[:, j] = False
            taken[rivals[np.argmax(overlaps[rivals, j])], j] = True
    targets = np.zeros(cells)
    for i in range(objects):
        mine = np.flatnonzero(taken[i])
        if len(mine):
            t = alignment[i, mine]
            targets[mine] = t / t.max() * overlaps[i, mine].max()
    return taken, targets


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_task_aligned_equals_the_equations(seed):
    rng = np.random.default_rng(seed)
    overlaps, scores = rng.uniform(0.01, 1, (2, 2, 5, 24)).astype("float32")
    candidates = rng.uniform(size=(2, 5, 24)) < 0.4
    options = {"top_k": 4, "alpha": 0.75, "beta": 3.0}
    assigned, targets = task_aligned(overlaps, scores, candidates, **options)
    for image in range(2):
        taken, expected = reference(overlaps[image], scores[image], candidates[image], **options)
        np.testing.assert_array_equal(ops.convert_to_numpy(assigned)[image], taken)
        np.testing.assert_allclose(ops.convert_to_numpy(targets)[image], expected, rtol=1e-4)


def test_fewer_cells_than_top_k():
    one = np.ones((1, 1, 2), "float32")
    assigned, targets = task_aligned(one, one / 2, np.ones((1, 1, 2), bool), top_k=9)
    assert ops.convert_to_numpy(assigned).all()
    assert ops.convert_to_numpy(targets).tolist() == [pytest.approx([1.0, 1.0])]


@pytest.mark.parametrize("which", ["overlaps", "scores"])
def test_no_gradient_flows(which, gradient):
    fixed = np.full((1, 2, 6), 0.5, "float32")

    def total(x):
        arguments = {"overlaps": fixed, "scores": fixed, which: x}
        _, targets = task_aligned(**arguments, candidates=np.ones((1, 2, 6), bool))
        return ops.sum(targets) + 0.0 * ops.sum(x)

    value, slope = gradient(total, np.linspace(0.1, 0.9, 12).reshape(1, 2, 6))
    assert value > 0
    np.testing.assert_array_equal(slope, 0.0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_number_of_objects(jit_compile):
    """It may turn out to be 0."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces with an unknown number")
    import tensorflow as tf

    def assign(boxes, valid, overlaps):
        near = near_cells(boxes, valid, CENTERS, STRIDES)
        cells = containing_cell(boxes, valid, CENTERS, STRIDES, SIZE)
        return [cells, *task_aligned(overlaps, overlaps / 2, near)]

    signature = [
        tf.TensorSpec((None, None, 4)),
        tf.TensorSpec((None, None), tf.bool),
        tf.TensorSpec((None, None, 12)),
    ]
    step = tf.function(assign, input_signature=signature, jit_compile=jit_compile)
    rng = np.random.default_rng(0)
    boxes = np.array([[box_at(9, 7), box_at(13, 9), box_at(20, 16, 20, 16)]], "float32")
    overlaps = rng.uniform(0.1, 1, (1, 3, 12)).astype("float32")
    for count in (0, 1, 3):
        some = boxes[:, :count], np.ones((1, count), bool), overlaps[:, :count]
        for got, expected in zip(step(*some), assign(*some), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6)
