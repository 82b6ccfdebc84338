"""Pure, jit-safe functions of tensors: the arithmetic under every layer, loss and metric."""

from keras_cvx.ops.assignment import assigned_boxes, containing_cell, near_cells, task_aligned
from keras_cvx.ops.box_coding import (
    decode_distances,
    decode_places,
    encode_distances,
    encode_places,
)
from keras_cvx.ops.boxes import FORMATS, area, clip, convert
from keras_cvx.ops.confusion import confusion_matrix
from keras_cvx.ops.distance import signed_distance
from keras_cvx.ops.grids import (
    attach_cells,
    cell_centers,
    detach_cells,
    fit_extent,
    image_size,
)
from keras_cvx.ops.ground_truth import check_ground_truth, unpack_ground_truth
from keras_cvx.ops.iou import elementwise_iou, pairwise_iou
from keras_cvx.ops.lovasz import lovasz_jaccard
from keras_cvx.ops.matching import ignored_detections, match_detections
from keras_cvx.ops.nms import non_max_suppression
from keras_cvx.ops.regions import crop_and_resize, roi_align
from keras_cvx.ops.resizing import pad, resize

__all__ = [
    "FORMATS",
    "area",
    "assigned_boxes",
    "attach_cells",
    "cell_centers",
    "check_ground_truth",
    "clip",
    "confusion_matrix",
    "containing_cell",
    "convert",
    "crop_and_resize",
    "decode_distances",
    "decode_places",
    "detach_cells",
    "elementwise_iou",
    "encode_distances",
    "encode_places",
    "fit_extent",
    "ignored_detections",
    "image_size",
    "lovasz_jaccard",
    "match_detections",
    "near_cells",
    "non_max_suppression",
    "pad",
    "pairwise_iou",
    "resize",
    "roi_align",
    "signed_distance",
    "task_aligned",
    "unpack_ground_truth",
]
