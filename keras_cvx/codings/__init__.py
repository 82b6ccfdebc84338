"""Grid codings: what the channels of a detection grid mean."""

from keras_cvx.codings.anchor_free import AnchorFreeCoding
from keras_cvx.codings.grid_coding import GridCoding
from keras_cvx.codings.yolov1 import YOLOv1Coding

__all__ = ["AnchorFreeCoding", "GridCoding", "YOLOv1Coding"]
