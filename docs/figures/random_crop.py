"""Five regions that the layer draws from one photograph. Boxes are cut with it; one that keeps
less than `min_visible` of its area is gone.
"""

from drawing import panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.RandomCropAndResize"]


def draw():
    sample = scene(height=120, width=140, seed=9)
    augment = cvx.layers.RandomCropAndResize(
        96, 96, scale=(0.2, 0.7), min_visible=0.4, bounding_box_format="xyxy", seed=5
    )
    figure, axes = panels(2, 3, height=4.4)
    show(axes[0, 0], sample["images"], "120 × 140", sample["bounding_boxes"]["boxes"])
    for place in axes.flat[1:]:
        moved = augment(sample, training=True)
        truth = moved["bounding_boxes"]
        show(place, moved["images"], "", truth["boxes"], truth["labels"])
    return figure
