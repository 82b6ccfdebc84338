"""The clauses of the contract that metrics have for themselves."""

import keras

from keras_cvx.testing.clauses import HALF_PRECISION, again, pickled
from keras_cvx.testing.comparison import BreachError, all_finite, same_config, same_values
from keras_cvx.testing.subjects import dtype_policy


def compiled(subject):
    """Updated in a step that XLA compiles, the result is the eager one; not run on torch."""
    metric, tensors = subject.make(), subject.tensors()
    # The eager update also makes the variables of a metric that waits for shapes.
    expected = _updated(metric, tensors)
    metric.reset_state()
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.function(metric.update_state, jit_compile=True)(*tensors)
    elif backend == "jax":
        import jax

        state = [v.value for v in metric.variables]
        state = jax.jit(metric.stateless_update_state)(state, *tensors)
        for variable, value in zip(metric.variables, state, strict=True):
            variable.assign(value)
    else:
        return
    same_values(expected, metric.result(), subject.tolerance, "when the update is compiled")


def mixed_precision(subject):
    """Under the mixed policies, on predictions in half precision, the result is finite."""
    for policy, dtype in HALF_PRECISION.items():
        with dtype_policy(policy):
            result = _updated(subject.make(), subject.narrow_tensors(dtype))
        all_finite(result, f"on predictions in {dtype}")


def empty_batch(subject):
    """An empty batch changes nothing, and the result of nothing is finite."""
    metric, nothing = subject.make(), subject.tensors(slice(0))
    all_finite(_updated(metric, nothing), "after an empty batch")
    expected = _updated(subject.make(), subject.tensors())
    for occasion, tensors in (("before", subject.tensors()), ("after", nothing)):
        same_values(
            expected,
            _updated(metric, tensors),
            subject.tolerance,
            f"with an empty batch {occasion} the whole one",
        )


def batches(subject):
    """Two half batches give the result of the whole one."""
    first, second = _halves(subject)
    metric = subject.make()
    metric.update_state(*first)
    same_values(
        _updated(subject.make(), subject.tensors()),
        _updated(metric, second),
        subject.tolerance,
        "when the batch comes in two halves",
    )


def reset(subject):
    """`reset_state` leaves nothing of what came before."""
    first, second = _halves(subject)
    metric = subject.make()
    metric.update_state(*first)
    metric.reset_state()
    same_values(
        _updated(subject.make(), second),
        _updated(metric, second),
        subject.tolerance,
        "after `reset_state`",
    )


def saving(subject):
    """A metric that comes back from a file, where models keep it as JSON, gives the same result."""
    same_values(
        _updated(subject.make(), subject.tensors()),
        _updated(again(subject.make()), subject.tensors()),
        subject.tolerance,
        "after loading",
    )


def copying(subject):
    """Pickled, a metric begins anew, as those of Keras do, and gives the same result."""
    metric = subject.make()
    twin = pickled(metric)
    same_config(metric.get_config(), twin.get_config(), "pickling")
    same_values(
        _updated(metric, subject.tensors()),
        _updated(twin, subject.tensors()),
        subject.tolerance,
        "when pickled",
    )


def _updated(metric, tensors):
    metric.update_state(*tensors)
    return metric.result()


def _halves(subject):
    half = subject.batch // 2
    if not half:
        raise BreachError("the inputs must have at least two samples, which differ")
    return subject.tensors(slice(half)), subject.tensors(slice(half, None))
