"""Backbones: pretrained ones by name, feature maps by measured stride, classifiers of any size."""

from keras_cvx.backbones.applications import get
from keras_cvx.backbones.checks import check_no_top
from keras_cvx.backbones.convolutionalize import convolutionalize
from keras_cvx.backbones.feature_extractor import FeatureExtractor
from keras_cvx.backbones.input_normalization import InputNormalization
from keras_cvx.backbones.strides import measure_strides
from keras_cvx.backbones.tokens_to_map import TokensToMap

__all__ = [
    "FeatureExtractor",
    "InputNormalization",
    "TokensToMap",
    "check_no_top",
    "convolutionalize",
    "get",
    "measure_strides",
]
