"""Which cells of a grid answer for which digit. The first YOLO takes the one that holds the centre
of the box; `"anchor_free"` considers all cells in the box, and takes those whose predictions agree
with it best (here predictions are imitated: the truth, shaken).
"""

import numpy as np
from drawing import BLUE, ORANGE, PURPLE, RED, numbers, outline, panels, scene, show
from matplotlib.patches import Rectangle

import keras_cvx as cvx

OBJECTS = [
    "losses.GridDetectionLoss",
    "codings.AnchorFreeCoding",
    "codings.YOLOv1Coding",
    "layers.GridDetectionHead",
    "ops.task_aligned",
    "ops.near_cells",
    "ops.containing_cell",
    "ops.assigned_boxes",
]
STRIDE = 8


def draw():
    sample = scene(height=112, width=112, seed=9)
    boxes = sample["bounding_boxes"]["boxes"][None]
    present = np.ones(boxes.shape[:2], bool)
    cells = numbers(cvx.ops.cell_centers(14, 14, STRIDE))[None]
    centers, strides = cells[..., :2], cells[..., 2:]
    size = np.float32([[[112, 112]]])

    rng = np.random.default_rng(1)
    nearest = np.linalg.norm(
        centers[0, :, None] - (boxes[0, None, :, :2] + boxes[0, None, :, 2:]) / 2, axis=-1
    ).argmin(-1)
    predicted = boxes[0][nearest] + rng.normal(0, 4, (len(nearest), 4))
    overlaps = cvx.ops.pairwise_iou(boxes, predicted[None].astype("float32"))
    scores = rng.uniform(0.2, 0.9, overlaps.shape).astype("float32")
    near = cvx.ops.near_cells(boxes, present, centers, strides)
    taken, _ = cvx.ops.task_aligned(overlaps, scores, near)
    shown = {
        "containing_cell": cvx.ops.containing_cell(
            *map(_tensor, (boxes, present, centers, strides, size))
        ),
        "near_cells": near,
        "task_aligned(top_k=7)": taken,
    }
    figure, axes = panels(1, 3)
    for place, (title, cells_of) in zip(axes[0], shown.items(), strict=True):
        show(place, sample["images"] // 2 + 90, title)
        for line in range(STRIDE, 112, STRIDE):
            place.axhline(line, color="white", lw=0.3)
            place.axvline(line, color="white", lw=0.3)
        for answers, box, colour in zip(
            numbers(cells_of)[0], boxes[0], (ORANGE, BLUE, RED, PURPLE), strict=False
        ):
            outline(place, box, colour)
            for x, y in centers[0][answers]:
                corner = (x - STRIDE / 2, y - STRIDE / 2)
                place.add_patch(Rectangle(corner, STRIDE, STRIDE, fc=colour, ec="none", alpha=0.75))
    return figure


def _tensor(array):
    from keras import ops

    return ops.convert_to_tensor(array)
