"""The same error, two pixels all round, on discs of growing radius. IoU forgives it the more the
larger the disc; boundary IoU, which compares the pixels near the contours (left), does not.
"""

import numpy as np
from drawing import BLUE, GREY, ORANGE, disc, frame, panels
from matplotlib.colors import to_rgb

import keras_cvx as cvx
from keras_cvx.metrics.boundary_iou import near_contour

OBJECTS = ["metrics.BoundaryIoU"]
SIZE = 160


def draw():
    radii = np.arange(8, 72, 4)
    plain, at_boundary = [], []
    for radius in radii:
        truth, found = (disc((80, 80), r, SIZE)[None] for r in (radius, radius - 2))
        overlap = cvx.metrics.SegmentationIoU(num_classes=2)
        boundary = cvx.metrics.BoundaryIoU(num_classes=2)
        for metric in (overlap, boundary):
            metric.update_state(truth, found)
        plain.append(overlap.per_class()["iou"][1])
        at_boundary.append(boundary.per_class()["boundary_iou"][1])

    figure, [[bands, right]] = panels(1, 2, height=2.7, width_ratios=[1, 1.5])
    distance = round(0.02 * np.hypot(SIZE, SIZE))
    picture = np.zeros((SIZE, SIZE, 4))
    for radius, colour in ((40, BLUE), (38, ORANGE)):
        mask = disc((80, 80), radius, SIZE)
        near = np.asarray(near_contour(mask[None], distance))[0] & (mask == 1)
        both = near & (picture[..., 3] > 0)
        picture[near] = (*to_rgb(colour), 1)
        picture[both] = (*to_rgb(GREY), 1)
    bands.imshow(picture[30:130, 30:130], interpolation="nearest")
    bands.set_title("truth, prediction, both")
    frame(bands)
    right.plot(radii, plain, color=GREY, label="IoU")
    right.plot(radii, at_boundary, color=ORANGE, label="boundary IoU")
    right.set(xlabel="radius in pixels; the predicted one is 2 less", ylim=(0, 1.02))
    right.legend(loc="lower right")
    return figure
