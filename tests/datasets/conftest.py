import collections
import os
import re
import warnings

import numpy as np
import pytest

from keras_cvx.datasets import DatasetError

NUMBER = re.compile(rb"\d+(\.\d+)?")
INSERTED = (b"../", b"/", b"\\", b'"', b"\0", b"\xff", b"<", b"&", b"- ", b": ", b",", b"\n", b" ")
NUMBERS = (b"nan", b"inf", b"-1", b"1e308", b"9" * 400, b"", b"0", b"1_0", b"2147483648", b"0x10")
READ = ("boxes", "labels", "ignored", "is_crowd", "areas", "mask", "masks", "image")


def mutated(content, random):
    """Bytes with one thing changed."""
    lines = content.splitlines(keepends=True)
    place, line = (int(random.integers(max(len(x), 1))) for x in (content, lines))
    numbers = list(NUMBER.finditer(content))
    kind = random.integers(7)
    if kind == 0 and content:
        flipped = content[place] ^ (1 << int(random.integers(8)))
        return content[:place] + bytes([flipped]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return b"".join(lines[: line + 1] + lines[line:])
    if kind == 3:
        return b"".join(lines[:line] + lines[line + 1 :])
    if kind == 4 and numbers:
        found = numbers[int(random.integers(len(numbers)))]
        value = NUMBERS[int(random.integers(len(NUMBERS)))]
        return content[: found.start()] + value + content[found.end() :]
    inserted = INSERTED[int(random.integers(len(INSERTED)))]
    return content[:place] + inserted + content[place:]


@pytest.fixture(scope="session")
def survive():
    """Function `(folder, read, files=None, count=300)`: mutates the files one by one, and reads.

    It returns how often a data set was read and how often it was the documented error; any other
    error comes through. No image may lie outside of the folder.
    """

    def fault(call):
        """What the documented error says, or None."""
        try:
            call()
        except DatasetError as error:
            return str(error)
        return None

    def outcome(folder, read, on_error):
        found = []
        if message := fault(lambda: found.append(read(on_error))):
            assert str(folder) in message
            return "error"
        [data] = found
        for record in data:
            assert record.path.resolve().is_relative_to(folder)
            for name in READ:
                message = fault(lambda record=record, name=name: getattr(record, name))
                assert message is None or str(folder) in message
        return "skipped" if data.skipped else "read"

    def check(folder, read, files=None, count=300):
        folder = folder.resolve()
        files = filter(os.path.isfile, sorted(folder.rglob("*"))) if files is None else files
        files = {path: path.read_bytes() for path in files}
        random, outcomes = np.random.default_rng(0), collections.Counter()
        with warnings.catch_warnings():
            # Of records that were skipped, and of Pillow.
            warnings.simplefilter("ignore", UserWarning)
            for turn in range(count):
                path = list(files)[turn % len(files)]
                path.write_bytes(mutated(files[path], random))
                outcomes[outcome(folder, read, ("raise", "skip")[turn // len(files) % 2])] += 1
                path.write_bytes(files[path])
            assert outcome(folder, read, "raise") == "read"
        return outcomes

    return check
