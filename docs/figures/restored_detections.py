"""Detections in the letterboxed image (left) are moved to the original one (right), and cut at its
border.
"""

import numpy as np
from drawing import BLUE, ORANGE, outline, panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.RestoreDetections", "layers.GeometricLayer"]


def draw():
    sample = scene(height=84, width=140)
    letterbox = cvx.layers.ResizeWithPad(96, 96, fill_value=128, bounding_box_format="xyxy")
    moved = letterbox(sample)
    truth = moved["bounding_boxes"]["boxes"]
    # As a detector finds them: a little off, and one across the border.
    found = truth + np.float32([-2, -1, 2, 1])
    found = np.concatenate([found, [[72, 55, 99, 84]]]).astype("float32")
    labels = np.zeros((1, len(found)), "int32")
    record = {key: value[None] for key, value in moved["geometry"].items()}
    restored = cvx.layers.RestoreDetections()({"boxes": found[None], "labels": labels}, record)

    figure, [[left, right]] = panels(1, 2, height=2.7, width_ratios=[1, 1.6])
    show(left, moved["images"], "what the detector sees", found, colour=BLUE)
    show(right, sample["images"], "in the photograph's own pixels", colour=BLUE)
    for box in np.asarray(restored["boxes"])[0]:
        outline(right, box, BLUE)
    for box in sample["bounding_boxes"]["boxes"]:
        outline(right, box, ORANGE, lw=1.2, ls=(0, (3, 4)))
    return figure
