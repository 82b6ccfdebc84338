"""Adapters between this package and its neighbours: KerasCV, KerasHub, supervision."""

from keras_cvx.interop.keras_cv import from_keras_cv, to_keras_cv
from keras_cvx.interop.prediction_decoder import PredictionDecoder
from keras_cvx.interop.supervision import from_supervision, to_supervision

__all__ = [
    "PredictionDecoder",
    "from_keras_cv",
    "from_supervision",
    "to_keras_cv",
    "to_supervision",
]
