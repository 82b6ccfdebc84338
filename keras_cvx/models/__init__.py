"""Task models: parts of this package assembled, and nothing else."""

from keras_cvx.models.grid_detector import GridDetector
from keras_cvx.models.localizer import Localizer

__all__ = ["GridDetector", "Localizer"]
