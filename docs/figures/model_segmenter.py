"""A `Segmenter` with the decoder `"fcn8s"`: feature maps of three strides are scored and enlarged,
by transposed convolutions that begin as bilinear interpolation, up to the image's own size.
"""

import keras
from drawing import diagram, shape

import keras_cvx as cvx

OBJECTS = [
    "models.Segmenter",
    "layers.TransposedConvDecoder",
    "layers.FeaturePyramidDecoder",
    "layers.SegmentationDecoding",
]


def draw():
    inputs = keras.Input((128, 128, 3))
    maps = [keras.layers.Conv2D(64, 8, strides=8)(inputs)]
    for filters in (96, 128):
        maps.append(keras.layers.Conv2D(filters, 2, strides=2)(maps[-1]))
    segmenter = cvx.models.Segmenter(keras.Model(inputs, maps), num_classes=11, decoder="fcn8s")
    nodes = {
        "images": (0.0, 0.6, f"images\n{shape(segmenter.inputs[0])}", "data"),
        "backbone": (0.17, 0.6, "backbone", "part"),
        "8": (0.37, 1.0, f"stride 8\n{shape(maps[0])}", "data"),
        "16": (0.37, 0.6, f"stride 16\n{shape(maps[1])}", "data"),
        "32": (0.37, 0.2, f"stride 32\n{shape(maps[2])}", "data"),
        "decoder": (0.57, 0.6, "TransposedConv-\nDecoder", "part"),
        "logits": (0.77, 0.6, f"logits\n{shape(segmenter.output)}", "data"),
        "loss": (0.98, 0.9, "cross-entropy,\nDice, …", "training"),
        "decoding": (0.77, 0.12, "SegmentationDecoding", "part"),
        "masks": (1.0, 0.12, "masks", "data"),
    }
    edges = [
        ("images", "backbone"), ("backbone", "8"), ("backbone", "16"), ("backbone", "32"),
        ("8", "decoder"), ("16", "decoder"), ("32", "decoder"), ("decoder", "logits"),
        ("logits", "loss"), ("logits", "decoding"), ("decoding", "masks"),
    ]  # fmt: skip
    return diagram(nodes, edges)
