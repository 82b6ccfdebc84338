"""What was taken for what, as a picture."""

import numpy as np

from keras_cvx import plugins
from keras_cvx.visualization.style import (
    DOTS_PER_INCH,
    GRID,
    INK,
    POINTS,
    add_axes,
    all_names,
    figure_class,
    floats,
    text_size,
    widest,
)

_LARGE_CELL, _SMALL_CELL, _LEAST_SIDE, _WIDEST = 0.42, 0.14, 1.2, 24.0  # inches
_NUMBERS_UP_TO = 30  # rows; in more they are too many to be read
_MARGIN, _GAP, _BAR = 0.15, 0.08, 0.14  # inches


@plugins.register("confusion_matrix", kind="visualizer")
def confusion_matrix(counts, *, class_names=None, background=False, normalize=True):
    """A picture of what was taken for what, rows for truth and columns for predictions.

    A cell's colour is its share of its row, so that rare classes are seen as frequent ones are;
    small shares have more of the scale. A row without counts is grey. Up to 30 rows have numbers.

    `metrics.SegmentationIoU` and `metrics.DetectionConfusionMatrix` have the counts as
    `confusion_matrix`.

    Args:
        counts: Array `(C, C)` of counts; with `background` `(C + 1, C + 1)`.
        class_names: Sequence of C names, or dictionary of names by label. A label without a name
            shows its number.
        background: Whether the last row and column are of the background: false alarms and missed
            objects.
        normalize: Whether the numbers are per cent of their row, or else counts.

    Returns:
        A `matplotlib.figure.Figure`: the axes of the matrix and that of the colours.

    Raises:
        ValueError: If an argument has a wrong shape, or a count is negative or not finite.
        ImportError: If matplotlib is missing.

    Example:
        >>> figure = confusion_matrix([[3, 1], [0, 0]], class_names=["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['75', '25']
    """
    make_figure = figure_class("confusion_matrix")
    counts = floats(counts, "counts", "Of a metric, pass `metric.confusion_matrix`.")
    shares = _shares(counts, background)
    size = len(shares)
    names = all_names(class_names, size - bool(background)) + ["background"] * bool(background)

    cell = _LARGE_CELL if size <= _NUMBERS_UP_TO else _SMALL_CELL
    cell = min(max(cell, _LEAST_SIDE / size), _WIDEST / size)
    line = text_size("", POINTS)[1] * 1.1
    every = max(1, int(np.ceil(line / cell)))  # of more classes than lines, some are named
    shown = np.arange(0, size, every)
    side, names_wide = size * cell, widest([names[i] for i in shown], POINTS)
    upright = names_wide > every * cell * 0.9
    label_room = 0.25
    left = _MARGIN + label_room + names_wide + _GAP
    bottom = _MARGIN + label_room + (names_wide if upright else line) + _GAP
    bar_room = 0.15 + _BAR + widest(["100 %"], POINTS) + 0.1 + label_room
    figure = make_figure(
        (left + side + bar_room + _MARGIN, bottom + side + _MARGIN),
        dpi=DOTS_PER_INCH,
        facecolor="white",
    )
    axes = add_axes(figure, left, bottom, side, side)
    image = _paint(axes, shares)
    for axis, ticks in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        axis.set_ticks(shown, [names[i] for i in shown], parse_math=False)
        axes.tick_params(ticks, length=0, pad=_GAP * 72, labelsize=POINTS, labelcolor=INK)
    if upright:
        axes.tick_params("x", rotation=90)
    _write_sides(figure, left + side / 2, bottom + side / 2)
    if background:
        for draw_line in (axes.axhline, axes.axvline):
            draw_line(size - 1.5, color=INK, linewidth=0.8)
    if size <= _NUMBERS_UP_TO:
        _write_numbers(axes, image, shares, None if normalize else counts)
    height = min(side, 2.2)
    _add_scale(figure, image, left + side + 0.15, bottom + side - height, height)
    return figure


def _shares(counts, background):
    """Each count as a share of its row; NaN in a row without counts."""
    size = counts.shape[0] if counts.ndim else 0
    if counts.shape != (size, size) or size <= background:
        raise ValueError(
            "`counts` must be square, with a row for at least one class"
            f"{' and one for the background' if background else ''}. "
            f"Received: shape {counts.shape}"
        )
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("`counts` must be finite and at least 0. Received: others")
    rows = counts.sum(1, keepdims=True)
    shares = np.divide(counts, rows, out=np.full_like(counts, np.nan), where=rows > 0)
    if background and rows[-1] and counts[-1, -1] == 0:
        # No detector counts what is neither there nor found.
        shares[-1, -1] = np.nan
    return shares


def _write_sides(figure, center, middle):
    """What rows and columns are, at the middle of the matrix in inches."""
    width, height = figure.get_size_inches()
    figure.text(
        center / width, _MARGIN / height, "prediction",
        ha="center", va="bottom", fontsize=POINTS + 1, color=INK,
    )  # fmt: skip
    figure.text(
        _MARGIN / width, middle / height, "truth",
        ha="left", va="center", rotation=90, fontsize=POINTS + 1, color=INK,
    )  # fmt: skip


def _add_scale(figure, image, left, bottom, height):
    """The bar of colours, at a place in inches."""
    bar = add_axes(figure, left, bottom, _BAR, height)
    figure.colorbar(image, cax=bar, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.set_yticklabels([f"{share:.0f} %" for share in (0, 5, 25, 50, 100)])
    bar.tick_params(length=0, labelsize=POINTS, labelcolor=INK)
    # Beside the middle of the bar, where no number of its own ends.
    bar.set_ylabel(
        "share of the row", fontsize=POINTS, color=INK, rotation=270, va="bottom", labelpad=2
    )
    bar.set_frame_on(False)
    for part in bar.spines.values():
        part.set_visible(False)


def _paint(axes, shares):
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    colours = LinearSegmentedColormap.from_list(
        "shares", [(0, "white"), (0.55, "#3f90da"), (1, "#0b2f56")]
    ).with_extremes(bad=GRID)
    image = axes.imshow(
        shares, cmap=colours, norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="auto"
    )
    size = len(shares)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    return image


def _write_numbers(axes, image, shares, counts):
    luminance = image.to_rgba(shares)[..., :3] ** 2.2 @ [0.2126, 0.7152, 0.0722]
    for row, column in np.argwhere(shares > 0):
        share = shares[row, column]
        text = _percent(share) if counts is None else _short(counts[row, column])
        axes.text(
            column, row, text, ha="center", va="center", fontsize=POINTS - 1,
            color="white" if luminance[row, column] < 0.18 else "black",
        )  # fmt: skip


def _percent(share):
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


def _short(count):
    """A count in at most five characters."""
    for unit in ("", "k", "M", "G", "T"):
        # What would be rounded to a thousand has the next unit.
        if count < 999.5 or unit == "T":
            break
        count /= 1000
    return f"{count:.{int(count < 9.95)}f}".removesuffix(".0") + unit
