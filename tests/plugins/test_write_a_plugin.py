"""What `docs/write_a_plugin.md` says is done as it stands there."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_cvx import plugins
from keras_cvx.plugins import registry

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "write_a_plugin.md").read_text("utf-8")
PACKAGE = ROOT / "examples" / "plugin_package"

pytestmark = [
    pytest.mark.usefixtures("clean_registry"),
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="once is enough, where nothing is compiled"
    ),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def files():
    """The page's files by their names, which stand in their first lines."""
    named = {}
    for block in blocks("python") + blocks("toml"):
        head, _, content = block.partition("\n")
        if re.fullmatch(r"# [\w/]+\.(py|toml)", head):
            named[head.removeprefix("# ")] = content
    return named


def steps():
    """The lines of a user, in their order."""
    return [block for block in blocks("python") if not block.startswith("# ")]


def without_environment(message):
    """A message but for its last sentence, of what else is registered and installed here."""
    return str(message).partition(" Registered namespaces:")[0]


def forget():
    """As in a process that has not met the package."""
    for name in [name for name in sys.modules if name.startswith("keras_cvx_acme")]:
        del sys.modules[name]
    for known in (registry._plugins, keras.saving.get_custom_objects()):
        for name in [name for name in known if name.startswith("acme>")]:
            del known[name]
    importlib.invalidate_caches()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The page's package, installed: its folder."""
    folder = tmp_path / "package"
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    project = tomllib.loads(files()["pyproject.toml"])["project"]
    information = folder / "keras_cvx_acme-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    for group, points in project["entry-points"].items():
        lines = [f"{name} = {value}" for name, value in points.items()]
        (information / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    yield folder
    forget()


def test_the_journey(package, monkeypatch):
    *before, load = steps()
    user: dict = {}
    for step in before:
        exec(step, user)  # noqa: S102
    images = user["scenes"]["images"]
    found = user["localizer"].predict(images, verbose=0)

    forget()
    with monkeypatch.context() as uninstalled:
        uninstalled.setattr(sys, "path", [path for path in sys.path if path != str(package)])
        with pytest.raises(ValueError, match="is missing") as error:
            plugins.load_model("localizer.keras")
    assert without_environment(error.value) in map(without_environment, blocks("text"))

    exec(load, user)  # noqa: S102
    again = user["again"]
    assert type(again.loss["boxes"]).__module__ == "keras_cvx_acme.loss"
    for name, expected in again.predict(images, verbose=0).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


def test_its_test(package):
    tests: dict = {}
    exec(files()["tests/test_acme.py"], tests)  # noqa: S102
    tests["test_loss"]()


def test_a_forgotten_get_config(package):
    path = package / "keras_cvx_acme" / "loss.py"
    path.write_text(path.read_text().partition("    def get_config")[0])
    with pytest.raises(ImportError) as error:
        plugins.lookup("acme>LogarithmicBoxLoss")
    assert f"{error.value.__cause__}\n" in blocks("text")


def test_its_files_are_those_of_the_example():
    assert files()["keras_cvx_acme/loss.py"] == (PACKAGE / "keras_cvx_acme/loss.py").read_text()
    ours, theirs = (
        tomllib.loads(text)
        for text in (files()["pyproject.toml"], (PACKAGE / "pyproject.toml").read_text())
    )
    assert ours["project"]["entry-points"] == theirs["project"]["entry-points"]
    assert ours["project"]["name"] == theirs["project"]["name"]
    layout = blocks("text")[0]
    for name in files():
        assert Path(name).name in layout
