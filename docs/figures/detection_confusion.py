"""Rows are the objects, columns what they were found as. The last column holds the objects that
were missed, the last row what was found where nothing is.
"""

import numpy as np
from drawing import detected, frame, panels

import keras_cvx as cvx

OBJECTS = ["metrics.DetectionConfusionMatrix", "visualization.confusion_matrix"]


def draw():
    truth, found = detected()
    metric = cvx.metrics.DetectionConfusionMatrix(num_classes=10, confidence_threshold=0.35)
    metric.update_state(truth, found)
    counts = metric.confusion_matrix
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)

    figure, [[axes]] = panels(1, 1, width=4.8, height=4.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "#202428"
            axes.text(
                column, row, f"{count:.0f}", ha="center", va="center", fontsize=7.5, color=colour
            )
    frame(axes)
    names = [*cvx.datasets.DIGIT_NAMES]
    axes.set_xticks(range(11), [*names, "missed"])
    axes.set_yticks(range(11), [*names, "nothing"])
    axes.tick_params(length=0)
    axes.set(xlabel="found as", ylabel="is")
    axes.get_xticklabels()[-1].set_rotation(90)
    return figure
