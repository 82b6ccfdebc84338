import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_cvx import plugins
from keras_cvx.codings import AnchorFreeCoding, GridCoding, YOLOv1Coding
from keras_cvx.layers import GridDecoding, NonMaxSuppression
from keras_cvx.plugins import registry

pytestmark = pytest.mark.usefixtures("clean_registry")


def test_get():
    coding = AnchorFreeCoding(3, alpha=0.25)
    assert plugins.get(coding, kind="coding") is coding
    assert isinstance(plugins.get(YOLOv1Coding, kind="coding"), YOLOv1Coding)
    assert isinstance(plugins.get("anchor_free", kind="coding"), AnchorFreeCoding)
    again = plugins.get(keras.saving.serialize_keras_object(coding), kind="coding")
    assert type(again) is AnchorFreeCoding
    assert again.get_config() == coding.get_config()
    dense = keras.layers.Dense(2)
    assert plugins.get(dense, kind="layer") is dense

    class Unregistered(GridCoding):
        pass

    class Registered(YOLOv1Coding):
        pass

    for trusted in (Unregistered(), Registered()):
        assert plugins.get(trusted, kind="coding") is trusted


@pytest.mark.parametrize(
    ("identifier", "kind"),
    [
        (None, "coding"),
        (3, "coding"),
        (True, "coding"),
        (["yolov1"], "coding"),
        (keras.layers.Identity(), "coding"),
        (NonMaxSuppression(), "coding"),
        (GridDecoding, "coding"),
        (YOLOv1Coding(), "layer"),
        (keras.losses.MeanSquaredError(), "layer"),
        (None, "layer"),
        (keras.saving.serialize_keras_object(YOLOv1Coding()), "loss"),
        ({}, "coding"),
        ({"boxes_per_cell": 1}, "coding"),
        ({"class_name": "__bytes__", "config": {"value": "yolov1"}}, "coding"),
        (b"yolov1", "schedule"),
        (object(), "coding"),
        (object(), "assigner"),
        (keras.layers.Identity(), "assigner"),
    ],
)
def test_get_of_the_wrong_kind(identifier, kind):
    with pytest.raises(ValueError, match=f"plugin of kind '{kind}' is required.*Received: "):
        plugins.get(identifier, kind)


def test_get_of_a_class_that_needs_arguments():
    @plugins.register("Needy", kind="coding", package="acme")
    class Needy(YOLOv1Coding):
        def __init__(self, boxes_per_cell):
            super().__init__(boxes_per_cell)

    for identifier in ("acme>Needy", Needy):
        with pytest.raises(ValueError, match=r"Needy' cannot be made by its name.*_cell'\. Make"):
            plugins.get(identifier, kind="coding")


def test_get_of_what_is_of_two_kinds():
    def both(*_, **__):
        pass

    for name, kind in (("first", "assigner"), ("second", "loss")):
        plugins.register(name, kind=kind, package="acme")(both)
    assert plugins.get(both, kind="assigner") is plugins.get(both, kind="loss") is both
    with pytest.raises(ValueError, match="'decoder' is required"):
        plugins.get(both, kind="decoder")


@pytest.fixture
def saved(install, tmp_path):
    """A saved model with a layer of the namespace `saver`, which is then forgotten."""
    module = install("acme-saver", "saver")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, plugins.get("saver>Double", kind="layer")(inputs))
    model.save(tmp_path / "model.keras")
    del sys.modules[module], registry._plugins["saver>Double"]
    double = keras.saving.get_custom_objects().pop("saver>Double")
    return tmp_path / "model.keras", module, double


def test_loading_imports_nothing(saved):
    path, module, _ = saved
    with pytest.raises(ValueError, match=r"uses \['saver>Double'\].*namespace \['saver'\]") as e:
        plugins.load_model(path)
    assert "lookup('saver>Double')" in str(e.value)
    assert "installed entry points: ['saver']" in str(e.value)
    assert module not in sys.modules
    plugins.lookup("saver>Double")
    model = plugins.load_model(path)
    np.testing.assert_array_equal(model.predict(np.ones((1, 3)), verbose=0), [[2.0, 2.0, 2.0]])


def test_a_configuration_imports_nothing(saved):
    """It may stand in a file, where a layer hands it on to `get`."""
    _, module, double = saved
    plugins.register("Double", kind="layer", package="saver")(double)
    config = keras.saving.serialize_keras_object(double(name="twice"))
    del registry._plugins["saver>Double"], keras.saving.get_custom_objects()["saver>Double"]
    with pytest.raises(ValueError, match=r"configuration uses \['saver>Double'\].*\['saver'\] is"):
        plugins.get(config, kind="layer")
    assert module not in sys.modules
    plugins.lookup("saver>Double")
    assert plugins.get(config, kind="layer").name == "twice"


def test_a_name_in_a_file_imports_nothing(install, tmp_path):
    """A layer that takes a name looks it up while the file is read; that must not import."""

    class Wrapper(keras.layers.Layer):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner
            self.layer = plugins.get(inner, kind="layer")

        def build(self, input_shape):
            self.built = True

        def call(self, x):
            return self.layer(x)

        def get_config(self):
            return {**super().get_config(), "inner": self.inner}

    plugins.register("Wrapper", kind="layer", package="acme")(Wrapper)
    module = install("acme-named", "named")
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Wrapper("named>double")(inputs))
    model.save(tmp_path / "model.keras")
    del sys.modules[module], registry._plugins["named>Double"]
    del keras.saving.get_custom_objects()["named>Double"]
    with pytest.raises(Exception, match="A model file imports nothing"):
        plugins.load_model(tmp_path / "model.keras")
    assert module not in sys.modules
    plugins.lookup("named>double")
    assert plugins.load_model(tmp_path / "model.keras").layers[-1].inner == "named>double"


@pytest.mark.parametrize("method", [classmethod, staticmethod])
def test_keras_own_loading_imports_nothing_either(install, method):
    """Of a registered class, whatever form its `from_config` has."""
    module = install("acme-guarded", "guarded")

    class Curious(keras.layers.Layer):
        from_config = method(lambda *_: plugins.get("guarded>double", kind="layer"))

    plugins.register("Curious", kind="layer", package="acme")(Curious)
    with pytest.raises(ValueError, match="A model file imports nothing"):
        Curious.from_config({})
    assert module not in sys.modules
    assert plugins.lookup("guarded>double")
    assert Curious.from_config({}).name.startswith("double")


def test_a_failure_that_no_plugin_explains(tmp_path):
    class Fragile(keras.layers.Layer):
        def call(self, x):
            return x

        @classmethod
        def from_config(cls, config):
            raise RuntimeError("fragile")

    plugins.register("Fragile", kind="layer", package="acme")(Fragile)
    inputs = keras.Input((3,))
    keras.Model(inputs, Fragile()(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(Exception, match="fragile") as e:
        plugins.load_model(tmp_path / "model.keras")
    assert "namespace" not in str(e.value)


def test_custom_objects_stand_for_plugins(saved):
    path, _, double = saved
    custom = {"saver>Double": double}
    assert plugins.load_model(path, custom_objects=custom).layers[-1].name.startswith("double")
    with keras.saving.custom_object_scope(custom):
        assert plugins.load_model(path).layers[-1].name.startswith("double")


def test_without_compiling_the_loss_is_not_needed(tmp_path):
    class Loss(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)

    plugins.register("Loss", kind="loss", package="acme")(Loss)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", Loss())
    model.save(tmp_path / "model.keras")
    del registry._plugins["acme>Loss"]
    del keras.saving.get_custom_objects()["acme>Loss"]
    with pytest.raises(ValueError, match=r"uses \['acme>Loss'\]"):
        plugins.load_model(tmp_path / "model.keras")
    loaded = plugins.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.keras"):
        plugins.load_model(tmp_path / "missing.keras")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    with pytest.raises((ValueError, KeyError), match=r"config\.json"):
        plugins.load_model(tmp_path / "empty.keras")


def test_a_message_is_told_once_and_whole(saved, tmp_path):
    """However many namespaces are missing, and however long their names."""
    path, *_ = saved
    with pytest.raises(ValueError, match="is missing") as e:
        plugins.load_model(path)
    assert str(e.value).count(str(path)) == 1
    assert str(e.value).endswith("installed entry points: ['saver'].")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = f'"{"a" * 5000}>Double"'.encode()
    with zipfile.ZipFile(tmp_path / "long.keras", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content.replace(b'"saver>Double"', name))
    with pytest.raises(ValueError, match="is missing") as e:
        plugins.load_model(tmp_path / "long.keras")
    assert len(str(e.value)) < 3000
