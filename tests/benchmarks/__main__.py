"""Runs benchmarks by name, all of them by default, and prints their tables in Markdown.

A benchmark is a module of this folder with a function `run()` that prints. It measures in fresh
processes, because Keras fixes its backend per process.
"""

import argparse
import importlib
import pkgutil

from tests.benchmarks import measuring


def benchmarks():
    """The function `run` of every module here that has one, by the module's name."""
    names = [m.name for m in pkgutil.iter_modules([str(measuring.HERE)]) if m.name != "__main__"]
    modules = {name: importlib.import_module(f"tests.benchmarks.{name}") for name in names}
    return {name: module.run for name, module in modules.items() if hasattr(module, "run")}


def main():
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(known)}")
    names = parser.parse_args().names or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}. Known: {', '.join(known)}")
    print(measuring.machine(), flush=True)
    for name in names:
        print(f"\n## {name}", flush=True)
        known[name]()


if __name__ == "__main__":
    main()
