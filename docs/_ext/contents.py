"""What the site is of, without Sphinx: its public names, its figures, and what a page must have."""

import ast
import importlib
import inspect
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
SOURCES, DRAWN = DOCS / "figures", DOCS / "_drawn"
NAMES = (DOCS.parent / "tests" / "public_names.txt").read_text("utf-8").split()
MODULES = {name for name in NAMES if name.count(".") == 1 and name != "keras_cvx.__version__"}

# In the order in which a reader meets them.
NAMESPACES = [
    "models", "layers", "losses", "metrics", "backbones", "codings", "initializers", "datasets",
    "visualization", "geometry", "ops", "interop", "plugins", "testing",
]  # fmt: skip
# Whose example would download a data set.
WITHOUT_EXAMPLE = {"keras_cvx.datasets.tfds"}
# The layers that move pixels; they, the losses and the metrics must each have a figure.
GEOMETRIC = {
    f"keras_cvx.layers.{name}"
    for name in (
        "CropAndResize", "GeometricLayer", "MixUp", "Mosaic", "RandomCropAndResize",
        "ResizeWithCropOrPad", "ResizeWithPad", "RestoreDetections",
    )
}  # fmt: skip


def public_objects():
    """Objects by full name, without the namespaces."""
    found = {}
    for name in NAMES:
        namespace, _, last = name.rpartition(".")
        if name not in MODULES and namespace != "keras_cvx":
            found[name] = getattr(importlib.import_module(namespace), last)
    return found


def documentation(value):
    """An object's own docstring; None of a constant."""
    if inspect.isclass(value):
        return inspect.cleandoc(vars(value).get("__doc__") or "")
    return inspect.getdoc(value) if inspect.isroutine(value) else None


def undocumented_arguments(value):
    """Names of the arguments that a docstring does not describe."""
    if not callable(value):
        return []
    text = documentation(value)
    call = value.__init__ if inspect.isclass(value) else value
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    # Exceptions are made by the package, and what has no constructor takes nothing.
    if call is object.__init__ or (inspect.isclass(value) and issubclass(value, Exception)):
        return []
    return [name for name in names if not re.search(rf"^\s*\*{{0,2}}{name}:", text, re.MULTILINE)]


def has_example(value):
    """Whether a docstring has an example of which at least one line is run."""
    lines = re.findall(r"^\s*>>> (.*)$", documentation(value) or "", re.MULTILINE)
    return any("+SKIP" not in line for line in lines)


def faults():
    """Sentences, one of each thing that a page needs and lacks."""
    found, figures = [], objects()
    for name, value in public_objects().items():
        text = documentation(value)
        if text is None:
            continue
        if not text:
            found.append(f"{name} has no docstring")
        if missing := undocumented_arguments(value):
            found.append(f"{name} does not describe {', '.join(missing)}")
        if not has_example(value) and name not in WITHOUT_EXAMPLE:
            found.append(f"{name} has no example")
    names = set(public_objects())
    wanted = GEOMETRIC | {n for n in names if n.split(".")[1] in ("losses", "metrics")}
    found += [f"{name} has no figure" for name in sorted(wanted - set(figures))]
    found += [f"{name} has a figure and is not public" for name in sorted(set(figures) - names)]
    found += [f"the namespace {n} is not listed" for n in sorted(_namespaces() - set(NAMESPACES))]
    return found


def _namespaces():
    return {name.split(".")[1] for name in NAMES} - {"__version__"}


def sources():
    """The files of the figures, by name."""
    return {path.stem: path for path in sorted(SOURCES.glob("*.py")) if path.stem != "drawing"}


def objects():
    """The names of the figures of each public object, as its page shows them."""
    found = {}
    for name, path in sources().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "OBJECTS":
                for item in ast.literal_eval(node.value):
                    found.setdefault(f"keras_cvx.{item}", []).append(name)
    return found


def caption(name):
    """The docstring of a figure's file; in double backticks where it has single ones."""
    text = ast.get_docstring(ast.parse(sources()[name].read_text("utf-8")))
    return " ".join(text.split())
