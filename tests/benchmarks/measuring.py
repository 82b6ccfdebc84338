"""What every benchmark needs: fresh processes, medians, a table, the machine's name."""

import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "tensorflow", "jax", "torch", "keras-cv", "keras-hub")


def machine():
    """One line: processor, cores, versions."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text("utf-8").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = models[0] if models else processor
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    python = f"Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {', '.join([python, *versions])}."


def in_fresh_process(arguments, backend):
    """What `python *arguments` prints in its last line, as JSON, with Keras on that backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{arguments} failed on {backend}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median_milliseconds(
    *functions, warm_up=3, repeats=30, seconds=1.5, statistic=statistics.median
):
    """Median time of a call of each, after the warm-up; fewer repeats where they would take longer.

    The functions take turns, so that a busy moment of the machine strikes them alike.
    """
    for _ in range(warm_up):
        for function in functions:
            function()
    rounds = []
    while len(rounds) < repeats and (len(rounds) < 3 or sum(map(sum, rounds)) < seconds):
        rounds.append([_seconds(function) for function in functions])
    return [1000 * statistic(times) for times in zip(*rounds, strict=True)]


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mebibytes():
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def print_table(header, rows):
    """A Markdown table; numbers to three digits."""
    cells = [[_text(cell) for cell in row] for row in rows]
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for row in cells:
        print(f"| {' | '.join(row)} |", flush=True)


def _text(cell):
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:#.3g}".rstrip(".")
    return "–" if cell is None else str(cell)
