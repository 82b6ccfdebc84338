"""Backbones: pretrained ones by name, and feature maps of any model by measured stride."""

from keras_cvx.backbones.applications import get
from keras_cvx.backbones.checks import check_no_top
from keras_cvx.backbones.feature_extractor import FeatureExtractor
from keras_cvx.backbones.input_normalization import InputNormalization
from keras_cvx.backbones.strides import measure_strides
from keras_cvx.backbones.tokens_to_map import TokensToMap

__all__ = [
    "FeatureExtractor",
    "InputNormalization",
    "TokensToMap",
    "check_no_top",
    "get",
    "measure_strides",
]
