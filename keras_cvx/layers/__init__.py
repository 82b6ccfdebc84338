"""Layers: preprocessing, heads and decoders on feature maps, and what makes results of theirs."""

from keras_cvx.layers.decoders.feature_pyramid import FeaturePyramidDecoder
from keras_cvx.layers.decoders.transposed_conv import TransposedConvDecoder
from keras_cvx.layers.heads.grid_detection import GridDetectionHead
from keras_cvx.layers.heads.localization import LocalizationHead
from keras_cvx.layers.postprocessing.class_names import ClassNames
from keras_cvx.layers.postprocessing.grid_decoding import GridDecoding
from keras_cvx.layers.postprocessing.localization_decoding import LocalizationDecoding
from keras_cvx.layers.postprocessing.non_max_suppression import NonMaxSuppression
from keras_cvx.layers.postprocessing.restore_detections import RestoreDetections
from keras_cvx.layers.postprocessing.segmentation_decoding import SegmentationDecoding
from keras_cvx.layers.preprocessing.crop_and_resize import CropAndResize
from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.layers.preprocessing.mix_up import MixUp
from keras_cvx.layers.preprocessing.mosaic import Mosaic
from keras_cvx.layers.preprocessing.random_crop_and_resize import RandomCropAndResize
from keras_cvx.layers.preprocessing.resize_with_crop_or_pad import ResizeWithCropOrPad
from keras_cvx.layers.preprocessing.resize_with_pad import ResizeWithPad

__all__ = [
    "ClassNames",
    "CropAndResize",
    "FeaturePyramidDecoder",
    "GeometricLayer",
    "GridDecoding",
    "GridDetectionHead",
    "LocalizationDecoding",
    "LocalizationHead",
    "MixUp",
    "Mosaic",
    "NonMaxSuppression",
    "RandomCropAndResize",
    "ResizeWithCropOrPad",
    "ResizeWithPad",
    "RestoreDetections",
    "SegmentationDecoding",
    "TransposedConvDecoder",
]
