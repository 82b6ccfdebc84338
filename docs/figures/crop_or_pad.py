"""The scale stays: each axis is cropped or padded, as it needs. A box of which less than
`min_visible` is left becomes padding.
"""

from drawing import panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.ResizeWithCropOrPad", "geometry.crop_or_pad"]


def draw():
    sample = scene(height=84, width=140)
    figure, axes = panels(1, 3)
    show(axes[0, 0], sample["images"], "84 × 140", sample["bounding_boxes"]["boxes"])
    for place, visible in ((axes[0, 1], 0.0), (axes[0, 2], 0.7)):
        layer = cvx.layers.ResizeWithCropOrPad(
            100, 100, min_visible=visible, fill_value=128, bounding_box_format="xyxy"
        )
        moved = layer(sample)
        truth = moved["bounding_boxes"]
        show(place, moved["images"], f"min_visible={visible}", truth["boxes"], truth["labels"])
    return figure
