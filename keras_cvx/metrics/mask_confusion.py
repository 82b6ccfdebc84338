"""The confusion matrix of semantic masks as the state of a metric."""

import keras
import numpy as np
from keras import ops

from keras_cvx.metrics.confusion_counts import ConfusionCounts
from keras_cvx.ops.arguments import check_axis, checked_axis, ignored_ids, shapes_agree
from keras_cvx.ops.confusion import confusion_matrix, highest_class
from keras_cvx.ops.masks import NO_CLASS, kept_pixels, weights_of_pixels


class MaskConfusion(ConfusionCounts):
    """What metrics of semantic masks share: arguments, state and what reaches it.

    Arguments are those of `SegmentationIoU`. The class after those of the masks is of predictions
    of no class, which miss the truth and are of none. A subclass gives `result` and `per_class`.
    """

    num_extra = 1

    def __init__(
        self,
        num_classes,
        ignore_class=255,
        *,
        out_of_range="raise",
        sparse_y_true=True,
        sparse_y_pred=True,
        axis=-1,
        name=None,
        dtype=None,
    ):
        super().__init__(num_classes, name=name, dtype=dtype)
        if out_of_range not in ("raise", "ignore"):
            raise ValueError(
                f"`out_of_range` must be 'raise' or 'ignore'. Received: {out_of_range!r}"
            )
        self._ignored = ignored_ids(ignore_class)
        self.ignore_class = ignore_class
        self.out_of_range = out_of_range
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = checked_axis(axis)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if _are_of_several_sizes(y_true) or _are_of_several_sizes(y_pred):
            self._update_one_by_one(y_true, y_pred, sample_weight)
            return
        y_true, one_hot = self._ids(y_true, self.sparse_y_true, "y_true")
        y_pred, _ = self._ids(y_pred, self.sparse_y_pred, "y_pred")
        if not shapes_agree(y_true.shape, y_pred.shape):
            raise ValueError(
                "`y_true` and `y_pred` must be of the same pixels. Received: masks "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}. Where one of them has an axis "
                "of classes, say so: `sparse_y_pred=False` for scores, logits or probabilities, "
                "`sparse_y_true=False` for a one-hot truth."
            )
        if sample_weight is not None:
            sample_weight = ops.broadcast_to(
                weights_of_pixels(sample_weight, y_true), ops.shape(y_true)
            )
        counted = kept_pixels(y_true, self._ignored)
        if one_hot is not None:
            # Of no class at all, and so of no ignored one either.
            some = ops.any(ops.cast(one_hot, "bool"), axis=self.axis)
            counted = ops.logical_and(counted, some)
            y_true = ops.where(some, y_true, ops.full_like(y_true, -1))
        missed = y_pred == NO_CLASS
        y_true, y_pred = self._classes(y_true), self._classes(y_pred)
        if self.sparse_y_pred and self.out_of_range == "raise":
            y_pred = ops.where(missed, ops.full_like(y_pred, self.num_classes), y_pred)
        confusion = confusion_matrix(
            y_true,
            y_pred,
            self.num_classes + self.num_extra,
            counted=counted,
            weights=sample_weight,
        )
        self._count(confusion)

    @property
    def confusion_matrix(self):
        """Float64 array `(C, C)` on the host, rows for truth: the counts, exact below 2**44."""
        return self._whole_confusion(self.num_classes)

    def get_config(self):
        config = super().get_config()
        config.update(
            ignore_class=self.ignore_class,
            out_of_range=self.out_of_range,
            sparse_y_true=self.sparse_y_true,
            sparse_y_pred=self.sparse_y_pred,
            axis=self.axis,
        )
        return config

    def _classes(self, ids):
        # Out of range stays out of range, though there is a class more.
        return ops.where(ids < self.num_classes, ids, ops.full_like(ids, -1))

    def _update_one_by_one(self, y_true, y_pred, sample_weight):
        if len(y_true) != len(y_pred):
            raise ValueError(
                "`y_true` and `y_pred` must be equally many masks. Received: "
                f"{len(y_true)} and {len(y_pred)}"
            )
        for i, masks in enumerate(zip(y_true, y_pred, strict=True)):
            truth, found = (ops.convert_to_tensor(mask)[None] for mask in masks)
            weight = sample_weight if np.ndim(sample_weight) == 0 else sample_weight[i][None]
            self.update_state(truth, found, weight)

    def _check_range(self):
        if self.out_of_range == "ignore":
            return
        truth, predicted = self._out_of_range()
        if truth or predicted:
            raise ValueError(
                f"`y_true` and `y_pred` must hold ids in [0, {self.num_classes}), or of "
                f"`ignore_class` {self.ignore_class!r}. Received: others for {truth:g} pixels in "
                f"`y_true`, and for {predicted:g} more in `y_pred`. Add them to `ignore_class`, or "
                "let them pass with out_of_range='ignore'."
            )

    def _ids(self, masks, sparse, name):
        """Int32 ids of the pixels, and what they were found in if it was not sparse."""
        masks = ops.convert_to_tensor(masks)
        if sparse:
            if len(masks.shape) > 1 and masks.shape[-1] == 1:
                masks = ops.squeeze(masks, axis=-1)
            if name == "y_pred" and "float" in keras.backend.standardize_dtype(masks.dtype):
                raise ValueError(
                    "`y_pred` must be of integers where it is ids, and may be scores with "
                    f"`sparse_y_pred=False`. Received: dtype {masks.dtype}, shape "
                    f"{tuple(masks.shape)}. Of one channel p, the probability of class 1, pass "
                    "`p > 0.5`, or let the model's last layer be a softmax of two classes."
                )
            return ops.cast(masks, "int32"), None
        check_axis(self.axis, masks, name)
        classes = masks.shape[self.axis] if len(masks.shape) > 1 else None
        if classes != self.num_classes:
            raise ValueError(
                f"`{name}` must have {self.num_classes} classes on axis {self.axis}. Received: "
                f"shape {tuple(masks.shape)}"
            )
        return highest_class(masks, self.axis), masks


def _are_of_several_sizes(masks):
    shapes = [getattr(mask, "shape", ()) for mask in masks] if isinstance(masks, list) else []
    return len(set(map(tuple, shapes))) > 1
