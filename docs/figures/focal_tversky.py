"""Left: the loss of a region of which a share is found; the larger γ, the more the last missed
pixels still cost. Right: α weighs what is missed, β what is found wrongly, here by a disc that is
predicted too small or too large.
"""

import keras
import numpy as np
from drawing import BLUE, ORANGE, PURPLE, disc, panels

import keras_cvx as cvx

OBJECTS = ["losses.FocalTversky"]
COLOURS = (BLUE, ORANGE, PURPLE)


def one_hot(mask):
    return keras.ops.one_hot(mask, 2, dtype="float32")


def draw():
    figure, [[left, right]] = panels(1, 2, height=2.7)
    truth = disc((32, 32), 16)
    share = np.linspace(0, 1, 41)
    for gamma, colour in zip((1.0, 4 / 3, 3.0), COLOURS, strict=True):
        loss = cvx.losses.FocalTversky(gamma=gamma)
        found = [one_hot(truth[None]) * s + one_hot(0 * truth[None]) * (1 - s) for s in share]
        left.plot(
            share,
            [float(loss(truth[None], y)) for y in found],
            color=colour,
            label=f"γ = {gamma:.2g}",
        )
    left.set(
        xlabel="share of the region that is found", title="FocalTversky(gamma=γ)", ylim=(0, None)
    )
    radii = np.arange(8, 25, 0.5)
    for alpha, colour in zip((0.3, 0.5, 0.7), COLOURS, strict=True):
        loss = cvx.losses.FocalTversky(alpha=alpha, beta=1 - alpha, gamma=1.0)
        found = [one_hot(disc((32, 32), radius)[None]) for radius in radii]
        right.plot(
            radii,
            [float(loss(truth[None], y)) for y in found],
            color=colour,
            label=f"α = {alpha}, β = {1 - alpha:.1f}",
        )
    right.axvline(16, color="gray", lw=0.8, ls=":")
    right.set(xlabel="radius that is predicted; the true one is 16", title="γ = 1", ylim=(0, None))
    left.legend()
    right.legend()
    return figure
