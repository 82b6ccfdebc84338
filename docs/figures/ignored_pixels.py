"""A mask whose contours are marked 255, and the slope of Dice's loss in each pixel. Inside
`IgnoreClass` the ignored pixels have none, and the others are as if they were alone.
"""

import keras
import numpy as np
from drawing import frame, panels, scene, values_and_slopes

import keras_cvx as cvx

OBJECTS = ["losses.IgnoreClass"]


def draw():
    inked = scene(height=96, width=96, seed=9)["segmentation_masks"] > 0
    inside = inked.copy()
    around = inked.copy()
    for axis in (0, 1):
        for step in (-2, 2):
            inside &= np.roll(inked, step, axis)
            around |= np.roll(inked, step, axis)
    mask = np.where(around & ~inside, 255, inside).astype("int32")[None]
    guess = np.random.default_rng(0).uniform(0.2, 0.8, (1, 96, 96, 1)).astype("float32")
    guess = np.concatenate([guess, 1 - guess], axis=-1)
    # Without the wrapper a mark counts as a pixel of no class.
    plain = keras.ops.one_hot(np.where(mask == 255, -1, mask), 2, dtype="float32")

    _, of_all = values_and_slopes(lambda y: keras.losses.Dice()(plain, y), guess)
    loss = cvx.losses.IgnoreClass(keras.losses.Dice())
    _, of_seen = values_and_slopes(lambda y: loss(mask, y), guess)
    figure, axes = panels(1, 3)
    axes[0, 0].imshow(np.where(mask[0] == 255, 0.5, mask[0]), cmap="gray")
    axes[0, 0].set_title("classes 0 and 1, and 255 (grey)")
    most = float(np.abs(of_seen[..., 1]).max())
    for place, slope, title in (
        (axes[0, 1], of_all, "Dice()"),
        (axes[0, 2], of_seen, "IgnoreClass(Dice())"),
    ):
        shown = place.imshow(slope[0, ..., 1], cmap="RdBu_r", vmin=-most, vmax=most)
        place.set_title(title)
    figure.colorbar(shown, ax=axes, shrink=0.8, label="slope").ax.set_yticks([])
    for place in axes.flat:
        frame(place)
    return figure
