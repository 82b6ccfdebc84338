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
from myst_parser.config.main import MdParserConfig
from sphinx.util import logging

import keras_cvx

LOGGER = logging.getLogger(__name__)
DOCS = Path(__file__).parents[1]
PYTHON = {"python", "python3", "py", "ipython3", "ipython", "pycon", "default"}
SHELL = {"sh", "shell", "bash", "console"}
# What of MyST is read where a page is split into cells, and by Sphinx alike.
MARKDOWN = {"attrs_inline", "colon_fence", "deflist", "dollarmath", "substitution"}
INCLUDE = re.compile(r"^```\{include\} \.\./(\S+)\n(.*?)```\n", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)\n")
FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def read_page(text):
    """A page as a notebook: its blocks of Python are the cells.

    A file of the repository's root that is included is part of the page, its blocks too. Where the
    page's front matter has `miniature`, replacements by what is replaced, the blocks are shown as
    they are and run with these, because as they stand they would take too long. A block that begins
    with the comment of a file's name is that file: it is written where the page runs, and the tests
    of a file of tests are run.

    Args:
        text: Markdown.

    Returns:
        Notebook.
    """
    text = INCLUDE.sub(_included, text)
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    settings = (yaml.safe_load(front.group(1)) or {}) if front else {}
    text = FENCE.sub(_as_file, text)
    less = {str(old): str(new) for old, new in settings.get("miniature", {}).items()}
    blocks = "".join(FENCE.findall(text))
    if unknown := [old for old in less if old not in blocks]:
        raise ValueError(f"The page's `miniature` must be of what its blocks have: {unknown}")
    text = FENCE.sub(lambda match: _in_miniature(match, less), text)
    notebook = read_myst_markdown_notebook(
        text,
        MdParserConfig(enable_extensions=MARKDOWN),
        code_directive="python",
        add_source_map=True,
    )
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
        before, found, after = text.partition(value)
        if not found:
            raise ValueError(f"{name} is included {key} {value!r}, which it does not have")
        text = {"start-after": after, "end-before": before}[key]
    # Links of the root's files are from the root.
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(examples/(\w+)\.py\)", r"](gallery/\1.rst)", text) + "\n"


def _in_miniature(match, less):
    block, code = match.group(0, 1)
    run = code
    for old, new in less.items():
        run = run.replace(old, new)
    return block if run == code else _shown(code, run)


def _as_file(match):
    block, code = match.group(0, 1)
    if not (named := FILE.match(code)):
        return block
    name = named.group(1)
    run = (
        "from pathlib import Path\n\n"
        f"file = Path({name!r})\nfile.parent.mkdir(parents=True, exist_ok=True)\n"
        f"file.write_text({code!r})\n"
    )
    if Path(name).name.startswith("test_"):
        run += "import runpy\n\nfor name, test in runpy.run_path(str(file)).items():\n"
        run += "    if name.startswith('test_'):\n        test()\n"
    return _shown(code, run)


def _shown(code, run):
    """A block that is seen, and in its place another that is run."""
    shown = f"```{{code-block}} python\n:class: run-in-another-form\n\n{code}```\n"
    return f"{shown}\n```python\n:tags: [remove-cell]\n\n{run}```\n"


def _blocks(app, docname):
    """Kinds of the blocks of a page, each with whether it was run."""
    gallery = app.config.sphinx_gallery_conf
    runs = gallery["plot_gallery"] and re.search(gallery["filename_pattern"], docname)
    tree = app.env.get_doctree(docname)
    for node in tree.findall(nodes.doctest_block):
        yield "docstrings", node, _was_tested(app, node)
    for node in tree.findall(nodes.literal_block):
        language = node.get("language", "default").lower()
        cell = node.parent
        while cell is not None and "nb_element" not in getattr(cell, "attributes", {}):
            cell = cell.parent
        if cell is not None:
            if cell["nb_element"] == "cell_code_source":
                failed = any(
                    output.get("language") == "ipythontb"
                    for output in cell.parent.findall(nodes.literal_block)
                )
                yield "pages", node, cell.parent.get("exec_count") is not None and not failed
        elif language in SHELL:
            yield "shell", node, True
        elif language == "pycon" or ">>> " in node.astext():
            yield "docstrings", node, _was_tested(app, node)
        elif language in PYTHON:
            if docname.startswith("gallery/"):
                if "sphx-glr-script-out" not in node.get("classes", []):
                    yield "gallery", node, bool(runs)
            else:
                yield "pages", node, "run-in-another-form" in node.get("classes", [])


def _was_tested(app, node):
    """Whether each line of a docstring's example is one that was run as a doctest."""
    lines = re.findall(r"^\s*>>> (.*)$", node.astext(), re.MULTILINE)
    return bool(lines) and app.docstring_lines.issuperset(lines)


def _count(app, env):
    found, run = Counter(), Counter()
    gallery = app.config.sphinx_gallery_conf
    left_out = {
        "docstrings": not app.docstring_examples.attempted,
        "gallery": gallery["filename_pattern"] or not gallery["plot_gallery"],
    }
    for docname in sorted(env.found_docs):
        for kind, node, executed in _blocks(app, docname):
            found[kind] += 1
            run[kind] += executed
            # What is left out, by whoever builds or by its author, is told by the count alone.
            if not executed and not left_out.get(kind) and "+SKIP" not in node.astext():
                LOGGER.warning(
                    "This block of code is not run: %s", node.astext()[:60], location=node
                )
    app.code_blocks = (found, run)


def _run_docstrings(app):
    """The examples of every module's docstrings, as doctests."""
    app.docstring_lines = set()
    app.docstring_examples = doctest.TestResults(0, 0)
    # make docs DOCTESTS=0 leaves them out, for whoever looks at pages again and again.
    if os.environ.get("DOCTESTS") == "0":
        return
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    names = [
        module.name
        for module in pkgutil.walk_packages(keras_cvx.__path__, "keras_cvx.")
        if not module.name.endswith("__main__")
    ]
    for test in (test for name in names for test in finder.find(importlib.import_module(name))):
        runner.run(test)
        app.docstring_lines |= {
            example.source.partition("\n")[0]
            for example in test.examples
            if not example.options.get(doctest.SKIP)
        }
    app.docstring_examples = runner.summarize(verbose=False)
    if app.docstring_examples.failed:
        LOGGER.warning("%d examples of docstrings fail", app.docstring_examples.failed)


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


def _deal(app, env, docnames):
    """Deals the pages that are run among those that are not: Sphinx reads in runs of neighbours,
    and each of its processes is to have its share of the work. The longest, the course, come first.
    """
    run = [name for name in docnames if not name.startswith(("api/", "gallery/"))]
    run.sort(key=lambda name: (not name.startswith("course/"), name))
    still = [name for name in docnames if name not in set(run)]
    between = len(still) // max(len(run), 1) + 1
    for place, name in enumerate(run):
        still.insert(place * between, name)
    docnames[:] = still


def setup(app):
    app.connect("builder-inited", _run_docstrings)
    app.connect("env-before-read-docs", _deal)
    app.connect("env-check-consistency", _count)
    app.connect("build-finished", _report, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
