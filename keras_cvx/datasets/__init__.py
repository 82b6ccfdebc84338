"""Readers of datasets and scenes that are made on the spot, as NumPy records."""

from keras_cvx.datasets.coco import coco
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.digit_scenes import DIGIT_NAMES, digit_scenes
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.masks import masks
from keras_cvx.datasets.rasterizing import polygon_mask, run_length_mask
from keras_cvx.datasets.record import Record
from keras_cvx.datasets.write_coco import write_coco, write_coco_detections

__all__ = [
    "DIGIT_NAMES",
    "Dataset",
    "DatasetError",
    "Record",
    "coco",
    "digit_scenes",
    "masks",
    "polygon_mask",
    "run_length_mask",
    "write_coco",
    "write_coco_detections",
]
