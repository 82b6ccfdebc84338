"""Two scenes are blended pixel by pixel, and the boxes of both stay where they were."""

import numpy as np
from drawing import BLUE, ORANGE, outline, panels, show

import keras_cvx as cvx

OBJECTS = ["layers.MixUp"]


def draw():
    scenes = cvx.datasets.digit_scenes(2, size=112, seed=8, max_objects=3)
    sample = {key: scenes[key] for key in ("images", "bounding_boxes")}
    mixed = cvx.layers.MixUp(alpha=8.0, seed=1)(sample)
    figure, axes = panels(1, 3)
    colours = (BLUE, ORANGE)
    for place, index, colour in zip(axes[0], (0, 1), colours, strict=False):
        truth = {key: np.asarray(value)[index] for key, value in sample["bounding_boxes"].items()}
        show(
            place, sample["images"][index], "of the batch", truth["boxes"], truth["labels"], colour
        )
    boxes, labels = (np.asarray(mixed["bounding_boxes"][key])[0] for key in ("boxes", "labels"))
    show(axes[0, 2], mixed["images"][0], "MixUp()")
    # The image's own rows come first.
    for index, box in enumerate(boxes):
        if labels[index] >= 0:
            outline(axes[0, 2], box, colours[index >= len(boxes) // 2])
    return figure
