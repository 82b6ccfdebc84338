"""The overlap of a found box (orange) with the true one (blue): the area of the intersection by
that of the union.
"""

import numpy as np
from drawing import BLUE, ORANGE, frame, outline, panels
from matplotlib.patches import Rectangle

import keras_cvx as cvx

OBJECTS = ["metrics.BoxIoU", "ops.elementwise_iou", "layers.LocalizationHead"]


def draw():
    truth = np.float32([2, 2, 8, 8])
    found = np.float32(
        [[2.2, 2.2, 8, 8], [3, 2, 9, 8], [4, 3.5, 9, 9], [1, 5, 9.5, 7], [6.5, 6.5, 9.5, 9.5]]
    )
    figure, axes = panels(1, len(found), height=1.9)
    for place, box in zip(axes[0], found, strict=True):
        metric = cvx.metrics.BoxIoU()
        metric.update_state(truth[None], box[None])
        x0, y0, x1, y1 = *np.maximum(truth[:2], box[:2]), *np.minimum(truth[2:], box[2:])
        place.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fc=ORANGE, ec="none", alpha=0.35))
        outline(place, truth, BLUE)
        outline(place, box, ORANGE)
        place.set(
            xlim=(0, 11), ylim=(11, 0), aspect="equal", title=f"IoU {float(metric.result()):.2f}"
        )
        frame(place)
        place.spines[:].set_visible(False)
    return figure
