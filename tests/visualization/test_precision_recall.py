from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from keras_cvx.metrics import MeanAveragePrecision
from keras_cvx.visualization import precision_recall
from keras_cvx.visualization.style import INK, PALE, PALETTE

GRID = np.linspace(0, 1, 5)
PRECISION = np.array([[1.0, 0.75, 0.875, 0.5, 0.0], [-1.0] * 5, [0.5, 0.5, 0.25, 0.0, 0.0]])


def curves(axes):
    """Drawn lines by their label: points and colour."""
    return {
        line.get_label(): (np.array(line.get_xydata()), to_hex(line.get_color()))
        for line in axes.lines
        if not line.get_label().startswith("_") and len(line.get_xydata())
    }


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def area(points):
    """Below a polyline."""
    x, y = points.T
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def test_no_class():
    [axes] = precision_recall(GRID, np.zeros((0, 5))).axes
    assert curves(axes) == {}


def test_nothing_present(check_layout):
    figure = precision_recall(GRID, np.full((2, 5), np.nan), class_names=["cat", "dog"])
    assert curves(figure.axes[0]) == {}
    assert legend(figure.axes[0]) == ["–  cat (no ground truth)", "–  dog (no ground truth)"]
    check_layout(figure)


def test_no_point():
    with pytest.raises(ValueError, match=r"R of at least 1. Received: shape \(2, 0\)"):
        precision_recall([], np.zeros((2, 0)))


def test_on_shared_recalls_as_coco_has_them():
    [axes] = precision_recall(GRID, PRECISION, class_names=["cat", "dog", "cow"]).axes
    drawn = curves(axes)
    # Of the first class the third point lifts the second.
    highest = np.array([[1.0, 0.875, 0.875, 0.5, 0.0], [0.5, 0.5, 0.25, 0.0, 0.0]])
    means = highest.mean(1)
    assert legend(axes) == [
        "0.450  mean", "0.650  cat", "0.250  cow", "–  dog (no ground truth)",
    ]  # fmt: skip
    assert means.tolist() == pytest.approx([0.65, 0.25])
    for name, values, colour in (
        ("0.650  cat", highest[0], PALETTE[0]),
        ("0.250  cow", highest[1], PALETTE[1]),
        ("0.450  mean", highest.mean(0), INK),
    ):
        np.testing.assert_allclose(drawn[name][0], np.stack([GRID, values], -1))
        assert drawn[name][1] == colour
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)


def by_hand(recall, precision):
    """COCO's AP."""
    return np.mean([max(precision[recall >= r], default=0) for r in np.linspace(0, 1, 101)])


def all_point(recall, precision):
    """The area below the highest precision of each recall or a higher one."""
    return sum(
        (b - a) * max(precision[recall >= b]) for a, b in pairwise(np.unique(np.append(0, recall)))
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_recalls_of_each_class(seed):
    rng = np.random.default_rng(seed)
    recall = np.sort(rng.integers(0, 8, (3, 6)) / 8, axis=1)
    precision = rng.uniform(0, 1, (3, 6))
    [axes] = precision_recall(recall, precision).axes
    expected = [by_hand(*pair) for pair in zip(recall, precision, strict=True)]
    entries = [f"{value:.3f}  {label}" for label, value in enumerate(expected)]
    assert legend(axes) == [f"{np.mean(expected):.3f}  mean", *entries]
    drawn = curves(axes)
    for entry, value, *pair in zip(entries, expected, recall, precision, strict=True):
        assert area(drawn[entry][0]) == pytest.approx(all_point(*pair))
        assert all_point(*pair) == pytest.approx(value, abs=0.02)
    mean = drawn[legend(axes)[0]][0]
    at = 37
    highest = [max(p[r >= mean[at, 0]], default=0) for r, p in zip(recall, precision, strict=True)]
    assert mean[at, 1] == pytest.approx(np.mean(highest))


def test_one_class_has_no_mean():
    [axes] = precision_recall(GRID, PRECISION[:1]).axes
    assert legend(axes) == ["0.650  0"]


@pytest.mark.parametrize("shared", [False, True])
def test_best_threshold(shared):
    recall = np.array([[0.25, 0.5, 0.5], [0.0, 0.25, 1.0], [0.0, 0.0, 0.0]])
    precision = np.array([[1.0, 0.75, 0.5], [0.0, 0.5, 0.25], [0.0, 0.0, 0.0]])
    confidence = np.array([0.9, 0.5, 0.125])
    given_confidence = confidence if shared else np.stack([confidence] * 3)
    [axes] = precision_recall(recall, precision, confidence=given_confidence).axes
    # F1 0.4, 0.6, 0.5; 0, 1/3, 0.4; none. The mean 0.133, 0.311, 0.3.
    points = [
        (line.get_xydata()[0].tolist(), to_hex(line.get_color()))
        for line in axes.lines
        if line.get_label() == "_best"
    ]
    assert points == [([0.5, 0.75], PALETTE[0]), ([1.0, 0.25], PALETTE[1])]
    texts = legend(axes)
    assert [text.endswith("(best F1 above 0.5)") for text in texts] == [shared, True, False, False]
    assert texts[2].endswith("1 (best F1 above 0.125)")
    assert texts[3] == "0.000  2"


def test_best_point_lies_on_its_curve():
    rng = np.random.default_rng(0)
    recall = np.sort(rng.uniform(0, 1, (5, 40)), axis=1)
    precision = rng.uniform(0, 1, (5, 40))
    [axes] = precision_recall(recall, precision, confidence=np.linspace(1, 0, 40)).axes
    drawn = [points for points, _ in list(curves(axes).values())[1:]]
    marks = [line.get_xydata()[0] for line in axes.lines if line.get_label() == "_best"]
    assert len(marks) == 5
    for mark, points in zip(marks, drawn, strict=True):
        assert (np.abs(points - mark).sum(1) < 1e-12).any()


def test_of_many_classes_the_lowest_have_colours():
    rng = np.random.default_rng(0)
    precision = np.sort(rng.uniform(0, 1, (30, 5)), axis=1)[:, ::-1]
    precision[7] = np.nan
    [axes] = precision_recall(GRID, precision).axes
    lowest = np.argsort(precision.mean(1))[:10]
    entries = [f"{precision[label].mean():.3f}  {label}" for label in lowest]
    assert legend(axes) == [
        f"{np.nanmean(precision):.3f}  mean", *entries, "19 more", "1 without ground truth",
    ]  # fmt: skip
    assert axes.get_legend().get_title().get_text() == "AP, the ten lowest"
    drawn = curves(axes)
    assert [drawn[entry][1] for entry in entries] == list(PALETTE)
    pale = [line for line in axes.lines if to_hex(line.get_color()) == PALE]
    assert len(pale) == 19


def test_the_mean_hides_no_class(render):
    """All are perfect, and so lie on one another."""
    figure = precision_recall(GRID, np.ones((2, 5)))
    pixels, _ = render(figure)
    x, y = figure.axes[0].transData.transform((0.3, 1.0))
    around = pixels[len(pixels) - round(y) - 4 : len(pixels) - round(y) + 4, round(x)].astype(int)
    for colour in (INK, PALETTE[1]):
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(around - wanted) < 30).all(-1).any(), colour


def test_a_curve_is_painted(render):
    figure = precision_recall(GRID, [[0.5] * 5])
    pixels, _ = render(figure)
    x, y = figure.axes[0].transData.transform((0.3, 0.5))
    column = pixels[:, round(x)]
    blue = np.array([int(PALETTE[0][i : i + 2], 16) for i in (1, 3, 5)])
    painted = np.flatnonzero((np.abs(column.astype(int) - blue) < 30).all(-1))
    assert len(pixels) - painted.mean() == pytest.approx(y, abs=1.5)
    assert 1 <= len(painted) <= 4


@pytest.mark.parametrize("classes", [1, 3, 20, 80])
@pytest.mark.parametrize("shared", [False, True])
def test_many_classes_with_long_names(classes, shared, class_names, check_layout):
    rng = np.random.default_rng(classes)
    recall = np.sort(rng.uniform(0, 1, (classes, 9)), axis=1)
    precision = np.sort(rng.uniform(0, 1, (classes, 9)), axis=1)[:, ::-1]
    figure = precision_recall(
        np.linspace(0, 1, 9) if shared else recall,
        precision,
        confidence=np.linspace(1, 0, 9),
        class_names=class_names(classes),
    )
    check_layout(figure)


def test_curves_of_the_streaming_metric():
    rng = np.random.default_rng(0)
    boxes = np.float32([[[0, 0, 8, 8], [20, 0, 28, 8], [0, 20, 8, 28]]] * 40)
    labels = rng.integers(0, 2, (40, 3))
    right = rng.uniform(size=(40, 3)) < 0.7
    found = {
        "boxes": np.where(right[..., None], boxes, boxes + 50),
        "labels": labels,
        "confidence": np.float32(0.4 * right + rng.uniform(0, 0.6, (40, 3))),
    }
    metric = MeanAveragePrecision(3)
    metric.update_state({"boxes": boxes, "labels": labels}, found)
    curves = metric.curves()
    arguments = {name: curves[name] for name in ("recall", "precision", "confidence")}
    mean, *classes, absent = legend(precision_recall(**arguments).axes[0])
    assert float(mean[:5]) == pytest.approx(float(metric.result()["AP50"]), abs=2e-3)
    assert mean.endswith(f"(best F1 above {curves['best_mean_confidence']:.3g})")
    for text, best in zip(classes, curves["best_confidence"][:2], strict=True):
        assert text.endswith(f"(best F1 above {best:.3g})")
    assert absent == "–  2 (no ground truth)"


def test_tensors():
    tensors = [keras.ops.convert_to_tensor(x.astype("float32")) for x in (GRID, PRECISION)]
    assert legend(precision_recall(*tensors).axes[0])[1] == "0.650  0"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"precision": PRECISION[0]}, "precision"),
        ({"recall": GRID[:4]}, "recall"),
        ({"recall": PRECISION[:2]}, "recall"),
        ({"recall": GRID[::-1]}, "recall"),
        ({"recall": GRID**2}, "recall"),
        ({"confidence": GRID[:1]}, "confidence"),
        ({"confidence": 0.5}, "confidence"),
    ],
)
def test_wrong_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: "):
        precision_recall(**{"recall": GRID, "precision": PRECISION, **arguments})
