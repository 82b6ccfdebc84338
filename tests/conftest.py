import importlib.machinery
import itertools
import math
import os
import sys
from pathlib import Path

if "WITHOUT" in os.environ:
    # `WITHOUT=tensorflow,jax` runs the suite as if these were not installed.
    hidden = set(os.environ["WITHOUT"].split(","))
    find_spec = importlib.machinery.PathFinder.find_spec

    def find_others(fullname, path=None, target=None):
        root = fullname.partition(".")[0]
        return None if root in hidden else find_spec(fullname, path, target)

    importlib.machinery.PathFinder.find_spec = find_others  # type: ignore[method-assign]

if os.environ.get("KERAS_BACKEND") == "jax":
    # The suite compiles much and computes little. XLA's own passes, which rewrite formulas, run all
    # the same; only LLVM spends less on each kernel, and the suite takes two thirds of the time.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import hypothesis
import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.plugins import registry

# How long an example takes says nothing: compilers and other processes share the machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(config, items):
    """Tests of what touches no tensor are the same on every backend, and run on one of them."""
    if keras.backend.backend() == "tensorflow":
        return
    once = [item for item in items if item.get_closest_marker("host")]
    config.hook.pytest_deselected(items=once)
    items[:] = [item for item in items if not item.get_closest_marker("host")]


def pytest_terminal_summary(terminalreporter):
    """`LACKING=FILE` writes there what was skipped for want of a package, for `pytest @FILE`."""
    if "LACKING" not in os.environ:
        return
    skipped = terminalreporter.stats.get("skipped", [])
    lacking = {x.nodeid for x in skipped if "could not import" in str(x.longrepr)}
    Path(os.environ["LACKING"]).write_text("".join(f"{x}\n" for x in sorted(lacking)), "utf-8")


@pytest.fixture(scope="session", autouse=True)
def _weights_drawn_by_numpy():
    """On JAX, which would compile each initializer for each shape: a minute for some models.

    They are uniform, and as deep networks need them; a seed gives the same again.
    """

    def drawn(original):
        def draw(self, shape, dtype=None):
            if not isinstance(self.seed, int) or dtype not in (None, "float32"):
                return original(self, shape, dtype)
            limit = (3 / max(1, math.prod(shape[:-1]))) ** 0.5
            return np.random.default_rng(self.seed).uniform(-limit, limit, shape).astype("float32")

        return draw

    def full(original, number):
        def fill(self, shape, dtype=None):
            if dtype not in (None, "float32"):
                return original(self, shape, dtype)
            return np.full(shape, number, "float32")

        return fill

    with pytest.MonkeyPatch.context() as patch:
        if keras.backend.backend() == "jax":
            scaling, zeros, ones = (
                getattr(keras.initializers, name) for name in ("VarianceScaling", "Zeros", "Ones")
            )
            patch.setattr(scaling, "__call__", drawn(scaling.__call__))
            patch.setattr(zeros, "__call__", full(zeros.__call__, 0))
            patch.setattr(ones, "__call__", full(ones.__call__, 1))
        yield


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


_modules = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """JAX keeps whatever it has compiled: of all tests, many gigabytes a process."""
    yield
    if keras.backend.backend() == "jax" and next(_modules) % 8 == 0:
        import jax

        jax.clear_caches()


@pytest.fixture(scope="session")
def gradient():
    """Function `(f, x) -> (value, slope)` as NumPy, of a scalar `f` of one float array."""

    def of(f, x):
        x = np.asarray(x, "float32")
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            x = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = f(x)
            slope = tape.gradient(value, x)
        elif backend == "jax":
            import jax

            value, slope = jax.value_and_grad(f)(x)
        else:
            import torch

            x = torch.tensor(x, requires_grad=True)
            value = f(x)
            value.backward()
            value, slope = value.detach(), x.grad
        return float(value), ops.convert_to_numpy(slope)

    return of


@pytest.fixture(scope="session")
def compiled():
    """Function `f -> f`, compiled by XLA; on torch, which has no XLA here, `f` itself."""

    def of(f):
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            return tf.function(f, jit_compile=True)
        if backend == "jax":
            import jax

            return jax.jit(f)
        return f

    return of


@pytest.fixture(scope="session")
def jitted():
    """Function `f -> f`, compiled as a whole on JAX, which else compiles every operation by itself.

    That is several times as fast where shapes are new; the other backends run `f` as it is.
    """

    def of(f):
        if keras.backend.backend() == "jax":
            import jax

            return jax.jit(f)
        return f

    return of


# What preprocessing meets: in the workers of a loader, in a model, and in tf.data.
KINDS = ["numpy", "backend", "tensorflow"]
if keras.backend.backend() == "tensorflow":
    KINDS.remove("tensorflow")


@pytest.fixture(scope="session", params=KINDS)
def as_kind(request):
    """Function from a structure of NumPy arrays to one of arrays of a kind; `.exact` of them.

    `exact` is whether arithmetic on this kind is to be TensorFlow's to 1e-3, not to 1e-2.
    """

    def of(structure):
        if request.param == "numpy":
            return structure
        if request.param == "backend":
            return keras.tree.map_structure(ops.convert_to_tensor, structure)
        tf = pytest.importorskip("tensorflow")
        return keras.tree.map_structure(tf.convert_to_tensor, structure)

    of.kind = request.param
    of.exact = request.param != "backend" or keras.backend.backend() == "tensorflow"
    return of


@pytest.fixture
def clean_registry(monkeypatch):
    """Whatever a test registers is gone after it, from our registry and from Keras'."""
    custom = keras.saving.get_custom_objects()
    before, modules = dict(custom), set(sys.modules)
    monkeypatch.setattr(registry, "_plugins", dict(registry._plugins))
    monkeypatch.setattr(registry, "_failed", set(registry._failed))
    yield
    custom.clear()
    custom.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("acme_"):
            del sys.modules[name]


@pytest.fixture(params=["numpy", "backend", "tensorflow"])
def library(request):
    """The way into a library of arrays."""
    if request.param == "tensorflow":
        return pytest.importorskip("tensorflow").constant
    return ops.convert_to_tensor if request.param == "backend" else np.asarray
