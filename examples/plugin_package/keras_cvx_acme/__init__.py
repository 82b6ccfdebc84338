"""Plugins of the namespace `acme`; importing this module registers them."""

from keras_cvx_acme.coding import DistanceCoding
from keras_cvx_acme.decoder import OneMapDecoder
from keras_cvx_acme.loss import LogarithmicBoxLoss
from keras_cvx_acme.reader import lines

__all__ = ["DistanceCoding", "LogarithmicBoxLoss", "OneMapDecoder", "lines"]
