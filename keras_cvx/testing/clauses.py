"""The clauses of the contract, one function each: for layers, models, losses and grid codings."""

import json
import pathlib
import pickle
import re
import tempfile

import keras
import numpy as np

from keras_cvx.testing import strategies
from keras_cvx.testing.comparison import (
    BreachError,
    all_finite,
    plain,
    same_config,
    same_values,
    specification,
    to_numpy,
)
from keras_cvx.testing.subjects import CodingLayer, LossLayer, dtype_policy

HALF_PRECISION = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


def config(subject):
    """Configuration → JSON → object gives the same object, its dtype included."""
    made = subject.make()
    stored = made.get_config()
    lacking = sorted(set(subject.init_kwargs) - set(stored))
    if lacking:
        raise BreachError(f"`get_config` lacks the constructor's arguments {lacking}")
    for name, given in subject.init_kwargs.items():
        if isinstance(given, (bool, int, float)) and stored[name] != given:
            raise BreachError(f"`get_config` has {name}={stored[name]!r} for the {given!r} given")
    same_config(stored, again(made).get_config(), "the round trip through JSON")
    if isinstance(made, keras.Model) or not subject.takes("dtype"):
        return
    dtype = "mixed_bfloat16" if isinstance(made, keras.layers.Layer) else "bfloat16"
    typed = subject.make(dtype=dtype)
    for road, thing in (("the constructor", typed), ("the round trip through JSON", again(typed))):
        if _dtype_of(thing) != dtype:
            raise BreachError(f"{road} loses dtype={dtype!r}; it becomes {_dtype_of(thing)!r}")


def arguments(subject):
    """Whatever numbers and choices the constructor takes come back from a file as they were."""
    varied = strategies.arguments(subject.factory)

    import hypothesis

    @hypothesis.settings(max_examples=20, deadline=None, database=None, derandomize=True)
    @hypothesis.given(varied)
    def come_back(changes):
        try:
            made = subject.make(**changes)
        except (ValueError, TypeError):
            # Refused; what must be is for the clause `errors`.
            return
        stored, back = made.get_config(), again(made).get_config()
        for name, given in changes.items():
            if stored.get(name) != given:
                raise BreachError(f"`get_config` has {name}={stored.get(name)!r} for {given!r}")
        same_config(stored, back, f"the round trip of {changes}")

    come_back()


def stable_config(subject):
    """Building and calling leave the configuration as it was."""
    made = subject.make()
    before = plain(made.get_config())
    subject.wrap(made)(*subject.tensors())
    same_config(before, made.get_config(), "build and call")


def symbolic_shape(subject):
    """Symbolic outputs have the structure, shapes and dtypes of the eager ones."""
    eager = specification(subject.wrap(subject.make())(*subject.tensors()))
    for batch in (subject.batch, None):
        expected = _with_batch(batch, eager, subject)
        symbolic = specification(subject.wrap(subject.make())(*subject.symbols(batch)[1]))
        if symbolic != expected:
            raise BreachError(
                f"the symbolic outputs are {symbolic} for inputs with batch size {batch}, must be "
                f"{expected}"
            )
    layer = subject.wrap(subject.make())
    inherited = type(layer).compute_output_shape is keras.layers.Layer.compute_output_shape
    if inherited or isinstance(layer, keras.Model):
        return
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), subject.inputs)
    computed = []
    keras.tree.map_shape_structure(
        lambda shape: computed.append(tuple(shape)), layer.compute_output_shape(*shapes)
    )
    if computed != [shape for shape, _ in eager.values()]:
        raise BreachError(f"`compute_output_shape` gives {computed}, the eager outputs are {eager}")


def compiled(subject):
    """Compiled by XLA, the outputs are the eager ones; torch, which has no XLA here, passes."""
    layer, tensors = subject.wrap(subject.make()), subject.tensors()
    same_values(layer(*tensors), call_compiled(layer, tensors), subject.tolerance, "when compiled")


def mixed_precision(subject):
    """Under the mixed policies, on inputs in half precision, outputs are finite and shaped alike.

    Grid codings have no such clause: they get and give float32 whatever the policy.
    """
    expected = _shapes(subject.wrap(subject.make())(*subject.tensors()))
    for policy, dtype in HALF_PRECISION.items():
        with dtype_policy(policy):
            outputs = subject.wrap(subject.make())(*subject.narrow_tensors(dtype))
        all_finite(outputs, f"under the policy {policy!r}")
        if _shapes(outputs) != expected:
            raise BreachError(
                f"the shapes are {_shapes(outputs)} under the policy {policy!r}, must be {expected}"
            )


def empty_batch(subject):
    """A batch of no samples gives outputs of no samples, finite where they are of anything."""
    layer = subject.wrap(subject.make())
    expected = _with_batch(0, specification(layer(*subject.tensors())), subject)
    # Compiled, for TensorFlow's convolutions on a CPU give no samples their input's channels.
    outputs = call_compiled(layer, subject.tensors(slice(0)))
    all_finite(outputs, "on an empty batch")
    if specification(outputs) != expected:
        raise BreachError(
            f"the outputs of an empty batch are {specification(outputs)}, must be {expected}"
        )


def saving(subject):
    """A saved and loaded model gives the same outputs."""
    model, inputs = as_model(subject)
    # Initial values may be the same in every object; these are not.
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            noise = rng.uniform(0.01, 0.1, variable.shape)
            variable.assign(to_numpy(variable.value) + noise.astype("float32"))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        wrappers = {cls.__name__: cls for cls in (LossLayer, CodingLayer)}
        loaded = keras.saving.load_model(path, custom_objects=wrappers)
    same_values(model(*inputs), loaded(*inputs), subject.tolerance, "after loading")


def copying(subject):
    """Pickled, which is also how Keras copies deeply, or with a model cloned, it does the same."""
    made, tensors = subject.make(), subject.tensors()
    # Built, but not used yet: what draws numbers is to begin alike.
    subject.wrap(made)(*subject.symbols()[1])
    twin = pickled(made)
    same_config(made.get_config(), twin.get_config(), "pickling")
    same_values(
        subject.wrap(made)(*tensors),
        subject.wrap(twin)(*tensors),
        subject.tolerance,
        "when pickled",
    )
    model, inputs = as_model(subject)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    same_values(model(*inputs), clone(*inputs), subject.tolerance, "after `clone_model`")


def errors(subject):
    """Wrong arguments and wrong inputs get a `ValueError` that names the argument."""
    for argument, values in subject.invalid.items():
        for value in values:
            _refused(argument, value, lambda name=argument, x=value: subject.make(**{name: x}))
    for argument, inputs in subject.invalid_inputs.items():
        call = subject.wrap(subject.make())
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
        _refused(argument, specification(tensors), lambda f=call, x=tensors: f(*x))


def as_model(subject):
    """A new object as a model, and its positional arguments."""
    layer, inputs = subject.wrap(subject.make()), subject.tensors()
    if isinstance(layer, keras.Model):
        return layer, inputs
    flat, arguments = subject.symbols()
    return keras.Model(flat, layer(*arguments)), [keras.tree.flatten(inputs)]


def call_compiled(layer, tensors):
    """Outputs of a built layer, compiled by XLA; on torch as they are."""
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(layer.__call__, jit_compile=True)(*tensors)
    if backend == "jax":
        import jax

        outputs, _ = jax.jit(layer.stateless_call)(
            [v.value for v in layer.trainable_variables],
            [v.value for v in layer.non_trainable_variables],
            *tensors,
        )
        return outputs
    return layer(*tensors)


def pickled(made):
    """The object that comes back from a pickle."""
    return pickle.loads(pickle.dumps(made))  # noqa: S301


def again(made):
    """The object that comes back from JSON."""
    text = json.dumps(keras.saving.serialize_keras_object(made))
    back = keras.saving.deserialize_keras_object(json.loads(text))
    if type(back) is not type(made):
        raise BreachError(f"a {type(made)} comes back from JSON as a {type(back)}")
    return back


def _dtype_of(thing):
    return thing.dtype_policy.name if isinstance(thing, keras.layers.Layer) else thing.dtype


def _shapes(outputs):
    return {path: shape for path, (shape, _) in specification(outputs).items()}


def _with_batch(batch, outputs, subject):
    """The specification of outputs for another batch size."""
    return {
        path: ((batch, *shape[1:]) if shape[:1] == (subject.batch,) else shape, dtype)
        for path, (shape, dtype) in outputs.items()
    }


def _refused(argument, wrong, attempt):
    try:
        attempt()
    except ValueError as error:
        # Keras lists all arguments of a call below the message.
        message = str(error).split("Arguments received by")[0]
        if not re.search(rf"\b{re.escape(argument)}\b", message):
            raise BreachError(
                f"the error for a wrong `{argument}` must name it. Given {wrong!r}; it says: "
                f"{message}"
            ) from error
    except Exception as error:
        raise BreachError(
            f"a wrong `{argument}` must get a ValueError that names it. Given {wrong!r}; it raises "
            f"{error!r}"
        ) from error
    else:
        raise BreachError(f"a wrong `{argument}` must get a ValueError. Given {wrong!r}; it passes")
