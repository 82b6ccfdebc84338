"""Losses: pure functions, and the Keras classes over them."""

from keras_cvx.losses.boundary import BoundaryLoss
from keras_cvx.losses.box import CIoULoss, DIoULoss, GIoULoss, IoULoss
from keras_cvx.losses.focal_tversky import FocalTversky
from keras_cvx.losses.generalized_dice import GeneralizedDice
from keras_cvx.losses.grid_detection import GridDetectionLoss
from keras_cvx.losses.ignore_class import IgnoreClass
from keras_cvx.losses.loss_sum import LossSum
from keras_cvx.losses.lovasz import LovaszHinge, LovaszSoftmax

__all__ = [
    "BoundaryLoss",
    "CIoULoss",
    "DIoULoss",
    "FocalTversky",
    "GIoULoss",
    "GeneralizedDice",
    "GridDetectionLoss",
    "IgnoreClass",
    "IoULoss",
    "LossSum",
    "LovaszHinge",
    "LovaszSoftmax",
]
