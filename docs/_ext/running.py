"""Pages whose Python blocks are run, and the count that proves it.

A page is plain Markdown. Each of its blocks of Python becomes a cell of a notebook, which myst-nb
runs in a kernel of the page's own, so that a block that fails stops the build. Docstrings' examples
are run as doctests, the gallery's scripts by sphinx-gallery. At the end every block of the site is
counted, and one that was not run is a warning.
"""

import doctest
import importlib
import os
import pkgutil
import re
from collections import Counter
from pathlib import Path

import yaml
from docutils import nodes
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx.util import logging

import keras_cvx

LOGGER = logging.getLogger(__name__)
DOCS = Path(__file__).parents[1]
PYTHON = {"python", "python3", "py", "ipython3", "ipython", "pycon", "default"}
SHELL = {"sh", "shell", "bash", "console"}
INCLUDE = re.compile(r"^```\{include\} \.\./(\S+)\n(.*?)```\n", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def read_page(text):
    """A page as a notebook: its blocks of Python are the cells.

    A file of the repository's root that is included is part of the page, its blocks too. Where the
    page's front matter has `miniature`, replacements by what is replaced, the blocks are shown as
    they are and run with these, because as they stand they would take too long.

    Args:
        text: Markdown.

    Returns:
        Notebook.
    """
    text = INCLUDE.sub(_included, text)
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    settings = (yaml.safe_load(front.group(1)) or {}) if front else {}
    if less := settings.get("miniature"):
        text = FENCE.sub(lambda match: _in_miniature(match.group(1), less), text)
    notebook = read_myst_markdown_notebook(text, code_directive="python", add_source_map=True)
    notebook.metadata.pop("miniature", None)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    if not any(cell.cell_type == "code" for cell in notebook.cells):
        notebook.metadata["mystnb"] = {"execution_mode": "off"}
    return notebook


def _included(match):
    name, options = match.groups()
    text = (DOCS.parent / name).read_text("utf-8")
    for key, value in re.findall(r"^:([\w-]+): (.+)$", options, re.MULTILINE):
        before, _, after = text.partition(value)
        text = {"start-after": after, "end-before": before}[key]
    # Links of the root's files are from the root.
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(examples/(\w+)\.py\)", r"](gallery/\1.rst)", text) + "\n"


def _in_miniature(code, less):
    run = code
    for old, new in less.items():
        if str(old) not in run:
            raise ValueError(f"The page's `miniature` must be of what its blocks have: {old!r}")
        run = run.replace(str(old), str(new))
    shown = f"```{{code-block}} python\n:class: run-in-miniature\n\n{code}```\n"
    return f"{shown}\n```python\n:tags: [remove-cell]\n\n{run}```\n"


def _blocks(app, docname):
    """Kinds of the blocks of a page, each with whether it was run."""
    runs = app.config.sphinx_gallery_conf["plot_gallery"]
    tested = app.docstring_examples.attempted > 0
    tree = app.env.get_doctree(docname)
    for node in tree.findall(nodes.doctest_block):
        yield "docstrings", node, tested and docname.startswith("api/")
    for node in tree.findall(nodes.literal_block):
        language = node.get("language", "default").lower()
        cell = node.parent
        while cell is not None and "nb_element" not in getattr(cell, "attributes", {}):
            cell = cell.parent
        if cell is not None:
            if cell["nb_element"] == "cell_code_source":
                yield "pages", node, cell.parent.get("exec_count") is not None
        elif language in SHELL:
            yield "shell", node, True
        elif language == "pycon" or ">>> " in node.astext():
            yield "docstrings", node, tested and docname.startswith("api/")
        elif language in PYTHON:
            if docname.startswith("gallery/"):
                output = "sphx-glr-script-out" in node.get("classes", [])
                if not output:
                    yield "gallery", node, runs
            else:
                yield "pages", node, "run-in-miniature" in node.get("classes", [])


def _count(app, env):
    found, run = Counter(), Counter()
    left_out = {
        kind
        for kind, name in (("docstrings", "DOCTESTS"), ("gallery", "GALLERY"))
        if os.environ.get(name)
    }
    for docname in sorted(env.found_docs):
        for kind, node, executed in _blocks(app, docname):
            found[kind] += 1
            run[kind] += executed
            # What whoever builds has left out is told by the count alone.
            if not executed and kind not in left_out:
                LOGGER.warning(
                    "This block of code is not run: %s", node.astext()[:60], location=node
                )
    app.code_blocks = (found, run)


def _run_docstrings(app, exception=None):
    """The examples of every module's docstrings, as doctests."""
    total = doctest.TestResults(0, 0)
    # make docs DOCTESTS=0 leaves them out, for whoever looks at pages again and again.
    if os.environ.get("DOCTESTS") == "0":
        app.docstring_examples = total
        return
    names = [
        module.name
        for module in pkgutil.walk_packages(keras_cvx.__path__, "keras_cvx.")
        if not module.name.endswith("__main__")
    ]
    for name in names:
        failed, tried = doctest.testmod(importlib.import_module(name))
        total = doctest.TestResults(total.failed + failed, total.attempted + tried)
    if total.failed:
        LOGGER.warning("%d examples of docstrings fail; they are above", total.failed)
    app.docstring_examples = total


def _report(app, exception):
    if exception or not hasattr(app, "code_blocks"):
        return
    found, run = app.code_blocks
    parts = ", ".join(
        f"{run[kind]} of {found[kind]} {where}"
        for kind, where in (
            ("pages", "on pages"),
            ("gallery", "of the gallery"),
            ("docstrings", "of docstrings"),
        )
    )
    all_found, all_run = (sum(c[k] for k in c if k != "shell") for c in (found, run))
    LOGGER.info("code blocks: %d, executed %d (%s)", all_found, all_run, parts)
    LOGGER.info("shell blocks: %d", found["shell"])
    tests = app.docstring_examples
    LOGGER.info("lines of docstrings' examples: %d, failed %d", tests.attempted, tests.failed)


def setup(app):
    app.connect("builder-inited", _run_docstrings)
    app.connect("env-check-consistency", _count)
    app.connect("build-finished", _report, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
