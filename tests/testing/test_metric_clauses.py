"""Every clause passes on a sound metric and fails on one that breaks it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.testing import check

serializable = keras.saving.register_keras_serializable("contract")
X = np.random.default_rng(0).uniform(0.5, 1.5, (4, 3, 5)).astype("float32")
# No two samples have the same error.
Y = 1.5 * X[::-1] + 0.25


@serializable
class SoundMetric(keras.metrics.Metric):
    """Weighted mean error."""

    def __init__(self, weight=1.0, name="mean_error", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.weight = weight
        self.total = self.add_variable((), "zeros", dtype="float32", name="total")
        self.count = self.add_variable((), "zeros", dtype="float32", name="count")

    def update_state(self, y_true, y_pred):
        error = ops.cast(y_pred, "float32") - ops.cast(y_true, "float32")
        self.total.assign(self.total + self.weight * ops.sum(ops.abs(error)))
        self.count.assign(self.count + ops.cast(ops.size(error), "float32"))

    def result(self):
        return ops.divide_no_nan(self.total, self.count)

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@pytest.mark.parametrize(
    ("metric", "init_kwargs", "inputs"),
    [
        (SoundMetric, {"weight": 3.0}, (X, Y)),
        (keras.metrics.MeanSquaredError, {}, (X, Y)),
        (keras.metrics.CategoricalAccuracy, {}, (X, Y, X[:, :, 0])),
    ],
)
def test_sound_metrics_pass(metric, init_kwargs, inputs):
    check(metric, init_kwargs, inputs)


@serializable
class Divides(SoundMetric):
    def result(self):
        return self.total / self.count


@serializable
class Averages(SoundMetric):
    """The mean of the batches' means, whatever their sizes."""

    def update_state(self, y_true, y_pred):
        if y_pred.shape[0]:
            self.total.assign(self.total + ops.mean(ops.abs(y_pred - y_true)))
        self.count.assign(self.count + 1.0)


@serializable
class KeepsTheLast(SoundMetric):
    def update_state(self, y_true, y_pred):
        self.total.assign(ops.sum(ops.abs(y_pred - y_true)))
        self.count.assign(ops.cast(ops.size(y_pred), "float32"))


@serializable
class NeverForgets(SoundMetric):
    def reset_state(self):
        pass


@serializable
class SumsInHalf(SoundMetric):
    def update_state(self, y_true, y_pred):
        super().update_state(y_true, ops.cast(y_pred * 60000.0, "float32"))


@serializable
class ReadsOnTheHost(SoundMetric):
    def update_state(self, y_true, y_pred):
        self.weight = float(ops.convert_to_numpy(ops.max(y_pred)))
        super().update_state(y_true, y_pred)


@serializable
class AbsentMinded(SoundMetric):
    @classmethod
    def from_config(cls, config):
        metric = cls(**config)
        metric.result = lambda: metric.total
        return metric


@serializable
class PicklesItsWeight(SoundMetric):
    def __reduce__(self):
        return type(self), (self.weight + 0.5,)


@serializable
class EditsInUpdate(SoundMetric):
    def update_state(self, y_true, y_pred):
        self.weight = 7.0


@serializable
class ForgetfulMetric(SoundMetric):
    def get_config(self):
        return keras.metrics.Metric.get_config(self)


@pytest.mark.parametrize(
    ("metric", "clause", "message"),
    [
        (ForgetfulMetric, "config", r"lacks the constructor's arguments \['weight'\]"),
        (EditsInUpdate, "stable_config", "weight=7.0, was 3.0"),
        (Divides, "empty_batch", "output is not finite after an empty batch"),
        (Averages, "empty_batch", "output differs with an empty batch before the whole one"),
        (KeepsTheLast, "empty_batch", "output .* with an empty batch after the whole one"),
        (KeepsTheLast, "batches", "output differs when the batch comes in two halves"),
        (NeverForgets, "reset", "output differs after `reset_state`"),
        (SumsInHalf, "mixed_precision", "output is not finite on predictions in float16"),
        (ReadsOnTheHost, "compiled", "it raises"),
        (AbsentMinded, "saving", "output differs after loading"),
        (AbsentMinded, "copying", "output differs when pickled"),
        (PicklesItsWeight, "copying", "weight=3.5, was 3.0"),
    ],
)
def test_broken_metrics_fail(assert_breach, metric, clause, message):
    assert_breach((metric, {"weight": 3.0}, (X, Y)), clause, message)


def test_a_metric_that_accepts_anything(assert_breach):
    assert_breach(
        (SoundMetric, {}, (X, Y)), "errors", "a wrong `weight` must", invalid={"weight": [-1]}
    )
