"""Scores of the classes as bars."""

import numpy as np

from keras_cvx import plugins
from keras_cvx.visualization.style import (
    DOTS_PER_INCH,
    GRID,
    INK,
    PALETTE,
    POINTS,
    add_axes,
    all_names,
    figure_class,
    floats,
    strip,
    widest,
)

_ROWS = 40  # of bars one below another; more classes have more columns
_ROW, _BARS, _MARGIN, _GAP, _BOTTOM = 0.19, 2.6, 0.15, 0.08, 0.55  # inches


@plugins.register("class_iou", kind="visualizer")
def class_iou(iou, *, class_names=None):
    """A picture of the IoU of every class as bars, the highest first, and of their mean.

    `per_class` of `metrics.SegmentationIoU` and `metrics.BoundaryIoU` gives the array.

    Args:
        iou: Float array `(C,)` in `[0, 1]`; NaN for a class that is absent, which stands last,
            without a bar, and leaves the mean.
        class_names: Sequence of C names, or dictionary of names by label. A label without a name
            shows its number.

    Returns:
        A `matplotlib.figure.Figure` with one axes for each 40 classes.

    Raises:
        ValueError: If an argument has a wrong shape or a value is out of range.
        ImportError: If matplotlib is missing.

    Example:
        >>> figure = class_iou([0.25, 0.75, float("nan")], class_names=["cat", "dog", "cow"])
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['dog', 'cat', 'cow']
    """
    make_figure = figure_class("class_iou")
    iou = floats(iou, "iou", 'Of a metric, pass `metric.per_class()["iou"]`.')
    if iou.ndim != 1 or not len(iou):
        raise ValueError(
            f"`iou` must have the shape (C,), of at least one class. Received: shape {iou.shape}"
        )
    if not (np.isnan(iou) | ((iou >= 0) & (iou <= 1))).all():
        raise ValueError("`iou` must be in [0, 1], or NaN for an absent class. Received: others")
    names = all_names(class_names, len(iou))
    present = ~np.isnan(iou)
    mean = iou[present].mean() if present.any() else None
    order = np.argsort(np.where(present, -iou, np.inf), kind="stable")

    columns = -(-len(iou) // _ROWS)
    rows = -(-len(iou) // columns)
    names_wide, number_wide = widest(names, POINTS), widest(["0.000", "absent"], POINTS) + _GAP
    column = names_wide + _GAP + _BARS + number_wide + 0.2
    size = 2 * _MARGIN + columns * column, _BOTTOM + rows * _ROW + 0.35
    figure = make_figure(size, dpi=DOTS_PER_INCH, facecolor="white")
    for index, some in enumerate(np.split(order, range(rows, len(order), rows))):
        left = _MARGIN + index * column + names_wide + _GAP
        # A shorter column hangs from the top.
        below = rows - len(some)
        place = left, _BOTTOM + below * _ROW, _BARS, len(some) * _ROW
        _draw(add_axes(figure, *place), iou[some], [names[label] for label in some], mean, index)
    return figure


def _draw(axes, values, names, mean, index):
    places = np.arange(len(values))
    axes.barh(places, np.nan_to_num(values), height=0.72, color=PALETTE[0])
    for place, value in zip(places, values, strict=True):
        # In a column of their own, where neither bars nor the line of the mean cross them.
        axes.text(
            1 + _GAP / _BARS, place, "absent" if np.isnan(value) else f"{value:.3f}",
            va="center", fontsize=POINTS - 1, color=INK,
        )  # fmt: skip
    if mean is not None:
        axes.axvline(mean, color=INK, linewidth=1, zorder=3)
        if not index:
            axes.annotate(
                f"mean {mean:.3f}", (mean, 1), (0, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="left" if mean < 0.2 else "center",
                fontsize=POINTS, color=INK,
            )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(len(values) - 0.5, -0.5))
    axes.set_yticks(places, names, parse_math=False)
    axes.set_xlabel("IoU", fontsize=POINTS + 1, color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    strip(axes)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params("y", pad=_GAP * 72)
