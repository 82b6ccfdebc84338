"""The command line: `python -m keras_cvx plugins` lists what is registered and installed."""

import argparse
import sys
from collections.abc import Sequence

import keras_cvx
from keras_cvx import plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; without one, says which there are.

    Args:
        arguments: List of strings; those of the process by default.

    Returns:
        Exit status: 0, or 1 if an installed plugin package could not be imported.
    """
    parser = argparse.ArgumentParser(prog="python -m keras_cvx", description=keras_cvx.__doc__)
    parser.add_argument("--version", action="version", version=keras_cvx.__version__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("plugins", help="list the registered plugins and the installed packages")
    if parser.parse_args(arguments).command is None:
        parser.print_help()
        return 0
    return list_plugins()


def list_plugins() -> int:
    """Prints a table of all plugins; those of other packages are imported for it, one by one.

    A namespace that could not be imported, or registers nothing, has a row that says so.

    Returns:
        Exit status: 1 if a package could not be imported; why is printed below the table.
    """
    points = plugins.entry_points()
    points.pop(plugins.OWN, None)
    failures: dict[str, Exception] = {}
    for namespace in points:
        try:
            plugins._import_entry_point(namespace)
        except (ImportError, ValueError) as error:
            # The others go on; the failure is told below the table.
            failures[namespace] = error
    rows, seen = [], set()
    for plugin in plugins.registered():
        namespace = plugin.name.split(">")[0]
        seen.add(namespace)
        rows.append((plugin.name, plugin.alias or "", plugin.kind, _origin(namespace, points)))
    for namespace in sorted(set(points) - seen):
        state = "not imported" if namespace in failures else "registers nothing"
        rows.append((f"{namespace}>", "", state, _origin(namespace, points)))
    _print_table([("name", "alias", "kind", "from"), *rows])
    for namespace in sorted(failures):
        print(f"{namespace}: {failures[namespace]}", file=sys.stderr)
    return 1 if failures else 0


def _origin(namespace, points):
    """The distribution and its version; the namespace where no distribution declares it."""
    if namespace == plugins.OWN:
        return f"keras-cvx {keras_cvx.__version__}"
    dist = points[namespace].dist if namespace in points else None
    return f"{dist.name} {dist.version}" if dist else namespace


def _print_table(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
