"""Metrics: pure functions over explicit state, and the Keras classes over them."""

from keras_cvx.metrics.box_iou import BoxIoU
from keras_cvx.metrics.mean_average_precision import MeanAveragePrecision

__all__ = ["BoxIoU", "MeanAveragePrecision"]
