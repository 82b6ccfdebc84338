"""Arrays in, pictures out."""

from keras_cvx.visualization.class_iou import class_iou
from keras_cvx.visualization.confusion_matrix import confusion_matrix
from keras_cvx.visualization.gallery import gallery
from keras_cvx.visualization.precision_recall import precision_recall
from keras_cvx.visualization.segmentation_gallery import segmentation_gallery

__all__ = ["class_iou", "confusion_matrix", "gallery", "precision_recall", "segmentation_gallery"]
