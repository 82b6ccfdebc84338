import importlib.metadata
import shutil

import pytest

# A module of plugins.
DOUBLE = """
import keras
from keras_cvx import plugins

@plugins.register("Double", kind="layer", package="NAMESPACE", alias="double")
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Function that installs a distribution with one module and its entry points.

    `NAMESPACE` in the source becomes the namespace.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def write(module, source, namespace):
        (tmp_path / f"{module}.py").write_text(source.replace("NAMESPACE", namespace))
        # Written twice in one second, it could be taken for what was compiled before.
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()

    def of(distribution, namespace, source=DOUBLE, module=None):
        module = module or f"acme_{namespace}"
        write(module, source, namespace)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        )
        (info / "entry_points.txt").write_text(f"[keras_cvx.plugins]\n{namespace} = {module}\n")
        importlib.invalidate_caches()
        return module

    of.source, of.write = DOUBLE, write
    return of
