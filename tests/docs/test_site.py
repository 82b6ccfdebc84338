"""What can be held of the site without building it."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = ("_build", "_drawn", "api", "gallery")
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.relative_to(DOCS).parts[0] not in (*GENERATED, "_ext")
)
pytestmark = pytest.mark.host


def name_of(page):
    return page.relative_to(DOCS).with_suffix("").as_posix()


@pytest.fixture(scope="module")
def extension():
    """Function from the name of a module in `docs/_ext` to the module."""
    folder = str(DOCS / "_ext")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


def test_every_public_name_has_what_its_page_needs(extension):
    assert extension("contents").faults() == []


def test_an_example_that_never_runs_is_none(extension):
    contents = extension("contents")

    def skipped(x):
        """One.

        Args:
            x: Two.

        Example:
            >>> skipped(1)  # doctest: +SKIP
        """

    def missing(x):
        """One.

        Example:
            >>> missing(1)
        """

    assert not contents.has_example(skipped)
    assert contents.has_example(missing)
    assert contents.undocumented_arguments(missing) == ["x"]
    assert contents.undocumented_arguments(skipped) == []


def test_arguments_of_methods_are_described_too(extension):
    class Part:
        """One.

        Args:
            size: Two.

        Attributes:
            kind: Three.
        """

        __module__ = "keras_cvx.part"

        def __init__(self, size, kind):
            self.size, self.kind = size, kind

        def moved(self, shift, *args, **kwargs):
            """Four."""

    Part.moved.__module__ = "keras_cvx.part"
    assert extension("contents").undocumented_arguments(Part) == ["kind", "shift of moved"]


def test_every_page_is_in_a_table_of_contents():
    entries = set()
    for page in PAGES:
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
            folder = name_of(page).rpartition("/")[0]
            entries |= {f"{folder}/{line}" if folder else line for line in lines}
    pages = {name_of(page) for page in PAGES} - {"index"}
    made = {entry for entry in entries if entry.split("/")[0] in GENERATED}
    assert entries - made == pages


def test_no_generated_file_is_committed():
    listed = subprocess.run(
        ["git", "ls-files", "docs"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")
    files = listed.stdout.splitlines()
    assert "docs/index.md" in files
    assert [f for f in files if f.split("/")[1] in GENERATED or f.endswith(".ipynb")] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_and_figures_of_a_page(page, extension):
    """Blocks of Python are compiled; a figure that is asked for is there."""
    text = page.read_text("utf-8")
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        compile(code, str(page), "exec")
    asked = re.findall(r"^```\{drawn\} (\S+)", text, re.MULTILINE)
    assert set(asked) <= set(extension("contents").sources())
    # Such blocks are run as well, but other tools do not colour them.
    assert "{code-cell}" not in text


def test_every_figure_is_shown_and_has_words(extension):
    contents = extension("contents")
    shown = {name for names in contents.objects().values() for name in names}
    for page in PAGES:
        shown |= set(re.findall(r"^```\{drawn\} (\S+)", page.read_text("utf-8"), re.MULTILINE))
    assert set(contents.sources()) == shown
    for name in contents.sources():
        assert contents.caption(name).endswith((".", ".)")), name


def test_every_example_has_its_short_form(extension):
    gallery = extension("gallery")
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert set(gallery.SHORT) == scripts


PAGE = """---
miniature:
  "1000)": "2)"
---

# Title

TensorFlow
: ```sh
  pip install .
  ```

```python
total = sum(range(1000))
```

```python
# part/test_part.py
def test_total():
    assert {holds}
```

```python
total = total + 1
```
"""


@pytest.fixture
def read_page(extension):
    pytest.importorskip("myst_nb")
    return extension("running").read_page


def run(notebook):
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, found)  # noqa: S102
    return found


def test_blocks_of_a_page_are_cells(read_page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = read_page(PAGE.format(holds="True"))
    assert run(page)["total"] == 2
    # What is seen is the block itself.
    seen = "".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert "range(1000)" in seen
    assert "assert True" in seen
    assert (tmp_path / "part" / "test_part.py").is_file()
    with pytest.raises(AssertionError):
        run(read_page(PAGE.format(holds="False")))


def test_what_a_page_has_not_is_no_part_of_it(read_page):
    with pytest.raises(ValueError, match=r"must be of what its blocks have: \['1000\)'\]"):
        read_page(PAGE.format(holds="True").replace("range(1000)", "[]"))
    include = "```{include} ../README.md\n:start-after: no such words\n```\n"
    with pytest.raises(ValueError, match="is included start-after 'no such words'"):
        read_page(include)
    assert "cvx.models.GridDetector" in str(read_page(include.replace("no such words", "png)")))
