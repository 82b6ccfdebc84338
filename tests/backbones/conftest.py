"""One small model of each family, without weights, built when first asked for."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx import backbones

# Of each module of `keras.applications` a small model: options, and the smallest images it takes.
APPLICATIONS = {
    "ConvNeXtTiny": ({}, 32),
    "DenseNet121": ({}, 32),
    "EfficientNetB0": ({}, 32),
    "EfficientNetV2B0": ({}, 32),
    "InceptionResNetV2": ({}, 75),
    "InceptionV3": ({}, 75),
    "MobileNet": ({"alpha": 0.25}, 32),
    "MobileNetV2": ({"alpha": 0.35}, 32),
    "MobileNetV3Small": ({"alpha": 0.75}, 32),
    "NASNetMobile": ({}, 32),
    "ResNet50": ({}, 32),
    "ResNet50V2": ({}, 32),
    "VGG16": ({}, 32),
    "VGG19": ({}, 32),
    "Xception": ({}, 71),
}


def run(model, x):
    """Outputs as NumPy, in a second: eagerly, and on JAX compiled without optimisation."""
    if keras.backend.backend() != "jax":
        return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))
    import jax

    variables = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )
    forward = jax.jit(lambda *arguments: model.stateless_call(*arguments, training=False)[0])
    compiled = forward.lower(*variables, x).compile({"xla_backend_optimization_level": 0})
    return keras.tree.map_structure(np.asarray, compiled(*variables, x))


def skip_unless_it_can_be_built(name):
    if keras.backend.backend() == "torch" and name == "NASNetMobile":
        pytest.skip("Keras does not build it on torch")


@pytest.fixture(scope="session")
def application():
    """Function from a name to the bare model of `keras.applications`, built once."""

    @functools.cache
    def build(name):
        skip_unless_it_can_be_built(name)
        options, size = APPLICATIONS[name]
        make = getattr(keras.applications, name)
        return make(weights=None, include_top=False, input_shape=(size, size, 3), **options)

    return build


@pytest.fixture(scope="session")
def by_name():
    """Function from a name to the same model as `backbones.get` builds it, built once."""

    @functools.cache
    def build(name):
        skip_unless_it_can_be_built(name)
        options, size = APPLICATIONS[name]
        return backbones.get(name, weights=None, input_shape=(size, size, 3), **options)

    return build
