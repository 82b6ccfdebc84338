"""Layers: heads on feature maps, and what turns their output into detections."""

from keras_cvx.layers.heads.grid_detection import GridDetectionHead
from keras_cvx.layers.postprocessing.grid_decoding import GridDecoding
from keras_cvx.layers.postprocessing.non_max_suppression import NonMaxSuppression

__all__ = ["GridDecoding", "GridDetectionHead", "NonMaxSuppression"]
