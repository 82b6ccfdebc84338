"""Readers of datasets and scenes that are made on the spot, as NumPy records."""

from keras_cvx.datasets.digit_scenes import DIGIT_NAMES, digit_scenes

__all__ = ["DIGIT_NAMES", "digit_scenes"]
