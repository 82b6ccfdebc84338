"""One small model of each family, without weights, built when first asked for."""

import functools

import keras
import pytest

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
# JAX compiles every initializer for every shape: building one of these takes 5 to 10 seconds.
SLOW_ON_JAX = {"EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "NASNetMobile"}


def skip_unless_it_can_be_built(name):
    backend = keras.backend.backend()
    if backend == "jax" and name in SLOW_ON_JAX:
        pytest.skip("takes too long to build")
    if backend == "torch" and name == "NASNetMobile":
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
