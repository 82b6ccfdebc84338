import re
from pathlib import Path

import keras
import pytest

README = Path(__file__).parents[1] / "README.md"
# The lines in miniature.
LESS = {"4000": "8", "400": "4", "128": "64", "epochs=8": "epochs=1", "None)": "None, alpha=0.35)"}


def test_first_lines_run(tmp_path, monkeypatch):
    if keras.backend.backend() != "torch":
        pytest.skip("once is enough, where nothing is compiled")
    lines = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL).group(1)
    for more, less in LESS.items():
        assert more in lines
        lines = lines.replace(more, less)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})  # noqa: S102
    assert keras.saving.load_model("digits.keras").num_classes == 10
