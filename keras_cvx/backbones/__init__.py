"""Backbones: feature maps of any functional model, by measured stride."""

from keras_cvx.backbones.feature_extractor import FeatureExtractor, measure_strides

__all__ = ["FeatureExtractor", "measure_strides"]
