"""The four scenes of a batch, and the first of them afterwards: all four meet in it, and their
boxes are cut exactly.
"""

import numpy as np
from drawing import BLUE, ORANGE, panels, show

import keras_cvx as cvx

OBJECTS = ["layers.Mosaic"]


def draw():
    scenes = cvx.datasets.digit_scenes(4, size=112, seed=6, max_objects=3)
    sample = {key: scenes[key] for key in ("images", "bounding_boxes")}
    mixed = cvx.layers.Mosaic(bounding_box_format="xyxy", seed=2)(sample)
    figure, axes = panels(1, 5, height=1.9, width_ratios=[1, 1, 1, 1, 1.35])
    for index, place in enumerate(axes[0, :4]):
        truth = {key: np.asarray(value)[index] for key, value in sample["bounding_boxes"].items()}
        show(place, sample["images"][index], "", truth["boxes"], truth["labels"], BLUE)
    truth = {key: np.asarray(value)[0] for key, value in mixed["bounding_boxes"].items()}
    show(axes[0, 4], mixed["images"][0], "Mosaic()", truth["boxes"], truth["labels"], ORANGE)
    axes[0, 0].set_title("a batch", loc="left")
    return figure
