"""Any region of any image becomes a picture of one size: here each digit's box."""

from drawing import ORANGE, panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.CropAndResize", "geometry.crop_and_resize", "ops.crop_and_resize"]


def draw():
    sample = scene(height=120, width=140, seed=9)
    boxes = sample["bounding_boxes"]["boxes"]
    crop = cvx.layers.CropAndResize(32, 32, bounding_box_format="xyxy")
    crops = crop(sample["images"], boxes)

    figure, axes = panels(1, 1 + len(boxes), width_ratios=[2.2] + [1] * len(boxes))
    show(axes[0, 0], sample["images"], "120 × 140", boxes)
    for place, image, box in zip(axes[0, 1:], crops, boxes, strict=True):
        height, width = box[3] - box[1], box[2] - box[0]
        show(place, image, f"{height:.0f} × {width:.0f}\nas 32 × 32")
        place.spines[:].set_color(ORANGE)
    return figure
