import re
import subprocess
import sys
import tarfile
from pathlib import Path

import keras
import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SITE = "https://keras-cvx.readthedocs.io/en/latest/"


def links(text):
    return re.findall(r"\]\(([^)]+)\)", text)


def test_first_lines_run(tmp_path, monkeypatch):
    if keras.backend.backend() != "torch":
        pytest.skip("once is enough, where nothing is compiled")
    lines = re.search(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL).group(1)
    # In miniature, as the landing page runs them.
    _, front, _ = (ROOT / "docs" / "index.md").read_text("utf-8").split("---\n", 2)
    for more, less in yaml.safe_load(front)["miniature"].items():
        assert more in lines
        lines = lines.replace(more, less)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})  # noqa: S102
    assert keras.saving.load_model("digits.keras").num_classes == 10


@pytest.mark.host
def test_links_lead_to_files():
    found = links(README.read_text("utf-8"))
    assert "docs/start.md" in found
    assert [link for link in found if not (ROOT / link).exists()] == []


@pytest.mark.host
def test_it_renders_on_the_package_index_with_links_to_the_site(tmp_path):
    run = [sys.executable, "-m"]
    build = [*run, "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True)
    [archive] = tmp_path.glob("*.tar.gz")
    checked = subprocess.run(
        [*run, "twine", "check", "--strict", archive], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with tarfile.open(archive) as files:
        [metadata] = (name for name in files.getnames() if name.endswith("/PKG-INFO"))
        shown = files.extractfile(metadata).read().decode("utf-8")
    inside = links(README.read_text("utf-8"))
    outside = links(shown)
    assert len(outside) == len(inside)
    for link, page in zip(outside, inside, strict=True):
        assert link.startswith(SITE), link
        name = link.removeprefix(SITE)
        if page.startswith("docs/") and page.endswith(".md"):
            assert name == page.removeprefix("docs/").replace(".md", ".html")
