"""Logits of one class, scaled from wrong to right on a small disc. The mean hinge loss is nearly
all of the large background; that of Lovász is an upper bound of 1 − IoU of the disc, and falls
with it.
"""

import numpy as np
from drawing import BLUE, GREY, ORANGE, disc, panels

import keras_cvx as cvx

OBJECTS = ["losses.LovaszHinge"]


def draw():
    truth = disc((32, 32), 7)[None]
    sign = 2.0 * truth - 1
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.5, truth.shape)
    steps = np.linspace(-1, 3, 41)
    lovasz, hinge, missed = [], [], []
    loss = cvx.losses.LovaszHinge()
    for step in steps:
        # The background is right already, the disc becomes so.
        logits = (np.where(truth, step, -2.0) + noise).astype("float32")
        lovasz.append(float(loss(truth, logits[..., None])))
        hinge.append(float(np.maximum(0, 1 - sign * logits).mean()))
        found = (logits > 0) & (truth == 1)
        union = ((logits > 0) | (truth == 1)).sum()
        missed.append(1 - found.sum() / union)
    figure, [[axes]] = panels(1, 1, width=4.8, height=2.7)
    axes.plot(steps, missed, color=GREY, ls="--", label="1 − IoU")
    axes.plot(steps, lovasz, color=ORANGE, label="LovaszHinge")
    axes.plot(steps, hinge, color=BLUE, label="mean hinge loss")
    axes.set(xlabel="mean logit on the disc", ylabel="loss", ylim=(0, None))
    axes.legend()
    return figure
