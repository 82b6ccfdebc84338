"""The command line: `python -m keras_cvx plugins` lists what is registered and installed."""

import argparse
import sys

import keras_cvx
from keras_cvx import plugins


def main(arguments=None):
    """Runs a command.

    Args:
        arguments: List of strings; those of the process by default.

    Returns:
        Exit status: 0, or 1 if an installed plugin package could not be imported.
    """
    parser = argparse.ArgumentParser(prog="python -m keras_cvx", description=keras_cvx.__doc__)
    parser.add_argument("--version", action="version", version=keras_cvx.__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("plugins", help="list the registered plugins and the installed packages")
    parser.parse_args(arguments)
    return list_plugins()


def list_plugins():
    """Prints a table of all plugins; those of other packages are imported for it, one by one.

    Returns:
        Exit status: 1 if a package could not be imported, which is printed below the table.
    """
    failures = []
    for namespace, point in sorted(plugins.entry_points().items()):
        try:
            point.load()
        except Exception as error:
            # The others go on; the failure is told below the table.
            failures.append(f"{namespace}: {point.value} could not be imported: {error!r}")
    rows = [("name", "alias", "kind", "from")]
    for plugin in plugins.registered():
        namespace = plugin.name.split(">")[0]
        point = plugins.entry_points().get(namespace)
        origin = f"{point.dist.name} {point.dist.version}" if point and point.dist else namespace
        if namespace == plugins.OWN:
            origin = f"keras-cvx {keras_cvx.__version__}"
        rows.append((plugin.name, plugin.alias or "", plugin.kind, origin))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
