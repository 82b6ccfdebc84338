"""The journey of a package of plugins: built, installed, used, uninstalled, installed again."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "plugin_package"
pytestmark = pytest.mark.host

MODELS = """
import sys, keras, numpy as np, keras_cvx as cvx
from keras import layers

keras.utils.set_random_seed(0)
folder = sys.argv[1]
scenes = cvx.datasets.digit_scenes(4, size=32, seed=0)
images, boxes = scenes["images"], scenes["bounding_boxes"]

def backbone():
    x = inputs = keras.Input((32, 32, 3))
    for _ in range(3):
        x = layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x)
"""
TRAIN = """
detector = cvx.models.GridDetector(
    backbone(), 10, strides=[8], bounding_box_format="xyxy", coding="acme>distances"
)
detector.compile("sgd")
detector.fit(images, boxes, verbose=0)
detector.save(f"{folder}/detector.keras")
segmenter = cvx.models.Segmenter(backbone(), 11, decoder="acme>one_map")
segmenter.compile("sgd")
segmenter.fit(images, scenes["segmentation_masks"], verbose=0)
segmenter.save(f"{folder}/segmenter.keras")
localizer = cvx.models.Localizer(backbone(), 10, bounding_box_format="xyxy")
localizer.compile(
    "sgd",
    loss={"boxes": "acme>LogarithmicBoxLoss", "labels": "sparse_categorical_crossentropy"},
)
first = {name: x[:, 0] for name, x in boxes.items()}
localizer.fit(images, first, verbose=0)
localizer.save(f"{folder}/localizer.keras")
np.savez(f"{folder}/found.npz", boxes=detector(images), logits=segmenter(images))
"""
FAIL = """
for name in ("detector", "segmenter", "localizer"):
    try:
        cvx.plugins.load_model(f"{folder}/{name}.keras")
    except ValueError as error:
        print(error)
try:
    cvx.plugins.lookup("acme>lines", kind="reader")
except ValueError as error:
    print(error)
"""
LOAD = """
lines = cvx.plugins.lookup("acme>lines", kind="reader")
detector, segmenter, localizer = (
    cvx.plugins.load_model(f"{folder}/{name}.keras")
    for name in ("detector", "segmenter", "localizer")
)
print(type(detector.coding).__name__, type(segmenter.decoder).__name__)
print(type(localizer.loss["boxes"]).__name__)
np.savez(f"{folder}/again.npz", boxes=detector(images), logits=segmenter(images))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(PACKAGE, folder / "source")
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([sys.executable, *command, "--wheel-dir", folder, source], check=True)
    (built,) = folder.glob("*.whl")
    return built


def python(*arguments, site=None, check=True):
    """What a fresh process prints, with a folder's packages beside those that are installed."""
    paths = [str(path) for path in (site, PACKAGE.parents[1]) if path is not None]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        check=check,
        capture_output=True,
        text=True,
    ).stdout


def test_the_journey(wheel, tmp_path):
    site = tmp_path / "site"

    def install():
        # A wheel is unpacked, and that is all that installing a pure one does.
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)

    install()
    listed = python("-m", "keras_cvx", "plugins", site=site)
    for name in ("DistanceCoding", "LogarithmicBoxLoss", "OneMapDecoder", "lines"):
        assert f"acme>{name}" in listed
    assert "keras-cvx-acme 1.0" in listed
    python("-c", MODELS + TRAIN, tmp_path, site=site)
    shutil.rmtree(site)
    errors = python("-c", MODELS + FAIL, tmp_path).splitlines()
    assert len(errors) == 4
    for error, name in zip(
        errors, ("DistanceCoding", "OneMapDecoder", "Logar", "lines"), strict=True
    ):
        assert f"acme>{name}" in error
    assert all("namespace ['acme'] is missing" in error for error in errors[:3])
    install()
    printed = python("-c", MODELS + LOAD, tmp_path, site=site).split()
    assert printed == ["DistanceCoding", "OneMapDecoder", "LogarithmicBoxLoss"]
    found, again = np.load(tmp_path / "found.npz"), np.load(tmp_path / "again.npz")
    for name in found.files:
        np.testing.assert_allclose(again[name], found[name], rtol=1e-5, atol=1e-5)


def test_its_own_tests(wheel, tmp_path):
    """As its author runs them; the loss and its test are as short as promised."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    printed = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", PACKAGE / "tests", site=tmp_path
    )
    assert "10 passed" in printed
    assert lines_of(PACKAGE / "keras_cvx_acme" / "loss.py", "class LogarithmicBoxLoss") <= 15
    assert lines_of(PACKAGE / "tests" / "test_acme.py", "def test_loss") <= 8


def lines_of(path, head):
    """Lines of a class or function that are not empty, its first among them."""
    _, _, after = path.read_text("utf-8").partition(head)
    body = []
    for line in after.splitlines()[1:]:
        if line and not line.startswith(" "):
            break
        body.append(line)
    return 1 + len([line for line in body if line])
