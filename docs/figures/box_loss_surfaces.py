"""The loss of a box of 2 × 2 for every place of its centre around a true one of 4 × 4 (drawn).
Arrows are the way down; without overlap the IoU loss has none.
"""

import numpy as np
from drawing import panels, values_and_slopes
from matplotlib.patches import Rectangle

import keras_cvx as cvx

OBJECTS = ["losses.IoULoss", "losses.GIoULoss", "losses.DIoULoss", "losses.CIoULoss"]


def draw():
    side = np.linspace(-7, 7, 57).astype("float32")
    x, y = np.meshgrid(side, side)
    centres = np.stack([x, y], axis=-1).reshape(-1, 2)
    boxes = np.concatenate([centres - 1, centres + 1], axis=-1)
    truth = np.tile(np.float32([-2, -2, 2, 2]), (len(boxes), 1))

    figure, axes = panels(1, 3, height=2.7)
    for place, name in zip(axes[0], ("IoU", "GIoU", "DIoU"), strict=True):
        loss = getattr(cvx.losses, f"{name}Loss")(reduction="none")
        value, slope = values_and_slopes(lambda rows: loss(truth, rows), boxes)  # noqa: B023
        shown = place.imshow(
            value.reshape(x.shape), extent=(-7, 7, 7, -7), cmap="viridis", vmin=0, vmax=2
        )
        every = (slice(2, None, 6), slice(2, None, 6))
        down = -(slope[:, :2] + slope[:, 2:]).reshape(*x.shape, 2)
        steps = down / np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-9)
        here = np.linalg.norm(down, axis=-1)[every] > 1e-6
        place.quiver(
            x[every][here], y[every][here], steps[..., 0][every][here], steps[..., 1][every][here],
            angles="xy", color="white", width=0.007, scale=13, pivot="mid",
        )  # fmt: skip
        place.add_patch(Rectangle((-2, -2), 4, 4, fill=False, ec="white", lw=1.2, ls="--"))
        place.set_title(f"{name}Loss")
        place.set(xticks=[-5, 0, 5], yticks=[-5, 0, 5])
    figure.colorbar(shown, ax=axes, shrink=0.85, label="loss")
    return figure
