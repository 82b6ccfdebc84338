"""Data sets: readers and writers of files, and scenes made on the spot, as NumPy records.

On the ground floor are the data set, its records, the annotations behind them, and their check.
`reading` and `writing` have a file for each format, and `parsing` what the readers share; `pixels`
draws and turns; `pipelines` makes batches for `fit`.
"""

from keras_cvx.datasets.annotations import Annotations, grouped
from keras_cvx.datasets.dataset import Dataset
from keras_cvx.datasets.digit_scenes import DIGIT_NAMES, digit_scenes
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.pixels.rasterizing import polygon_mask, run_length_mask
from keras_cvx.datasets.reading.coco import coco
from keras_cvx.datasets.reading.csv import csv
from keras_cvx.datasets.reading.masks import masks
from keras_cvx.datasets.reading.tfds import tfds
from keras_cvx.datasets.reading.voc import voc
from keras_cvx.datasets.reading.yolo import yolo
from keras_cvx.datasets.record import Record
from keras_cvx.datasets.writing.coco import write_coco, write_coco_detections
from keras_cvx.datasets.writing.voc import write_voc, write_voc_detections
from keras_cvx.datasets.writing.yolo import write_yolo, write_yolo_detections

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
