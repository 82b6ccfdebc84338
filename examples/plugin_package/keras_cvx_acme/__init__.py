"""Plugins of the namespace `acme`, one of each kind; importing this module registers them."""

from keras_cvx_acme.assigner import CenterSampling
from keras_cvx_acme.backbone import grayscale
from keras_cvx_acme.coding import DistanceCoding
from keras_cvx_acme.decoder import OneMapDecoder
from keras_cvx_acme.head import SharedHead
from keras_cvx_acme.loss import LogarithmicBoxLoss
from keras_cvx_acme.metric import CountError
from keras_cvx_acme.reader import lines
from keras_cvx_acme.visualizer import close_ups

__all__ = [
    "CenterSampling",
    "CountError",
    "DistanceCoding",
    "LogarithmicBoxLoss",
    "OneMapDecoder",
    "SharedHead",
    "close_ups",
    "grayscale",
    "lines",
]
