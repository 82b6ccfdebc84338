import keras
import numpy as np
import pytest

from keras_cvx.metrics.mergeable import MergeableMetric


class Total(MergeableMetric):
    """The sum of what it sees, and the number."""

    def __init__(self, scale=1.0, name="total"):
        super().__init__(name=name)
        self.scale = scale
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred=None, sample_weight=None):
        self.total.assign(self.total + self.scale * keras.ops.sum(y_true))
        self.count.assign(self.count + y_true.shape[0])

    def result(self):
        return self.total / self.count

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class Other(Total):
    """As it, and another class."""


def test_every_variable_is_added_whatever_the_name():
    parts = [Total(2.0, name=f"shard_{i}") for i in range(3)]
    for i, part in enumerate(parts):
        part.update_state(np.arange(i + 1, dtype="float32"))
    whole = Total(2.0)
    whole.merge_state([])
    whole.merge_state(iter(parts))
    assert (float(whole.total), float(whole.count)) == (8.0, 6.0)
    assert [float(part.count) for part in parts] == [1.0, 2.0, 3.0]
    whole.merge_state(parts[2])  # one is as good as a list of it
    assert (float(whole.total), float(whole.count)) == (14.0, 9.0)


@pytest.mark.parametrize("other", [Total(3.0), Other(2.0)])
def test_others_are_refused(other):
    whole, part = Total(2.0), Total(2.0)
    part.update_state(np.ones(2, "float32"))
    with pytest.raises(ValueError, match="`metrics` must be of the class Total"):
        whole.merge_state([part, other])
    assert float(whole.count) == 0
