"""The stricter the overlap that is asked for, the less is right: one curve for each of COCO's ten
thresholds, averaged over the classes. AP is the mean of the areas under all ten.
"""

import numpy as np
from drawing import ORANGE, detected, panels
from matplotlib import colormaps

import keras_cvx as cvx

OBJECTS = ["metrics.COCOEvaluation"]


def draw():
    truth, found = detected()
    evaluation = cvx.metrics.COCOEvaluation(num_classes=10)
    evaluation.update_state(truth, found)
    curves, scores = evaluation.precision_recall(), evaluation.result()
    precision = curves["precision"].mean(0)
    thresholds = np.linspace(0.5, 0.95, 10)

    figure, [[left, right]] = panels(1, 2, height=2.9)
    colours = colormaps["viridis"](np.linspace(0.3, 0.95, 10))
    for row, threshold, colour in zip(precision, thresholds, colours, strict=True):
        label = (
            f"IoU {threshold:.2f}"
            if threshold in (thresholds[0], thresholds[5], thresholds[9])
            else None
        )
        left.plot(curves["recall"], row, color=colour, label=label)
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    left.legend(loc="upper right")
    right.bar(thresholds, precision.mean(-1), width=0.035, color=colours)
    right.axhline(scores["AP"], color=ORANGE, lw=1.4)
    right.text(0.96, scores["AP"] + 0.02, f"AP {scores['AP']:.3f}", ha="right", fontsize=9)
    right.set(
        xlabel="IoU that is asked for",
        ylabel="area under the curve",
        xticks=thresholds[::3],
        ylim=(0, 1),
    )
    return figure
