"""A photograph, and three ways to reduce its sides to a quarter. The pixels are those of
`tf.image.resize` on every backend; `antialias` widens the kernel with the reduction.
"""

import numpy as np
from drawing import panels, scene, show

import keras_cvx as cvx

OBJECTS = ["ops.resize"]


def draw():
    image = scene(height=128, width=128, seed=9)["images"].astype("float32")
    figure, axes = panels(1, 4, height=2.1)
    show(axes[0, 0], image, "128 × 128")
    kinds = (
        ("nearest", {"interpolation": "nearest"}),
        ("bilinear", {"interpolation": "bilinear"}),
        ("bilinear, antialias", {"interpolation": "bilinear", "antialias": True}),
    )
    for place, (title, options) in zip(axes[0, 1:], kinds, strict=True):
        small = cvx.ops.resize(image, (32, 32), **options)
        show(place, np.asarray(small), title)
    return figure
