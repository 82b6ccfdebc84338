"""Readers of datasets and scenes that are made on the spot, as NumPy records."""

from keras_cvx.datasets.coco_masks import coco_masks
from keras_cvx.datasets.digit_scenes import DIGIT_NAMES, digit_scenes
from keras_cvx.datasets.masks import masks
from keras_cvx.datasets.rasterizing import polygon_mask, run_length_mask

__all__ = [
    "DIGIT_NAMES",
    "coco_masks",
    "digit_scenes",
    "masks",
    "polygon_mask",
    "run_length_mask",
]
