"""A flat box of 6 × 1.5 moves away from a fixed one of 4 × 4. Where they no longer touch, the loss
of IoU has no slope: nothing says which way is better. GIoU, DIoU and CIoU go on to fall towards
the truth.
"""

import numpy as np
from drawing import BLUE, BROWN, ORANGE, PURPLE, panels, values_and_slopes

import keras_cvx as cvx

OBJECTS = [
    "losses.IoULoss",
    "losses.GIoULoss",
    "losses.DIoULoss",
    "losses.CIoULoss",
    "ops.elementwise_iou",
    "ops.pairwise_iou",
]


def draw():
    distance = np.linspace(0, 12, 241).astype("float32")
    truth = np.tile(np.float32([0, 0, 4, 4]), (len(distance), 1))
    # Wider than the truth, so that CIoU has something to say of its shape.
    moving = np.float32([-1, 1.25, 5, 2.75]) + np.outer(distance, np.float32([1, 0, 1, 0]))

    figure, [[values, slopes]] = panels(1, 2, height=2.9, sharex=True)
    styles = {
        "IoU": (BLUE, "-"),
        "GIoU": (ORANGE, "-"),
        "DIoU": (PURPLE, "-"),
        "CIoU": (BROWN, "--"),
    }
    for name, (colour, line) in styles.items():
        loss = getattr(cvx.losses, f"{name}Loss")(reduction="none")
        value, slope = values_and_slopes(lambda boxes: loss(truth, boxes), moving)  # noqa: B023
        values.plot(distance, value, line, color=colour, label=name, lw=1.8)
        # Moving the box moves both of its sides.
        slopes.plot(distance, slope[:, 0] + slope[:, 2], line, color=colour, lw=1.8)
    for axes in (values, slopes):
        axes.axvline(5, color="gray", lw=0.8, ls=":")
        axes.set_xlabel("distance of the centres")
    values.set_title("loss")
    values.text(5.2, 0.05, "no longer touching", fontsize=8, transform=values.get_xaxis_transform())
    slopes.set_title("slope, per pixel of distance")
    values.legend(loc="upper left")
    return figure
