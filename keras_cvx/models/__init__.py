"""Task models: parts of this package assembled, and nothing else."""

from keras_cvx.models.grid_detector import GridDetector
from keras_cvx.models.sliding_window_detector import SlidingWindowDetector

__all__ = ["GridDetector", "SlidingWindowDetector"]
