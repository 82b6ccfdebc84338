"""Detections are counted from the most confident down. Left: precision over recall, and the area
under its envelope, which is the average precision. Right: the same by confidence; `curves` tells
where F1 is best.
"""

import numpy as np
from drawing import BLUE, GREY, ORANGE, PURPLE, detected, panels

import keras_cvx as cvx

OBJECTS = [
    "metrics.MeanAveragePrecision",
    "metrics.PascalVOCEvaluation",
    "visualization.precision_recall",
    "ops.match_detections",
]


def draw():
    truth, found = detected()
    one_class = [np.where(x["labels"] < 0, -1, 0) for x in (truth, found)]
    truth, found = (
        {**x, "labels": labels} for x, labels in zip((truth, found), one_class, strict=True)
    )
    metric = cvx.metrics.MeanAveragePrecision(num_classes=1)
    metric.update_state(truth, found)
    curves = metric.curves(iou_threshold=0.5)
    recall, precision = curves["recall"][0], curves["precision"][0]
    seen = recall > 0
    recall, precision = recall[seen], precision[seen]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]

    figure, [[left, right]] = panels(1, 2, height=2.9)
    recall, envelope = np.append(0, recall), np.append(envelope[:1], envelope)
    precision = np.append(precision[:1], precision)
    left.fill_between(recall, envelope, step="pre", color=BLUE, alpha=0.25, lw=0)
    left.plot(recall, precision, color=BLUE, lw=1.6)
    area = float(metric.result()["AP50"])
    left.text(0.35, 0.4, f"AP50 {area:.3f}", fontsize=11)
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    for name, colour in (("precision", BLUE), ("recall", ORANGE), ("f1", PURPLE)):
        right.plot(curves["confidence"][seen], curves[name][0][seen], color=colour, label=name)
    best = float(curves["best_confidence"][0])
    right.axvline(best, color=GREY, lw=0.9, ls=":")
    right.text(best + 0.02, 0.02, f"best F1 at {best:.2f}", fontsize=8)
    right.set(xlabel="confidence from which detections count", xlim=(0, 1), ylim=(0, 1.03))
    right.legend(loc="center left")
    return figure
