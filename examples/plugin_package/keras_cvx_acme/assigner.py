"""An assigner: an object is given the cells around its centre, however well they predict it."""

import math

from keras import ops

from keras_cvx import plugins
from keras_cvx.ops import area, near_cells


@plugins.register("CenterSampling", kind="assigner", package="acme")
class CenterSampling:
    """After Tian et al. 2022, FCOS: A Simple and Strong Anchor-Free Object Detector, section 3.

    The target of each of these cells is 1; of several objects, the smallest has it.

    Args:
        radius: Positive float, how far a cell may be from the centre, in strides along each axis.
    """

    def __init__(self, radius=1.5):
        if not radius > 0:
            raise ValueError(f"`radius` must be positive. Received: radius={radius}")
        self.radius = radius

    def __call__(self, overlaps, scores, boxes, present, centers, strides, **_):
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2.0
        gaps = ops.abs(centers[:, None] - middle[:, :, None])  # (B, N, A, 2)
        near = ops.logical_and(
            near_cells(boxes, present, centers, strides),
            ops.all(gaps <= self.radius * strides[:, None], axis=-1),
        )
        sizes = ops.where(near, area(boxes)[..., None], math.inf)
        # By the maximum of the negative ones, which has an initial value for no objects at all.
        smallest = -ops.max(-sizes, axis=1, keepdims=True, initial=-math.inf)
        near = ops.logical_and(near, sizes == smallest)
        assigned = ops.logical_and(near, ops.cumsum(ops.cast(near, "int32"), axis=1) == 1)
        return assigned, ops.sum(ops.cast(assigned, "float32"), axis=1)

    def get_config(self):
        return {"radius": self.radius}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
