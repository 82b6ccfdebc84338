"""The shape of the package: who imports whom, and what is public."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import sys

import pytest

import keras_cvx

ROOT = pathlib.Path(keras_cvx.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
PUBLIC_NAMES = pathlib.Path(__file__).with_name("public_names.txt")

# What each room may import of the package beside itself.
ALLOWED = {
    "_kinds": set(),
    "plugins": {"_kinds"},
    # Only to know whose arrays it moves.
    "geometry": {"ops"},
    "ops": set(),
    **dict.fromkeys(
        ["codings", "initializers", "losses", "metrics", "backbones"], frozenset({"ops", "plugins"})
    ),
    "layers": {"ops", "plugins", "geometry", "initializers"},
    "models": {"ops", "plugins", "codings", "layers", "losses", "metrics", "backbones", "geometry"},
    # Their readers and visualizers are plugins too.
    **dict.fromkeys(["datasets", "visualization"], frozenset({"ops", "geometry", "plugins"})),
    "interop": {"ops", "plugins", "layers"},
    "testing": {"ops", "plugins"},
    "__main__": {"plugins", "datasets", "layers", "visualization"},
}
# What may be imported when the package is; all else waits until a function needs it.
STANDARD_AND_REQUIRED = {"keras", "numpy", "keras_cvx"}
HEAVY = {"tensorflow", "jax", "torch"}


def place(path):
    return path.relative_to(ROOT).as_posix()


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree):
    """Pairs of the full dotted name that is imported, and whether it is at the top level."""
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in inside


def rooms_imported(name):
    """The room of ours that a dotted name belongs to, or None."""
    parts = name.split(".")
    return parts[1] if parts[0] == "keras_cvx" and len(parts) > 1 else None


@pytest.fixture(params=FILES, ids=place)
def source(request):
    return request.param, ast.parse(request.param.read_text("utf-8"))


def test_every_room_has_its_rule():
    assert {room(path) for path in FILES} - {"__init__"} <= set(ALLOWED)


def test_arrows_point_down(source):
    path, tree = source
    if room(path) == "__init__":
        assert {rooms_imported(name) for name, _ in imports(tree)} == (
            set(keras_cvx.__all__) - {"__version__"}
        )
        return
    allowed = ALLOWED[room(path)] | {room(path)}
    if room(path) == "__main__":
        allowed |= {None}
    found = {rooms_imported(name) for name, _ in imports(tree) if name.startswith("keras_cvx")}
    assert found <= allowed, f"{place(path)} imports {sorted(map(str, found - allowed))}"


def test_imports_are_absolute_and_public(source):
    path, tree = source
    for name, _ in imports(tree):
        parts = name.split(".")
        assert parts[0], f"{place(path)} imports {name!r} relatively"
        assert parts[:2] != ["keras", "src"], f"{place(path)} imports {name!r}"
        if parts[0] not in {"keras_cvx", "__future__"}:
            assert not any(part.startswith("_") for part in parts), f"{place(path)}: {name!r}"


def test_keras_src_is_not_reached_by_attribute(source):
    path, tree = source
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "src":
            assert ast.unparse(node) != "keras.src", f"{place(path)}, line {node.lineno}"


def test_optional_dependencies_wait_for_their_function(source):
    path, tree = source
    at_once = {name.split(".")[0] for name, top in imports(tree) if top}
    assert at_once - set(sys.stdlib_module_names) <= STANDARD_AND_REQUIRED, place(path)
    assert not at_once & HEAVY


def test_native_backends_only_in_ops(source):
    """Private modules of `ops` may know the backends; `testing` is for all, one makes tf.data."""
    path, tree = source
    found = {name.split(".")[0] for name, _ in imports(tree)} & HEAVY
    if place(path) == "datasets/pipelines/tf_data.py":
        found -= {"tensorflow"}
    if room(path) != "testing" and not (room(path) == "ops" and path.name.startswith("_")):
        assert not found, f"{place(path)} imports {sorted(found)}"


def test_no_assert(source):
    path, tree = source
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines, f"{place(path)} asserts in lines {lines}"


def test_files_are_named_and_sized(source):
    path, tree = source
    assert path.stem not in {"utils", "common", "helpers", "misc", "base"}
    if path.read_text("utf-8").count("\n") > 400:
        pytest.fail(f"{place(path)} is longer than 400 lines")
    if path.stem != "__init__":
        assert ast.get_docstring(tree), f"{place(path)} has no docstring"


def namespaces():
    """Public modules by name, the package itself first."""
    found = {"keras_cvx": keras_cvx}
    for module in pkgutil.iter_modules(keras_cvx.__path__, "keras_cvx."):
        if not module.name.rpartition(".")[2].startswith("_"):
            found[module.name] = importlib.import_module(module.name)
    return found


def names_of(module):
    """`__all__`, or in a module without one the functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        if inspect.isroutine(value) or inspect.isclass(value) or callable(value)
    )


def test_public_names():
    """A removal takes one minor release of deprecation; then, write the list anew."""
    reality = sorted(
        f"{name}.{x}" for name, module in namespaces().items() for x in names_of(module)
    )
    committed = PUBLIC_NAMES.read_text("utf-8").splitlines()
    assert committed == sorted(committed)
    assert {
        "gone": sorted(set(committed) - set(reality)),
        "new": sorted(set(reality) - set(committed)),
    } == {"gone": [], "new": []}


@pytest.mark.parametrize("namespace", namespaces())
def test_namespaces_are_sorted_and_documented(namespace):
    module = namespaces()[namespace]
    names = names_of(module)
    # Constants, classes, functions.
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert len(names) == len(set(names))
    if names:
        assert inspect.getdoc(module)
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert vars(value).get("__doc__", value.__doc__), f"{namespace}.{name}"


def documented_functions():
    for namespace, module in namespaces().items():
        for name in names_of(module):
            if inspect.isfunction(value := getattr(module, name)):
                yield pytest.param(value, id=f"{namespace}.{name}")


@pytest.mark.parametrize("function", list(documented_functions()))
def test_arguments_are_documented(function):
    """Every argument of a public function stands in its `Args`."""
    documentation = inspect.getdoc(function)
    for name in inspect.signature(function).parameters:
        assert f"{name}:" in documentation, name
