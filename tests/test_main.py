import subprocess
import sys

import keras
import pytest

import keras_cvx
from keras_cvx import plugins
from keras_cvx.__main__ import main

pytestmark = pytest.mark.usefixtures("clean_registry")


def install(path, monkeypatch, **modules):
    """Installs distributions `acme-<namespace>` 1.5 with the given source."""
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
