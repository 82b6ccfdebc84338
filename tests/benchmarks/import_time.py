"""Time of an import on top of Keras', each in a fresh process."""

import statistics

from tests.benchmarks.measuring import BACKENDS, in_fresh_process, print_table

PACKAGES = ("keras_cvx", "keras_cv")
REPEATS = 3

PROGRAM = """
import sys, time
import keras
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start)
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
