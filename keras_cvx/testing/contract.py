"""The contract of the package's objects, and the function that checks one of them."""

import keras

from keras_cvx.testing import clauses, metric_clauses
from keras_cvx.testing.comparison import BreachError
from keras_cvx.testing.subjects import CodingLayer, LossLayer, Subject, as_inputs
from keras_cvx.testing.training import fit

_CALLABLE = {
    "config": clauses.config,
    "arguments": clauses.arguments,
    "stable_config": clauses.stable_config,
    "errors": clauses.errors,
    "symbolic_shape": clauses.symbolic_shape,
    "empty_batch": clauses.empty_batch,
    "mixed_precision": clauses.mixed_precision,
    "compiled": clauses.compiled,
    "saving": clauses.saving,
    "copying": clauses.copying,
    "fit": fit,
}
_METRIC = {
    "config": clauses.config,
    "arguments": clauses.arguments,
    "stable_config": clauses.stable_config,
    "errors": clauses.errors,
    "empty_batch": metric_clauses.empty_batch,
    "batches": metric_clauses.batches,
    "reset": metric_clauses.reset,
    "mixed_precision": metric_clauses.mixed_precision,
    "compiled": metric_clauses.compiled,
    "saving": metric_clauses.saving,
    "copying": metric_clauses.copying,
}
_CODING = {name: clause for name, clause in _CALLABLE.items() if name != "mixed_precision"}

CLAUSES = tuple(sorted({**_CALLABLE, **_METRIC}))


class ContractError(AssertionError):
    """An object does not keep a clause of the contract.

    Attributes:
        clause: Name of the clause, one of `keras_cvx.testing.CLAUSES`.

    Example:
        >>> class Forgetful(keras.layers.Layer):  # of its argument, which is in no configuration
        ...     def __init__(self, scale, **kwargs):
        ...         super().__init__(**kwargs)
        ...
        ...     def get_config(self):
        ...         return super().get_config()
        >>> try:
        ...     check(Forgetful, {"scale": 2.0}, keras.ops.ones((2, 3)))
        ... except ContractError as error:
        ...     print(error.clause)
        config
    """

    def __init__(self, message, clause):
        super().__init__(message)
        self.clause = clause


def check(
    factory,
    init_kwargs=None,
    inputs=(),
    *,
    invalid=None,
    invalid_inputs=None,
    differentiable=None,
    tolerance=1e-4,
    skip=(),
):
    """Checks that a layer, model, loss, metric or grid coding keeps the contract of plugins.

    The clauses:

    - `config`: configuration → JSON → object gives the same object, its dtype included.
    - `arguments`: so do other arguments that hypothesis makes from the signature, where they are
      numbers or choices and the class takes them.
    - `stable_config`: building and calling leave the configuration as it was.
    - `errors`: a wrong argument or input gets a `ValueError` that names it.
    - `symbolic_shape`: symbolic outputs have the structure, shapes and dtypes of the eager ones.
    - `empty_batch`: no samples give outputs of no samples; a metric they leave as it was.
    - `mixed_precision`: outputs are finite and shaped alike under the mixed policies.
    - `compiled`: compiled by XLA, the outputs are the eager ones.
    - `saving`: saved and loaded, the object gives the same outputs.
    - `copying`: so it does when pickled, or in a model that is cloned with its weights.
    - `fit`: one step of `fit` has finite gradients, which reach weights and inputs.
    - `batches`, `reset`: two half batches give a metric the result of the whole one, and
      `reset_state` leaves nothing of what came before.

    Metrics have no `fit` and no `symbolic_shape`, and only they have `batches` and `reset`; grid
    codings, which work in float32 always, have no `mixed_precision`.

    Choose arguments that are neither the defaults nor equal to each other, a batch of two or more
    samples that differ, and no other axis as long as the batch.

    Args:
        factory: Class, or function that takes its arguments by name and returns a new object.
        init_kwargs: Dictionary of arguments for the factory.
        inputs: Tuple of positional arguments, each a NumPy array or a nested structure of arrays:
            `(x, …)` of a layer or model, `(y_true, y_pred)` of a loss, the arguments of
            `update_state` of a metric, `(outputs, centers, strides, boxes, labels)` of a coding.
            What is no tuple is the only argument.
        invalid: Dictionary from an argument of the factory to a list of values to refuse.
        invalid_inputs: Dictionary from the name that the error must have to inputs to refuse.
        differentiable: Tuple of booleans, one for each of the inputs: whether the layers before
            compute it, so that it may have half precision and gradients must return to it. By
            default all inputs of a layer or model, `y_pred`, and the outputs of a coding. Only
            floats count.
        tolerance: Float, relative and absolute, within which values are the same.
        skip: Names of clauses that cannot hold; as a dictionary, it can give the reasons.

    Raises:
        ContractError: If a clause is not kept. It names the object and the clause, and says what
            is wrong.
        ImportError: If hypothesis is not installed.
        TypeError: If the object is of none of the five kinds.
        ValueError: If `skip` names an unknown clause, or the inputs do not suit the object's kind.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 24).reshape(2, 3, 4)
        >>> check(keras.layers.Dense, {"units": 5}, x, invalid={"units": [0, -1]})
        >>> try:
        ...     check(keras.layers.Dense, {"units": 5}, x, invalid={"units": [7]})
        ... except ContractError as error:
        ...     print(error)
        Dense breaks the clause 'errors': a wrong `units` must get a ValueError. Given 7; it passes
    """
    unknown = sorted(set(skip) - set(CLAUSES))
    if unknown:
        raise ValueError(f"`skip` must name clauses among {CLAUSES}. Received: {unknown}")
    made = factory(**(init_kwargs or {}))
    inputs = as_inputs(inputs)
    table, wrap, computed = _kind_of(made, len(inputs))
    differentiable = computed if differentiable is None else tuple(differentiable)
    if len(differentiable) != len(inputs):
        raise ValueError(
            f"`differentiable` must have a boolean for each of the {len(inputs)} inputs. "
            f"Received: {differentiable}"
        )
    subject = Subject(
        factory=factory,
        init_kwargs=init_kwargs or {},
        inputs=inputs,
        differentiable=differentiable,
        wrap=wrap,
        invalid=invalid or {},
        invalid_inputs={name: as_inputs(wrong) for name, wrong in (invalid_inputs or {}).items()},
        tolerance=tolerance,
    )
    for name, clause in table.items():
        if name in skip:
            continue
        broken = f"{keras.saving.get_registered_name(type(made))} breaks the clause {name!r}: "
        try:
            clause(subject)
        except BreachError as breach:
            raise ContractError(f"{broken}{breach}", name) from breach.__cause__
        except ImportError:
            # Of the check's own, or of what the object needs: none is the contract's.
            raise
        except Exception as error:
            raise ContractError(f"{broken}it raises {error!r}", name) from error


def _kind_of(made, arguments):
    """Clauses, adaptor and differentiable inputs of an object's kind."""
    if isinstance(made, keras.layers.Layer):
        # A layer is called as it is.
        kind = _CALLABLE, lambda layer: layer, (True,) * arguments
    elif isinstance(made, keras.losses.Loss):
        kind = _CALLABLE, LossLayer, (False, True)
    elif isinstance(made, keras.metrics.Metric):
        kind = (
            _METRIC,
            lambda metric: metric.update_state,
            (False, True, False)[: max(arguments, 2)],
        )
    elif all(hasattr(made, method) for method in ("branches", "decode", "loss")):
        kind = _CODING, CodingLayer, (True, False, False, False, False)
    else:
        raise TypeError(
            "`factory` must return a layer, a model, a loss, a metric or a grid coding. "
            f"Received: {made!r}"
        )
    required = len(kind[2]) or "at least one"
    if arguments != required:
        raise ValueError(
            f"`inputs` must be a tuple of {required} of the arguments of {made!r}. "
            f"Received: {arguments}"
        )
    return kind
