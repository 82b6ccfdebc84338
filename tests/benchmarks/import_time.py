"""Time of an import on top of Keras', each in a fresh process; also with packages of plugins."""

import statistics
import tempfile
from pathlib import Path

from tests.benchmarks.measuring import BACKENDS, in_fresh_process, print_table

PACKAGES = ("keras_cvx", "keras_cv")
REPEATS = 3
PLUGIN_PACKAGES = 50
PLUGIN_REPEATS = 9

PROGRAM = """
import sys, time
import keras
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start)
"""
# A package of plugins that costs something to import, so that an import would be seen.
PLUGIN = """
import time
time.sleep(0.1)
from keras_cvx import plugins

@plugins.register("constant", kind="assigner", package=__name__)
def constant(*_, **__):
    raise NotImplementedError
"""
WITH_PLUGINS = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import keras
start = time.perf_counter()
import keras_cvx
imported = time.perf_counter()
if len(sys.argv) > 2:
    keras_cvx.plugins.lookup(f"{sys.argv[2]}>constant", kind="assigner")
found = time.perf_counter()
loaded = sum(name.startswith("plugin_package_") for name in sys.modules)
print(json.dumps([imported - start, found - imported, loaded]))
"""


def run():
    print(f"\nSeconds on top of `import keras`, median of {REPEATS} fresh processes.\n")
    rows = []
    for backend in BACKENDS:
        medians = []
        for package in PACKAGES:
            arguments = ["-c", PROGRAM, package]
            in_fresh_process(arguments, backend)  # the files are in the disk's cache from now on
            times = [in_fresh_process(arguments, backend) for _ in range(REPEATS)]
            medians.append(statistics.median(times))
        rows.append([backend, *medians])
    print_table(["backend", *PACKAGES], rows)
    run_with_plugins()


def run_with_plugins(backend="torch"):
    """With no package of plugins and with many, in turns; which backend it is changes nothing."""
    print(
        f"\nSeconds of `import keras_cvx` on top of `import keras`, with no package of plugins "
        f"installed and with {PLUGIN_PACKAGES}, median of {PLUGIN_REPEATS} fresh processes of each "
        "in turns; and of `lookup`, which imports the one of them that it is asked for, in 0.1 s.\n"
    )
    with tempfile.TemporaryDirectory() as none, tempfile.TemporaryDirectory() as many:
        install(Path(many))
        programs = {
            "none": ["-c", WITH_PLUGINS, none],
            f"{PLUGIN_PACKAGES}": ["-c", WITH_PLUGINS, many],
            f"{PLUGIN_PACKAGES}, one used": ["-c", WITH_PLUGINS, many, "plugin_package_7"],
        }
        measured: dict = {name: [] for name in programs}
        for turn in range(1 + PLUGIN_REPEATS):
            for name, program in programs.items():
                times = in_fresh_process(program, backend)
                if turn:  # the files are in the disk's cache from now on
                    measured[name].append(times)
    rows = []
    for name, times in measured.items():
        importing, looking_up, loaded = map(statistics.median, zip(*times, strict=True))
        rows.append([name, importing, looking_up if "used" in name else None, int(loaded)])
    print_table(["packages of plugins", "import, s", "lookup, s", "of them imported"], rows)


def install(folder):
    """Packages of plugins with one module and one entry point each."""
    for number in range(PLUGIN_PACKAGES):
        name = f"plugin_package_{number}"
        (folder / f"{name}.py").write_text(PLUGIN)
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[keras_cvx.plugins]\n{name} = {name}\n")
