"""Backbones of `keras.applications` by name, their normalisation and their weights."""

import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
import types
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_cvx
from keras_cvx import plugins
from keras_cvx.backbones import FeatureExtractor, InputNormalization, get
from keras_cvx.backbones.applications import _applications, _mode
from tests.backbones.conftest import APPLICATIONS, run


def images(size, batch=2):
    """Integers of 0 to 255, the ends included, in float32."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3))
    pixels[0, 0, :2] = [[0, 0, 0], [255, 255, 255]]
    return pixels.astype("float32")


def small(name, **options):
    given, size = APPLICATIONS[name]
    return get(name, **{"weights": None, "input_shape": (size, size, 3), **given, **options})


# JAX compiles each for seconds, twice: one of each way to normalise. That the graphs behind it are
# the same for all families is what the next test tells on every backend.
COMPILED_ON_JAX = {"VGG16", "MobileNet", "DenseNet121", "MobileNetV3Small"}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_equal_to_preprocessing_and_the_bare_model(name, application, by_name):
    if keras.backend.backend() == "jax" and name not in COMPILED_ON_JAX:
        pytest.skip("takes too long to compile")
    bare, model = application(name), by_name(name)
    assert model.name == bare.name
    assert (model.inputs[0].dtype, len(model.inputs)) == ("float32", 1)
    # Random statistics too: with those of a new model a normalisation hardly shows.
    rng = np.random.default_rng(1)
    weights = [
        rng.uniform(0.5, 1.5, w.shape).astype("float32") if w.ndim == 1 else w
        for w in bare.get_weights()
    ]
    bare.set_weights(weights)
    model.set_weights(weights)
    x = images(APPLICATIONS[name][1])
    expected = run(bare, preprocess_input(name)(x.copy()))
    got = run(model, x)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(got / np.abs(expected).max(), expected / np.abs(expected).max(),
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_graph_is_the_bare_model_behind_its_preprocessing(name, application, by_name):
    bare, model = application(name), by_name(name)
    own = [layer for layer in model.layers if isinstance(layer, InputNormalization)]
    layers_behind = [described(x) for x in model.layers[1:] if x not in own]
    assert layers_behind == [described(x) for x in bare.layers[1:]]
    assert [x.shape for x in model.weights] == [x.shape for x in bare.weights]
    x = images(APPLICATIONS[name][1])
    expected = preprocess_input(name)(x.copy())
    got = ops.convert_to_numpy(own[0](x)) if own else x
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5)


def described(layer):
    """All but the names, which count up from model to model."""
    config = {} if isinstance(layer, keras.Model) else layer.get_config()
    return type(layer), {**config, "name": None}


def preprocess_input(name):
    """Where Keras' documentation says that it is."""
    families = {
        "ConvNeXtTiny": "convnext", "DenseNet121": "densenet", "EfficientNetB0": "efficientnet",
        "EfficientNetV2B0": "efficientnet_v2", "InceptionResNetV2": "inception_resnet_v2",
        "InceptionV3": "inception_v3", "MobileNet": "mobilenet", "MobileNetV2": "mobilenet_v2",
        "MobileNetV3Small": "mobilenet_v3", "NASNetMobile": "nasnet", "ResNet50": "resnet",
        "ResNet50V2": "resnet_v2", "VGG16": "vgg16", "VGG19": "vgg19", "Xception": "xception",
    }  # fmt: skip
    return importlib.import_module(f"keras.applications.{families[name]}").preprocess_input


def test_every_image_model_has_its_module_and_mode():
    names = _applications()
    assert len(names) == 40
    assert {"MobileNetV3Large", "ResNet152V2", "NASNetLarge", "ConvNeXtXLarge"} < set(names)
    modes = {name: _mode(module) for name, module in names.items()}
    assert {modes["ResNet101"], modes["DenseNet201"], modes["Xception"]} == {
        "caffe", "torch", "tf",
    }  # fmt: skip
    assert modes["EfficientNetB7"] is None


def test_unknown_preprocessing_is_refused():
    module = types.SimpleNamespace(
        __name__="strange", preprocess_input=lambda x, data_format: x / np.float32(128)
    )
    with pytest.raises(ValueError, match=r"`strange.preprocess_input` of keras .* does not what"):
        _mode(module)


def test_images_of_any_size_by_default():
    model = get("MobileNetV2", weights=None, alpha=0.35)
    assert model.input_shape == (None, None, None, 3)
    assert model.compute_output_shape((2, 64, 96, 3)) == (2, 2, 3, 1280)


def test_options_reach_the_model():
    model = get(
        "MobileNet", weights=None, input_shape=(32, 32, 3), alpha=0.25, pooling="avg", name="mine"
    )
    assert (model.name, model.output_shape) == ("mine", (None, 256))


def test_with_its_top_it_takes_the_size_that_it_was_trained_on():
    model = get("MobileNetV2", weights=None, include_top=True, alpha=0.35, classes=7)
    assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 7))


@pytest.mark.parametrize("shape", [64, (64, 64), (None, 64, 64, 3), "64"])
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match=r"`input_shape` must be a tuple of three.*Received"):
        get("MobileNet", weights=None, input_shape=shape)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels):
    """One that needs no statistics takes them; ImageNet's are of three channels."""
    shape = (32, 32, channels)
    with pytest.warns() if channels == 4 else contextlib.nullcontext():
        model = get("MobileNet", weights=None, input_shape=shape, alpha=0.25)
        bare = keras.applications.MobileNet(
            weights=None, input_shape=shape, alpha=0.25, include_top=False
        )
    bare.set_weights(model.get_weights())
    x = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    np.testing.assert_allclose(run(model, x), run(bare, x / 127.5 - 1), atol=1e-5)
    with pytest.raises(
        ValueError, match=r"`input_shape` must have 3 channels for 'VGG16', .*caffe"
    ):
        get("VGG16", weights=None, input_shape=shape)


@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3 input channels")
@pytest.mark.parametrize("channels", [1, 4])
def test_models_that_normalise_three_channels_inside(channels):
    with pytest.raises(ValueError, match="'ConvNeXtTiny' normalises its images inside, but not"):
        get("ConvNeXtTiny", weights=None, input_shape=(32, 32, channels))


def test_without_the_preprocessing_inside():
    with pytest.raises(ValueError, match=r"'MobileNetV3Small' normalises .*include_preprocessing"):
        small("MobileNetV3Small", include_preprocessing=False)


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_channels_first(channels_first):
    """Built, that is: on a CPU TensorFlow and JAX do not run all of its layers."""
    model = get("VGG16", weights=None, input_shape=(3, 32, 64))
    assert (model.input_shape, model.output_shape) == ((None, 3, 32, 64), (None, 512, 1, 2))
    assert model.get_layer("input_normalization").data_format == "channels_first"
    for name in ("MobileNetV2", "MobileNetV3Small"):
        assert get(name, weights=None).input_shape == (None, 3, None, None)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("as_path", [True, False])
def test_weights_of_a_file(suffix, as_path, application, tmp_path):
    """Saved from the bare model; the normalisation has no weights and does not get in the way."""
    bare = application("MobileNet")
    path = tmp_path / f"mobilenet{suffix}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        (bare.save_weights if suffix == ".weights.h5" else bare.save)(path)
    model = small("MobileNet", weights=path if as_path else str(path))
    for got, expected in zip(model.get_weights(), bare.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


PROGRAM = """
import numpy as np
from keras_cvx import backbones

model = backbones.get("MobileNet", input_shape=(224, 224, 3), alpha=0.25)
np.savez("loaded.npz", *model.get_weights())
"""


def test_weights_that_keras_has_in_its_cache(application, tmp_path):
    """`"imagenet"` goes the way of Keras' own download, whose file is there already.

    Keras reads where its files are when it is imported, so it takes another process.
    """
    bare = application("MobileNet")
    (tmp_path / "models").mkdir()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        bare.save(tmp_path / "models" / "mobilenet_2_5_224_tf_no_top.h5")
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": str(pathlib.Path(keras_cvx.__file__).parents[1]),
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, check=True)
    with np.load(tmp_path / "loaded.npz") as loaded:
        for got, expected in zip(loaded.values(), bare.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_saved_and_loaded(tmp_path):
    model = small("MobileNet")
    model.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    x = images(32)
    np.testing.assert_array_equal(run(loaded, x), run(model, x))
    assert [x.shape[1] for x in FeatureExtractor(loaded, [8, 16]).outputs] == [4, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ResNet51", "Did you mean 'ResNet50'"),
        ("resnet50", "Did you mean 'ResNet50'"),
        ("keras.applications.ResNet50", "Did you mean 'ResNet50'"),
        ("keras.applications.resnet.ResNet50", "Did you mean 'ResNet50'"),
        ("MobilNetV3Large", "Did you mean 'MobileNetV3Large'"),
        ("EfficientNet-B0", "Did you mean 'EfficientNetB0'"),
        ("", r"image model in `keras.applications`. Received: ''. Known: ConvNeXtBase, "),
        ("imagenet_utils", "Received: 'imagenet_utils'"),
        (None, "`identifier` must be a model or the name of .* Received: None"),
        (["VGG16"], r"`identifier` must be a model or the name of .* Received: \['VGG16'\]"),
        (keras.applications.VGG16, "`identifier` must be a model or the name of .*: <function"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        get(name)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
@pytest.mark.parametrize("other", ["VGG16", "MobileNetV2"])
def test_weights_of_another_model(suffix, other, application, tmp_path):
    path = tmp_path / f"other{suffix}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
        bare = application(other)
        (bare.save_weights if suffix == ".weights.h5" else bare.save)(path)
    with pytest.raises(ValueError, match="`weights` must be of the model 'MobileNet' as") as caught:
        small("MobileNet", weights=path)
    assert isinstance(caught.value.__cause__, Exception)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(ValueError, match=r"`weights` must be 'imagenet', None.*does not exist"):
        small("MobileNet", weights=tmp_path / "no.weights.h5")
    for given in (True, 3, "", "image_net"):
        with pytest.raises(ValueError, match=f"`weights` must be .*weights={given!r}, which does"):
            small("MobileNet", weights=given)
    (tmp_path / "text.weights.h5").write_text("these are no weights")
    with pytest.raises(ValueError, match="`weights` must be of the model 'MobileNet'"):
        small("MobileNet", weights=tmp_path / "text.weights.h5")


def test_a_model_is_returned_as_it_is(application):
    model = application("MobileNet")
    assert get(model) is model
    sequential = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3)])
    assert get(sequential, weights=None) is sequential


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (32, 32, 3)}, "go with a name of `keras.applications`.*'mobilenet"),
        ({"alpha": 0.5}, r"not with a model. Received: 'mobilenet.*\['alpha'\]"),
    ],
)
def test_arguments_beside_a_model(arguments, message, application):
    with pytest.raises(ValueError, match=message):
        get(application("MobileNet"), **arguments)


def test_objects_that_are_no_backbones():
    with pytest.raises(ValueError, match="`input_tensor` is made by `get`"):
        get("MobileNet", weights=None, input_tensor=keras.Input((32, 32, 3)))
    with pytest.raises(ValueError, match="`identifier` must be a functional or built"):
        get(keras.Sequential([layers.Conv2D(2, 3)]))
    classifier = small("MobileNet", pooling="max")
    with pytest.raises(
        ValueError,
        match=r"`identifier` must end in feature maps: .* backbone is wanted.*\(None, 256",
    ):
        get(classifier)
    assert get(classifier, include_top=True) is classifier


@pytest.fixture
def tiny(clean_registry):
    """A plugin whose backbone is made of what `get` hands on; its options."""
    received = {}

    @plugins.register("TinyNet", kind="backbone", package="acme")
    def tiny_net(weights, input_shape, include_top, **kwargs):
        received.update(weights=weights, include_top=include_top, **kwargs)
        inputs = keras.Input(input_shape)
        if received.get("nothing"):
            return None
        x = keras.layers.Conv2D(4, 3, strides=2)(inputs)
        return keras.Model(inputs, keras.layers.Flatten()(x) if received.get("flat") else x)

    return received


def test_a_backbone_of_another_package(tiny):
    model = get("acme>TinyNet", weights=None, input_shape=(9, 9, 3), depth=3)
    assert model.output.shape == (None, 4, 4, 4)
    assert tiny == {"weights": None, "include_top": False, "depth": 3}
    flat = get("acme>TinyNet", input_shape=(9, 9, 3), include_top=True, flat=True)
    assert flat.output.shape == (None, 64)


def test_a_plugin_that_makes_no_backbone(tiny):
    for option in ("flat", "nothing"):
        with pytest.raises(ValueError, match="'acme>TinyNet' makes no backbone: `identifier` must"):
            get("acme>TinyNet", input_shape=(9, 9, 3), **{option: True})


def test_unknown_plugins(tiny):
    with pytest.raises(ValueError, match="Did you mean 'acme>TinyNet'"):
        get("TinyNets")
    with pytest.raises(ValueError, match=r"of kind 'backbone' named 'acme>Tiny'\. Did you mean"):
        get("acme>Tiny")
    with pytest.raises(ValueError, match="must be a plugin of kind 'backbone'"):
        get("keras_cvx>yolov1")
