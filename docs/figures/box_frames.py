"""Pixel i covers the interval [i, i + 1): a box around the whole of this image of 6 × 8 pixels is
(0, 0, 8, 6), and the marked one, which covers twelve pixels, is (2, 1, 6, 4).
"""

import numpy as np
from drawing import BLUE, GREY, ORANGE, frame, outline, panels

import keras_cvx as cvx

OBJECTS = ["ops.convert", "ops.FORMATS", "ops.area", "ops.clip"]


def draw():
    box = np.float32([[2, 1, 6, 4]])
    figure, [[grid, table]] = panels(1, 2, height=2.6, width_ratios=[1.1, 1])
    for line in range(9):
        grid.axvline(line, color=GREY, lw=0.5)
    for line in range(7):
        grid.axhline(line, color=GREY, lw=0.5)
    outline(grid, (0, 0, 8, 6), BLUE, lw=2)
    outline(grid, box[0], ORANGE, lw=2.4)
    for x, y, text, align in ((2, 1, "(2, 1)", "right"), (6, 4, "(6, 4)", "left")):
        grid.plot(x, y, "o", color=ORANGE, ms=5)
        grid.text(
            x - 0.15 if align == "right" else x + 0.15,
            y,
            text,
            ha=align,
            va="bottom" if y == 1 else "top",
            fontsize=8,
        )
    grid.set(xlim=(-0.3, 8.3), ylim=(6.3, -0.3), aspect="equal", xticks=range(9), yticks=range(7))
    grid.spines[:].set_visible(False)
    grid.tick_params(length=0)
    frame(table)
    table.spines[:].set_visible(False)
    for row, name in enumerate(cvx.ops.FORMATS):
        numbers = np.asarray(cvx.ops.convert(box, "xyxy", name, height=6, width=8))[0]
        shown = ", ".join(f"{x:.3g}" for x in numbers)
        y = 0.92 - row * 0.85 / max(1, len(cvx.ops.FORMATS) - 1)
        table.text(0.05, y, name, fontsize=8, family="monospace", transform=table.transAxes)
        table.text(0.55, y, shown, fontsize=8, transform=table.transAxes)
    return figure
