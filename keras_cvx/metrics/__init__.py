"""Metrics: pure functions over explicit state, and the classes over them."""

from keras_cvx.metrics.coco_evaluation import COCOEvaluation
from keras_cvx.metrics.mean_average_precision import MeanAveragePrecision

__all__ = ["COCOEvaluation", "MeanAveragePrecision"]
