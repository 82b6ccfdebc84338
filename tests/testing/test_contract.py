"""Every clause passes on sound objects and fails on one that breaks it; metrics stand apart."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.codings import YOLOv1Coding
from keras_cvx.ops import cell_centers
from keras_cvx.testing import CLAUSES, check

serializable = keras.saving.register_keras_serializable("contract")
# Four samples, and no other axis of four.
RNG = np.random.default_rng(1)
X = np.random.default_rng(0).uniform(0.5, 1.5, (4, 3, 5)).astype("float32")
Y = 1.5 * X[::-1] + 0.25


@serializable
class Sound(keras.layers.Layer):
    """`x * scale * factor + offset`."""

    def __init__(self, factor=1.0, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        if not factor > 0:
            raise ValueError(f"`factor` must be positive. Received: factor={factor}")
        self.factor = factor
        self.offset = offset

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
        self.built = True

    def call(self, x):
        if x.shape[-1] != 5:
            raise ValueError(f"`x` must have 5 channels. Received: shape {x.shape}")
        return x * self.scale * self.factor + self.offset

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "offset": self.offset}


@serializable
class SoundLoss(keras.losses.Loss):
    def __init__(self, weight=1.0, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.weight = weight

    def call(self, y_true, y_pred):
        return self.weight * ops.mean(ops.square(y_true - y_pred), axis=(1, 2))

    def get_config(self):
        return {**super().get_config(), "weight": self.weight, "dtype": self.dtype}


def network():
    inputs = keras.Input((3, 5))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(6)(inputs))
    return keras.Model(inputs, [hidden, keras.layers.Dense(2, activation="softmax")(hidden)])


@pytest.mark.parametrize(
    ("factory", "init_kwargs", "inputs", "skip"),
    [
        (Sound, {"factor": 2.0, "offset": 3.0}, X, ()),
        (keras.layers.BatchNormalization, {"momentum": 0.25}, X, ()),
        (keras.layers.Identity, {}, ({"a": X, "b": [Y]},), ()),
        (network, {}, X, ()),
        (SoundLoss, {"weight": 3.0, "reduction": "sum"}, (X, Y), ()),
        (
            keras.losses.MeanSquaredError,
            {"reduction": "sum"},
            (X, Y),
            {"config": "Keras' own losses lose the dtype"},
        ),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_sound_objects_pass(factory, init_kwargs, inputs, skip):
    check(factory, init_kwargs, inputs, skip=skip)


def test_wrong_arguments_and_inputs_of_a_sound_layer():
    check(
        Sound,
        {"factor": 2.0},
        X,
        invalid={"factor": [0, -1.0]},
        invalid_inputs={"x": X[..., :3]},
        skip=set(CLAUSES) - {"errors"},
    )


@serializable
class Forgets(Sound):
    def get_config(self):
        return {k: v for k, v in super().get_config().items() if k != "offset"}


@serializable
class Swaps(Sound):
    def get_config(self):
        return {**super().get_config(), "factor": self.offset, "offset": self.factor}


@serializable
class Hardcodes(Sound):
    def get_config(self):
        return {**super().get_config(), "offset": 0.5}


@serializable
class ClipsOffset(Sound):
    """The offset that the test gives is kept, and none below 0.5."""

    def get_config(self):
        return {**super().get_config(), "offset": max(self.offset, 0.5)}


@serializable
class SortsWhenRead(Sound):
    """The arguments of the test are in order."""

    @classmethod
    def from_config(cls, config):
        factor, offset = sorted([config.pop("factor"), config.pop("offset")])
        return cls(factor, offset, **config)


@serializable
class Drifts(Sound):
    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "name": config["name"] + "_again"})


@serializable
class LosesDtype(Sound):
    def __init__(self, *args, dtype=None, **kwargs):
        super().__init__(*args, **kwargs)


@serializable
class LosesDtypeInTheFile(Sound):
    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "dtype": "float32"})


@serializable
class HoldsAnObject(Sound):
    def get_config(self):
        return {**super().get_config(), "object": object()}


@serializable
class Edits(Sound):
    def call(self, x):
        self.offset = float(x.shape[2])
        return super().call(x)


@serializable
class Accepts(Sound):
    def __init__(self, factor=1.0, offset=0.0, **kwargs):
        super().__init__(abs(factor) or 1.0, offset, **kwargs)


@serializable
class NamesNothing(Sound):
    def __init__(self, factor=1.0, offset=0.0, **kwargs):
        if not factor > 0:
            raise ValueError("Something is wrong with the factors.")
        super().__init__(factor, offset, **kwargs)


@serializable
class RaisesOtherwise(Sound):
    def __init__(self, factor=1.0, offset=0.0, **kwargs):
        super().__init__(factor, offset + 0 // factor, **kwargs)


@serializable
class AcceptsInputs(Sound):
    def call(self, x):
        return x * 2.0


@serializable
class MisstatesShape(Sound):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 7)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, self.compute_dtype)


@serializable
class MisstatesDtype(Sound):
    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, "int32")


@serializable
class MisstatesStructure(Sound):
    def compute_output_spec(self, x):
        return [keras.KerasTensor(x.shape, self.compute_dtype)]


@serializable
class FixesBatch(Sound):
    def call(self, x):
        return ops.reshape(super().call(x), (4, 15))


@serializable
class MeansNothing(Sound):
    def call(self, x):
        return {"x": super().call(x), "level": ops.mean(x)}


@serializable
class AddsASample(Sound):
    def call(self, x):
        return ops.pad(x, ((0, 1), (0, 0), (0, 0))) if x.shape[0] == 0 else super().call(x)


@serializable
class Overflows(Sound):
    def call(self, x):
        return x * 60000.0 + 60000.0


@serializable
class ChangesShape(Sound):
    def call(self, x):
        return super().call(x)[..., None] if self.compute_dtype != "float32" else super().call(x)


@serializable
class Counts(Sound):
    calls = 0

    def call(self, x):
        self.calls += 1
        return super().call(x) + self.calls


@serializable
class ReadsValues(Sound):
    def call(self, x):
        return super().call(x) + float(ops.convert_to_numpy(x)[0, 0, 0])


@serializable
class SavesNothing(Sound):
    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


@serializable
class PicklesItsClass(Sound):
    def __reduce__(self):
        return type(self), (2.5, 3.0)


@serializable
class HoldsALock(Sound):
    def __reduce__(self):
        return type(self), (threading.Lock(),)


@serializable
class DrawsAnew(Sound):
    """What it adds is no part of its configuration."""

    def __init__(self, factor=1.0, offset=0.0, **kwargs):
        super().__init__(factor, offset, **kwargs)
        self.shift = float(RNG.uniform())

    def call(self, x):
        return super().call(x) + self.shift


@serializable
class Explodes(Sound):
    def call(self, x):
        return super().call(x) + ops.sqrt(x * 0.0)


@serializable
class StopsAtInput(Sound):
    def call(self, x):
        return super().call(ops.stop_gradient(x))


@serializable
class StopsAtWeights(Sound):
    def call(self, x):
        return x * ops.stop_gradient(ops.convert_to_tensor(self.scale))


@serializable
class Rounds(Sound):
    def call(self, x):
        return ops.cast(x, "int32")


BROKEN_LAYERS = [
    (Forgets, "config", r"lacks the constructor's arguments \['offset'\]"),
    (Swaps, "config", "has factor=3.0 for the 2.0 given"),
    (Hardcodes, "config", "has offset=0.5 for the 3.0 given"),
    (Drifts, "config", r"differs after the round trip through JSON: name='drifts\w*_again'"),
    (LosesDtype, "config", "the constructor loses dtype='mixed_bfloat16'; it becomes 'float32'"),
    (LosesDtypeInTheFile, "config", "the round trip through JSON loses dtype='mixed_bfloat16'"),
    (HoldsAnObject, "config", "it raises TypeError"),
    (ClipsOffset, "arguments", "`get_config` has offset=0.5 for "),
    (SortsWhenRead, "arguments", "differs after the round trip of .*factor="),
    (Edits, "stable_config", "differs after build and call: offset=5.0, was 3.0"),
    (Accepts, "errors", "a wrong `factor` must get a ValueError. Given 0; it passes"),
    (NamesNothing, "errors", "must name it. Given 0; it says: Something is wrong"),
    (RaisesOtherwise, "errors", "a wrong `factor` must .* it raises ZeroDivisionError"),
    (MisstatesShape, "symbolic_shape", r"`compute_output_shape` gives \[\(4, 3, 7\)\]"),
    (MisstatesDtype, "symbolic_shape", "'int32'.* must be .*'float32'"),
    (MisstatesStructure, "symbolic_shape", r"'output\[0\]'.* must be \{'output'"),
    (FixesBatch, "symbolic_shape", ""),
    (FixesBatch, "empty_batch", "it raises"),
    (MeansNothing, "empty_batch", r"output\['level'\] is not finite on an empty batch"),
    (AddsASample, "empty_batch", r"\(1, 3, 5\).* must be .*\(0, 3, 5\)"),
    (Overflows, "mixed_precision", "output is not finite under the policy 'mixed_float16'"),
    (ChangesShape, "mixed_precision", r"\(4, 3, 5, 1\).* must be .*\(4, 3, 5\)"),
    (Counts, "compiled", r"output differs when compiled by up to \d, must be within 0.0001"),
    (ReadsValues, "compiled", "it raises"),
    (SavesNothing, "saving", "output differs after loading by up to"),
    (PicklesItsClass, "copying", "differs after pickling: factor=2.5, was 2.0"),
    (HoldsALock, "copying", "it raises TypeError.*cannot pickle"),
    (DrawsAnew, "copying", "output differs when pickled by up to"),
    (Explodes, "fit", "are not finite"),
    (StopsAtInput, "fit", "no gradient reaches input 0.*say so: `differentiable`"),
    (StopsAtWeights, "fit", "no gradient reaches the weights"),
    (Rounds, "fit", "there is nothing to train"),
]


@pytest.mark.parametrize(("layer", "clause", "message"), BROKEN_LAYERS)
def test_broken_layers_fail(assert_breach, layer, clause, message):
    invalid = {"factor": [0]} if clause == "errors" else {}
    assert_breach((layer, {"factor": 2.0, "offset": 3.0}, X), clause, message, invalid=invalid)


def test_inputs_that_are_accepted(assert_breach):
    assert_breach(
        (AcceptsInputs, {}, X),
        "errors",
        r"a wrong `x` must get a ValueError. Given .*\(4, 3, 3\).*; it passes",
        invalid_inputs={"x": X[..., :3]},
    )


@serializable
class OverflowingLoss(SoundLoss):
    def call(self, y_true, y_pred):
        narrow = ops.cast(y_pred, keras.config.dtype_policy().compute_dtype)
        return super().call(y_true, ops.cast(narrow * 60000.0, y_true.dtype))


@serializable
class UnstableLoss(SoundLoss):
    def call(self, y_true, y_pred):
        return ops.sqrt(super().call(y_true, y_pred * 0.0 + y_true))


@serializable
class ForgetfulLoss(SoundLoss):
    def get_config(self):
        return {k: v for k, v in super().get_config().items() if k != "dtype"}


@serializable
class AbsentMindedLoss(SoundLoss):
    @classmethod
    def from_config(cls, config):
        loss = cls(**config)
        loss.call = lambda y_true, y_pred: ops.mean(y_pred, axis=(1, 2))
        return loss


@pytest.mark.parametrize(
    ("loss", "clause", "message"),
    [
        (OverflowingLoss, "mixed_precision", "output is not finite"),
        (UnstableLoss, "fit", "are not finite"),
        (ForgetfulLoss, "config", "the round trip through JSON loses dtype='bfloat16'"),
        (AbsentMindedLoss, "saving", "output differs after loading"),
    ],
)
def test_broken_losses_fail(assert_breach, loss, clause, message):
    assert_breach((loss, {"weight": 3.0}, (X, Y)), clause, message)


class MeanOfTheBatch(YOLOv1Coding):
    """Its loss is NaN if no image has an object."""

    def loss(self, outputs, centers, strides, boxes, labels):
        loss = super().loss(outputs, centers, strides, boxes, labels)
        return loss / ops.mean(ops.cast(labels >= 0, "float32"))


def test_broken_codings_fail(assert_breach):
    cells = np.repeat(ops.convert_to_numpy(cell_centers(2, 3, 8))[None], 5, axis=0)
    outputs = np.random.default_rng(0).uniform(size=(5, 6, 12)).astype("float32")
    truth = np.zeros((5, 1, 4), "float32"), np.full((5, 1), -1)
    inputs = (outputs, cells[..., :2], cells[..., 2:], *truth)
    assert_breach((MeanOfTheBatch, {}, inputs), "fit", "are not finite")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Sound, {}, X), {"skip": ["fir"]}, ValueError, r"`skip` must name clauses.*\['fir'\]"),
        ((Sound, {}), {}, ValueError, "`inputs` must be a tuple of at least one"),
        ((Sound, {}, 3.0), {}, ValueError, "`inputs` must be arrays with a batch axis"),
        ((Sound, {}, [1.0, 2.0]), {}, ValueError, "write `np.asarray` around a list"),
        ((SoundLoss, {}, X), {}, ValueError, "`inputs` must be a tuple of 2"),
        ((keras.metrics.MeanSquaredError, {}, X), {}, ValueError, "`inputs` must be a tuple of 2"),
        ((Sound, {}, X), {"differentiable": (True, False)}, ValueError, "`differentiable` must"),
        ((dict, {}, X), {}, TypeError, "`factory` must return a layer, .* Received: {}"),
    ],
)
def test_misuse(arguments, options, error, message):
    with pytest.raises(error, match=message):
        check(*arguments, **options)


def test_every_clause_is_broken_by_some_test():
    assert sorted(CLAUSES) == list(CLAUSES)
    broken = {clause for _, clause, _ in BROKEN_LAYERS}
    assert broken | {"batches", "reset"} == set(CLAUSES)
