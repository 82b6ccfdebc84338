import keras
import numpy as np
import pytest

from keras_cvx.visualization import confusion_matrix
from keras_cvx.visualization.confusion_matrix import _short

COUNTS = np.array([[6, 1, 1], [0, 0, 0], [3, 0, 1]])


def cells(axes):
    """Numbers by row and column."""
    return {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in axes.texts}


def labels_of(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_no_class():
    for counts in (np.zeros((0, 0)), []):
        with pytest.raises(ValueError, match="`counts` must be square, with a row for at least"):
            confusion_matrix(counts)
    with pytest.raises(ValueError, match=r"one for the background. Received: shape \(1, 1\)"):
        confusion_matrix([[1]], background=True)


def test_no_counts(check_layout):
    figure = confusion_matrix(np.zeros((2, 2)))
    assert cells(figure.axes[0]) == {}
    assert figure.axes[0].images[0].get_array().mask.all()
    check_layout(figure)


def test_shares_of_the_truth():
    axes = confusion_matrix(COUNTS, class_names=["cat", "dog", "cow"]).axes[0]
    drawn = axes.images[0].get_array()
    np.testing.assert_array_equal(drawn.mask, [[False] * 3, [True] * 3, [False] * 3])
    np.testing.assert_array_equal(drawn.filled(-1)[[0, 2]], [[0.75, 0.125, 0.125], [0.75, 0, 0.25]])
    assert cells(axes) == {(0, 0): "75", (0, 1): "12", (0, 2): "12", (2, 0): "75", (2, 2): "25"}
    assert labels_of(axes.xaxis) == labels_of(axes.yaxis) == ["cat", "dog", "cow"]
    # The first row is on top.
    assert axes.get_ylim() == (2.5, -0.5)


def test_counts():
    counts = 1000 * COUNTS
    axes = confusion_matrix(counts, normalize=False).axes[0]
    assert cells(axes) == {(0, 0): "6k", (0, 1): "1k", (0, 2): "1k", (2, 0): "3k", (2, 2): "1k"}
    np.testing.assert_array_equal(axes.images[0].get_array()[0], [0.75, 0.125, 0.125])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1"), (0.5, "0.5"), (999, "999"), (999.6, "1k"), (1000, "1k"), (1234, "1.2k"),
        (9960, "10k"), (12345, "12k"), (999_499, "999k"), (999_500, "1M"), (2**31, "2.1G"),
        (2.0**44, "18T"),
    ],
)  # fmt: skip
def test_counts_are_short(count, text):
    assert _short(count) == text


def test_tiny_shares_are_not_nothing():
    axes = confusion_matrix([[999, 1], [0, 5]]).axes[0]
    assert cells(axes) == {(0, 0): "100", (0, 1): "<1", (1, 1): "100"}


def test_background():
    counts = [[4, 1], [3, 0]]
    axes = confusion_matrix(counts, class_names=["cat"], background=True).axes[0]
    assert labels_of(axes.xaxis) == ["cat", "background"]
    assert cells(axes) == {(0, 0): "80", (0, 1): "20", (1, 0): "100"}
    assert axes.images[0].get_array().mask.tolist() == [[False, False], [False, True]]
    lines = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]
    assert {(0, 0.5), (0.5, 0)} == set(lines)


def test_cells_are_painted_in_their_colour(render):
    figure = confusion_matrix([[1, 0, 3], [0, 0, 0], [0, 1, 0]])
    pixels, _ = render(figure)
    axes = figure.axes[0]

    def colour(row, column):
        x, y = axes.transData.transform((column + 0.3, row + 0.3))  # beside the number
        return pixels[len(pixels) - 1 - round(y), round(x)].tolist()

    assert colour(0, 1) == [255, 255, 255]
    assert colour(2, 1) == [11, 47, 86]
    assert colour(1, 0) == colour(1, 2) == [232, 234, 236]
    assert sum(colour(0, 1)) > sum(colour(0, 0)) > sum(colour(0, 2)) > sum(colour(2, 1))


def test_the_scale_says_what_it_is_of(render):
    figure = confusion_matrix(COUNTS)
    _, renderer = render(figure)
    bar = figure.axes[1]
    label = bar.yaxis.get_label()
    assert label.get_text() == "share of the row"
    extent = label.get_window_extent(renderer)
    for tick in bar.get_yticklabels():
        assert not extent.overlaps(tick.get_window_extent(renderer))


def test_numbers_can_be_read_on_their_colour():
    def luminance(colour):
        channels = np.asarray(colour, float)[:3]
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    from matplotlib.colors import to_rgb

    for share in range(1, 100):
        axes = confusion_matrix([[share, 100 - share], [0, 1]]).axes[0]
        image, text = axes.images[0], axes.texts[0]
        pair = sorted([luminance(to_rgb(text.get_color())), luminance(image.to_rgba(share / 100))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.4, share


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("classes", [1, 3, 20, 80])
def test_many_classes_with_long_names(classes, background, class_names, check_layout):
    rng = np.random.default_rng(classes)
    size = classes + background
    counts = rng.poisson(2, (size, size)) + np.diag(rng.integers(0, 90, size))
    names = class_names(classes)
    figure = confusion_matrix(counts, class_names=names, background=background)
    expected = names + ["background"] * background
    assert labels_of(figure.axes[0].yaxis) == labels_of(figure.axes[0].xaxis) == expected
    assert bool(figure.axes[0].texts) == (classes <= 20)
    check_layout(figure)


def test_of_too_many_classes_some_are_named(check_layout):
    figure = confusion_matrix(np.eye(300))
    assert max(figure.get_size_inches()) < 30
    names = labels_of(figure.axes[0].yaxis)
    assert 50 < len(names) < 300
    assert names[:2] == ["0", str(300 // len(names) + (300 % len(names) > 0))]
    check_layout(figure)


def test_tensors():
    axes = confusion_matrix(keras.ops.convert_to_tensor(COUNTS.astype("int32"))).axes[0]
    assert cells(axes)[0, 0] == "75"


@pytest.mark.parametrize(
    "counts", [5, [1, 2], np.ones((2, 3)), np.ones((2, 2, 2)), [[-1]], [[np.nan]], [[np.inf]]]
)
def test_wrong_arguments_are_named(counts):
    with pytest.raises(ValueError, match=r"`counts` must be .*Received: "):
        confusion_matrix(counts)
