"""A `GridDetector` on a backbone of 128 × 128 pixels. Blue: layers of the saved model. Orange: in
training only. Shapes are those of this model, after the batch axis.
"""

import keras
from drawing import diagram, shape

import keras_cvx as cvx

OBJECTS = ["models.GridDetector", "layers.GridDecoding"]


def draw():
    inputs = keras.Input((128, 128, 3))
    fine = keras.layers.Conv2D(96, 8, strides=8)(inputs)
    backbone = keras.Model(inputs, [fine, keras.layers.Conv2D(128, 2, strides=2)(fine)])
    detector = cvx.models.GridDetector(backbone, num_classes=10)
    maps = detector.get_layer("feature_extractor").output
    boxes, scores = detector.decoding(detector.output)
    nodes = {
        "images": (0.0, 0.72, f"images\n{shape(detector.inputs[0])}", "data"),
        "backbone": (0.16, 0.72, "backbone", "part"),
        "fine": (0.34, 0.95, f"stride 8\n{shape(maps[0])}", "data"),
        "coarse": (0.34, 0.5, f"stride 16\n{shape(maps[1])}", "data"),
        "head": (0.54, 0.72, "GridDetectionHead", "part"),
        "raw": (0.76, 0.72, f"predictions\n{shape(detector.output)}", "data"),
        "loss": (0.97, 0.97, "GridDetectionLoss", "training"),
        "truth": (0.97, 0.62, "boxes, labels", "data"),
        "decoding": (0.76, 0.3, "GridDecoding", "part"),
        "boxes": (0.5, 0.12, f"boxes {shape(boxes)}\nscores {shape(scores)}", "data"),
        "nms": (0.24, 0.12, "NonMaxSuppression", "part"),
        "found": (0.0, 0.12, "detections", "data"),
    }
    edges = [
        ("images", "backbone"), ("backbone", "fine"), ("backbone", "coarse"), ("fine", "head"),
        ("coarse", "head"), ("head", "raw"), ("raw", "loss"), ("truth", "loss"),
        ("raw", "decoding"),
        ("decoding", "boxes"), ("boxes", "nms"), ("nms", "found"),
    ]  # fmt: skip
    return diagram(nodes, edges)
