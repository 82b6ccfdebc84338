"""A large class and one of 1 % of the pixels, of which a growing share is missed. The
cross-entropy hardly notices; the generalized Dice loss weighs each class by one over the
square of its size, so that both count.
"""

import keras
import numpy as np
from drawing import BLUE, ORANGE, PURPLE, panels

import keras_cvx as cvx

OBJECTS = ["losses.GeneralizedDice"]


def draw():
    truth = np.zeros((1, 20, 50), "int32")
    truth[0, :2, :5] = 1
    right = keras.ops.one_hot(truth, 2, dtype="float32")
    background = keras.ops.one_hot(0 * truth, 2, dtype="float32")
    losses = {
        "GeneralizedDice": (cvx.losses.GeneralizedDice(), truth, ORANGE),
        "keras.losses.Dice": (keras.losses.Dice(), right, PURPLE),
        "cross-entropy": (keras.losses.SparseCategoricalCrossentropy(), truth, BLUE),
    }
    share = np.linspace(0, 0.95, 30)
    figure, [[axes]] = panels(1, 1, width=4.8, height=2.7)
    for name, (loss, y_true, colour) in losses.items():
        values = [float(loss(y_true, right * (1 - s) + background * s)) for s in share]
        axes.plot(share, values, color=colour, label=name)
    axes.set(xlabel="share of the small class that is missed", ylabel="loss", ylim=(0, 1))
    axes.legend()
    return figure
