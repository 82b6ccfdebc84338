"""A `Localizer` on a backbone of 128 × 128 pixels: the class and the box of the one object. Blue:
layers of the saved model. Orange: in training only.
"""

import keras
from drawing import diagram, shape

import keras_cvx as cvx

OBJECTS = ["models.Localizer", "layers.LocalizationHead", "layers.LocalizationDecoding"]


def draw():
    inputs = keras.Input((128, 128, 3))
    backbone = keras.Model(inputs, keras.layers.Conv2D(96, 16, strides=16)(inputs))
    localizer = cvx.models.Localizer(backbone, num_classes=10)
    labels, boxes = (localizer.output[key] for key in ("labels", "boxes"))
    nodes = {
        "images": (0.0, 0.6, f"images\n{shape(localizer.inputs[0])}", "data"),
        "backbone": (0.17, 0.6, "backbone", "part"),
        "map": (0.34, 0.6, f"feature map\n{shape(backbone.output)}", "data"),
        "head": (0.54, 0.6, "LocalizationHead", "part"),
        "labels": (0.75, 0.85, f"labels {shape(labels)}\n(one is “no object”)", "data"),
        "boxes": (0.75, 0.35, f"boxes {shape(boxes)}", "data"),
        "loss": (0.99, 0.6, "one loss\nfor each", "training"),
        "decoding": (0.54, 0.05, "LocalizationDecoding", "part"),
        "found": (0.2, 0.05, "detections", "data"),
    }
    edges = [
        ("images", "backbone"), ("backbone", "map"), ("map", "head"), ("head", "labels"),
        ("head", "boxes"), ("labels", "loss"), ("boxes", "loss"), ("head", "decoding"),
        ("decoding", "found"),
    ]  # fmt: skip
    return diagram(nodes, edges, height=2.2)
