"""A predicted disc slides off the true one. With hard predictions (probabilities of 0 and 1) the
Lovász loss is 1 − IoU itself, averaged over the classes; with soft ones it joins these
values, and has a slope that the IoU, a count of pixels, has not.
"""

import keras
import numpy as np
from drawing import BLUE, GREY, ORANGE, disc, panels

import keras_cvx as cvx

OBJECTS = ["losses.LovaszSoftmax", "ops.lovasz_jaccard"]


def draw():
    truth = disc((24, 32), 12)[None]
    shifts = np.arange(0, 25, 1)
    loss, metric = cvx.losses.LovaszSoftmax(), cvx.metrics.SegmentationIoU(num_classes=2)
    hard, soft, missed = [], [], []
    for shift in shifts:
        mask = disc((24 + shift, 32), 12)[None]
        sharp = keras.ops.one_hot(mask, 2, dtype="float32")
        hard.append(float(loss(truth, sharp)))
        soft.append(float(loss(truth, 0.6 * sharp + 0.2)))
        metric.reset_state()
        metric.update_state(truth, mask)
        missed.append(1 - float(metric.result()["mean_iou"]))
    figure, [[axes]] = panels(1, 1, width=4.8, height=2.7)
    axes.plot(shifts, missed, "o", ms=4, color=GREY, label="1 − mean IoU, counted")
    axes.plot(shifts, hard, color=ORANGE, label="LovaszSoftmax, probabilities 0 and 1")
    axes.plot(shifts, soft, color=BLUE, label="LovaszSoftmax, 0.2 and 0.8")
    axes.set(xlabel="shift in pixels", ylabel="loss", ylim=(0, 1))
    axes.legend(loc="lower right")
    return figure
