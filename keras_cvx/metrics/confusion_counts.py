"""A confusion matrix as the state of a metric, counted exactly."""

from keras import ops

from keras_cvx.metrics.mergeable import MergeableMetric
from keras_cvx.ops.arguments import check_integers

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


class ConfusionCounts(MergeableMetric):
    """What metrics of a confusion matrix share: the state, and how it is merged and read.

    The last row and column are of ids out of range, as `ops.confusion_matrix` has them. A subclass
    names `num_extra`, the classes that it needs beside its own, calls `_count`, and gives `result`
    and `_check_range`.
    """

    num_extra = 0

    def __init__(self, num_classes, *, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        check_integers(1, num_classes=num_classes)
        self._direction = "up"
        self.num_classes = int(num_classes)
        size = self.num_classes + self.num_extra + 1
        self.counts = self.add_variable((2, size, size), "zeros", dtype="float32", name="counts")

    def _add(self, metric):
        others = ops.convert_to_tensor(metric.counts)
        low = update(ops.convert_to_tensor(self.counts), others[1])
        self.counts.assign(ops.stack([low[0] + others[0], low[1]]))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}

    def _count(self, confusion):
        self.counts.assign(update(ops.convert_to_tensor(self.counts), confusion))

    def _confusion(self):
        """Float32 tensor of the counts, without the ids out of range."""
        self._check_range()
        counts = ops.convert_to_tensor(self.counts)
        return (counts[0] * LIMB + counts[1])[:-1, :-1]

    def _whole_confusion(self, size):
        """Float64 array of the first classes, on the host."""
        self._check_range()
        return whole_counts(self.counts)[:size, :size]

    def _out_of_range(self):
        """How many ids of the truth were out of range, and how many more of the predictions."""
        try:
            counts = whole_counts(self.counts)
        except (AttributeError, NotImplementedError, TypeError):
            # What TensorFlow and JAX raise while a step is traced: there is nothing to see yet, and
            # Keras asks again after the epoch.
            return 0.0, 0.0
        return float(counts[-1].sum()), float(counts[:-1, -1].sum())
