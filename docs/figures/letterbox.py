"""A letterbox keeps the proportions and fills the rest; boxes move with the pixels, and what is
found in the result comes back to the photograph by the same record.
"""

from drawing import BLUE, ORANGE, outline, panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.ResizeWithPad", "geometry.resize_with_pad", "geometry.restore_boxes"]


def draw():
    sample = scene(height=84, width=140)
    letterbox = cvx.layers.ResizeWithPad(128, 128, fill_value=128, bounding_box_format="xyxy")
    moved = letterbox(sample)
    boxes = moved["bounding_boxes"]["boxes"]
    back = cvx.geometry.restore_boxes(boxes, moved["geometry"])

    figure, [[before, after, again]] = panels(1, 3)
    show(before, sample["images"], "84 × 140", sample["bounding_boxes"]["boxes"])
    show(after, moved["images"], "ResizeWithPad(128, 128)", boxes)
    show(again, sample["images"], "restore_boxes", back, colour=BLUE)
    for box in sample["bounding_boxes"]["boxes"]:
        outline(again, box, ORANGE, lw=1.2, ls=(0, (3, 4)))
    return figure
