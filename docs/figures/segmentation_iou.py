"""Truth and prediction of a scene; pixels of both in grey, missed ones in red, those too many in
blue. IoU is the grey ones of a class by all of them, and mean IoU the mean of the bars.
"""

import numpy as np
from drawing import BLUE, GREY, ORANGE, RED, frame, panels, scene
from matplotlib.colors import to_rgb

import keras_cvx as cvx

OBJECTS = ["metrics.SegmentationIoU", "visualization.class_iou"]


def draw():
    mask = scene(height=112, width=112, seed=9)["segmentation_masks"].astype("int32")
    found = np.roll(mask, (2, 1), axis=(0, 1))
    found[:, 70:] = np.roll(found, 3, axis=1)[:, 70:]
    metric = cvx.metrics.SegmentationIoU(num_classes=11)
    metric.update_state(mask[None], found[None])
    scores = metric.per_class()
    present = ~np.isnan(scores["iou"])

    figure, axes = panels(1, 4, height=2.3, width_ratios=[1, 1, 1, 1.35])
    for place, ids, title in ((axes[0, 0], mask, "truth"), (axes[0, 1], found, "prediction")):
        place.imshow(
            np.ma.masked_equal(ids, 0), cmap="tab10", vmin=1, vmax=10, interpolation="nearest"
        )
        place.set_title(title)
    kinds = np.zeros((*mask.shape, 4))
    for chosen, colour in (
        ((mask == found) & (mask > 0), GREY), ((mask > 0) & (found != mask), RED),
        ((found > 0) & (mask == 0), BLUE),
    ):  # fmt: skip
        kinds[chosen] = (*to_rgb(colour), 1)
    axes[0, 2].imshow(kinds, interpolation="nearest")
    axes[0, 2].set_title("both, missed, too much")
    for place in axes[0, :3]:
        frame(place)
    names = ["none", *cvx.datasets.DIGIT_NAMES]
    values, places = scores["iou"][present], np.flatnonzero(present)
    axes[0, 3].barh([names[i] for i in places], values, color=GREY, height=0.6)
    mean = float(metric.result()["mean_iou"])
    axes[0, 3].axvline(mean, color=ORANGE)
    axes[0, 3].set(xlim=(0, 1), title=f"mean IoU {mean:.2f}", xlabel="IoU")
    axes[0, 3].invert_yaxis()
    return figure
