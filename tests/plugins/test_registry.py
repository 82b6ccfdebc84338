import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest

from keras_cvx import plugins
from keras_cvx.codings import YOLOv1Coding
from keras_cvx.plugins import registry

pytestmark = pytest.mark.usefixtures("clean_registry")


def make(name="Thing", module=__name__, base=keras.layers.Layer):
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def test_the_packages_own():
    names = {plugin.name: plugin for plugin in plugins.registered()}
    assert list(names) == sorted(names)
    assert {
        "keras_cvx>AnchorFreeCoding": "coding",
        "keras_cvx>YOLOv1Coding": "coding",
        "keras_cvx>GridDetectionHead": "layer",
        "keras_cvx>GridDecoding": "layer",
        "keras_cvx>NonMaxSuppression": "layer",
        "keras_cvx>GridDetectionLoss": "loss",
        "keras_cvx>MeanAveragePrecision": "metric",
        "keras_cvx>FeatureExtractor": "model",
        "keras_cvx>GridDetector": "model",
    }.items() <= {name: plugin.kind for name, plugin in names.items()}.items()
    assert [plugin.alias for plugin in plugins.registered("coding")] == ["anchor_free", "yolov1"]
    assert plugins.registered("no such kind") == []
    for name, plugin in names.items():
        if isinstance(plugin.object, type):
            assert keras.saving.get_registered_name(plugin.object) == name
            assert plugin.object.__name__ == name.split(">")[1]


@pytest.mark.parametrize(
    "name", ["yolov1", "YOLOv1Coding", "keras_cvx>YOLOv1Coding", "keras_cvx>yolov1"]
)
@pytest.mark.parametrize("kind", ["coding", None])
def test_look_up(name, kind):
    assert plugins.lookup(name, kind) is YOLOv1Coding


def test_register_another_package():
    thing = make()
    assert plugins.register("Thing", kind="layer", package="acme", alias="t")(thing) is thing
    assert plugins.lookup("acme>Thing") is plugins.lookup("acme>t", kind="layer") is thing
    assert plugins.registered("layer")[0] == plugins.Plugin("acme>Thing", "layer", "t", thing)
    config = keras.saving.serialize_keras_object(thing(name="x"))
    assert config["registered_name"] == "acme>Thing"
    assert isinstance(plugins.get(config, kind="layer"), thing)
    with pytest.raises(ValueError, match="no plugin named 'Thing'"):
        plugins.lookup("Thing")


def test_a_function_and_a_kind_of_ones_own():
    @plugins.register("halve", kind="schedule", package="acme")
    def halve(x):
        return x / 2

    assert plugins.get("acme>halve", kind="schedule") is halve
    assert plugins.get(halve, kind="schedule") is halve
    config = keras.saving.serialize_keras_object(halve)
    assert plugins.get(config, kind="schedule") is halve
    with pytest.raises(ValueError, match=r"must be a plugin of kind 'layer'.*is a 'schedule'"):
        plugins.get("acme>halve", kind="layer")
    for kind in ("layer", "assigner"):
        with pytest.raises(ValueError, match=f"of kind '{kind}' is required.*Received: .*halve"):
            plugins.get(halve, kind=kind)
    del registry._plugins["acme>halve"], keras.saving.get_custom_objects()["acme>halve"]
    with pytest.raises(ValueError, match=r"configuration uses \['acme>halve'\].*\['acme'\] is"):
        plugins.get(config, kind="schedule")


@pytest.mark.parametrize("kind", ["backbone", "reader", "visualizer"])
def test_no_model_file_names_what_reads_files_or_draws(kind):
    @plugins.register("reach", kind=kind, package="acme")
    def reach(path):
        raise AssertionError

    assert plugins.get("acme>reach", kind=kind) is reach
    assert keras.saving.get_registered_object("acme>reach") is None
    with pytest.raises((TypeError, ValueError), match="acme>reach"):
        keras.saving.deserialize_keras_object(
            {"module": "keras_cvx", "class_name": "function", "config": "acme>reach",
             "registered_name": "acme>reach"}
        )  # fmt: skip


def test_clash_of_names():
    plugins.register("Thing", kind="layer", package="acme")(make(module="one"))
    with pytest.raises(ValueError, match=r"two.Thing cannot be .*'acme>Thing'.*one.Thing is"):
        plugins.register("Thing", kind="loss", package="acme")(
            make(module="two", base=keras.losses.Loss)
        )
    assert plugins.lookup("acme>Thing").__module__ == "one"
    assert keras.saving.get_registered_object("acme>Thing").__module__ == "one"
    plugins.register("Thing", kind="layer", package="other")(make(module="two"))


def test_clash_with_what_keras_knows():
    keras.saving.register_keras_serializable("acme", "Thing")(make(module="one"))
    with pytest.raises(ValueError, match=r"two.Thing cannot be .*one.Thing is, with Keras itself"):
        plugins.register("Thing", kind="layer", package="acme")(make(module="two"))
    assert keras.saving.get_registered_object("acme>Thing").__module__ == "one"
    with pytest.raises(ValueError, match="no plugin named"):
        plugins.lookup("acme>Thing")


@pytest.mark.parametrize(
    ("name", "alias"), [("Other", "short"), ("short", None), ("Other", "Thing"), ("short", "x")]
)
def test_clash_of_aliases(name, alias):
    """One string never names two plugins of one kind, be it their name or their alias."""
    plugins.register("Thing", kind="layer", package="acme", alias="short")(make())
    with pytest.raises(ValueError, match=r"cannot be registered.*alias 'short'.*another name"):
        plugins.register(name, kind="layer", package="acme", alias=alias)(make("Other"))
    assert plugins.lookup("acme>short").__name__ == "Thing"
    # Another kind or another package may use the string.
    plugins.register("Loss", kind="loss", package="acme", alias="short")(
        make("Loss", base=keras.losses.Loss)
    )
    plugins.register("Other", kind="layer", package="other", alias="short")(make("Other"))
    assert plugins.lookup("acme>short", kind="loss").__name__ == "Loss"
    assert plugins.lookup("acme>short", kind="layer").__name__ == "Thing"


def test_reloaded_module():
    """The same class anew, with another alias even, takes the place of the old one."""
    first, second = make(), make()
    plugins.register("Thing", kind="layer", package="acme", alias="short")(first)
    plugins.register("Thing", kind="layer", package="acme", alias="brief")(second)
    assert plugins.lookup("acme>Thing") is plugins.lookup("acme>brief") is second
    assert keras.saving.get_registered_object("acme>Thing") is second
    with pytest.raises(ValueError, match="Did you mean"):
        plugins.lookup("acme>Thin")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "`name` must be a string without '>'. Received: name=''"),
        ({"name": "acme>Thing"}, "`name` must be a string without '>'"),
        ({"name": None}, "`name` must be a string"),
        ({"kind": 3}, "`kind` must be a string"),
        ({"package": "a>b"}, "`package` must be a string"),
        ({"alias": "a>b"}, "`alias` must be a string"),
        ({"alias": ""}, "`alias` must be a string"),
    ],
)
def test_bad_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        plugins.register(**{"name": "Thing", "kind": "layer", **arguments})


def test_a_class_that_could_not_be_saved():
    with pytest.raises(ValueError, match="must have `get_config`"):
        plugins.register("Thing", kind="schedule", package="acme")(make(base=object))
    with pytest.raises(ValueError, match="no plugin named"):
        plugins.lookup("acme>Thing")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("yolo1", "coding", "plugin of kind 'coding' named 'yolo1'. Did you mean 'yolov1'"),
        ("GridDetectorHead", "layer", "Did you mean 'GridDetectionHead'"),
        ("YOLOV1", "coding", "Did you mean 'yolov1'"),
        ("keras_cvx>Yolov1Coding", None, "Did you mean 'YOLOv1Coding'"),
        ("zzz", "coding", r"named 'zzz'. Available in 'keras_cvx': \['AnchorFreeCoding'"),
        ("nobody>Thing", None, r"Available in 'nobody': \[\]; registered namespaces: .*keras_cvx"),
        ("yolov1", "layer", "'yolov1' must be a plugin of kind 'layer'.*is a 'coding'"),
    ],
)  # fmt: skip
def test_unknown(name, kind, message):
    with pytest.raises(ValueError, match=message):
        plugins.lookup(name, kind)


def test_unknown_here_and_known_in_another_namespace():
    for package, alias in (("you", "middle"), ("me", "half")):
        plugins.register("Halve", kind="layer", package=package, alias=alias)(make("Halve"))
    for name, known in (("half", "me>half"), ("middle", "you>middle"), ("Halve", "me>Halve")):
        with pytest.raises(ValueError, match=f"named '{name}'. Did you mean '{known}'"):
            plugins.lookup(name)
    with pytest.raises(ValueError, match=r"named 'half'. Available"):
        plugins.lookup("half", kind="loss")


def test_look_up_takes_strings():
    with pytest.raises(TypeError, match=r"`identifier` must be a string. Received: 3"):
        plugins.lookup(3)


def test_threads():
    """Registration and look-up at once: nothing lost, nothing half done, one winner of a clash."""
    errors, wins, start = [], [], threading.Barrier(8)

    def work(worker):
        start.wait()
        try:
            for i in range(20):
                name = f"Thing{worker}x{i}"
                plugins.register(name, kind="layer", package="acme")(make(name))
                if plugins.lookup(f"acme>{name}").__name__ != name:
                    errors.append(name)
                plugins.registered("layer")
        except Exception as error:
            errors.append(error)
        try:
            plugins.register("Clash", kind="layer", package="acme")(make(f"Clash{worker}"))
            wins.append(worker)
        except ValueError:
            pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len([p for p in plugins.registered() if p.name.startswith("acme>Thing")]) == 160
    assert len(wins) == 1
    assert plugins.lookup("acme>Clash").__name__ == f"Clash{wins[0]}"


def test_only_the_namespace_asked_for_is_imported(install):
    wanted = install("acme-wanted", "wanted")
    other = install("acme-other", "other", "raise RuntimeError('must not be imported')")
    assert {"wanted", "other"} <= set(plugins.entry_points())
    plugins.lookup("yolov1")
    with pytest.raises(ValueError, match=r"installed entry points: .*'other', .*'wanted'"):
        plugins.lookup("third>Double")
    assert not {wanted, other} & set(sys.modules)
    assert plugins.lookup("wanted>double", kind="layer").__name__ == "Double"
    assert wanted in sys.modules
    assert other not in sys.modules


WATCHED_IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy
opened = []
sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
import keras_cvx
print([path for path in opened if "entry_points" in path or "acme_" in path])
print([name for name in sys.modules if name.startswith("acme_")])
keras_cvx.plugins.lookup("named7>double")
print([name for name in sys.modules if name.startswith("acme_")])
print(any("entry_points" in path for path in opened))
"""


@pytest.mark.host
def test_importing_looks_for_no_packages(install, tmp_path):
    """However many are installed, they cost nothing until one is asked for."""
    for number in range(10):
        install(f"acme-{number}", f"named{number}")
    printed = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT, tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines() == ["[]", "[]", "['acme_named7']", "True"]


def test_a_namespace_that_is_partly_registered(install):
    """A class of the namespace that came by another way does not hide its entry point."""
    install("acme-partly", "partly")
    plugins.register("Thing", kind="layer", package="partly")(make())
    assert plugins.lookup("partly>Double").__name__ == "Double"


def test_an_entry_point_that_fails(install):
    module = install("acme-broken", "broken", "raise RuntimeError('no such device')")
    install("acme-sound", "sound")
    with pytest.raises(
        ImportError, match=r"'broken', installed by 'acme-broken'.*no such device"
    ) as e:
        plugins.lookup("broken>Double")
    assert module in str(e.value)
    assert isinstance(e.value.__cause__, RuntimeError)
    assert plugins.lookup("sound>Double").__name__ == "Double"


def test_an_entry_point_that_ends_the_process(install):
    install("acme-program", "program", "raise SystemExit(3)")
    with pytest.raises(ImportError, match=r"'program', installed by 'acme-program'.*SystemExit"):
        plugins.lookup("program>Double")


def test_a_distribution_without_a_name(install, tmp_path):
    install("acme-nameless", "nameless", "raise RuntimeError('no such device')")
    (tmp_path / "acme_nameless-1.5.dist-info" / "METADATA").unlink()
    with pytest.raises(ImportError, match="installed by 'an unknown distribution'"):
        plugins.lookup("nameless>Double")


def test_names_of_any_letters():
    """They come back from JSON, and from a class that says of no module that it is its own."""
    thing = make("Thing", module=None)
    plugins.register("ü b/c\n", kind="layer", package="né.x-y", alias="→")(thing)
    assert plugins.lookup("né.x-y>→") is thing
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(thing(name="x"))))
    assert config["registered_name"] == "né.x-y>ü b/c\n"
    assert isinstance(plugins.get(config, kind="layer"), thing)
    with pytest.raises(ValueError, match="cannot be registered as"):
        plugins.register("ü b/c\n", kind="layer", package="né.x-y")(make("Other", module=None))


def test_an_entry_point_that_fails_half_way(install, tmp_path):
    """What it registered before is not given out, until all of it can be imported."""
    module = install("acme-half", "half", f"{install.source}\nraise RuntimeError('no device')")
    for name in ("half>Double", "half>double", "half>Other", "half>Double"):
        with pytest.raises(ImportError, match=r"'half', installed by 'acme-half'.*no device"):
            plugins.lookup(name)
    install.write(module, f"{install.source}\nmended = True", "half")
    assert plugins.lookup("half>Double") is sys.modules[module].Double
    with pytest.raises(ValueError, match="no plugin named 'half>Other'"):
        plugins.lookup("half>Other")


def test_a_namespace_of_which_another_kind_has_the_alias(install):
    """It came by another way, and does not hide what the entry point registers."""
    install("acme-other-kind", "otherkind")
    plugins.register("Loss", kind="loss", package="otherkind", alias="double")(
        make("Loss", base=keras.losses.Loss)
    )
    assert plugins.lookup("otherkind>double", kind="layer").__name__ == "Double"
    assert plugins.lookup("otherkind>double", kind="loss").__name__ == "Loss"


def test_two_distributions_of_one_namespace(install):
    """Neither wins by the order of a search path; other namespaces go on."""
    first = install("acme-first", "claimed", module="acme_first")
    second = install("acme-second", "claimed", module="acme_second")
    install("acme-sound", "sound")
    with pytest.raises(ValueError, match=r"one distribution.*of acme-first.*of acme-second"):
        plugins.lookup("claimed>Double")
    assert not {first, second} & set(sys.modules)
    assert plugins.lookup("sound>Double").__name__ == "Double"


def test_nobody_else_speaks_for_this_package(install):
    module = install("acme-thief", "keras_cvx", "raise RuntimeError('must not be imported')")
    with pytest.raises(ValueError, match="no plugin named 'Thing'"):
        plugins.lookup("Thing")
    assert module not in sys.modules


def test_what_was_installed_meanwhile_is_found(install):
    with pytest.raises(ValueError, match="no plugin named 'late>Double'"):
        plugins.lookup("late>Double")
    install("acme-late", "late")
    assert plugins.lookup("late>Double").__name__ == "Double"


def test_threads_that_ask_for_one_namespace(install):
    """It is imported once, and who comes second waits until all of it is registered."""
    slow = install.source.replace("@plugins", "import time\ntime.sleep(0.2)\n\n@plugins", 1)
    module = install("acme-slow", "slow", slow)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: plugins.lookup("slow>double", kind="layer"), range(8)))
    assert found == {sys.modules[module].Double}


def test_messages_name_the_distribution(install, tmp_path):
    """What a user can uninstall, beside what its author can mend."""
    install("acme-first", "first")
    (tmp_path / "acme_first-1.5.dist-info" / "top_level.txt").write_text("acme_first")
    second = (
        install.source.replace("NAMESPACE", "first")
        .replace("Double(", "Again(")
        .replace('Double"', 'Again"')
    )
    install("acme-second", "second", second)
    (tmp_path / "acme_second-1.5.dist-info" / "top_level.txt").write_text("acme_second")
    double = plugins.lookup("first>double")
    with pytest.raises(ImportError, match="'second', installed by 'acme-second'") as e:
        plugins.lookup("second>Again")
    first, again = "acme_first.Double of acme-first", "acme_second.Again of acme-second"
    assert f"{again} cannot be registered as 'first>Again'" in str(e.value)
    assert f"{first} is, as 'first>Double'" in str(e.value)
    with pytest.raises(ValueError, match=rf"'loss'\. Received: .* a 'layer': {first}"):
        plugins.lookup("first>Double", kind="loss")
    for given in (double(), double):
        with pytest.raises(ValueError, match=rf"'loss' is required.*, {first}"):
            plugins.get(given, kind="loss")


def test_an_entry_point_without_the_name(install):
    install("acme-wrong", "wrong")
    with pytest.raises(ValueError, match=r"named 'wrong>Doubel'. Did you mean 'wrong>Double'"):
        plugins.lookup("wrong>Doubel")
