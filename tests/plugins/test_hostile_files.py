"""A model file is data: whatever it says, it loads or is a clear error, and reaches no more."""

import contextlib
import copy
import importlib.util
import io
import json
import random
import re
import socket
import sys
import zipfile

import keras
import pytest
from keras import layers

from keras_cvx import plugins
from keras_cvx.models import GridDetector, Segmenter

MUTATIONS = 150  # of each model


def small_backbone():
    inputs = x = keras.Input((32, 48, 3))
    for _ in range(5):
        x = layers.Conv2D(2, 3, 2, padding="same")(x)
    return keras.Model(inputs, x)


MODELS = {
    "detector": lambda: GridDetector(
        small_backbone(), 3, strides=[8, 16], bounding_box_format="xyxy", coding="anchor_free"
    ),
    "segmenter": lambda: Segmenter(small_backbone(), 3, decoder="fcn16s"),
}


def deep(levels):
    inner: list = []
    for _ in range(levels):
        inner = [inner]
    return inner


def names(module, name, config=None):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None}


# Names of code, from the standard library to what is in an installed package.
CODE = [
    names("os", "system"),
    names("subprocess", "Popen", {"args": ["true"]}),
    names("builtins", "function", "eval"),
    names("antigravity", "function", "fly"),
    names("keras_hub.src.models.bert.bert_tokenizer", "BertTokenizer", {"vocabulary": "words.txt"}),
    names("keras_cv.src.layers.preprocessing.grayscale", "Grayscale", {"output_channels": 1}),
    names("keras.src.backend.openvino.core", "Variable"),
    names("keras.utils", "get_file", {"origin": "http://127.0.0.1:9/x"}),
    names("../../etc", "passwd"),
    names("/etc/passwd", "x"),
    {**names("os", "system"), "registered_name": "keras_cvx>../os"},
    {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
    {"class_name": "function", "module": None, "config": "os.system", "registered_name": "system"},
]
# Layers of Keras that read files or code, and what is no value at all.
READERS = [
    names("keras.layers", "TFSMLayer", {"filepath": "/etc"}),
    names("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    names("keras.layers", "Lambda", {"function": {"class_name": "__lambda__", "config": {}}}),
]
if importlib.util.find_spec("torch"):  # where it is missing, Keras looks for it and refuses
    READERS.append(names("keras.layers", "TorchModuleWrapper", {"module": "gASVBQAAAAAAAABLAS4="}))
VALUES = [
    "../../../etc/passwd",
    "file:///etc/passwd",
    "os.system",
    "__import__('os')",
    "nobody>nothing",
    "",
    "\0",
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("-inf"),
    True,
    None,
    [],
    {},
    deep(300),
]


@pytest.fixture(scope="module", params=MODELS)
def file(request, tmp_path_factory):
    """The members of a saved model."""
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    model.compile("sgd")
    path = tmp_path_factory.mktemp("hostile") / "model.keras"
    model.save(path)
    # What Keras itself imports when first needed.
    plugins.load_model(path)
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# Keras asks how much memory there is, tracebacks show lines of source, and errors tell what is
# installed.
HARMLESS = re.compile(r"^/proc/meminfo$|\.py$|\.zip$|(dist|egg)-info")


class Watch:
    """What Python opens, imports, runs and connects to while it is on."""

    EVENTS = ("open", "import", "os.system", "subprocess.Popen", "pickle.find_class")

    def __init__(self):
        self.on = False
        self.seen: list = []
        self.imported: set = set()
        # A hook cannot be taken away again.
        sys.addaudithook(self)

    def __enter__(self):
        self.before = set(sys.modules)
        self.seen, self.on = [], True

    def __exit__(self, *_):
        self.on = False
        self.imported = set(sys.modules) - self.before

    def __call__(self, event, arguments):
        if self.on and (event in self.EVENTS or event.startswith("socket.")):
            self.seen.append((event, str(arguments[0])))


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture
def load(file, tmp_path, watch):
    """Function that loads the model with another configuration: the model, or the error."""

    def of(config):
        path = tmp_path / "model.keras"
        text = config if isinstance(config, str) else json.dumps(config)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in file.items():
                archive.writestr(name, text if name == "config.json" else content)
        with watch:
            found = outcome(path)
        assert not watch.imported
        for event, what in watch.seen:
            assert event == "open", (event, what)
            assert what == str(path) or HARMLESS.search(what), what
        if isinstance(found, ValueError):
            assert len(str(found)) < 3000
        return found

    return of


def outcome(path):
    """The model, or the error."""
    try:
        return plugins.load_model(path)
    except ValueError as error:
        return error


def places(part, path=()):
    """Every place of a nested configuration, as a tuple of keys."""
    if path:
        yield path
    keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    for key in keys:
        yield from places(part[key], (*path, key))


def at(config, path):
    for key in path:
        config = config[key]
    return config


def changed(config, path, value):
    config = copy.deepcopy(config)
    at(config, path[:-1])[path[-1]] = value
    return config


def test_the_file_itself_loads(file, load):
    assert type(load(json.loads(file["config.json"]))) in (GridDetector, Segmenter)


def test_the_watch_sees_what_it_must(watch, tmp_path):
    sys.modules.pop("this", None)
    with watch, contextlib.redirect_stdout(io.StringIO()):
        (tmp_path / "read").write_text("")
        importlib.import_module("this")
        socket.socket().close()
    assert {event for event, _ in watch.seen} >= {"open", "socket.__new__"}
    assert watch.imported == {"this"}


@pytest.mark.filterwarnings("ignore:Skipping variable loading")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_mutations(file, load):
    config = json.loads(file["config.json"])
    everywhere = list(places(config))
    rng = random.Random(0)  # noqa: S311
    for _ in range(MUTATIONS):
        path = rng.choice(everywhere)
        value = rng.choice([*VALUES, *CODE, *READERS, at(config, rng.choice(everywhere))])
        found = load(changed(config, path, value))
        assert isinstance(found, (ValueError, keras.Model)), (path, value)


@pytest.mark.filterwarnings("ignore:Skipping variable loading")
@pytest.mark.parametrize("key", ["module", "class_name", "config", "registered_name"])
def test_without_a_key(file, load, key):
    config = json.loads(file["config.json"])
    for path in places(config):
        if path[-1] == key and "layers" not in path[:-3]:
            broken = copy.deepcopy(config)
            del at(broken, path[:-1])[key]
            load(broken)


@pytest.mark.parametrize("code", CODE, ids=lambda code: code["class_name"])
def test_code_in_the_place_of_a_layer(file, load, code):
    module = str(code.get("module"))
    if module.startswith("keras_") and module in sys.modules:
        pytest.skip("another test has imported it, so that a file may name it")
    config = json.loads(file["config.json"])
    backbone = next(path for path in places(config) if path[-1] == "backbone")
    assert isinstance(load(changed(config, backbone, code)), ValueError)
    assert isinstance(load(changed(config, (*backbone, "config", "layers", 1), code)), ValueError)
    assert isinstance(load(code), ValueError)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader["class_name"])
def test_layers_that_would_read(file, load, reader):
    """The safe mode of Keras holds."""
    if reader["class_name"] in ("TFSMLayer", "StringLookup"):
        pytest.importorskip("tensorflow")
    config = json.loads(file["config.json"])
    backbone = next(path for path in places(config) if path[-1] == "backbone")
    error = load(changed(config, backbone, reader))
    assert isinstance(error, ValueError)
    assert "safe" in str(error) or "disallowed" in str(error)


def test_layers_that_wait_for_each_other(file, load):
    """A layer whose input is its own output."""
    config = json.loads(file["config.json"])
    wired = [path for path in places(config) if path[-1] == "keras_history"]
    last = at(config, wired[-1])
    for path in wired:
        load(changed(config, path, last))
    assert isinstance(load(changed(config, wired[0], last)), ValueError)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "1" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"class_name": "Functional", "config": ' + "[" * 500 + "]" * 500 + "}",
    ],
    ids=["empty", "null", "list", "open", "digits", "brackets", "braces", "nested"],
)
def test_texts(load, text):
    assert isinstance(load(text), ValueError)


def test_a_configuration_that_fills_the_memory(tmp_path):
    path = tmp_path / "model.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("config.json", "w", force_zip64=True) as file,
    ):
        for _ in range(257):
            file.write(b" " * 2**20)
    with pytest.raises(ValueError, match=r"config\.json has more than 268435456 bytes"):
        plugins.load_model(path)


def test_safe_mode_stays_on(tmp_path):
    with pytest.raises(ValueError, match=r"`safe_mode` must be True.*keras\.saving\.load_model"):
        plugins.load_model(tmp_path / "model.keras", safe_mode=False)
