"""Every plugin of this package keeps the contract."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.backbones import FeatureExtractor, InputNormalization, TokensToMap
from keras_cvx.backbones.window_layers import CellwiseHead, DenseConvolution, WholeWindows
from keras_cvx.codings import AnchorFreeCoding, YOLOv1Coding
from keras_cvx.codings.anchor_free import assign_task_aligned
from keras_cvx.geometry import resize, resize_with_pad
from keras_cvx.interop import PredictionDecoder
from keras_cvx.layers import (
    ClassNames,
    CropAndResize,
    FeaturePyramidDecoder,
    GridDecoding,
    GridDetectionHead,
    LocalizationDecoding,
    LocalizationHead,
    MixUp,
    Mosaic,
    NonMaxSuppression,
    RandomCropAndResize,
    ResizeWithCropOrPad,
    ResizeWithPad,
    RestoreDetections,
    SegmentationDecoding,
    TransposedConvDecoder,
)
from keras_cvx.losses import (
    BoundaryLoss,
    CIoULoss,
    DIoULoss,
    FocalTversky,
    GeneralizedDice,
    GIoULoss,
    GridDetectionLoss,
    IgnoreClass,
    IoULoss,
    LossSum,
    LovaszHinge,
    LovaszSoftmax,
)
from keras_cvx.metrics import (
    BoundaryIoU,
    BoxIoU,
    DetectionConfusionMatrix,
    MeanAveragePrecision,
    SegmentationIoU,
)
from keras_cvx.models import GridDetector, Localizer, Segmenter, SlidingWindowDetector
from keras_cvx.ops import cell_centers, convert
from keras_cvx.plugins import registry
from keras_cvx.testing import check

# Five images 48 pixels wide and 32 high, two levels, three classes, at most four objects.
BATCH, CLASSES, OBJECTS = 5, 3, 4
RNG = np.random.default_rng(0)
CELLS = np.concatenate(
    [ops.convert_to_numpy(cell_centers(*cells)) for cells in ((4, 6, 8), (2, 3, 16))]
)
PLACES = np.repeat(CELLS[None], BATCH, axis=0)
YOLO, ANCHOR_FREE = YOLOv1Coding(3), AnchorFreeCoding(2, bins=5)
CORNER = RNG.uniform(0, [30, 20], (BATCH, OBJECTS, 2))
BOXES = np.concatenate([CORNER, CORNER + RNG.uniform(2, 12, CORNER.shape)], -1).astype("float32")
LABELS = RNG.integers(0, CLASSES, (BATCH, OBJECTS)).astype("int32")
# An image without objects, and one that ends in padding.
LABELS[0] = LABELS[1, 2:] = -1
TRUTH = {"boxes": BOXES, "labels": LABELS}
SCORES = RNG.uniform(0, 1, (BATCH, OBJECTS, CLASSES)).astype("float32")
FOUND = {
    "boxes": (BOXES + RNG.normal(0, 1, BOXES.shape)).astype("float32"),
    "confidence": SCORES[..., 0],
    "labels": LABELS,
}
IMAGES = RNG.integers(0, 256, (BATCH, 32, 48, 3)).astype("uint8")
DECODED = [
    RNG.normal(size=(BATCH, 8, 12, 8)).astype("float32"),
    RNG.normal(size=(BATCH, 4, 6, 9)).astype("float32"),
]
MASKS = RNG.integers(0, CLASSES, (BATCH, 8, 6)).astype("int32")
MASK_SCORES = RNG.normal(size=(*MASKS.shape, CLASSES)).astype("float32")
# As the preprocessing layers take it, the boxes in the format "center_xywh".
SAMPLE = {
    "images": IMAGES.astype("float32"),
    "bounding_boxes": {
        "boxes": ops.convert_to_numpy(convert(BOXES, "xyxy", "center_xywh")),
        "labels": LABELS,
    },
    "segmentation_masks": RNG.integers(0, CLASSES, (BATCH, 32, 48)).astype("int32"),
}
# Each image of a class, too.
MIXED = {**SAMPLE, "labels": np.eye(CLASSES, dtype="float32")[np.arange(BATCH) % CLASSES]}
BAD_SAMPLES = {
    "images": IMAGES[:, 0, 0],
    "segmentation_masks": {**SAMPLE, "segmentation_masks": SAMPLE["segmentation_masks"][:, 1:]},
    "boxes": {**SAMPLE, "bounding_boxes": {"boxes": BOXES[..., :3], "labels": LABELS}},
    "bounding_boxes": {**SAMPLE, "bounding_boxes": BOXES},
    "geometry": {**SAMPLE, "geometry": resize(np.ones((BATCH + 1, 2)), (32, 48))},
}


def outputs_of(coding):
    channels = sum(n for n, _ in coding.branches(CLASSES))
    return RNG.normal(0.3, 0.5, (BATCH, len(CELLS), channels)).astype("float32")


def inputs_of(coding):
    return outputs_of(coding), PLACES[..., :2], PLACES[..., 2:], BOXES, LABELS


def predictions_of(coding):
    return np.concatenate([PLACES, outputs_of(coding)], axis=-1)


def make_backbone():
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for stride, filters in ((8, 6), (2, 7)):
        x = layers.Conv2D(filters, stride, stride, activation="tanh")(x)
    return keras.Model(inputs, x, name="backbone")


def on_backbone(model):
    """Factory with a backbone of its own for every model."""

    def make(backbone=None, **kwargs):
        return model(backbone or make_backbone(), **kwargs)

    return make


def make_classifier():
    inputs = keras.Input((12, 9, 3))
    x = layers.Conv2D(4, 3, 3, activation="tanh")(layers.Rescaling(1 / 127.5, -1)(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES, "softmax")(layers.Flatten()(x)))


def make_dense(inputs, units):
    dense = layers.Dense(units, activation="tanh")
    dense.build((None, inputs))
    return dense


def make_head(activation="tanh"):
    """A head with one vector of 4 and one of 3 numbers."""
    vectors = [keras.Input((4,)), keras.Input((3,))]
    x = layers.Concatenate()([layers.Dense(2)(vectors[0]), vectors[1]])
    return keras.Model(vectors, layers.Dense(6, activation=activation)(x))


def box_loss_case(loss, reduction):
    """On offsets, in the range in which detectors give them."""
    return {
        "factory": loss,
        "init_kwargs": {
            "bounding_box_format": "center_yxhw",
            "box_variance": [0.5, 0.25, 0.75, 1.0],
            "reduction": reduction,
            "name": "box",
        },
        "inputs": tuple(np.tanh(boxes / 16 - 1) for boxes in (BOXES, FOUND["boxes"])),
        "invalid": {
            "bounding_box_format": ["corners"],
            "box_variance": [[0.5] * 3, [0.5, 0.0, 1.0, 2.0], 0.5, [float("nan")] * 4, "0123"],
            "reduction": ["most"],
        },
        "invalid_inputs": {
            "y_true": (BOXES[..., :3], BOXES),
            "y_pred": (BOXES, BOXES[:, :2]),
        },
    }


CASES = {
    "IoULoss": box_loss_case(IoULoss, "sum"),
    "GIoULoss": box_loss_case(GIoULoss, "mean"),
    "DIoULoss": box_loss_case(DIoULoss, "mean_with_sample_weight"),
    "CIoULoss": box_loss_case(CIoULoss, "sum"),
    "BoxIoU": {
        "factory": BoxIoU,
        "init_kwargs": {
            "variant": "diou",
            "threshold": 0.375,
            "class_aware": True,
            "bounding_box_format": "center_xywh",
            "name": "localization",
        },
        "inputs": (
            {**TRUTH, "boxes": ops.convert_to_numpy(convert(BOXES, "xyxy", "center_xywh"))},
            {
                "boxes": ops.convert_to_numpy(convert(FOUND["boxes"], "xyxy", "center_xywh")),
                "labels": SCORES,
            },
        ),
        "invalid": {
            "variant": ["eiou"],
            "threshold": [0, 1.5, float("nan"), True, "half", None],
            "class_aware": [1, "yes"],
            "bounding_box_format": ["corners"],
        },
        "invalid_inputs": {
            "y_true": (BOXES, FOUND),
            "y_pred": (TRUTH, BOXES),
            "sample_weight": (TRUTH, FOUND, np.ones((BATCH, OBJECTS + 1), "float32")),
        },
    },
    "AnchorFreeCoding": {
        "factory": AnchorFreeCoding,
        "init_kwargs": {
            "top_k": 3,
            "alpha": 0.75,
            "beta": 6.0,
            "bins": 5,
            "box_weight": 2.5,
            "distribution_weight": 0.25,
            "assigner": assign_task_aligned,
            "box_loss": GIoULoss(),
        },
        "inputs": inputs_of(AnchorFreeCoding(bins=5)),
        "invalid": {
            "top_k": [0, 2.0, True],
            "alpha": [0.0],
            "beta": [-1.0],
            "bins": [2, "16"],
            "box_weight": [-0.5],
            "distribution_weight": [-0.5, float("nan")],
            "assigner": ["yolov1", 3],
            "box_loss": [GIoULoss("xywh")],
        },
    },
    "YOLOv1Coding": {
        "factory": YOLOv1Coding,
        "init_kwargs": {
            "boxes_per_cell": 3,
            "coordinate_weight": 4.0,
            "no_object_weight": 0.25,
        },
        "inputs": inputs_of(YOLO),
        "invalid": {
            "boxes_per_cell": [0, 2.0, True],
            "coordinate_weight": [-1.0],
            "no_object_weight": [-1.0, float("nan")],
        },
    },
    "ClassNames": {
        "factory": ClassNames,
        "init_kwargs": {"class_names": ["tram", "bus", "bicycle"]},
        "inputs": (SCORES,),
        "invalid": {"class_names": ["tram", [], ["tram", 1], ["tram", "tram"]]},
        "invalid_inputs": {"scores": (SCORES[..., :2],)},
    },
    "CropAndResize": {
        "factory": CropAndResize,
        "init_kwargs": {
            "height": 7,
            "width": 6,
            "interpolation": "nearest",
            "fill_value": 3.5,
            "bounding_box_format": "xywh",
            "data_format": "channels_last",
        },
        "inputs": (IMAGES.astype("float32"), BOXES),
        # The nearest pixel is the same when a box moves a little.
        "differentiable": (True, False),
        "invalid": {
            "height": [0, -2, 2.0],
            "width": [0, True],
            "interpolation": ["bicubic", None],
            "bounding_box_format": ["corners", None],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {
            "images": (IMAGES[:, 0, :, 0], BOXES),
            "boxes": (IMAGES, BOXES[..., :3]),
        },
    },
    "RandomCropAndResize": {
        "factory": RandomCropAndResize,
        "init_kwargs": {
            "height": 19,
            "width": 23,
            "scale": [0.25, 0.75],
            "aspect_ratio": [0.5, 1.5],
            "seed": 5,
            "min_visible": 0.25,
            "interpolation": "nearest",
            "bounding_box_format": "xywh",
            "data_format": "channels_last",
        },
        "inputs": {
            "images": IMAGES.astype("float32"),
            "bounding_boxes": TRUTH,
            "segmentation_masks": IMAGES[..., 0],
        },
        "invalid": {
            "height": [0, -2, 2.0],
            "width": [0, True],
            "scale": [[0.0, 1.0], [0.5, 1.5], [0.75, 0.5], 0.5],
            "aspect_ratio": [[0.0, 1.0], [2.0, 1.0], [1.0, float("inf")]],
            "seed": [-1, 0.5],
            "min_visible": [-0.5, 1.5],
            "interpolation": ["bicubic"],
            "bounding_box_format": ["corners"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {
            "images": {"images": IMAGES[:, 0, :, 0]},
            "segmentation_masks": {"images": IMAGES, "segmentation_masks": IMAGES[:, 1:, :, 0]},
        },
        # Every call draws other regions; its own test seeds both.
        "skip": {"compiled"},
    },
    "Mosaic": {
        "factory": Mosaic,
        "init_kwargs": {
            "center": [0.375, 0.5],
            "min_visible": 0.25,
            "seed": 5,
            "bounding_box_format": "center_xywh",
            "data_format": "channels_last",
        },
        "inputs": MIXED,
        "invalid": {
            "center": [[0.75, 0.25], [-0.5, 0.5], [0.5, 1.5], 0.5],
            "min_visible": [-0.5, 1.5, float("nan")],
            "seed": [-1, 0.5],
            "bounding_box_format": ["corners"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {**BAD_SAMPLES, "labels": {**SAMPLE, "labels": LABELS}},
        # Every call draws other images; its own test compiles the same ones.
        "skip": {"compiled"},
    },
    "MixUp": {
        "factory": MixUp,
        "init_kwargs": {"alpha": 0.75, "seed": 5, "data_format": "channels_last"},
        "inputs": MIXED,
        "invalid": {
            "alpha": [0.0, -1.0, float("inf")],
            "seed": [-1, 0.5],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {**BAD_SAMPLES, "labels": {**SAMPLE, "labels": LABELS}},
        "skip": {"compiled"},
    },
    "InputNormalization": {
        "factory": InputNormalization,
        "init_kwargs": {"mode": "caffe", "data_format": "channels_last"},
        "inputs": IMAGES.astype("float32"),
        "invalid": {"mode": ["bgr", None], "data_format": ["channels_middle"]},
        "invalid_inputs": {"images": IMAGES[..., :2].astype("float32")},
    },
    "TokensToMap": {
        "factory": TokensToMap,
        "init_kwargs": {
            "height": 2,
            "width": 3,
            "num_prefix_tokens": 5,
            "data_format": "channels_last",
        },
        "inputs": IMAGES[:, 0, :11].astype("float32"),
        "invalid": {
            "height": [0, 2.0],
            "width": [-1, True],
            "num_prefix_tokens": [-1, 1.0],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {"inputs": IMAGES[:, 0, :10].astype("float32")},
    },
    "CellwiseHead": {
        "factory": lambda head=None, **kwargs: CellwiseHead(head or make_head(), **kwargs),
        "init_kwargs": {"name": "cells"},
        "inputs": (
            [
                RNG.normal(size=(BATCH, 7, 6, 4)).astype("float32"),
                RNG.normal(size=(BATCH, 7, 6, 3)).astype("float32"),
            ],
        ),
        "invalid": {"head": [layers.Dense(2), keras.Model()]},
    },
    "DenseConvolution": {
        "factory": lambda dense=None, **kwargs: DenseConvolution(
            dense or make_dense(48, 3), **kwargs
        ),
        "init_kwargs": {"height": 4, "width": 6},
        "inputs": RNG.normal(size=(BATCH, 7, 6, 2)).astype("float32"),
        "invalid": {
            "dense": [layers.Conv2D(3, 1), layers.Dense(3)],
            "height": [0, 2.0],
            "width": [-1, True],
        },
        "invalid_inputs": {"maps": RNG.normal(size=(BATCH, 7, 6, 3)).astype("float32")},
    },
    "FeatureExtractor": {
        "factory": on_backbone(FeatureExtractor),
        "init_kwargs": {"strides": [16, 8], "data_format": "channels_last"},
        "inputs": IMAGES.astype("float32"),
        "invalid": {
            "backbone": [layers.Dense(2), keras.Model()],
            "strides": [[], [16, 3]],
            "data_format": ["channels_middle"],
        },
    },
    "GridDetector": {
        "factory": on_backbone(GridDetector),
        "init_kwargs": {
            "num_classes": CLASSES,
            "bounding_box_format": "rel_center_xywh",
            "strides": [8, 16],
            "coding": YOLO,
            "non_max_suppression": NonMaxSuppression(
                0.25, 0.125, max_detections=6, bounding_box_format="rel_center_xywh"
            ),
        },
        "inputs": IMAGES.astype("float32"),
        "invalid": {
            "backbone": [layers.Dense(2)],
            "num_classes": [0, "3"],
            "bounding_box_format": ["corners"],
            "strides": [[], [4]],
            "coding": ["no such coding"],
        },
        "invalid_inputs": {"height": IMAGES[:, :30].astype("float32")},
    },
    "SlidingWindowDetector": {
        "factory": lambda classifier=None, **kwargs: SlidingWindowDetector(
            classifier or make_classifier(), **kwargs
        ),
        "init_kwargs": {
            "scales": [0.75, 0.5],
            "method": "crops",
            "strides": [6, 3],
            "background_classes": [1],
            "bounding_box_format": "rel_center_xywh",
            "non_max_suppression": NonMaxSuppression(
                0.25, 0.375, max_detections=6, bounding_box_format="rel_center_xywh"
            ),
        },
        "inputs": IMAGES.astype("float32"),
        "invalid": {
            "classifier": [layers.Dense(2), make_backbone()],
            "scales": [[], [0.5, 0.0], "1"],
            "method": ["patches"],
            "strides": [0, [3], "8"],
            "background_classes": [[3], [0, 1, 2]],
            "bounding_box_format": ["corners"],
        },
        "invalid_inputs": {"images": IMAGES[:, :10].astype("float32")},
        "skip": {"fit": "what is trained is the classifier"},
    },
    "WholeWindows": {
        "factory": WholeWindows,
        "init_kwargs": {
            "height": 4,
            "width": 3,
            "strides": [2, 5],
            "data_format": "channels_first",
        },
        "inputs": RNG.normal(size=(BATCH, 2, 9, 8)).astype("float32"),
        "invalid": {
            "height": [0, 2.0],
            "width": [-1, True],
            "strides": [3, [2], [2, 0]],
        },
        "invalid_inputs": {"images": RNG.normal(size=(BATCH, 4, 3, 8)).astype("float32")},
    },
    "GridDecoding": {
        "factory": GridDecoding,
        "init_kwargs": {"coding": YOLO, "bounding_box_format": "rel_yxyx"},
        "inputs": predictions_of(YOLO),
        "invalid": {"coding": ["no such coding", 3], "bounding_box_format": ["corners", None]},
        "invalid_inputs": {"predictions": PLACES},
    },
    "TransposedConvDecoder": {
        "factory": TransposedConvDecoder,
        "init_kwargs": {
            "num_classes": CLASSES,
            "strides": [4, 8],
            "fusion": "concat",
            "upsampling": "bilinear",
            "kernel_sizes": [12, 6],
            "filters": [7],
            "data_format": "channels_last",
        },
        "inputs": (DECODED, IMAGES.astype("float32")),
        "differentiable": (True, False),
        "invalid": {
            "num_classes": [0, 2.0, True],
            "strides": [[], [8, 4], [8, 0]],
            "fusion": ["product"],
            "upsampling": ["nearest"],
            "kernel_sizes": [[12], [10, 6], 12],
            "filters": [[7, 8], [0]],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {
            "features": (DECODED[:1], IMAGES.astype("float32")),
            "images": (DECODED, IMAGES[0].astype("float32")),
        },
    },
    "FeaturePyramidDecoder": {
        "factory": FeaturePyramidDecoder,
        "init_kwargs": {
            "num_classes": CLASSES,
            "strides": [4, 8],
            "filters": 7,
            "data_format": "channels_last",
        },
        "inputs": (DECODED, IMAGES.astype("float32")),
        "differentiable": (True, False),
        "invalid": {"num_classes": [0, 2.0], "strides": [[], [8, 4]], "filters": [0]},
        "invalid_inputs": {"features": (DECODED[:1], IMAGES.astype("float32"))},
    },
    "GridDetectionHead": {
        "factory": GridDetectionHead,
        "init_kwargs": {
            "num_classes": CLASSES,
            "strides": [8, 16],
            "coding": ANCHOR_FREE,
            "filters": 7,
            "depth": 2,
            "activation": "tanh",
            "data_format": "channels_last",
        },
        "inputs": (
            [
                RNG.normal(size=(BATCH, 4, 6, 8)).astype("float32"),
                RNG.normal(size=(BATCH, 2, 3, 9)).astype("float32"),
            ],
        ),
        "invalid": {
            "num_classes": [0, 2.0, True],
            "strides": [[], [8, 0], "8"],
            "coding": ["no such coding"],
            "filters": [0],
            "depth": [-1],
            "activation": ["no such activation"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {
            "inputs": ([np.zeros((BATCH, 4, 6, 8), "float32")],),
        },
    },
    "LocalizationDecoding": {
        "factory": LocalizationDecoding,
        "init_kwargs": {"name": "found"},
        "inputs": {"labels": SCORES[:, 0], "boxes": BOXES[:, 0]},
        "invalid_inputs": {
            "predictions": {"labels": SCORES[:, 0], "boxes": BOXES[:, 0, :3]},
        },
    },
    "LocalizationHead": {
        "factory": LocalizationHead,
        "init_kwargs": {
            "num_classes": CLASSES,
            "bounding_box_format": "center_xywh",
            "data_format": "channels_last",
        },
        "inputs": (
            RNG.normal(size=(BATCH, 4, 6, 8)).astype("float32"),
            IMAGES.astype("float32"),
        ),
        # Of the images, the size alone counts.
        "differentiable": (True, False),
        "invalid": {
            "num_classes": [0, 2.0, True],
            "bounding_box_format": ["corners"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": {
            "inputs": (np.zeros((BATCH, 24, 8), "float32"), IMAGES.astype("float32")),
            "images": (np.zeros((BATCH, 4, 6, 8), "float32"), IMAGES[:, 0].astype("float32")),
        },
    },
    "SegmentationDecoding": {
        "factory": SegmentationDecoding,
        "init_kwargs": {"preprocessing": ResizeWithPad(32, 32), "name": "ids"},
        "inputs": (
            RNG.normal(size=(BATCH, 32, 32, CLASSES)).astype("float32"),
            IMAGES.astype("float32"),
        ),
        "differentiable": (True, False),
        "invalid": {"preprocessing": [layers.Resizing(32, 32), "letterbox"]},
        "invalid_inputs": {"logits": (IMAGES[..., :2], IMAGES)},
    },
    "Segmenter": {
        "factory": on_backbone(Segmenter),
        "init_kwargs": {
            "num_classes": CLASSES,
            "decoder": FeaturePyramidDecoder(CLASSES, [8, 16], filters=5, name="pyramid"),
            "ignore_class": [255, 254],
            "preprocessing": ResizeWithPad(32, 48),
        },
        "inputs": IMAGES.astype("float32"),
        "invalid": {
            "num_classes": [0, 1, "3"],
            "decoder": ["fcn8", TransposedConvDecoder(7, [8, 16]), layers.Dense(CLASSES)],
            "ignore_class": [0.5],
            "preprocessing": [layers.Resizing(32, 48)],
        },
        "invalid_inputs": {"x": {"images": IMAGES}},
    },
    "Localizer": {
        "factory": on_backbone(Localizer),
        "init_kwargs": {
            "num_classes": CLASSES,
            "bounding_box_format": "rel_center_xywh",
            "head": LocalizationHead(
                CLASSES + 1, bounding_box_format="rel_center_xywh", name="edges"
            ),
            "preprocessing": ResizeWithPad(32, 48),
        },
        "inputs": IMAGES.astype("float32"),
        "invalid": {
            "backbone": [layers.Dense(2)],
            "num_classes": [0, "3"],
            "bounding_box_format": ["corners"],
            "head": [LocalizationHead(CLASSES)],
            "preprocessing": [layers.Rescaling(2.0)],
        },
        "invalid_inputs": {"x": {"images": IMAGES, "labels": LABELS}},
    },
    "RestoreDetections": {
        "factory": RestoreDetections,
        "init_kwargs": {"bounding_box_format": "xywh"},
        "inputs": (
            {"boxes": BOXES, "labels": LABELS},
            resize_with_pad(np.float32([[40, 70]] * BATCH), (32, 48)),
        ),
        # Nobody trains a record.
        "differentiable": (True, False),
        "invalid": {"bounding_box_format": ["corners", None]},
        "invalid_inputs": {
            "boxes": (
                {"boxes": BOXES[..., :3], "labels": LABELS},
                resize_with_pad(np.float32([[40, 70]] * BATCH), (32, 48)),
            ),
        },
    },
    "NonMaxSuppression": {
        "factory": NonMaxSuppression,
        "init_kwargs": {
            "iou_threshold": 0.25,
            "confidence_threshold": 0.125,
            "max_detections": 7,
            "max_candidates": 11,
            "bounding_box_format": "xywh",
        },
        "inputs": (ops.convert_to_numpy(convert(BOXES, "xyxy", "xywh")), SCORES),
        # Which boxes are kept hangs on the scores, and nobody trains through that.
        "differentiable": (True, False),
        "invalid": {
            "iou_threshold": [-0.5, 1.5, float("nan")],
            "confidence_threshold": [-0.5],
            "max_detections": [0, 2.0],
            "max_candidates": [0, True],
            "bounding_box_format": ["corners"],
        },
        "invalid_inputs": {
            "boxes": (BOXES[..., :3], SCORES),
            "scores": (BOXES, SCORES[:, :3]),
        },
    },
    "PredictionDecoder": {
        "factory": PredictionDecoder,
        "init_kwargs": {
            "iou_threshold": 0.25,
            "confidence_threshold": 0.125,
            "from_logits": True,
            "label_key": "labels",
            "max_detections": 7,
        },
        "inputs": (BOXES, SCORES - 0.5),
        "differentiable": (True, False),
        "invalid": {"iou_threshold": [-0.5], "label_key": ["label"], "max_detections": [0]},
        "invalid_inputs": {"scores": (BOXES, SCORES[:, :3])},
    },
    "ResizeWithPad": {
        "factory": ResizeWithPad,
        "init_kwargs": {
            "height": 19,
            "width": 26,
            "interpolation": "bicubic",
            "antialias": True,
            "pad_position": "bottom_left",
            "allow_upscale": False,
            "fill_value": 114.0,
            "mask_fill_value": 7,
            "bounding_box_format": "center_xywh",
            "data_format": "channels_last",
        },
        "inputs": SAMPLE,
        "invalid": {
            "height": [0, 2.0, True],
            "width": [-1],
            "interpolation": ["area"],
            "pad_position": ["left"],
            "bounding_box_format": ["corners"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": BAD_SAMPLES,
    },
    "ResizeWithCropOrPad": {
        "factory": ResizeWithCropOrPad,
        "init_kwargs": {
            "height": 19,
            "width": 54,
            "min_visible": 0.25,
            "fill_value": 114.0,
            "mask_fill_value": 7,
            "bounding_box_format": "center_xywh",
            "data_format": "channels_last",
        },
        "inputs": SAMPLE,
        "invalid": {
            "height": [0, 2.0, True],
            "width": [-1],
            "min_visible": [-0.5, 1.5, float("nan")],
            "bounding_box_format": ["corners"],
            "data_format": ["channels_middle"],
        },
        "invalid_inputs": BAD_SAMPLES,
    },
    "GridDetectionLoss": {
        "factory": GridDetectionLoss,
        "init_kwargs": {
            "coding": ANCHOR_FREE,
            "bounding_box_format": "xywh",
            "reduction": "sum",
            "name": "detection",
        },
        "inputs": (
            {**TRUTH, "boxes": ops.convert_to_numpy(convert(BOXES, "xyxy", "xywh"))},
            predictions_of(ANCHOR_FREE),
        ),
        "invalid": {
            "coding": ["no such coding"],
            "bounding_box_format": ["corners"],
            "reduction": ["most"],
        },
        "invalid_inputs": {
            "y_true": (BOXES, predictions_of(ANCHOR_FREE)),
            "predictions": (TRUTH, PLACES),
        },
    },
    "BoundaryLoss": {
        "factory": BoundaryLoss,
        "init_kwargs": {
            "from_logits": True,
            "axis": 1,
            "reduction": "sum",
            "name": "of_masks",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {"axis": [None], "reduction": ["most"]},
        "invalid_inputs": {
            "y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1)),
            "y_pred": (MASKS[:, 0], MASK_SCORES[:, 0]),
        },
    },
    "FocalTversky": {
        "factory": FocalTversky,
        "init_kwargs": {
            "from_logits": True,
            "alpha": 0.75,
            "beta": 0.5,
            "gamma": 2.0,
            "axis": 1,
            "reduction": "sum",
            "name": "of_masks",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {"alpha": [-1.0], "beta": ["1"], "gamma": [0.5, float("nan")]},
        "invalid_inputs": {"y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1))},
    },
    "GeneralizedDice": {
        "factory": GeneralizedDice,
        "init_kwargs": {
            "from_logits": True,
            "axis": 1,
            "reduction": "sum",
            "name": "of_masks",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {"axis": [1.0], "reduction": ["most"]},
        "invalid_inputs": {"y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1))},
    },
    "LovaszHinge": {
        "factory": LovaszHinge,
        "init_kwargs": {
            "per_image": False,
            "axis": 1,
            "reduction": "sum",
            "name": "of_masks",
        },
        "inputs": (MASKS > 0, MASK_SCORES[:, None, ..., 0]),
        "invalid": {"axis": [None]},
        "invalid_inputs": {
            "y_true": (MASKS[:, 1:], MASK_SCORES[:, None, ..., 0]),
            "y_pred": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        },
    },
    "LovaszSoftmax": {
        "factory": LovaszSoftmax,
        "init_kwargs": {
            "from_logits": True,
            "per_image": True,
            "exact": False,
            "classes": [0, 2],
            "axis": 1,
            "reduction": "sum",
            "name": "of_masks",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {"classes": ["most", [], [-1], 2]},
        "invalid_inputs": {"y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1))},
    },
    "IgnoreClass": {
        "factory": IgnoreClass,
        "init_kwargs": {
            "loss": FocalTversky(True, alpha=0.75, gamma=2.0, axis=1, reduction="sum"),
            "ignore_class": [1, 254],
            "axis": 1,
            "name": "kept",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {"loss": ["no such loss", 3], "ignore_class": [1.5], "axis": ["last"]},
        "invalid_inputs": {"y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1))},
    },
    "LossSum": {
        "factory": LossSum,
        "init_kwargs": {
            "losses": [
                FocalTversky(True, alpha=0.75, axis=1, reduction="none"),
                GeneralizedDice(True, axis=1, reduction="none"),
            ],
            "weights": [0.75, 2.0],
            "name": "both",
        },
        "inputs": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {
            "losses": [[], "FocalTversky", [3], ["no such loss"]],
            "weights": [[1.0], [1.0, "2"], [1.0, float("nan")], 2.0],
        },
        "invalid_inputs": {"y_true": (MASKS[:, 1:], np.moveaxis(MASK_SCORES, -1, 1))},
    },
    "SegmentationIoU": {
        "factory": SegmentationIoU,
        "init_kwargs": {
            "num_classes": CLASSES,
            "ignore_class": [255, 7],
            "out_of_range": "ignore",
            "sparse_y_true": False,
            "sparse_y_pred": False,
            "axis": 1,
            "name": "overlap",
        },
        "inputs": (np.moveaxis(np.eye(CLASSES)[MASKS], -1, 1), np.moveaxis(MASK_SCORES, -1, 1)),
        "invalid": {
            "num_classes": [0, 2.0],
            "ignore_class": ["255", 2.0],
            "out_of_range": ["warn"],
        },
        "invalid_inputs": {
            "y_true": (MASKS, np.moveaxis(MASK_SCORES, -1, 1)),
            "y_pred": (np.moveaxis(np.eye(CLASSES)[MASKS], -1, 1), MASKS),
        },
    },
    "BoundaryIoU": {
        "factory": BoundaryIoU,
        "init_kwargs": {
            "num_classes": CLASSES,
            "ignore_class": [2, 254],
            "dilation_ratio": 0.125,
            "out_of_range": "ignore",
            "sparse_y_pred": False,
            "name": "edges",
        },
        "inputs": (MASKS[..., None], MASK_SCORES),
        "invalid": {
            "num_classes": [0, True],
            "ignore_class": [[None]],
            "dilation_ratio": [0.0, 1.0, "2"],
            "out_of_range": [None],
        },
        "invalid_inputs": {"y_pred": (MASKS, MASK_SCORES[..., :2])},
    },
    "DetectionConfusionMatrix": {
        "factory": DetectionConfusionMatrix,
        "init_kwargs": {
            "num_classes": CLASSES,
            "confidence_threshold": 0.25,
            "iou_threshold": 0.625,
            "bounding_box_format": "center_xywh",
            "name": "confusion",
        },
        "inputs": (
            {**TRUTH, "boxes": ops.convert_to_numpy(convert(BOXES, "xyxy", "center_xywh"))},
            {
                **FOUND,
                "boxes": ops.convert_to_numpy(convert(FOUND["boxes"], "xyxy", "center_xywh")),
            },
        ),
        "invalid": {
            "num_classes": [0, 2.0],
            "confidence_threshold": [-0.5, 1.0],
            "iou_threshold": [0.0, 1.5],
            "bounding_box_format": ["corners"],
        },
        "invalid_inputs": {
            "y_true": (BOXES, FOUND),
            "y_pred": (TRUTH, BOXES),
            "sample_weight": (TRUTH, FOUND, np.ones(BATCH)),
        },
    },
    "MeanAveragePrecision": {
        "factory": MeanAveragePrecision,
        "init_kwargs": {
            "num_classes": CLASSES,
            "bounding_box_format": "center_xywh",
            "max_detections": 7,
            "area_ranges": True,
            "bins": 11,
            "name": "ap",
        },
        "inputs": (
            {**TRUTH, "boxes": ops.convert_to_numpy(convert(BOXES, "xyxy", "center_xywh"))},
            {
                **FOUND,
                "boxes": ops.convert_to_numpy(convert(FOUND["boxes"], "xyxy", "center_xywh")),
            },
        ),
        "invalid": {
            "num_classes": [0, 2.0],
            "bounding_box_format": ["corners"],
            "max_detections": [0, True],
            "area_ranges": ["small"],
            "bins": [1],
        },
        "invalid_inputs": {
            "y_true": (BOXES, FOUND),
            "y_pred": (TRUTH, BOXES),
            "sample_weight": (TRUTH, FOUND, np.ones(BATCH)),
        },
    },
}


def own():
    """By name; but for functions and initializers, which have tests of their own."""
    return {
        name: plugin
        for plugin in plugins.registered()
        for package, name in [plugin.name.split(">")]
        if package == registry.OWN
        and isinstance(plugin.object, type)
        and plugin.kind != "initializer"
    }


def test_every_plugin_has_its_case():
    assert sorted(CASES) == sorted(own())


@pytest.mark.parametrize("name", CASES)
def test_the_case_leaves_no_argument_at_its_default(name):
    """A swapped alpha and beta is invisible at 0.5 / 0.5."""
    plugin, case = own()[name], CASES[name]
    made = case["factory"](**case["init_kwargs"])
    assert type(made) is plugin.object
    numbers = [x for x in case["init_kwargs"].values() if type(x) in (int, float)]
    assert len(numbers) == len(set(numbers))
    defaults = {
        argument: parameter
        for cls in reversed(plugin.object.__mro__)
        for argument, parameter in inspect.signature(cls.__init__).parameters.items()
    }
    for argument, value in case["init_kwargs"].items():
        if argument != "data_format":
            assert value != defaults[argument].default, argument


@pytest.mark.parametrize("name", CASES)
def test_keeps_the_contract(name):
    check(**CASES[name])
