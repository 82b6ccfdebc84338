"""The confusion matrix of semantic masks as the state of a metric."""

import keras
from keras import ops

from keras_cvx.ops.arguments import check_integers, ignored_ids, shapes_agree
from keras_cvx.ops.confusion import confusion_matrix

# A count is kept as two floats, `high * LIMB + low`. Both are whole numbers below 2**24, which
# float32 holds exactly, up to a total of 2**44. An int32 would turn negative at 2**31 pixels, a
# single float32 would stand still at 2**24; and of int32 variables TensorFlow's steps know nothing
# on a GPU.
LIMB = 2**20


def update(counts, confusion):
    """Adds the counts of a batch to those before.

    Args:
        counts: Float32 tensor `(2, K, K)`, high and low limbs of a confusion matrix.
        confusion: Tensor `(K, K)`, the confusion matrix of a batch; int32, or float32 of weights.

    Returns:
        Float32 tensor `(2, K, K)`; exact for whole numbers up to a total of 2**44.

    Example:
        >>> counts = update(ops.zeros((2, 1, 1)), ops.full((1, 1), LIMB + 3, dtype="int32"))
        >>> ops.convert_to_numpy(counts).tolist()
        [[[1.0]], [[3.0]]]
    """
    confusion = ops.convert_to_tensor(confusion)
    high = ops.floor_divide(confusion, LIMB)
    low = ops.cast(confusion - high * LIMB, "float32") + counts[1]
    carry = ops.floor(low / LIMB)
    return ops.stack([counts[0] + ops.cast(high, "float32") + carry, low - carry * LIMB])


def whole_counts(counts):
    """The counts on the host, in float64, which holds the whole numbers below 2**53.

    Args:
        counts: Float32 tensor `(2, K, K)`, as `update` returns it.

    Returns:
        Float64 array `(K, K)`.
    """
    high, low = ops.convert_to_numpy(counts).astype("float64")
    return high * LIMB + low


class ConfusionMetric(keras.metrics.Metric):
    """What metrics of semantic masks share: arguments, state and what reaches it.

    Arguments are those of `SegmentationIoU`. A subclass names `num_extra`, the classes that it
    needs beside those of the masks, and gives `result` and `per_class`.
    """

    num_extra = 0

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
        super().__init__(name=name, dtype=dtype)
        check_integers(1, num_classes=num_classes)
        if out_of_range not in ("raise", "ignore"):
            raise ValueError(
                f"`out_of_range` must be 'raise' or 'ignore'. Received: {out_of_range!r}"
            )
        self._ignored = ignored_ids(ignore_class)
        self._direction = "up"
        self.num_classes = int(num_classes)
        self.ignore_class = ignore_class
        self.out_of_range = out_of_range
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        # And the ids out of range.
        size = self.num_classes + self.num_extra + 1
        self.counts = self.add_variable((2, size, size), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, one_hot = self._ids(y_true, self.sparse_y_true, "y_true")
        y_pred, _ = self._ids(y_pred, self.sparse_y_pred, "y_pred")
        if not shapes_agree(y_true.shape, y_pred.shape):
            raise ValueError(
                "`y_true` and `y_pred` must be of the same pixels. Received: masks "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        if sample_weight is not None:
            sample_weight = self._weights(sample_weight, y_true)
        counted = ops.ones_like(y_true, dtype="bool")
        if one_hot is not None:
            counted = ops.any(one_hot != 0, axis=self.axis)
            y_true = ops.where(counted, y_true, ops.full_like(y_true, -1))
        for ignored in self._ignored:
            counted = ops.logical_and(counted, y_true != ignored)
        y_true, y_pred = self._classes(y_true), self._classes(y_pred)
        confusion = confusion_matrix(
            y_true,
            y_pred,
            self.num_classes + self.num_extra,
            counted=counted,
            weights=sample_weight,
        )
        self.counts.assign(update(ops.convert_to_tensor(self.counts), confusion))

    def merge_state(self, metrics):
        """Adds what other metrics of the same arguments have counted.

        Args:
            metrics: Metrics of this class; their own state stays as it is.

        Raises:
            ValueError: If one is of another class or of other arguments.
        """
        config = {**self.get_config(), "name": None}
        for metric in metrics:
            if type(metric) is not type(self) or {**metric.get_config(), "name": None} != config:
                raise ValueError(
                    f"`metrics` must be of the class {type(self).__name__} and the arguments "
                    f"{config}. Received: {metric!r}, {metric.get_config()}"
                )
            others = ops.convert_to_tensor(metric.counts)
            low = update(ops.convert_to_tensor(self.counts), others[1])
            self.counts.assign(ops.stack([low[0] + others[0], low[1]]))

    @property
    def confusion_matrix(self):
        """Float64 array `(C, C)` on the host, rows for truth: the counts, exact below 2**44."""
        self._check_range()
        return whole_counts(self.counts)[: self.num_classes, : self.num_classes]

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            ignore_class=self.ignore_class,
            out_of_range=self.out_of_range,
            sparse_y_true=self.sparse_y_true,
            sparse_y_pred=self.sparse_y_pred,
            axis=self.axis,
        )
        return config

    def _classes(self, ids):
        return ids

    def _confusion(self):
        """Float32 tensor of the counts, without the ids out of range."""
        self._check_range()
        counts = ops.convert_to_tensor(self.counts)
        return (counts[0] * LIMB + counts[1])[:-1, :-1]

    def _check_range(self):
        if self.out_of_range == "ignore":
            return
        try:
            counts = whole_counts(self.counts)
        except Exception:
            # While a step is traced there is nothing to see; Keras asks again after the epoch.
            return
        truth, predicted = counts[-1].sum(), counts[:-1, -1].sum()
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
            return ops.cast(masks, "int32"), None
        classes = masks.shape[self.axis] if len(masks.shape) > 1 else None
        if classes != self.num_classes:
            raise ValueError(
                f"`{name}` must have {self.num_classes} classes on axis {self.axis}. Received: "
                f"shape {tuple(masks.shape)}"
            )
        if keras.backend.standardize_dtype(masks.dtype) == "bool":
            masks = ops.cast(masks, "int32")
        return ops.cast(ops.argmax(masks, axis=self.axis), "int32"), masks

    def _weights(self, weights, like):
        weights = ops.cast(ops.convert_to_tensor(weights), "float32")
        if len(weights.shape) == len(like.shape) + 1 and weights.shape[-1] == 1:
            weights = ops.squeeze(weights, axis=-1)
        missing = len(like.shape) - len(weights.shape)
        sides = zip(weights.shape, like.shape, strict=False)
        if missing < 0 or any(one not in (1, None, n) and n is not None for one, n in sides):
            raise ValueError(
                "`sample_weight` must broadcast to the masks, from the first axis on. Received: "
                f"shape {tuple(weights.shape)} for masks {tuple(like.shape)}"
            )
        weights = ops.reshape(weights, (*ops.shape(weights), *(1,) * missing))
        return ops.broadcast_to(weights, ops.shape(like))
