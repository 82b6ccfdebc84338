"""Metrics: pure functions over explicit state, and the classes over them."""

from keras_cvx.metrics.boundary_iou import BoundaryIoU
from keras_cvx.metrics.box_iou import BoxIoU
from keras_cvx.metrics.coco_evaluation import COCOEvaluation
from keras_cvx.metrics.detection_confusion_matrix import DetectionConfusionMatrix
from keras_cvx.metrics.mean_average_precision import MeanAveragePrecision
from keras_cvx.metrics.pascal_voc_evaluation import PascalVOCEvaluation
from keras_cvx.metrics.segmentation_iou import SegmentationIoU

__all__ = [
    "BoundaryIoU",
    "BoxIoU",
    "COCOEvaluation",
    "DetectionConfusionMatrix",
    "MeanAveragePrecision",
    "PascalVOCEvaluation",
    "SegmentationIoU",
]
