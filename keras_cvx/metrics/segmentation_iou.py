"""Overlap of semantic masks, from one confusion matrix."""

import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.metrics.mask_confusion import MaskConfusion


def class_overlaps(confusion, num_classes):
    """Intersection over union, and Dice, of each class.

    Args:
        confusion: Tensor `(K, K)` of floats, rows for truth, columns for predictions.
        num_classes: Integer C, at most K: the first classes are scored, those that follow count
            only where one was taken for another.

    Returns:
        Float tensors `(C,)`: IoU and Dice in `[0, 1]`, 0 where a class is absent from both truth
        and predictions; and 1 or 0, whether it is present.

    Example:
        >>> iou, dice, present = class_overlaps(ops.convert_to_tensor([[3.0, 1.0], [0.0, 0.0]]), 2)
        >>> [ops.convert_to_numpy(x).tolist() for x in (iou, present)]
        [[0.75, 0.0], [1.0, 1.0]]
    """
    right = ops.diagonal(confusion)[:num_classes]
    pixels = (ops.sum(confusion, axis=1) + ops.sum(confusion, axis=0))[:num_classes]
    present = ops.cast(pixels > 0, confusion.dtype)
    return _share(right, pixels - right), _share(2 * right, pixels), present


def result(confusion, num_classes):
    """Scores of a confusion matrix.

    Args:
        confusion: As `class_overlaps` takes it, and `num_classes`.
        num_classes: Integer C.

    Returns:
        Dictionary of float32 scalars in `[0, 1]`: `"mean_iou"` and `"mean_dice"` over the classes
        that occur in truth or predictions, `"frequency_weighted_iou"`, weighted by the pixels of
        the truth, and `"pixel_accuracy"`. All are 0 if nothing was counted.

    Example:
        >>> scores = result(ops.convert_to_tensor([[3.0, 1.0], [0.0, 0.0]]), 2)
        >>> float(scores["mean_iou"]), float(scores["pixel_accuracy"])
        (0.375, 0.75)

    Reference:
        Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation, section 5.
    """
    iou, dice, present = class_overlaps(confusion, num_classes)
    classes, truth = ops.sum(present), ops.sum(confusion, axis=1)[:num_classes]
    total = ops.sum(truth)
    return {
        "mean_iou": _share(ops.sum(iou), classes),
        "frequency_weighted_iou": ops.sum(_share(truth, total) * iou),
        "mean_dice": _share(ops.sum(dice), classes),
        "pixel_accuracy": _share(ops.sum(ops.diagonal(confusion)), total),
    }


def per_class(confusion, num_classes):
    """As `class_overlaps`, on the host.

    Args:
        confusion: Tensor `(K, K)` of floats.
        num_classes: Integer C, at most K.

    Returns:
        Dictionary of arrays `(C,)`, `"iou"` and `"dice"`; NaN for a class that is absent.
    """
    iou, dice, present = map(ops.convert_to_numpy, class_overlaps(confusion, num_classes))
    return {
        "iou": np.where(present > 0, iou, np.nan),
        "dice": np.where(present > 0, dice, np.nan),
    }


def _share(part, whole):
    positive = whole > 0
    return ops.where(positive, part / ops.where(positive, whole, 1.0), 0.0)


@plugins.register("SegmentationIoU", kind="metric")
class SegmentationIoU(MaskConfusion):
    """Mean IoU, frequency-weighted IoU, Dice and pixel accuracy of semantic masks, in one pass.

    The state is one confusion matrix, updated inside the compiled step and exact up to 2**44
    pixels; sums of states are states, so replicas and shards merge.

    Args:
        num_classes: Positive integer C.
        ignore_class: Integer, sequence of integers, or None. Pixels whose truth has such an id
            count nowhere.
        out_of_range: What becomes of ids that are neither classes nor ignored. `"raise"`: `result`
            raises, on the host; a traced one leaves it to the next. `"ignore"`: the pixel counts
            nowhere, as in `keras.metrics.MeanIoU`. Where NaN is among scores there is no class.
            Of predicted ids, −1 is none: with `"raise"` such a pixel is missed of its class and
            predicted of no other, and in no column of `confusion_matrix`.
        sparse_y_true: Whether `y_true` is of ids. Else its axis `axis` is of classes and the
            highest counts; a pixel whose classes are all 0 has none and counts nowhere.
        sparse_y_pred: Whether `y_pred` is of ids. Else it is of scores, probabilities or logits,
            and the highest counts.
        axis: The axis of classes where there is one.
        name: As for every Keras metric.
        **kwargs: Those of the above that the signature does not show, and `dtype`, as for every
            Keras metric; the counts are always exact.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`. Or, not in a compiled
            step, a list of these without the first axis, of any sizes.
        y_pred: Likewise.
        sample_weight: None, a number, or one for each image or pixel: `(B,)`, `(B, H, W)` or
            `(B, H, W, 1)`. Sums of fractions are rounded as float32 is.

    Returns:
        From `result`: float32 scalars in `[0, 1]`, as the function `result` names them; 0 before
        any update. Classes absent from truth and predictions leave the means.

    Raises:
        ValueError: If an argument is out of its range, the shapes do not go together, or there
            were ids out of range.

    Example:
        >>> metric = SegmentationIoU(num_classes=3)
        >>> metric.update_state([[[0, 0, 0, 1, 255]]], [[[0, 0, 0, 0, 2]]])
        >>> float(metric.result()["mean_iou"]), metric.per_class()["iou"].tolist()
        (0.375, [0.75, 0.0, nan])
    """

    def __init__(self, num_classes, ignore_class=255, *, name="segmentation_iou", **kwargs):
        super().__init__(num_classes, ignore_class, name=name, **kwargs)

    def result(self):
        return result(self._confusion(), self.num_classes)

    def per_class(self):
        """The scores of each class, on the host.

        Returns:
            Dictionary of float32 arrays `(C,)`: `"iou"` and `"dice"`, NaN for a class that is
            absent from truth and predictions.
        """
        return per_class(self._confusion(), self.num_classes)
