import collections
import contextlib
import faulthandler
import json
import os
import re
import shutil
import sys
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError

MUTATIONS = int(os.environ.get("MUTATIONS", "300"))
SLOWEST = 60  # seconds; whatever takes longer hangs

NUMBER = re.compile(rb"\d+(\.\d+)?")
NAME = re.compile(rb"[\w./-]+\.(png|txt|xml)")
INSERTED = (b"../", b"/", b"\\", b'"', b"\0", b"\xff", b"<", b"&", b"- ", b": ", b",", b"\n", b" ")
NUMBERS = (b"nan", b"inf", b"-1", b"1e308", b"9" * 400, b"", b"0", b"1_0", b"2147483648", b"0x10")
NAMES = (b"../a.png", b"../../a.png", b"..\\..\\a.png", b"/etc/passwd", b"C:\\a.png", b".")
READ = ("boxes", "labels", "ignored", "is_crowd", "areas", "outlines", "mask", "masks", "image")
OPENINGS = ("open", "os.listdir", "os.scandir")

opened: list = []
watching = threading.Event()


def note(event, arguments):
    if watching.is_set() and event in OPENINGS:
        opened.append(arguments[0])


sys.addaudithook(note)


def mutated(content, random, outside):
    """Bytes with one thing changed."""
    lines = content.splitlines(keepends=True)
    place, line = (int(random.integers(max(len(x), 1))) for x in (content, lines))
    kind = random.integers(8)
    if kind == 0 and content:
        flipped = content[place] ^ (1 << int(random.integers(8)))
        return content[:place] + bytes([flipped]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return b"".join(lines[: line + 1] + lines[line:])
    if kind == 3:
        return b"".join(lines[:line] + lines[line + 1 :])
    replaced = {4: (NUMBER, NUMBERS), 5: (NAME, (*NAMES, os.fsencode(outside / "a.png")))}
    if kind in replaced:
        pattern, values = replaced[kind]
        if found := list(pattern.finditer(content)):
            one = found[int(random.integers(len(found)))]
            value = values[int(random.integers(len(values)))]
            return content[: one.start()] + value + content[one.end() :]
    inserted = INSERTED[int(random.integers(len(INSERTED)))]
    return content[:place] + inserted + content[place:]


def fault_of(call):
    """What the documented error says, or None."""
    try:
        call()
    except DatasetError as error:
        return str(error)
    return None


def outcome_of(folder, read, on_error):
    found = []
    if message := fault_of(lambda: found.append(read(folder, on_error))):
        assert str(folder) in message
        return "error"
    [data] = found
    for record in data:
        for name in READ:
            message = fault_of(lambda record=record, name=name: getattr(record, name))
            assert message is None or str(folder) in message
    return "skipped" if data.skipped else "read"


@contextlib.contextmanager
def watched(told):
    """Notes what is opened; where something hangs, code in C too, it ends the process and tells."""
    opened.clear()
    watching.set()
    faulthandler.dump_traceback_later(SLOWEST, exit=True, file=told)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        watching.clear()


@pytest.fixture
def survive(tmp_path_factory, capfd):
    """Function `(folder, read, only=None, free=())`: changes the files one by one, and reads.

    `read(folder, on_error)` reads a copy of the folder, in which all files are changed in turn, or
    those of one name only. Only the documented error may come out, in
    a minute, and no file outside of the folder may be opened, where the same files lie once more;
    but for those that are `free` to name folders: the user's own words.

    It returns how often a data set was read as a whole, in part, or not at all. There are 300
    changes, or as many as the environment's `MUTATIONS`, of which each number has others.
    """

    def check(folder, read, only=None, free=()):
        outside = tmp_path_factory.mktemp("outside").resolve()
        folder = shutil.copytree(folder, outside / "folder")
        files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        for path, content in files.items():
            (outside / path.name).write_bytes(content)
        files = {path: content for path, content in files.items() if only in (None, path.name)}
        random, outcomes = np.random.default_rng(MUTATIONS), collections.Counter()
        # What is told of a process that ends is not to be captured; all else is.
        with capfd.disabled():
            told = os.fdopen(os.dup(2), "w")
        with warnings.catch_warnings(), told:
            # Of records that were skipped, and of Pillow.
            warnings.simplefilter("ignore", UserWarning)
            for turn in range(MUTATIONS):
                path, content = list(files.items())[turn % len(files)]
                changed = content
                for _ in range(random.geometric(0.7)):
                    changed = mutated(changed, random, outside)
                path.write_bytes(changed)
                on_error = ("raise", "skip")[turn // len(files) % 2]
                with watched(told):
                    outcomes[outcome_of(folder, read, on_error)] += 1
                assert path.name in free or not among(opened, outside, folder)
                path.write_bytes(content)
        assert outcome_of(folder, read, "raise") == "read"
        return outcomes

    return check


def among(paths, outside, folder):
    """Those that are outside of the folder, but for what Python itself opens."""
    own = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path)]
    found = {os.path.realpath(os.fsdecode(x)) for x in paths if isinstance(x, (str, bytes))}
    return [
        path
        for path in found
        if not path.startswith(f"{folder}{os.sep}")
        and path != str(folder)
        and (path.startswith(str(outside)) or not path.startswith(tuple(own)))
    ]


@pytest.fixture
def coco_file(tmp_path):
    """Function of annotations: their file of COCO with two images, and the folder of these."""
    folder = tmp_path / "images"
    folder.mkdir()
    size = {"width": 10, "height": 8}
    images = [{"id": 7, "file_name": "a.png", **size}, {"id": 2, "file_name": "b.png", **size}]
    categories = [(44, "bottle"), (3, "car"), (90, "brush")]
    for value, image in enumerate(images):
        Image.new("RGB", (10, 8), (value, 5, 9)).save(folder / image["file_name"])

    def write(annotations, **changes):
        path = tmp_path / "instances.json"
        content = {
            "images": images,
            "categories": [{"id": number, "name": name} for number, name in categories],
            "annotations": annotations,
        }
        path.write_text(json.dumps({**content, **changes}))
        return path, folder

    return write


@pytest.fixture
def devkit(tmp_path):
    """A folder in the layout of Pascal VOC, with the images a and b and no XML file."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main", "ImageSets/Segmentation"):
        (tmp_path / name).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (10, 8), (1, 5, 9)).save(tmp_path / "JPEGImages" / f"{name}.png")
    return tmp_path
