"""A page for every public name, written while the site is built, and what each must have."""

import importlib
import inspect
import re

import contents
from contents import NAMESPACES, documentation, public_objects
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
API = contents.DOCS / "api"


def summary(docstring):
    """Its first paragraph, in one line of reStructuredText."""
    first = " ".join(docstring.partition("\n\n")[0].split())
    return re.sub(r"`+([^`]+)`+", r"``\1``", first)


CONSTANTS = {
    "keras_cvx.datasets.DIGIT_NAMES": "The names of the ten digits.",
    "keras_cvx.ops.FORMATS": "The formats of boxes, as Keras names them.",
    "keras_cvx.testing.CLAUSES": "The names of the contract's clauses.",
}


def _title(text):
    return f"{text}\n{'=' * len(text)}\n"


def _object_page(name, value, figures):
    namespace, _, last = name.removeprefix("keras_cvx.").rpartition(".")
    lines = [_title(last), f".. currentmodule:: keras_cvx.{namespace}\n"]
    if inspect.isclass(value):
        body = f".. autoclass:: {name}\n   :members:\n   :inherited-members:\n"
    elif inspect.isroutine(value):
        body = f".. autofunction:: {name}\n"
    else:
        body = f".. data:: {last}\n\n   {CONSTANTS[name]} ``{value!r}``\n"
        body += "".join(f"\n   .. drawn:: {figure}\n" for figure in figures)
    return "\n".join([*lines, body])


def _namespace_page(namespace, values):
    lines = [
        _title(f"keras_cvx.{namespace}"),
        f".. automodule:: keras_cvx.{namespace}\n   :no-members:\n",
        ".. list-table::\n   :widths: 34 66\n   :class: names\n",
    ]
    for name, value in values.items():
        last = name.rpartition(".")[2]
        words = CONSTANTS.get(name) or summary(documentation(value))
        lines.append(f"   * - :doc:`{last} <{namespace}/{last}>`\n     - {words}")
    lines.append("\n.. toctree::\n   :hidden:\n")
    lines += [f"   {namespace}/{name.rpartition('.')[2]}" for name in values]
    return "\n".join(lines) + "\n"


def _write(path, text):
    """Only what has changed, or Sphinx would read every page again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _write_pages(app):
    values = public_objects()
    app.figures = contents.objects()
    written = set()
    for namespace in NAMESPACES:
        inside = {n: v for n, v in values.items() if n.split(".")[1] == namespace}
        pages = {API / f"{namespace}.rst": _namespace_page(namespace, inside)}
        for name, value in inside.items():
            path = API / namespace / f"{name.rpartition('.')[2]}.rst"
            pages[path] = _object_page(name, value, app.figures.get(name, []))
        for path, text in pages.items():
            _write(path, text)
        written |= set(pages)
    index = API / "index.rst"
    _write(index, _index())
    for path in set(API.rglob("*.rst")) - written - {index}:
        path.unlink()
    for fault in contents.faults():
        LOGGER.warning("%s", fault)
    examples = sum(contents.has_example(value) for value in values.values())
    constants = sum(documentation(v) is None for v in values.values())
    total = len(values) - constants
    LOGGER.info(
        "public names: %d objects and %d constants, a page each; with a runnable example %d of %d",
        total, constants, examples, total,
    )  # fmt: skip


def _index():
    lines = [
        _title("API"),
        "Public names are ``keras_cvx.<namespace>.<Name>``. All of it is imported by",
        "``import keras_cvx as cvx``, and the names on these pages are checked by a test.\n",
        ".. list-table::\n   :widths: 26 74\n   :class: names\n",
    ]
    for namespace in NAMESPACES:
        words = summary(inspect.getdoc(importlib.import_module(f"keras_cvx.{namespace}")))
        lines.append(f"   * - :doc:`{namespace} <{namespace}>`\n     - {words}")
    lines.append("\n.. toctree::\n   :hidden:\n")
    lines += [f"   {namespace}" for namespace in NAMESPACES]
    return "\n".join(lines) + "\n"


def _signature(app, what, name, value, options, signature, returns):
    """A class is called as its constructor is, whatever Keras puts in front of it."""
    if (
        what == "class"
        and not issubclass(value, Exception)
        and "__init__" in {n for c in value.__mro__[:-1] for n in vars(c)}
    ):
        shown = inspect.signature(value.__init__)
        parameters = [p for n, p in shown.parameters.items() if n != "self"]
        return str(inspect.Signature(parameters)), None
    return None


def _docstring(app, what, name, value, options, lines):
    """Code in single backticks, as Keras writes it, is code; also before a letter: `Layer`s."""
    parts, example = [[]], False
    for line in lines:
        begins = line.lstrip().startswith(">>> ")
        if begins != example and (begins or not line.strip()):
            parts.append([])
            example = begins
        parts[-1].append(line)
    if name in app.figures:
        # Below the first paragraph, where a reader looks first.
        shown = [[f".. drawn:: {figure}", ""] for figure in app.figures[name]]
        end = parts[0].index("") + 1 if "" in parts[0] else len(parts[0])
        parts[0][end:end] = [line for figure in shown for line in figure]
    text = [
        part if part and part[0].lstrip().startswith(">>> ") else _with_literals(part)
        for part in parts
    ]
    lines[:] = [line for part in text for line in part]


def _with_literals(lines):
    return re.sub(r"(?<!`)`([^`]+)`(?!`)(\w?)", _literal, "\n".join(lines)).split("\n")


def _literal(match):
    code, letter = match.groups()
    return f"``{code}``" + (rf"\ {letter}" if letter else "")


def _inherited_from_keras(app, what, name, value, skip, options):
    """Keras' own methods are in Keras' documentation."""
    function = getattr(value, "fget", None) or inspect.unwrap(getattr(value, "__func__", value))
    return (
        True if not (getattr(function, "__module__", None) or "").startswith("keras_cvx") else skip
    )


def setup(app):
    app.connect("builder-inited", _write_pages, priority=450)
    # Before napoleon, which reads the sections.
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _inherited_from_keras)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
