import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_cvx
from keras_cvx import plugins
from keras_cvx.__main__ import main

pytestmark = pytest.mark.usefixtures("clean_registry")


def install(path, monkeypatch, **modules):
    """Installs distributions `acme-<namespace>` 1.5 with the given source."""
    path.mkdir(exist_ok=True)
    monkeypatch.syspath_prepend(path)
    for namespace, source in modules.items():
        (path / f"acme_{namespace}.py").write_text(source)
        info = path / f"acme_{namespace}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: acme-{namespace}\nVersion: 1.5\n"
        )
        (info / "entry_points.txt").write_text(
            f"[keras_cvx.plugins]\n{namespace} = acme_{namespace}\n"
        )


SOUND = """
import keras
from keras_cvx import plugins
plugins.register("Nothing", kind="layer", package="sound", alias="no")(
    type("Nothing", (keras.layers.Layer,), {})
)
"""


def rows_of(text):
    """First column to the others of each row."""
    rows = [line.split("  ") for line in text.splitlines()]
    return {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}


def test_table(capsys):
    assert main(["plugins"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    rows = rows_of(output.out)
    own = f"keras-cvx {keras_cvx.__version__}"
    assert rows["name"] == ["alias", "kind", "from"]
    assert rows["keras_cvx>YOLOv1Coding"] == ["yolov1", "coding", own]
    assert rows["keras_cvx>GridDetectionHead"] == ["layer", own]
    assert set(rows) == {"name", *(plugin.name for plugin in plugins.registered())}
    # The columns are straight, and no line ends in blanks.
    lines = output.out.splitlines()
    column = lines[0].index("kind")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_other_packages_and_one_that_fails(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, broken="raise RuntimeError('no such device')", sound=SOUND)
    assert main(["plugins"]) == 1
    output = capsys.readouterr()
    assert rows_of(output.out)["sound>Nothing"] == ["no", "layer", "acme-sound 1.5"]
    assert rows_of(output.out)["broken>"] == ["not imported", "acme-broken 1.5"]
    assert "'acme-broken', could not be imported from 'acme_broken'" in output.err
    assert "no such device" in output.err


def test_a_package_that_registers_nothing(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, empty="")
    assert main(["plugins"]) == 0
    output = capsys.readouterr()
    assert rows_of(output.out)["empty>"] == ["registers nothing", "acme-empty 1.5"]
    assert output.err == ""


def test_a_namespace_without_a_package(capsys):
    plugins.register("Thing", kind="layer", package="script")(
        type("Thing", (keras.layers.Layer,), {})
    )
    assert main(["plugins"]) == 0
    assert rows_of(capsys.readouterr().out)["script>Thing"] == ["layer", "script"]


def test_no_command(capsys):
    assert main([]) == 0
    output = capsys.readouterr()
    assert "usage: python -m keras_cvx" in output.out
    assert "list the registered plugins" in output.out


@pytest.mark.parametrize("arguments", [["plugin"], ["plugins", "--all"]])
def test_wrong_use(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: python -m keras_cvx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "output"), [("--version", keras_cvx.__version__), ("--help", "plugins")]
)
def test_information(option, output, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([option])
    assert output in capsys.readouterr().out


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "keras_cvx", "plugins"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "keras_cvx>GridDetector" in done.stdout


@pytest.fixture
def coco_folder(tmp_path):
    """Function of boxes: a folder of two images and their COCO file, which it returns."""

    def make(*boxes, name="instances.json", names=("a.png", "b.png")):
        for image in names:
            if not (tmp_path / image).exists():
                pixels = np.full((30, 40, 3), 40 * len(list(tmp_path.iterdir())), "uint8")
                Image.fromarray(pixels).save(tmp_path / image)
        content = {
            "images": [
                {"id": place, "file_name": image, "height": 30, "width": 40}
                for place, image in enumerate(names)
            ],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": place, "image_id": place % 2, "category_id": 1, "bbox": box}
                for place, box in enumerate(boxes)
            ],
        }
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return make


def test_a_data_set_in_which_nothing_is_wrong(coco_folder, capsys):
    path = coco_folder([1, 2, 3, 4], [5, 6, 7, 8])
    assert main(["datasets", "check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: 2 images"
    assert lines[1:] == ["2 images, 2 labels in 1 classes", "  cat  2", "nothing wrong was found"]


def test_what_is_wrong_is_told_by_the_status(coco_folder, capsys):
    path = coco_folder([1, 2, 3, 4], [5, 6, 70, 8], [1, 2, -3, 4])
    assert main(["datasets", "check", str(path)]) == 1
    output = capsys.readouterr().out
    assert "error: 1 records that were skipped: " in output
    assert "error: 1 boxes outside of their image: cat [5.0, 6.0, 75.0, 14.0]" in output


def test_parts_are_compared(coco_folder, capsys):
    train = coco_folder([1, 2, 3, 4], name="train.json")
    valid = coco_folder([1, 2, 3, 4], name="valid.json", names=("c.png", "a.png"))
    assert main(["datasets", "check", str(train), str(valid)]) == 1
    assert "error: 1 images that are in two parts: " in capsys.readouterr().out


def test_parts_whose_files_are_called_alike(coco_folder, tmp_path, capsys):
    """As Roboflow exports them: `train/_annotations.coco.json` and `valid/`, likewise."""
    path, paths = coco_folder([1, 2, 3, 4]), []
    for split in ("train", "valid"):
        paths.append(str(tmp_path / split / path.name))
        (tmp_path / split).mkdir()
        for name in ("a.png", "b.png", path.name):
            (tmp_path / split / name).write_bytes((tmp_path / name).read_bytes())
    assert main(["datasets", "check", *paths]) == 1
    output = capsys.readouterr().out
    assert output.startswith(f"{paths[0]}: 2 images\n{paths[1]}: 2 images\n4 images, ")
    assert "error: 2 images that are in two parts: " in output


def test_no_picture_where_no_image_can_be_read(coco_folder, tmp_path, capsys):
    path = coco_folder([1, 2, 30, 24])
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"none")
    assert main(["datasets", "check", str(path), "--picture", str(tmp_path / "new.png")]) == 1
    output = capsys.readouterr().out
    assert "error: 2 images that cannot be read" in output
    assert output.endswith("No image can be drawn.\n")
    assert not (tmp_path / "new.png").exists()


def test_a_picture_is_drawn(coco_folder, tmp_path, capsys):
    picture = tmp_path / "pictures" / "samples.png"
    path = coco_folder([1, 2, 30, 24], [5, 6, 7, 8])
    assert main(["datasets", "check", str(path), "--picture", str(picture)]) == 0
    assert f"The picture is {picture}." in capsys.readouterr().out
    with Image.open(picture) as drawn:
        assert np.asarray(drawn.convert("L")).std() > 20


def test_what_is_no_data_set(tmp_path, capsys):
    for path in (tmp_path / "nothing.json", tmp_path):
        assert main(["datasets", "check", str(path)]) == 1
        assert str(path) in capsys.readouterr().err


CONTACT_SHEET = """
from keras_cvx import datasets, plugins

@plugins.register("listed", kind="reader", package="sheets")
def listed(path, images, on_error):
    return datasets.coco(path.with_suffix(".json"), path.parent)

class Sheet:
    def __init__(self, text):
        self.text = text

    def savefig(self, path):
        path.write_text(self.text)

@plugins.register("sheet", kind="visualizer", package="sheets")
def sheet(images, truth, *, class_names):
    return Sheet(f"{images.shape} {truth['labels'].tolist()} {class_names}")
"""


def test_reader_and_visualizer_of_another_package(coco_folder, tmp_path, monkeypatch, capsys):
    install(tmp_path / "site", monkeypatch, sheets=CONTACT_SHEET)
    path, picture = coco_folder([1, 2, 30, 24], [5, 6, 7, 8]), tmp_path / "sheet.txt"
    chosen = ["--format", "sheets>listed", "--visualizer", "sheets>sheet"]
    arguments = ["datasets", "check", str(path.with_suffix(".list")), "--picture", str(picture)]
    assert main([*arguments, *chosen]) == 0
    assert "instances.list: 2 images\n" in capsys.readouterr().out
    assert picture.read_text() == "(2, 320, 320, 3) [[0], [0]] {0: 'cat'}"
    for option, message in (
        (
            ["--format", "sheets>list"],
            "'sheets>list'. Did you mean 'sheets>listed'",
        ),
        (["--format", "sheets>sheet"], "must be a plugin of kind 'reader'"),
        (["--format", "cocoa"], "Did you mean 'coco'"),
        (["--visualizer", "galery"], "Did you mean 'gallery'"),
    ):
        assert main([*arguments, *option]) == 1
        assert message in capsys.readouterr().err


def test_a_reader_whose_package_fails(tmp_path, monkeypatch, capsys):
    install(tmp_path, monkeypatch, broken="raise RuntimeError('no such device')")
    assert main(["datasets", "check", str(tmp_path), "--format", "broken>reader"]) == 1
    assert "no such device" in capsys.readouterr().err
