"""The boundary loss is the mean of probability times distance from the true contour, negative
inside: what is predicted far away costs most (shown for one class, distances in pixels).
"""

import numpy as np
from drawing import frame, numbers, panels, scene

import keras_cvx as cvx

OBJECTS = ["losses.BoundaryLoss", "ops.signed_distance"]


def draw():
    mask = (scene(height=96, width=96, seed=9)["segmentation_masks"] > 0)[None]
    distance = numbers(cvx.ops.signed_distance(mask))[0]
    found = np.roll(mask, (5, 9), axis=(1, 2))[0]

    figure, axes = panels(1, 4, height=2.2, width_ratios=[1, 1.25, 1, 1.25])
    most = 20.0
    axes[0, 0].imshow(mask[0], cmap="gray")
    axes[0, 0].set_title("truth")
    far = axes[0, 1].imshow(distance, cmap="RdBu_r", vmin=-most, vmax=most)
    axes[0, 1].set_title("signed_distance")
    axes[0, 2].imshow(found, cmap="gray")
    axes[0, 2].set_title("prediction")
    cost = axes[0, 3].imshow(found * distance, cmap="RdBu_r", vmin=-most, vmax=most)
    axes[0, 3].set_title("probability × distance")
    for place, shown in ((axes[0, 1], far), (axes[0, 3], cost)):
        figure.colorbar(shown, ax=place, shrink=0.75, extend="max", ticks=[-20, 0, 20])
    for place in axes.flat:
        frame(place)
    return figure
