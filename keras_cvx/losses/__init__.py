"""Losses: pure functions, and the Keras classes over them."""

from keras_cvx.losses.box import CIoULoss, DIoULoss, GIoULoss, IoULoss
from keras_cvx.losses.grid_detection import GridDetectionLoss

__all__ = ["CIoULoss", "DIoULoss", "GIoULoss", "GridDetectionLoss", "IoULoss"]
