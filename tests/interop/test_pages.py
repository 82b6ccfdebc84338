"""What the pages claim is there."""

import ast
import re
from pathlib import Path

import keras
import pytest

import keras_cvx

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.host


def test_every_cell_of_the_table_is_a_test():
    page = (ROOT / "docs" / "interop.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) == len(rows)
    for path, name in set(named):
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_name_of_the_migration_exists():
    page = (ROOT / "docs" / "migrating_from_keras_cv.md").read_text("utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    names = {name for row in rows for name in re.findall(r"`([\w.]+)", row[2])}
    assert len(names) > 20
    rooms = {"keras": keras, "keras_hub": pytest.importorskip("keras_hub")}
    for name in names:
        root, _, rest = name.partition(".")
        part, attributes = (rooms[root], rest) if root in rooms else (keras_cvx, name)
        for attribute in attributes.split("."):
            part = getattr(part, attribute, None) or pytest.fail(f"{name} is not there")
