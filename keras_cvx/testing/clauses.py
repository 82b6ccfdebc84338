"""The clauses of the contract for what can be called as a layer, one function each."""

import json
import pathlib
import re
import tempfile

import keras
import numpy as np
from keras import ops

from keras_cvx.testing.comparison import (
    Broken,
    all_finite,
    plain,
    same_config,
    same_values,
    specification,
    to_numpy,
)
from keras_cvx.testing.subjects import Energy, Gain

POLICIES = ("mixed_float16", "mixed_bfloat16")


def round_trip(subject):
    """Configuration → JSON → object gives the same object, its dtype included."""
    made = subject.make()
    config = made.get_config()
    lacking = sorted(set(subject.init_kwargs) - set(config))
    if lacking:
        raise Broken(f"`get_config` lacks the constructor's arguments {lacking}")
    for name, value in subject.init_kwargs.items():
        stored = config[name]
        if all(isinstance(x, (bool, int, float)) for x in (value, stored)) and value != stored:
            raise Broken(f"`get_config` has {name}={stored!r} for the {name}={value!r} given")
    same_config(config, _again(made).get_config(), "the round trip through JSON")
    if subject.takes("dtype"):
        dtype = "mixed_bfloat16" if isinstance(made, keras.layers.Layer) else "bfloat16"
        typed = subject.make(dtype=dtype)
        for what, thing in (("constructor", typed), ("round trip through JSON", _again(typed))):
            if _dtype_of(thing) != dtype:
                raise Broken(f"the {what} loses dtype={dtype!r}; it becomes {_dtype_of(thing)!r}")


def stable_config(subject):
    """Building and calling leave the configuration as it was."""
    made = subject.make()
    before = plain(made.get_config())
    subject.wrap(made)(*subject.tensors())
    same_config(before, made.get_config(), "build and call")


def symbolic_shape(subject):
    """Symbolic outputs have the structure, shapes and dtypes of the eager ones."""
    batch = _batch(subject)
    eager = specification(subject.wrap(subject.make())(*subject.tensors()))
    for size in (batch, None):
        outputs = subject.wrap(subject.make())(*subject.symbols(size)[1])
        symbolic = specification(outputs)
        if symbolic.keys() != eager.keys():
            raise Broken(f"the symbolic outputs are {sorted(symbolic)}, eager {sorted(eager)}")
        for path, (shape, dtype) in eager.items():
            free = size is None and shape and symbolic[path][0][:1] == (None,)
            expected = (None, *shape[1:]) if free else shape
            if symbolic[path] != (expected, dtype):
                raise Broken(
                    f"the symbolic output{path} with batch size {size} is {symbolic[path]}, "
                    f"eager {(shape, dtype)}"
                )
    layer = subject.wrap(subject.make())
    if type(layer).compute_output_shape is not keras.layers.Layer.compute_output_shape and (
        not isinstance(layer, keras.Model)
    ):
        shapes = keras.tree.map_structure(lambda x: tuple(x.shape), subject.inputs)
        computed = layer.compute_output_shape(*shapes)
        flat = []
        keras.tree.map_shape_structure(lambda shape: flat.append(tuple(shape)), computed)
        expected = [shape for shape, _ in eager.values()]
        if flat != expected:
            raise Broken(f"`compute_output_shape` gives {flat}, the eager shapes are {expected}")


def compiled(subject):
    """Compiled by XLA, the outputs are the eager ones; not run on torch, which has no XLA here."""
    layer, tensors = subject.wrap(subject.make()), subject.tensors()
    eager = to_numpy(layer(*tensors))
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        outputs = tf.function(layer.__call__, jit_compile=True)(*tensors)
    elif backend == "jax":
        import jax

        outputs, _ = jax.jit(layer.stateless_call)(
            [v.value for v in layer.trainable_variables],
            [v.value for v in layer.non_trainable_variables],
            *tensors,
        )
    else:
        return
    same_values(eager, to_numpy(outputs), subject.tolerance, "when compiled")


def mixed_precision(subject):
    """Under the mixed policies outputs are finite and shaped as in float32."""
    shapes = _shapes(subject.wrap(subject.make())(*subject.tensors()))
    for policy in POLICIES:
        with Policy(policy):
            made = subject.make(**({"dtype": policy} if "dtype" in subject.init_kwargs else {}))
            inputs = subject.tensors()
            if isinstance(made, keras.losses.Loss):
                inputs = (inputs[0], narrowed(inputs[1], policy))
            outputs = subject.wrap(made)(*inputs)
        all_finite(outputs, f"under the policy {policy!r}")
        if _shapes(outputs) != shapes:
            raise Broken(
                f"the shapes under the policy {policy!r} are {_shapes(outputs)}, in float32 {shapes}"
            )


def empty_batch(subject):
    """A batch of no samples gives outputs of no samples, and finite ones of none."""
    layer = subject.wrap(subject.make())
    full = specification(layer(*subject.tensors()))
    outputs = layer(*subject.tensors(emptied(subject.inputs)))
    all_finite(outputs, "on an empty batch")
    for path, (shape, dtype) in specification(outputs).items():
        expected, expected_dtype = full[path]
        if expected[:1] == (_batch(subject),):
            expected = (0, *expected[1:])
        if (shape[1:], dtype) != (expected[1:], expected_dtype) or (
            len(shape) != len(expected) or (expected[:1] == (0,) and shape[0] != 0)
        ):
            raise Broken(
                f"the output{path} of an empty batch is {(shape, dtype)}, must be "
                f"{(expected, expected_dtype)}"
            )


def fit(subject):
    """One step of `fit` on a loss of all outputs: finite gradients, which reach the weights.

    The step is one of plain descent at rate 1, so that a gradient is the change of its weight.
    """
    flat, _ = subject.symbols()
    chosen = [
        trained and "float" in x.dtype.name
        for inputs, trained in zip(subject.inputs, subject.differentiable, strict=True)
        for x in keras.tree.flatten(inputs)
    ]
    layer, gain = subject.wrap(subject.make()), Gain(chosen)
    outputs = layer(*keras.tree.pack_sequence_as(subject.inputs, gain(flat)))
    floats = [x for x in keras.tree.flatten(outputs) if "float" in x.dtype]
    if not floats:
        raise Broken("there is no float output to differentiate; skip this clause")
    model = keras.Model(flat, Energy()(floats))
    watched = layer.trainable_variables or gain.trainable_variables
    before = to_numpy([v.value for v in watched])
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    history = model.fit(
        keras.tree.flatten(subject.inputs), batch_size=_batch(subject), shuffle=False, verbose=0
    )
    all_finite(np.asarray(history.history["loss"]), "as the loss of `fit`")
    wrong = [v.path for v in model.weights if not np.isfinite(to_numpy(v.value)).all()]
    if wrong:
        raise Broken(f"the gradients are not finite; after a step of `fit` neither are {wrong}")
    after = to_numpy([v.value for v in watched])
    if all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):
        raise Broken(f"no gradient reaches any of {[v.path for v in watched]} in a step of `fit`")


def saving(subject):
    """A saved and reloaded model gives the same outputs."""
    made = subject.make()
    made(*subject.tensors())
    # Initial values may be the same in every object; these are not.
    rng = np.random.default_rng(0)
    for variable in made.variables:
        if "float" in keras.backend.standardize_dtype(variable.dtype):
            noise = rng.uniform(0.01, 0.1, variable.shape)
            variable.assign(variable + ops.cast(noise, variable.dtype))
    model, inputs = made, subject.tensors()
    if not isinstance(made, keras.Model):
        flat, arguments = subject.symbols()
        model, inputs = keras.Model(flat, made(*arguments)), (keras.tree.flatten(inputs),)
    loaded = saved_and_loaded(model)
    same_values(
        to_numpy(model(*inputs)), to_numpy(loaded(*inputs)), subject.tolerance, "after loading"
    )


def saving_as_compiled(subject):
    """A model compiled with the object is loaded with the same one."""
    made = subject.make()
    key = "loss" if isinstance(made, keras.losses.Loss) else "metrics"
    flat = [
        keras.Input(x.shape[1:], dtype=x.dtype.name) for x in keras.tree.flatten(subject.inputs[1])
    ]
    outputs = [keras.layers.Identity(dtype=x.dtype)(x) for x in flat]
    model = keras.Model(flat, keras.tree.pack_sequence_as(subject.inputs[1], outputs))
    model.compile(optimizer="sgd", **{key: made if key == "loss" else [made]})
    config = saved_and_loaded(model).get_compile_config()[key]
    loaded = keras.saving.deserialize_keras_object(config if key == "loss" else config[0])
    same_config(made.get_config(), loaded.get_config(), "loading")
    same_values(
        _evaluated(made, subject),
        _evaluated(loaded, subject),
        subject.tolerance,
        "after loading",
    )


def errors(subject):
    """Wrong arguments and wrong inputs get a `ValueError` that names the argument."""
    for argument, wrong in subject.invalid.items():
        for changes in wrong if isinstance(wrong, list) else [wrong]:
            _refused(argument, changes, lambda changes=changes: subject.make(**changes))
    for argument, inputs in subject.invalid_inputs.items():
        made = subject.make()
        call = made.update_state if isinstance(made, keras.metrics.Metric) else made
        _refused(
            argument,
            keras.tree.map_structure(lambda x: f"{x.dtype}{x.shape}", inputs),
            lambda call=call, inputs=inputs: call(*subject.tensors(inputs)),
        )


class Policy:
    """Context in which a dtype policy is Keras' own."""

    def __init__(self, policy):
        self.policy = policy

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)


def narrowed(structure, policy):
    """Floats of the structure in the policy's half precision, as a layer before hands them on."""
    dtype = keras.DTypePolicy(policy).compute_dtype

    def narrow(x):
        return ops.cast(x, dtype) if "float" in keras.backend.standardize_dtype(x.dtype) else x

    return keras.tree.map_structure(narrow, structure)


def emptied(structure):
    """No samples of every array."""
    return keras.tree.map_structure(lambda x: x[:0], structure)


def saved_and_loaded(model):
    """What `keras.saving` makes of a model's `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        return keras.saving.load_model(path)


def _again(made):
    text = json.dumps(keras.saving.serialize_keras_object(made))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    if type(again) is not type(made):
        raise Broken(f"a {type(made)} comes back from JSON as a {type(again)}")
    return again


def _dtype_of(thing):
    return thing.dtype_policy.name if isinstance(thing, keras.layers.Layer) else thing.dtype


def _batch(subject):
    return keras.tree.flatten(subject.inputs)[0].shape[0]


def _shapes(outputs):
    return {path: shape for path, (shape, _) in specification(outputs).items()}


def _evaluated(thing, subject):
    if isinstance(thing, keras.losses.Loss):
        return to_numpy(thing(*subject.tensors()))
    thing.reset_state()
    thing.update_state(*subject.tensors())
    return to_numpy(thing.result())


def _refused(argument, wrong, attempt):
    try:
        attempt()
    except ValueError as error:
        # Keras lists all arguments of a call below the message.
        message = str(error).split("Arguments received by")[0]
        if not re.search(rf"\b{re.escape(argument)}\b", message):
            raise Broken(
                f"the error for a wrong {argument!r} must name it. Given {wrong}; it says: {error}"
            ) from error
    except Exception as error:
        raise Broken(
            f"a wrong {argument!r} must get a ValueError that names it. Given {wrong}; it raises "
            f"{error!r}"
        ) from error
    else:
        raise Broken(f"a wrong {argument!r} must get a ValueError. Given {wrong}; it is taken")
