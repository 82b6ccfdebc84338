"""Task models: parts of this package assembled, and nothing else."""

from keras_cvx.models.grid_detector import GridDetector

__all__ = ["GridDetector"]
