"""The gallery: `examples/*.py` as they stand, run in a short form, with the pictures they draw."""

import os
import re
import shutil
import sys
from pathlib import Path

BUILD = Path(__file__).parents[1] / "_build"
SCRIPTS, OUTPUT = BUILD / "scripts", BUILD / "gallery_output"

# The scripts, the one to begin with first, with arguments: what is shown is what these give.
# Without them the scripts take up to ten minutes.
SHORT = {
    "detect_digits": "--scenes 800 --test-scenes 100 --epochs 4",
    "train_on_your_own_data": "--images 600 --epochs 6",
    "compose_with_plain_keras": "",
    "evaluate_detections": "",
    "localize_digit": "--scenes 1000 --test-scenes 200 --epochs 6",
    "segment_digits": "--scenes 3000 --test-scenes 100 --epochs 5 --size 64",
    "sliding_window": "--crops 8000 --epochs 4 --scenes 1",
    "transfer_learning_flowers": "--pretraining-epochs 4 --top-epochs 3 --epochs 5",
    "letterbox": "",
}
WITHOUT_OUTPUT = {"compose_with_plain_keras", "transfer_learning_flowers"}


def arguments(gallery_conf, script_vars):
    """What stands in `sys.argv` after the script's name."""
    name = Path(script_vars["src_file"]).stem
    output = [] if name in WITHOUT_OUTPUT else ["--output", str(OUTPUT / name)]
    return [*SHORT[name].split(), *output]


def reset(gallery_conf, name):
    """Before each script: nothing is downloaded, and Keras has forgotten the script before."""
    import keras

    sys.modules["tensorflow_datasets"] = None
    keras.backend.clear_session()
    shutil.rmtree(OUTPUT / Path(name).stem, ignore_errors=True)


def pictures(block, block_vars, gallery_conf):
    """The pictures that the script has saved, for its page."""
    from sphinx_gallery.scrapers import figure_rst

    folder = OUTPUT / Path(block_vars["src_file"]).stem
    places = []
    for picture, place in zip(sorted(folder.glob("*.png")), block_vars["image_path_iterator"]):  # noqa: B905
        shutil.move(picture, place)
        places.append(place)
    return figure_rst(places, gallery_conf["src_dir"])


def told(app, docname, content):
    """What a page of the gallery says of how it was made, and its output as a reader wants it.

    Of a progress bar only the end of each epoch; of a path, where the script writes by default.
    """
    name = docname.removeprefix("gallery/")
    if name not in SHORT:
        return
    # Backspaces follow each line of a progress bar but its last.
    lines = [line for line in content[0].split("\n") if "\b" not in line]
    text = "\n".join(lines).replace(str(OUTPUT / name), "demo_output")
    if SHORT[name]:
        note = f".. note:: Run here as ``python examples/{name}.py {SHORT[name]}``; without these"
        note += " arguments it takes longer, and its scores are higher.\n\n"
        title = re.search(r"^=+\n", text, re.MULTILINE).end()
        text = f"{text[:title]}\n{note}{text[title:]}"
    content[0] = text


def order(path):
    """The place of a script among the pages."""
    return list(SHORT).index(Path(path).stem)


def copied_scripts(examples):
    """The scripts alone, for sphinx-gallery would take the folders beside them for galleries too.

    Args:
        examples: Path of their folder.

    Returns:
        The folder of the copies, as a string.
    """
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    header = Path(__file__).with_name("gallery_header.rst")
    wanted = {"GALLERY_HEADER.rst": header, **{p.name: p for p in examples.glob("*.py")}}
    for old in SCRIPTS.glob("*.py"):
        if old.name not in wanted:
            old.unlink()
    for name, path in wanted.items():
        shutil.copy2(path, SCRIPTS / name)
    return str(SCRIPTS)


def configuration(here):
    """`sphinx_gallery_conf`."""
    return {
        "examples_dirs": copied_scripts(here.parent / "examples"),
        "gallery_dirs": "gallery",
        # GALLERY=letterbox runs that script alone.
        "filename_pattern": re.sub("^[01]$", "", os.environ.get("GALLERY", "")),
        "abort_on_example_error": True,
        "only_warn_on_example_error": False,
        "reset_argv": "gallery.arguments",
        "reset_modules": ("gallery.reset",),
        "image_scrapers": ("gallery.pictures",),
        "within_subsection_order": "gallery.order",
        "default_thumb_file": str(here / "images" / "detections.png"),
        "download_all_examples": False,
        "show_signature": False,
        "show_memory": False,
        "min_reported_time": 10**6,
        "plot_gallery": os.environ.get("GALLERY", "1") != "0",
        "remove_config_comments": True,
        # A script may have been broken by the package.
        "run_stale_examples": True,
        "parallel": True,
        "capture_repr": (),
    }


def setup(app):
    app.connect("source-read", told)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
