import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import ignored_detections, match_detections

THRESHOLDS = [0.5, 0.75, 1.0]


def reference(overlaps, labels, truth_labels):
    """One image, from COCO's definition."""
    taken = np.full((len(THRESHOLDS), len(labels)), -1)
    for t, threshold in enumerate(THRESHOLDS):
        free = set(range(len(truth_labels)))
        for k, label in enumerate(labels):
            reached = [
                (overlaps[k, n], n)
                for n in free
                if label == truth_labels[n] >= 0 and overlaps[k, n] >= threshold
            ]
            if reached:
                taken[t, k] = max(reached)[1]
                free.remove(taken[t, k])
    return taken


@pytest.fixture(scope="module")
def match(compiled):
    """`match_detections` at `THRESHOLDS`, compiled where the backend compiles."""
    step = compiled(lambda *inputs: match_detections(*inputs, THRESHOLDS))

    def of(overlaps, labels, truth_labels):
        labels, truth_labels = (
            ops.convert_to_tensor(np.asarray(x, "int32")) for x in (labels, truth_labels)
        )
        overlaps = ops.convert_to_tensor(np.asarray(overlaps, "float32"))
        return ops.convert_to_numpy(step(overlaps, labels, truth_labels))

    return of


@pytest.mark.parametrize(("batch", "detections", "truths"), [(2, 0, 3), (2, 3, 0), (0, 3, 2)])
def test_empty(batch, detections, truths):
    taken = match_detections(
        np.zeros((batch, detections, truths)),
        np.zeros((batch, detections), int),
        np.zeros((batch, truths), int),
        THRESHOLDS,
    )
    assert taken.shape == (batch, 3, detections)
    assert np.all(ops.convert_to_numpy(taken) == -1)


def cases(seed):
    rng = np.random.default_rng(seed)
    # Eighths are exact in float32, make many ties, and lie on the thresholds.
    overlaps = (rng.integers(0, 9, (2, 7, 5)) / 8).astype("float32")
    return overlaps, rng.integers(-1, 2, (2, 7)), rng.integers(-1, 2, (2, 5))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_definition(match, seed):
    overlaps, labels, truth_labels = cases(seed)
    taken = match(overlaps, labels, truth_labels)
    for image in range(2):
        expected = reference(overlaps[image], labels[image], truth_labels[image])
        np.testing.assert_array_equal(taken[image], expected)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_padded_rows_change_nothing(match, seed):
    overlaps, labels, truth_labels = cases(seed)
    more = np.pad(overlaps, ((0, 0), (0, 2), (0, 3)), constant_values=1.0)
    labels_more, truth_more = (
        np.pad(x, ((0, 0), (0, n)), constant_values=-1) for x, n in ((labels, 2), (truth_labels, 3))
    )
    taken = match(more, labels_more, truth_more)
    np.testing.assert_array_equal(taken[..., :7], match(overlaps, labels, truth_labels))
    assert (taken[..., 7:] == -1).all()


def test_of_equal_overlaps_the_last_is_taken(match):
    assert match([[[0.75, 0.75, 0.5]]], [[1]], [[1, 1, 1]])[0, :, 0].tolist() == [1, 1, -1]


def test_compiled_equals_eager(compiled):
    rng = np.random.default_rng(0)
    overlaps = ops.convert_to_tensor(rng.uniform(0, 1, (2, 6, 4)).astype("float32"))
    labels = ops.convert_to_tensor(rng.integers(0, 2, (2, 6)), "int32")
    truth = ops.convert_to_tensor(rng.integers(0, 2, (2, 4)), "int32")

    def match(overlaps, labels, truth):
        return match_detections(overlaps, labels, truth, THRESHOLDS)

    eager = ops.convert_to_numpy(match(overlaps, labels, truth))
    assert (eager >= 0).any()
    np.testing.assert_array_equal(
        ops.convert_to_numpy(compiled(match)(overlaps, labels, truth)), eager
    )


def coco_reference(overlaps, labels, truth_labels, ignored, is_crowd, outside):
    """One image and range, from the `evaluateImg` of COCO: what is taken, and what is ignored."""
    taken = np.full((len(THRESHOLDS), len(labels)), -1)
    unjudged = np.zeros_like(taken, dtype=bool)
    for t, threshold in enumerate(THRESHOLDS):
        seen = set()
        for k, label in enumerate(labels):
            match, best = -1, min(threshold, 1 - 1e-10)
            # Ground truth that is ignored comes last.
            for n in np.argsort(ignored, kind="stable"):
                if label < 0 or truth_labels[n] != label or (n in seen and not is_crowd[n]):
                    continue
                if match >= 0 and not ignored[match] and ignored[n]:
                    break
                if overlaps[k, n] >= best:
                    match, best = n, overlaps[k, n]
            seen.add(match)
            taken[t, k] = match
            unjudged[t, k] = ignored[match] if match >= 0 else outside[k]
    return taken, unjudged


@pytest.fixture(scope="module")
def judge(compiled):
    """`match_detections` and `ignored_detections`, compiled, and with NumPy alone."""

    def both(overlaps, labels, truth_labels, ignored, is_crowd, outside):
        taken = match_detections(
            overlaps, labels, truth_labels, THRESHOLDS, ignored=ignored, is_crowd=is_crowd
        )
        return taken, ignored_detections(taken, ignored, outside)

    step = compiled(both)

    def of(*inputs):
        tensors = step(*(ops.convert_to_tensor(x) for x in inputs))
        arrays = both(*inputs)
        for tensor, array in zip(tensors, arrays, strict=True):
            assert isinstance(array, np.ndarray)
            np.testing.assert_array_equal(ops.convert_to_numpy(tensor), array)
        return arrays

    return of


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_ignored_ground_truth_and_crowds_as_coco_has_them(judge, seed):
    overlaps, labels, truth_labels = cases(seed)
    rng = np.random.default_rng(seed)
    is_crowd = rng.uniform(size=(2, 5)) < 0.3
    ignored = is_crowd[:, None] | (rng.uniform(size=(2, 3, 5)) < 0.4)
    outside = rng.uniform(size=(2, 3, 7)) < 0.5
    given = overlaps, labels.astype("int32"), truth_labels.astype("int32"), ignored, is_crowd
    taken, unjudged = judge(*given, outside)
    for image, area in np.ndindex(2, 3):
        of_one = [x[image] for x in (*given[:3], ignored[:, area], is_crowd, outside[:, area])]
        expected = coco_reference(*of_one)
        np.testing.assert_array_equal(taken[image, area], expected[0])
        np.testing.assert_array_equal(unjudged[image, area], expected[1])


def test_one_range_needs_no_axis(judge):
    # The second detection would rather have the ignored one, but another is within reach.
    overlaps = np.array([[[1.0, 0.5, 0.0], [1.0, 0.0, 0.75], [0.75, 0.0, 0.0]]], "float32")
    labels, ignored = np.zeros((1, 3), "int32"), np.array([[True, False, False]])
    for crowd, third in ((False, -1), (True, 0)):
        is_crowd = np.array([[crowd, False, False]])
        taken, unjudged = judge(overlaps, labels, labels, ignored, is_crowd, np.ones((1, 3), bool))
        assert taken[0].tolist() == [[1, 2, 0], [0, 2, third], [0, 0 if crowd else -1, -1]]
        assert unjudged[0, 0].tolist() == [False, False, True]


def test_numpy_is_compared_in_float64():
    label = np.zeros((1, 1), int)
    below, almost_one = np.nextafter(0.75, 0.0), 1 - 1e-11

    def taken(overlap, threshold):
        return match_detections(np.array([[[overlap]]]), label, label, [threshold]).item()

    assert taken(0.75, 0.75) == 0
    assert taken(below, 0.75) == -1
    assert taken(almost_one, 1.0) == 0  # as pycocotools has it
    assert taken(1 - 1e-9, 1.0) == -1


@pytest.mark.parametrize(
    ("name", "shape"), [("ignored", (2, 3)), ("ignored", (1, 3, 4)), ("is_crowd", (2, 1, 4))]
)
def test_flags_that_do_not_go_together(name, shape):
    with pytest.raises(ValueError, match=rf"`{name}` must be \(B, N\)"):
        match_detections(
            np.zeros((2, 3, 4)), np.zeros((2, 3), int), np.zeros((2, 4), int), THRESHOLDS,
            **{name: np.zeros(shape, bool)},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("overlaps", "labels", "truth_labels"),
    [
        ((2, 3), (2, 3), (2, 4)),
        ((2, 3, 4), (2, 3, 1), (2, 4)),
        ((2, 3, 4), (2, 3), (2, 5)),
        ((2, 3, 4), (2, 1), (2, 4)),
        ((2, 3, 4), (2, 3), (1, 4)),
    ],
)
def test_shapes_that_do_not_go_together(overlaps, labels, truth_labels):
    with pytest.raises(ValueError, match=r"`overlaps` must be \(B, K, N\)"):
        match_detections(
            np.zeros(overlaps), np.zeros(labels, int), np.zeros(truth_labels, int), THRESHOLDS
        )


def test_unknown_number_of_detections():
    overlaps = keras.KerasTensor((2, None, 3))
    labels, truth = keras.KerasTensor((2, None), "int32"), keras.KerasTensor((2, 3), "int32")
    with pytest.raises(ValueError, match="Pad to a fixed number"):
        match_detections(overlaps, labels, truth, THRESHOLDS)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_number_of_ground_truths(jit_compile):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces with an unknown number")
    import tensorflow as tf

    signature = [
        tf.TensorSpec((None, 7, None)),
        tf.TensorSpec((None, 7), tf.int32),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None, 3, None), tf.bool),
        tf.TensorSpec((None, None), tf.bool),
    ]

    def match(*inputs):
        *inputs, ignored, is_crowd = inputs
        taken = match_detections(*inputs, THRESHOLDS, ignored=ignored, is_crowd=is_crowd)
        return taken, ignored_detections(taken, ignored)

    step = tf.function(
        match,
        input_signature=signature,
        jit_compile=jit_compile,
    )
    overlaps, labels, truth_labels = cases(0)
    labels, truth_labels = labels.astype("int32"), truth_labels.astype("int32")
    for count in (0, 3, 5):
        crowd = np.zeros((2, 5), bool)
        crowd[:, 1] = True
        ignored = np.stack([crowd, np.ones_like(crowd), np.eye(2, 5) > 0], 1)
        some = (
            overlaps[..., :count], labels, truth_labels[:, :count],
            ignored[..., :count], crowd[:, :count],
        )  # fmt: skip
        expected = match(*some)
        assert (expected[0] >= 0).any() == (count > 0)
        for found, right in zip(step(*some), expected, strict=True):
            np.testing.assert_array_equal(found, right)
