"""Losses: pure functions, and the Keras classes over them."""

from keras_cvx.losses.grid_detection import GridDetectionLoss

__all__ = ["GridDetectionLoss"]
