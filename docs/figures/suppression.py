"""Many boxes for each digit go in, the best of each group comes out. Each class is suppressed for
itself: boxes of different classes never compete.
"""

import numpy as np
from drawing import BLUE, ORANGE, outline, panels, scene, show

import keras_cvx as cvx

OBJECTS = ["layers.NonMaxSuppression", "ops.non_max_suppression", "interop.PredictionDecoder"]


def draw():
    sample = scene(height=120, width=140, seed=9)
    rng = np.random.default_rng(0)
    truth = sample["bounding_boxes"]["boxes"]
    boxes = np.repeat(truth, 7, axis=0)
    shake = rng.normal(0, 1, boxes.shape) * 0.12 * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = (boxes + shake).astype("float32")
    confidence = (0.95 - 2.5 * np.abs(shake).mean(-1) / 10).clip(0.05)
    scores = np.zeros((1, len(boxes), 10), "float32")
    scores[0, np.arange(len(boxes)), np.repeat(sample["bounding_boxes"]["labels"], 7)] = confidence
    found = cvx.layers.NonMaxSuppression(0.5, confidence_threshold=0.1)(boxes[None], scores)

    figure, [[before, after]] = panels(1, 2, height=3.0)
    show(before, sample["images"], f"{len(boxes)} boxes")
    for box, score in zip(boxes, confidence, strict=True):
        outline(before, box, ORANGE, lw=1.0, alpha=float(0.3 + 0.7 * score))
    count = int(found["num_detections"][0])
    show(after, sample["images"], f"NonMaxSuppression(0.5): {count} boxes")
    for box, score, label in zip(
        *(np.asarray(found[k])[0, :count] for k in ("boxes", "confidence", "labels")), strict=True
    ):
        outline(after, box, BLUE, text=f"{label}: {score:.2f}")
    return figure
