"""A classifier of windows as a detector: `convolutionalize` gives it images of any size, in one
pass over each scale of a pyramid instead of one call a window.
"""

import keras
from drawing import diagram

import keras_cvx as cvx

OBJECTS = ["models.SlidingWindowDetector", "backbones.convolutionalize"]


def draw():
    inputs = keras.Input((28, 28, 3))
    x = keras.layers.MaxPooling2D(4)(keras.layers.Conv2D(16, 3, padding="same")(inputs))
    x = keras.layers.Dense(11, activation="softmax")(keras.layers.Flatten()(x))
    network = cvx.backbones.convolutionalize(keras.Model(inputs, x))
    nodes = {"photo": (0.0, 0.5, "photograph\n240 × 320", "data")}
    edges = []
    for scale, y in ((1.0, 0.95), (0.5, 0.5), (0.25, 0.05)):
        height, width = int(240 * scale), int(320 * scale)
        cells = network.compute_output_shape((1, height, width, 3))
        nodes |= {
            f"image {scale}": (0.2, y, f"× {scale}\n{height} × {width}", "data"),
            f"net {scale}": (0.39, y, "classifier", "part"),
            f"map {scale}": (
                0.59,
                y,
                f"a class a cell\n{cells[1]} × {cells[2]} × {cells[3]}",
                "data",
            ),
        }
        edges += [
            ("photo", f"image {scale}"), (f"image {scale}", f"net {scale}"),
            (f"net {scale}", f"map {scale}"), (f"map {scale}", "nms"),
        ]  # fmt: skip
    nodes |= {
        "nms": (0.81, 0.5, "NonMaxSuppression", "part"),
        "found": (1.0, 0.5, "detections", "data"),
    }
    return diagram(nodes, [*edges, ("nms", "found")])
