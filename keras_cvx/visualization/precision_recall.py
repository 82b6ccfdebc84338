"""Curves of precision over recall."""

import keras
import numpy as np

from keras_cvx import plugins
from keras_cvx.visualization.style import (
    DOTS_PER_INCH,
    GRID,
    INK,
    PALE,
    PALETTE,
    POINTS,
    add_axes,
    all_names,
    figure_class,
    strip,
    widest,
)

# More curves than colours cannot be told apart: then those of the lowest AP have them.
_COLOURED = len(PALETTE)
_SIDE, _LEFT, _BOTTOM, _MARGIN, _GAP, _HANDLE = 4.2, 0.62, 0.55, 0.2, 0.25, 0.45  # inches


@plugins.register("precision_recall", kind="visualizer")
def precision_recall(recall, precision, *, confidence=None, class_names=None):
    """A picture of each class's precision over its recall, with its AP and their mean.

    Precision is drawn as COCO counts it: at each recall the highest of this recall or a higher
    one. AP is the mean at COCO's 101 recalls, nearly the area below. Of more than ten classes the
    ten of lowest AP are coloured and named.

    `precision_recall` of `metrics.COCOEvaluation`, at one of its IoU thresholds, and `curves` of
    `metrics.MeanAveragePrecision` give the arrays. Their mean AP is then that of these metrics; of
    the second nearly, for it takes the detections of a bin of confidence to lie evenly, where the
    curve has one point.

    Args:
        recall: Float array `(R,)` of all classes, evenly spaced from 0 to 1 as COCO's 101, over
            which AP is the mean of precision; or `(C, R)`, of each class at thresholds of
            confidence, rising in `[0, 1]`.
        precision: Float array `(C, R)` in `[0, 1]`. A row that holds NaN or −1, or whose recall
            holds NaN, is of a class without ground truth: it is not drawn and leaves the mean.
        confidence: Float array `(R,)` or `(C, R)`, the confidence above which detections count at
            each point, or None. With it the point of highest F1 is marked on each curve, and its
            confidence named.
        class_names: Sequence of C names, or dictionary of names by label. A label without a name
            shows its number.

    Returns:
        A `matplotlib.figure.Figure` with one axes.

    Raises:
        ValueError: If an array has a wrong shape, or `recall` falls or is not evenly spaced.
        ImportError: If matplotlib is missing.

    Example:
        >>> figure = precision_recall([0.0, 0.5, 1.0], [[1.0, 0.5, 0.0]], class_names=["cat"])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['0.500  cat']
    """
    make_figure = figure_class("precision_recall")
    recall, precision, confidence = _checked(recall, precision, confidence)
    names = all_names(class_names, len(precision))
    recalls = np.broadcast_to(recall, precision.shape)
    known = np.isfinite(recalls) & np.isfinite(precision) & (precision >= 0)
    present, absent = np.flatnonzero(known.all(1)), np.flatnonzero(~known.all(1))
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    shared = recall.ndim == 1
    # Precision at the recalls over which AP is its mean.
    at = recall if shared else np.linspace(0, 1, 101)
    read = highest if shared else _read(recalls, highest, at)
    aps = read.mean(1)
    coloured = present
    if len(present) > _COLOURED:
        coloured = present[np.argsort(aps[present], kind="stable")[:_COLOURED]]
    others = np.setdiff1d(present, coloured)
    best, best_of_mean = _best_places(recalls, precision, present, confidence)

    def line(area, name, place):
        return f"{area:.3f}  {name}" + (f" (best F1 above {place[1]:.3g})" if place else "")

    entries = [line(aps[label], names[label], best.get(label)) for label in coloured]
    mean = line(aps[present].mean(), "mean", best_of_mean) if len(present) > 1 else None
    more = f"{len(others)} more"
    gone = [f"–  {names[label]} (no ground truth)" for label in absent]
    if len(precision) > _COLOURED and gone:
        gone = [f"{len(gone)} without ground truth"]
    title = "AP, the ten lowest" if len(others) else "AP"
    legend_width = _HANDLE + widest([*entries, mean or "", more, *gone, title], POINTS)
    width, height = _LEFT + _SIDE + _GAP + legend_width + _MARGIN, _BOTTOM + _SIDE + _MARGIN
    figure = make_figure((width, height), dpi=DOTS_PER_INCH, facecolor="white")
    axes = add_axes(figure, _LEFT, _BOTTOM, _SIDE, _SIDE)
    if mean:
        # A broad line below the classes' thin ones, which it would hide where they agree.
        _draw(axes, at, read[present].mean(0), mean, color=INK, linewidth=2.8, zorder=2.7)
    curves = [(entry, PALETTE[i], 1.3) for i, entry in enumerate(entries)]
    curves += [(f"_{more}" if i else more, PALE, 0.6) for i in range(len(others))]
    for label, (entry, colour, thickness) in zip([*coloured, *others], curves, strict=True):
        x, y = recalls[label], highest[label]
        x, y = (x, y) if shared else _steps(x, y)
        _draw(axes, x, y, entry, color=colour, linewidth=thickness, zorder=2 + thickness)
        if label in best and label in coloured:
            place = best[label][0]
            _draw(
                axes, recalls[label, place], precision[label, place], "_best", color=colour,
                marker="o", markersize=5, markeredgecolor="white", zorder=5,
            )  # fmt: skip
    for entry in gone:
        _draw(axes, [], [], entry, color="none")
    _dress(axes, title)
    return figure


def _draw(axes, x, y, label, **style):
    # A curve along the edge keeps its outer half.
    axes.plot(x, y, label=label, clip_on=False, **style)


def _dress(axes, title):
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("recall", fontsize=POINTS + 1, color=INK)
    axes.set_ylabel("precision", fontsize=POINTS + 1, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    strip(axes)
    if not axes.lines:
        return
    legend = axes.legend(
        title=title,
        loc="upper left",
        bbox_to_anchor=(1 + _GAP / _SIDE, 1),
        borderaxespad=0,
        borderpad=0,
        handlelength=0.28 * 72 / POINTS,
        frameon=False,
        fontsize=POINTS,
        title_fontsize=POINTS,
        alignment="left",
        labelcolor=INK,
    )
    legend.get_title().set_color(INK)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _best_places(recalls, precision, present, confidence):
    """Place and confidence of the highest F1: of each class that has one, and of their mean."""
    if confidence is None:
        return {}, None
    whole = precision + recalls
    f1 = np.divide(2 * precision * recalls, whole, out=np.zeros_like(whole), where=whole > 0)
    thresholds = np.broadcast_to(confidence, precision.shape)
    best = {c: (np.argmax(f1[c]), thresholds[c, np.argmax(f1[c])]) for c in present if f1[c].any()}
    if confidence.ndim > 1 or not best:
        return best, None
    place = np.argmax(f1[present].mean(0))
    return best, (place, confidence[place])


def _steps(recall, highest):
    """A curve of steps, as precision is counted, from recall 0 until it falls to 0."""
    x = np.append(0.0, recall).repeat(2)[1:]
    return x, np.append(highest.repeat(2), 0.0)


def _read(recalls, highest, at):
    """Precision of each class at some recalls, 0 where they are not reached."""
    rows = [
        np.append(row, 0.0)[np.searchsorted(recall, at)]
        for recall, row in zip(recalls, highest, strict=True)
    ]
    return np.reshape(rows, (-1, len(at)))


def _checked(recall, precision, confidence):
    recall, precision, confidence = (
        None if x is None else keras.ops.convert_to_numpy(x).astype("float64")
        for x in (recall, precision, confidence)
    )
    if precision.ndim != 2 or not precision.shape[1]:
        raise ValueError(
            "`precision` must have the shape (C, R), with R of at least 1. "
            f"Received: shape {precision.shape}"
        )
    for name, values in (("recall", recall), ("confidence", confidence)):
        if values is not None and values.shape not in (precision.shape, precision.shape[1:]):
            raise ValueError(
                f"`{name}` must have the shape {precision.shape}, like `precision`, or "
                f"{precision.shape[1:]}. Received: shape {values.shape}"
            )
    if (np.diff(recall) < 0).any():
        raise ValueError(
            "`recall` must rise along its last axis, as confidence falls. Received: one that falls"
        )
    if recall.ndim == 1 and not np.allclose(recall, np.linspace(0, 1, len(recall)), atol=1e-6):
        raise ValueError(
            "`recall` must be evenly spaced from 0 to 1 if it is of all classes. Received: another "
            f"of shape {recall.shape}. Give the recall of each class as {precision.shape}."
        )
    return recall, precision, confidence
