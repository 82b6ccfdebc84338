"""Metrics: pure functions over explicit state, and the Keras classes over them."""

from keras_cvx.metrics.boundary_iou import BoundaryIoU
from keras_cvx.metrics.mean_average_precision import MeanAveragePrecision
from keras_cvx.metrics.segmentation_iou import SegmentationIoU

__all__ = ["BoundaryIoU", "MeanAveragePrecision", "SegmentationIoU"]
