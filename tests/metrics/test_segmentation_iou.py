import keras
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.metrics import SegmentationIoU
from keras_cvx.metrics.confusion_counts import LIMB, update, whole_counts
from keras_cvx.metrics.segmentation_iou import result

# Keras' own metric asks JAX for int64.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
CLASSES = 4
SCORES = ["mean_iou", "frequency_weighted_iou", "mean_dice", "pixel_accuracy"]


def masks(seed, images=3, *, ignored=(255,), classes=CLASSES):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (images, 5, 7)).astype("int32")
    found = np.where(rng.uniform(size=truth.shape) < 0.6, truth, rng.integers(0, classes, 1))
    for i in ignored:
        truth[rng.uniform(size=truth.shape) < 0.1] = i
    return truth, found.astype("int32")


def scored(*arguments, metric=None, **options):
    metric = metric or SegmentationIoU(CLASSES, **options)
    metric.update_state(*arguments)
    return [float(metric.result()[name]) for name in SCORES]


def by_hand(truth, found, ignored=(255,), classes=CLASSES):
    """From the definitions, pixel by pixel."""
    kept = [
        (int(t), int(p))
        for t, p in zip(truth.flat, found.flat, strict=True)
        if t not in ignored and 0 <= t < classes and 0 <= p < classes
    ]
    iou, dice, frequency = [], [], []
    for c in range(classes):
        both = sum(t == c and p == c for t, p in kept)
        either = sum(c in (t, p) for t, p in kept)
        if either:
            iou.append(both / either)
            dice.append(2 * both / (both + either))
            frequency.append(sum(t == c for t, _ in kept) / len(kept))
    if not kept:
        return [0.0] * 4
    return [
        np.mean(iou),
        np.dot(iou, frequency),
        np.mean(dice),
        np.mean([t == p for t, p in kept]),
    ]


def test_nothing():
    metric = SegmentationIoU(CLASSES)
    assert {name: float(x) for name, x in metric.result().items()} == dict.fromkeys(SCORES, 0.0)
    assert np.isnan(metric.per_class()["iou"]).all()
    assert scored(np.zeros((0, 5, 7), "int32"), np.zeros((0, 5, 7), "int32")) == [0.0] * 4
    assert scored(np.full((2, 3, 3), 255), np.zeros((2, 3, 3), "int32")) == [0.0] * 4


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 255, -1, 2, (255, 254), [1, 255], (3,)]),
)
def test_is_the_definition(seed, ignore_class):
    ids = () if ignore_class is None else np.ravel(ignore_class).tolist()
    truth, found = masks(seed, ignored=ids)
    got = scored(truth, found, ignore_class=ignore_class)
    np.testing.assert_allclose(got, by_hand(truth, found, ids), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_is_scikit_learns_and_keras(seed):
    truth, found = masks(seed)
    got = dict(zip(SCORES, scored(truth, found), strict=True))
    kept = truth != 255
    for average, name in (("macro", "mean_iou"), ("weighted", "frequency_weighted_iou")):
        expected = sklearn.metrics.jaccard_score(truth[kept], found[kept], average=average)
        assert got[name] == pytest.approx(expected, rel=1e-6)
    keras_metric = keras.metrics.MeanIoU(CLASSES, ignore_class=255)
    keras_metric.update_state(truth, found)
    assert got["mean_iou"] == pytest.approx(float(keras_metric.result()), rel=1e-6)
    dice = sklearn.metrics.f1_score(truth[kept], found[kept], average="macro")
    assert got["mean_dice"] == pytest.approx(dice, rel=1e-6)


def test_absent_classes_leave_the_mean_and_are_nan():
    metric = SegmentationIoU(5, (254, 255))
    metric.update_state([[[0, 0, 0, 2, 254]]], [[[0, 0, 0, 0, 2]]])
    per_class = metric.per_class()
    np.testing.assert_array_equal(per_class["iou"], [0.75, np.nan, 0.0, np.nan, np.nan])
    np.testing.assert_allclose(per_class["dice"], [6 / 7, np.nan, 0, np.nan, np.nan], rtol=1e-6)
    assert float(metric.result()["mean_iou"]) == 0.375
    assert metric.confusion_matrix[2].tolist() == [1, 0, 0, 0, 0]


def test_sparse_one_hot_and_logits_are_the_same():
    truth, found = masks(3)
    expected = scored(truth, found)
    rng = np.random.default_rng(0)
    logits = 3 * np.eye(CLASSES)[found] + rng.uniform(0, 2, (*found.shape, CLASSES))
    # What has no class, as `keras.ops.one_hot` makes it of 255.
    one_hot = (truth[..., None] == np.arange(CLASSES)).astype("float32")
    assert scored(truth[..., None], found[..., None]) == expected
    assert scored(truth, logits.astype("float32"), sparse_y_pred=False) == expected
    assert scored(one_hot, found, sparse_y_true=False) == expected
    first = [np.moveaxis(x, -1, 1) for x in (one_hot, logits)]
    assert scored(*first, sparse_y_true=False, sparse_y_pred=False, axis=1) == expected
    assert scored(truth.astype("uint8"), found.astype("uint8")) == expected


def test_sample_weight():
    truth, found = masks(4)
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, truth.shape)
    repeated = [np.repeat(x.reshape(-1), weight.reshape(-1)) for x in (truth, found)]
    expected = scored(*repeated)
    weight = weight.astype("float32") / 2
    np.testing.assert_allclose(scored(truth, found, weight), expected, rtol=1e-6)
    np.testing.assert_allclose(scored(truth, found, weight[..., None]), expected, rtol=1e-6)
    keras_metric = keras.metrics.MeanIoU(CLASSES, ignore_class=255, dtype="float32")
    keras_metric.update_state(truth, found, weight)
    assert expected[0] == pytest.approx(float(keras_metric.result()), rel=1e-6)
    per_image = np.float32([0, 1, 0])
    assert scored(truth, found, per_image) == scored(truth[1:2], found[1:2])
    assert scored(truth, found, 2.0) == scored(truth, found)


@pytest.mark.parametrize("side", ["y_true", "y_pred"])
def test_ids_out_of_range(side):
    truth, found = masks(5, ignored=())
    bad = {"y_true": truth, "y_pred": found}
    bad[side] = bad[side].copy()
    bad[side][0, 0, :3] = [-1 if side == "y_true" else -2, 255, CLASSES]
    metric = SegmentationIoU(CLASSES, None)
    metric.update_state(bad["y_true"], bad["y_pred"])
    for read in (metric.result, metric.per_class, lambda: metric.confusion_matrix):
        with pytest.raises(ValueError, match=r"`y_true` and `y_pred` must hold ids.* for [03] pix"):
            read()
    metric.reset_state()
    metric.update_state(truth, found)
    assert float(metric.result()["pixel_accuracy"]) > 0
    got = scored(bad["y_true"], bad["y_pred"], ignore_class=None, out_of_range="ignore")
    np.testing.assert_allclose(got, by_hand(bad["y_true"], bad["y_pred"], ()), rtol=1e-6)
    # An ignored pixel may be taken for anything.
    ignored = SegmentationIoU(CLASSES)
    ignored.update_state(np.full((1, 2), 255), np.full((1, 2), 77))
    assert float(ignored.result()["mean_iou"]) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_permutations_change_nothing(seed):
    truth, found = masks(seed)
    rng = np.random.default_rng(seed)
    images, names = rng.permutation(len(truth)), np.append(rng.permutation(CLASSES), 255)
    renamed = [names[np.where(x == 255, CLASSES, x)][images] for x in (truth, found)]
    np.testing.assert_allclose(scored(*renamed), scored(truth, found), rtol=1e-6)


def test_merging_is_evaluating_at_once():
    truth, found = masks(6, images=6)
    whole = SegmentationIoU(CLASSES, (255,))
    whole.update_state(truth, found)
    parts = [SegmentationIoU(CLASSES, (255,), name=f"part_{i}") for i in range(3)]
    for i, part in enumerate(parts):
        part.update_state(truth[2 * i : 2 * i + 2], found[2 * i : 2 * i + 2])
    parts[0].merge_state(parts[1:])
    np.testing.assert_array_equal(parts[0].confusion_matrix, whole.confusion_matrix)
    for other in (SegmentationIoU(CLASSES), SegmentationIoU(5, (255,)), keras.metrics.Mean()):
        with pytest.raises(ValueError, match="`metrics` must be of the class SegmentationIoU"):
            whole.merge_state([other])


def test_counts_are_exact_beyond_int32_and_float32():
    """2**31 pixels and more, one at a time and by the largest batches."""
    counts = np.zeros((2, 2, 2), "float32")
    expected = np.zeros((2, 2), dtype=object)
    rng = np.random.default_rng(0)
    for _ in range(40):
        batch = rng.integers(0, 2**31 - 1, (2, 2)).astype("int32")
        batch[0, 1] = 1
        counts = update(ops.convert_to_tensor(counts), batch)
        expected = expected + batch.astype(object)
    got = whole_counts(counts)
    assert expected.max() > 2**34
    assert got.astype("int64").tolist() == expected.tolist()
    assert (ops.convert_to_numpy(counts)[1] < LIMB).all()


def test_a_large_metric_counts_on(compiled):
    metric, other = SegmentationIoU(2), SegmentationIoU(2)
    jax = keras.backend.backend() == "jax"
    step = compiled(metric.stateless_update_state if jax else metric.update_state)
    high = [[5000.0, 0.0, 0.0, 0.0], [1.0, 5000.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4]
    low = np.full((4, 4), LIMB - 1.0) * [[1], [1], [0], [0]] * [1, 1, 0, 0]
    metric.counts.assign(np.stack([high, low]).astype("float32"))
    other.counts.assign(np.stack([high, low]).astype("float32"))
    arguments = [ops.convert_to_tensor([[0, 1, 0, 0]])] * 2
    if jax:
        [value] = step([metric.counts.value], *arguments)
        metric.counts.assign(value)
    else:
        step(*arguments)
    before = other.confusion_matrix
    assert before[0, 0] == 5001 * 2**20 - 1 > 2**32
    assert (metric.confusion_matrix - before).tolist() == [[3, 0], [0, 1]]
    other.merge_state([metric])
    assert (other.confusion_matrix - 2 * before).tolist() == [[3, 0], [0, 1]]
    expected = (3 + before[0, 0] + 1 + before[1, 1]) / (before.sum() + 4)
    assert float(metric.result()["pixel_accuracy"]) == pytest.approx(expected, rel=1e-6)


def test_in_fit_and_evaluate():
    """Logits of a model against masks, by way of `compile`."""
    inputs = keras.Input((6, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(inputs))
    metric = SegmentationIoU(CLASSES, sparse_y_pred=False)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
        metrics=[metric],
    )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, 8, 3)).astype("float32")
    truth = rng.integers(0, CLASSES, (4, 6, 8)).astype("int32")
    truth[:, :2] = 255
    log = model.fit(images, truth, batch_size=2, epochs=2, verbose=0).history
    assert len(log["mean_iou"]) == 2
    got = model.evaluate(images, truth, batch_size=3, verbose=0, return_dict=True)
    expected = scored(truth, ops.convert_to_numpy(model(images)).argmax(-1))
    np.testing.assert_allclose([got[name] for name in SCORES], expected, rtol=1e-5)
    truth[0, 5, 5] = 9
    model.compile(loss="mse", metrics=[SegmentationIoU(CLASSES, sparse_y_pred=False)])
    with pytest.raises(ValueError, match=r"`y_true` and `y_pred` must hold ids.*for 1 pixels"):
        model.evaluate(images, np.where(truth == 255, 0, truth)[..., None], verbose=0)


def test_result_is_of_a_plain_matrix():
    confusion = np.float32([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    got = {name: float(x) for name, x in result(ops.convert_to_tensor(confusion), 3).items()}
    expected = {
        "mean_iou": (3 / 4 + 2 / 3) / 2,
        "frequency_weighted_iou": (4 * 3 / 4 + 2 * 2 / 3) / 6,
        "mean_dice": (6 / 7 + 4 / 5) / 2,
        "pixel_accuracy": 5 / 6,
    }
    assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 4), (2, 3, 5)), "`y_true` and `y_pred` must be of the same"),
        (((2, 3), (2, 3), (3, 2)), "`sample_weight` must broadcast"),
        (((2, 3), (2, 3), (2, 3, 4)), "`sample_weight` must broadcast"),
    ],
)
def test_bad_shapes(shapes, message):
    arguments = [np.zeros(shape, "int32") for shape in shapes]
    with pytest.raises(ValueError, match=message):
        SegmentationIoU(CLASSES).update_state(*arguments)
    with pytest.raises(ValueError, match="`y_pred` must have 4 classes on axis -1"):
        SegmentationIoU(CLASSES, sparse_y_pred=False).update_state(*arguments[:2])


def test_scores_where_ids_are_due():
    truth = masks(0)[0] % CLASSES
    with pytest.raises(ValueError, match=r"must be of the same pixels.*`sparse_y_pred=False` for"):
        SegmentationIoU(CLASSES).update_state(truth, np.eye(CLASSES, dtype="int32")[truth])
    for shape in (truth.shape, (*truth.shape, 1)):
        with pytest.raises(ValueError, match=r"`y_pred` must be of integers.*`p > 0.5`"):
            SegmentationIoU(2).update_state(truth, np.full(shape, 0.9, "float32"))
    metric = SegmentationIoU(2)
    metric.update_state(truth % 2, np.float32(truth % 2)[..., None] > 0.5)
    assert float(metric.result()["pixel_accuracy"]) == 1.0


def test_scores_with_nan_are_of_no_class():
    """On every backend, whatever its maximum makes of NaN."""
    truth = np.int32([[0, 1, 2, 2]])
    scores = np.eye(3, dtype="float32")[truth]
    scores[0, 0, 1] = scores[0, 1, 1] = scores[0, 2, :] = np.nan
    metric = SegmentationIoU(3, sparse_y_pred=False)
    metric.update_state(truth, scores)
    with pytest.raises(ValueError, match="0 pixels in `y_true`, and for 3 more in `y_pred`"):
        metric.result()
    assert scored(truth, scores, metric=SegmentationIoU(
        3, sparse_y_pred=False, out_of_range="ignore"
    )) == [1.0] * 4  # fmt: skip
