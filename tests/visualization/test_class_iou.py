import keras
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from keras_cvx.visualization import class_iou
from keras_cvx.visualization.style import INK, PALETTE

IOU = [0.25, float("nan"), 0.75, 1.0]


def labels_of(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def test_no_class():
    with pytest.raises(ValueError, match=r"`iou` must have the shape \(C,\).*Received: shape \(0,"):
        class_iou([])


def test_all_absent(check_layout):
    figure = class_iou([float("nan")] * 2)
    [axes] = figure.axes
    assert [text.get_text() for text in axes.texts] == ["absent", "absent"]
    assert [bar.get_width() for bar in axes.patches] == [0, 0]
    check_layout(figure)


def test_bars_fall_and_absent_classes_are_last():
    [axes] = class_iou(IOU, class_names=["cat", "dog", "cow", "hen"]).axes
    assert labels_of(axes) == ["hen", "cow", "cat", "dog"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.75, 0.25, 0.0]
    assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == [0, 1, 2, 3]
    assert [text.get_text() for text in axes.texts] == [
        "1.000", "0.750", "0.250", "absent", "mean 0.667",
    ]  # fmt: skip
    [mean] = axes.lines
    np.testing.assert_allclose(mean.get_xdata(), 2 / 3)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert axes.get_xlabel() == "IoU"


def test_equal_classes_keep_their_order():
    assert labels_of(class_iou([0.5, 0.75, 0.5, 0.5]).axes[0]) == ["1", "0", "2", "3"]


def test_bars_are_painted_as_long_as_they_are(render):
    figure = class_iou([0.25, 0.75])
    pixels, _ = render(figure)
    axes = figure.axes[0]
    blue = np.round(255 * np.array(to_rgb(PALETTE[0])))
    for place, value in ((0, 0.75), (1, 0.25)):
        # The lower part of a bar, where no number is.
        (left, y), (right, _) = axes.transData.transform([(0, place + 0.3), (1, place + 0.3)])
        row = pixels[len(pixels) - 1 - round(y)]
        painted = (row == blue).all(-1).sum()
        assert painted == pytest.approx(value * (right - left), abs=6)


@pytest.mark.parametrize(("classes", "columns"), [(1, 1), (3, 1), (20, 1), (80, 2), (81, 3)])
def test_many_classes_with_long_names(classes, columns, class_names, check_layout):
    rng = np.random.default_rng(classes)
    iou = rng.uniform(0, 1, classes)
    names = class_names(classes)
    figure = class_iou(iou, class_names=names)
    assert len(figure.axes) == columns
    shown = [name for axes in figure.axes for name in labels_of(axes)]
    assert shown == [names[i] for i in np.argsort(-iou)]
    means = [axes.lines[0].get_xdata()[0] for axes in figure.axes]
    assert means == pytest.approx([iou.mean()] * columns)
    check_layout(figure)
    # Bars of all columns are equally high.
    heights = [axes.patches[0].get_window_extent().height for axes in figure.axes]
    assert heights == pytest.approx([heights[0]] * columns, rel=1e-3)


def test_the_mean_is_one_line_that_crosses_nothing(render):
    iou = np.linspace(1, 0.2, 15)
    iou[4] = np.nan
    figure = class_iou(iou)
    pixels, renderer = render(figure)
    [axes] = figure.axes
    (x, bottom), (_, top) = axes.transData.transform([(np.nanmean(iou), 14.4), (0, -0.4)])
    ink = np.round(255 * np.array(to_rgb(INK)))
    column = pixels[len(pixels) - round(top) : len(pixels) - round(bottom)]
    dark = (np.abs(column[:, round(x) - 1 : round(x) + 2] - ink) < 60).all(-1).any(1)
    assert dark.all()
    line = axes.lines[0].get_window_extent(renderer)
    for text in axes.texts[:-1]:
        assert not text.get_window_extent(renderer).overlaps(line), text.get_text()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.02])
def test_extreme_means(value, check_layout):
    check_layout(class_iou([value]))


def test_tensors():
    [axes] = class_iou(keras.ops.convert_to_tensor([0.5, 0.25])).axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25]


@pytest.mark.parametrize("iou", [0.5, [[0.5]], [1.5], [-0.1], [float("inf")]])
def test_wrong_arguments_are_named(iou):
    with pytest.raises(ValueError, match=r"`iou` must .*Received: "):
        class_iou(iou)
