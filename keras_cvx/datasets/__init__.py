"""Data sets: readers and writers of files, and scenes made on the spot, as NumPy records."""

from keras_cvx.datasets.annotations import Annotations, grouped
from keras_cvx.datasets.coco import coco
from keras_cvx.datasets.csv import csv
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.digit_scenes import DIGIT_NAMES, digit_scenes
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.masks import masks
from keras_cvx.datasets.rasterizing import polygon_mask, run_length_mask
from keras_cvx.datasets.record import Record
from keras_cvx.datasets.tfds import tfds
from keras_cvx.datasets.voc import voc
from keras_cvx.datasets.write_coco import write_coco, write_coco_detections
from keras_cvx.datasets.write_voc import write_voc, write_voc_detections
from keras_cvx.datasets.write_yolo import write_yolo, write_yolo_detections
from keras_cvx.datasets.yolo import yolo

__all__ = [
    "DIGIT_NAMES",
    "Annotations",
    "Dataset",
    "DatasetError",
    "Record",
    "coco",
    "csv",
    "digit_scenes",
    "grouped",
    "masks",
    "polygon_mask",
    "run_length_mask",
    "tfds",
    "voc",
    "write_coco",
    "write_coco_detections",
    "write_voc",
    "write_voc_detections",
    "write_yolo",
    "write_yolo_detections",
    "yolo",
]
