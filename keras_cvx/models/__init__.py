"""Task models: parts of this package assembled, and nothing else."""

from keras_cvx.models.class_names import decode_predictions
from keras_cvx.models.fine_tuning import fine_tune
from keras_cvx.models.grid_detector import GridDetector
from keras_cvx.models.localizer import Localizer
from keras_cvx.models.segmenter import Segmenter
from keras_cvx.models.sliding_window_detector import SlidingWindowDetector

__all__ = [
    "GridDetector",
    "Localizer",
    "Segmenter",
    "SlidingWindowDetector",
    "decode_predictions",
    "fine_tune",
]
