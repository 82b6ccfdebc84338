"""What any version has saved, this one loads."""

import json
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_cvx
from keras_cvx import plugins

RELEASES = pathlib.Path(__file__).with_name("releases")
CONFIGURATIONS = {
    f"{path.parent.name}-{name}": config
    for path in sorted(RELEASES.glob("*/configurations.json"))
    for name, config in json.loads(path.read_text("utf-8")).items()
}
MODELS = sorted(RELEASES.glob("*/*.keras"))


def plain(config):
    """As a file has it; of an object of Keras, whose versions differ, the class alone."""
    if isinstance(config, dict):
        if "class_name" in config and ">" not in (config.get("registered_name") or ""):
            return config["class_name"]
        return {key: plain(value) for key, value in config.items() if key != "shared_object_id"}
    return [plain(value) for value in config] if isinstance(config, (list, tuple)) else config


def shared(now, before):
    """What an earlier version knew too; a later one may know more arguments."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {key: shared(now.get(key, "is gone"), value) for key, value in before.items()}
    return now


@pytest.mark.parametrize("config", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_configurations(config):
    made = keras.saving.deserialize_keras_object(config)
    assert keras.saving.get_registered_name(type(made)) == config["registered_name"]
    now = plain(keras.saving.serialize_keras_object(made)["config"])
    assert shared(now, plain(config["config"])) == plain(config["config"])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_models(path):
    expected = np.load(path.with_suffix(".npz"))
    outputs = keras.tree.flatten(plugins.load_model(path)(expected["input"]))
    assert len(outputs) == len(expected.files) - 1
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(
            ops.convert_to_numpy(output), expected[f"output_{i}"], rtol=1e-4, atol=1e-4
        )


@pytest.mark.host
def test_every_object_was_saved_by_this_version():
    """If not: python tests/testing/add_release.py"""
    folder = RELEASES / keras_cvx.__version__
    saved = {path.stem for path in folder.glob("*.keras")}
    saved |= set(json.loads((folder / "configurations.json").read_text("utf-8")))
    own = {
        name.split(">")[1]
        for name, plugin in ((plugin.name, plugin) for plugin in plugins.registered())
        if name.startswith("keras_cvx>") and isinstance(plugin.object, type)
    }
    assert saved >= own - {"BilinearUpsampling"}
