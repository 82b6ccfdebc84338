"""The command line: lists plugins, and checks data sets."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

import keras_cvx
from keras_cvx import plugins
from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.reading.formats import read_parts
from keras_cvx.layers import ResizeWithPad
from keras_cvx.plugins import registry
from keras_cvx.visualization import gallery, segmentation_gallery


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; without one, says which there are.

    Args:
        arguments: List of strings; those of the process by default.

    Returns:
        Exit status: 0; 1 if an installed plugin package could not be imported, or something is
        wrong with a data set.
    """
    parser = argparse.ArgumentParser(prog="python -m keras_cvx", description=keras_cvx.__doc__)
    parser.add_argument("--version", action="version", version=keras_cvx.__version__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("plugins", help="list the registered plugins and the installed packages")
    data = commands.add_parser("datasets", help="check data sets")
    checking = data.add_subparsers(dest="action", required=True).add_parser(
        "check", help="look at every image and annotation, and say what is wrong"
    )
    checking.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="file or folder of a data set's part"
    )
    checking.add_argument("--images", type=Path, help="folder of the images, of COCO and CSV")
    checking.add_argument(
        "--format", metavar="NAME", help=f"in place of a guess: {_names('reader')}"
    )
    checking.add_argument("--picture", type=Path, metavar="FILE", help="draw some images there")
    checking.add_argument(
        "--visualizer", metavar="NAME", help=f"in place of a gallery: {_names('visualizer')}"
    )
    options = parser.parse_args(arguments)
    if options.command == "plugins":
        return list_plugins()
    if options.command == "datasets":
        return check_datasets(
            options.paths, options.images, options.format, options.picture, options.visualizer
        )
    parser.print_help()
    return 0


def check_datasets(paths, images=None, kind=None, picture=None, visualizer=None) -> int:
    """Prints what is wrong with the parts of a data set.

    Args:
        paths: List of files or folders, as `keras_cvx.datasets` reads them.
        images: Folder of the images, or None.
        kind: Name of a plugin of kind `"reader"`, or None for a guess.
        picture: Path of a picture to draw of some of the images, or None.
        visualizer: Name of a plugin of kind `"visualizer"` that draws it, or None.

    Returns:
        Exit status: 1 if anything is wrong.
    """
    parts: dict = {}
    with warnings.catch_warnings():
        # What is skipped is in the report.
        warnings.simplefilter("ignore", UserWarning)
        try:
            if visualizer is not None:
                visualizer = plugins.get(visualizer, kind="visualizer")
            for path in paths:
                parts.update(read_parts(path, images=images, kind=kind, on_error="skip"))
        except (ImportError, ValueError) as error:
            print(error, file=sys.stderr)
            return 1
    for name, part in parts.items():
        print(f"{name}: {len(part)} images")
    first, *others = parts.values()
    report = first.check(*others)
    print(report)
    if picture is not None:
        drawn = draw_samples(first, visualizer)
        if drawn is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            drawn.savefig(picture)
        print(f"The picture is {picture}." if drawn else "No image can be drawn.")
    return 0 if report.ok else 1


def draw_samples(data, visualizer=None, count=8, size=320):
    """A picture of images with their annotations, taken evenly from all that can be read.

    Args:
        data: `Dataset`.
        visualizer: Function of images, of their boxes and labels or their masks, and of
            `class_names`; `gallery`, or `segmentation_gallery` of masks, if None.
        count: The most images.
        size: Height and width that they are letterboxed to, in pixels.

    Returns:
        A `matplotlib.figure.Figure`; None if no image can be read.
    """
    letterbox = ResizeWithPad(size, size, bounding_box_format="xyxy")
    samples: list[dict] = []
    for index in np.linspace(0, len(data) - 1, min(4 * count, len(data))).astype(int):
        try:
            samples.append(letterbox(data[int(index)].sample()))
        except DatasetError:
            # It is in the report.
            continue
        if len(samples) == count:
            break
    if not samples:
        return None
    images = np.stack([sample["images"] for sample in samples])
    if "segmentation_masks" in samples[0]:
        masks = np.stack([sample["segmentation_masks"] for sample in samples])
        draw = visualizer or partial(segmentation_gallery, columns=2, panel_inches=3)
        return draw(images, masks, class_names=data.mask_class_names)
    rows = [sample["bounding_boxes"] for sample in samples]
    most = max(len(row["labels"]) for row in rows)
    boxes = np.full((len(rows), most, 4), -1, "float32")
    labels = np.full((len(rows), most), -1, "int32")
    for place, row in enumerate(rows):
        boxes[place, : len(row["boxes"])], labels[place, : len(row["labels"])] = row.values()
    truth = {"boxes": boxes, "labels": labels}
    draw = visualizer or partial(gallery, panel_inches=3)
    return draw(images, truth, class_names=dict(enumerate(data.class_names)))


def list_plugins() -> int:
    """Prints a table of all plugins; those of other packages are imported for it, one by one.

    A namespace that could not be imported, or registers nothing, has a row that says so.

    Returns:
        Exit status: 1 if a package could not be imported; why is printed below the table.
    """
    points = plugins.entry_points()
    points.pop(registry.OWN, None)
    failures: dict[str, Exception] = {}
    for namespace in points:
        try:
            registry.import_entry_point(namespace)
        except (ImportError, ValueError) as error:
            # The others go on; the failure is told below the table.
            failures[namespace] = error
    rows, seen = [], set()
    for plugin in plugins.registered():
        namespace = plugin.name.split(">")[0]
        seen.add(namespace)
        rows.append((plugin.name, plugin.alias or "", plugin.kind, _origin(namespace, points)))
    for namespace in sorted(set(points) - seen):
        state = "not imported" if namespace in failures else "registers nothing"
        rows.append((f"{namespace}>", "", state, _origin(namespace, points)))
    _print_table([("name", "alias", "kind", "from"), *rows])
    for namespace in sorted(failures):
        print(f"{namespace}: {failures[namespace]}", file=sys.stderr)
    return 1 if failures else 0


def _names(kind):
    """What one can type for a kind, for the help; asking for it imports no other package."""
    own = [plugin.name.split(">")[1] for plugin in plugins.registered(kind)]
    return f"{', '.join(own)}, or a name of another package, as NAMESPACE>NAME"


def _origin(namespace, points):
    """The distribution and its version; the namespace where no distribution declares it."""
    if namespace == registry.OWN:
        return f"keras-cvx {keras_cvx.__version__}"
    dist = points[namespace].dist if namespace in points else None
    return f"{dist.name} {dist.version}" if dist else namespace


def _print_table(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    sys.exit(main())
