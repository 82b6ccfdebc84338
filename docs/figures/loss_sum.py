"""The weighted sum of two losses of one output, for a prediction that becomes surer everywhere."""

import keras
import numpy as np
from drawing import BLUE, GREY, ORANGE, disc, panels

import keras_cvx as cvx

OBJECTS = ["losses.LossSum"]


def draw():
    truth = keras.ops.one_hot(disc((32, 32), 10)[None], 2, dtype="float32")
    parts = {
        "cross-entropy": (keras.losses.CategoricalCrossentropy(), BLUE),
        "Dice": (keras.losses.Dice(), GREY),
    }
    both = cvx.losses.LossSum([loss for loss, _ in parts.values()], weights=[1.0, 1.0])
    parts["LossSum of both"] = (both, ORANGE)
    right = np.linspace(0.05, 0.999, 60)
    figure, [[axes]] = panels(1, 1, width=4.8, height=2.7)
    for name, (loss, colour) in parts.items():
        values = [float(loss(truth, truth * p + (1 - truth) * (1 - p))) for p in right]
        axes.plot(right, values, color=colour, label=name)
    axes.set(xlabel="probability of the right class, everywhere", ylabel="loss", ylim=(0, None))
    axes.legend()
    return figure
