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
    """Names of the arguments that a docstring, or that of a method, does not describe."""
    if not callable(value):
        return []
    call = value.__init__ if inspect.isclass(value) else value
    # Exceptions are made by the package, and what has no constructor takes nothing.
    if call is object.__init__ or (inspect.isclass(value) and issubclass(value, Exception)):
        return []
    missing = _not_described(inspect.signature(call).parameters, documentation(value))
    for name, method in _methods(value) if inspect.isclass(value) else ():
        parameters = inspect.signature(method).parameters.values()
        # What else a method of Keras takes is in Keras' documentation.
        own = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        missing += [f"{n} of {name}" for n in _not_described(own, method.__doc__)]
    return missing


def _not_described(names, text):
    section = re.search(
        r"^(?:Args|Attributes):\n(.*?)(?=^\S|\Z)", inspect.cleandoc(text), re.MULTILINE | re.DOTALL
    )
    described = re.findall(r"^    \*{0,2}(\w+):", section[1], re.MULTILINE) if section else []
    return [name for name in names if name not in {"self", "cls", *described}]


def _methods(cls):
    """The methods of a class that its page shows: with a docstring, and not of Keras."""
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        method = getattr(method, "__func__", method)
        ours = (getattr(inspect.unwrap(method), "__module__", None) or "").startswith("keras_cvx")
        if inspect.isfunction(method) and ours and method.__doc__ and not name.startswith("_"):
            yield name, method


def has_example(value):
    """Whether a docstring has an example of which at least one line is run."""
    lines = re.findall(r"^\s*>>> (.*)$", documentation(value) or "", re.MULTILINE)
    return any("+SKIP" not in line for line in lines)


def faults():
    """Sentences, one of each thing that a page needs and lacks."""
    found, figures, values = [], objects(), public_objects()
    for name, value in values.items():
        text = documentation(value)
        if text is None:
            continue
        if not text:
            found.append(f"{name} has no docstring")
        if missing := undocumented_arguments(value):
            found.append(f"{name} does not describe {', '.join(missing)}")
        if not has_example(value) and name not in WITHOUT_EXAMPLE:
            found.append(f"{name} has no example")
    names = set(values)
    wanted = {name for name, value in values.items() if _must_be_drawn(name, value)}
    found += [f"{name} has no figure" for name in sorted(wanted - set(figures))]
    found += [f"{name} has a figure and is not public" for name in sorted(set(figures) - names)]
    found += [f"the namespace {n} is not listed" for n in sorted(_namespaces() - set(NAMESPACES))]
    for namespace in NAMESPACES:
        module = importlib.import_module(f"keras_cvx.{namespace}")
        public = {f"keras_cvx.{namespace}.{name}" for name in getattr(module, "__all__", ())}
        found += [f"{name} is not in public_names.txt" for name in sorted(public - names)]
    return found


def _must_be_drawn(name, value):
    """Whether it is a loss, a metric, or a layer that moves pixels or what was found in them."""
    namespace = name.split(".")[1]
    moves = ("keras_cvx.layers.preprocessing", "keras_cvx.layers.postprocessing.restore")
    of_layers = namespace == "layers" and value.__module__.startswith(moves)
    return namespace in ("losses", "metrics") or of_layers


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
    """The docstring of a figure's file, in one line."""
    text = ast.get_docstring(ast.parse(sources()[name].read_text("utf-8")))
    return " ".join(text.split())
