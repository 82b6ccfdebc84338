"""A reader of text files with a box a line: `photo.png 2 1 8 6 cat`."""

from pathlib import Path

from keras_cvx import plugins
from keras_cvx.datasets import Annotations, Dataset, DatasetError, grouped


@plugins.register("lines", kind="reader", package="acme")
def lines(path, images=None, on_error="raise"):
    """The images and boxes of a text file.

    Args:
        path: The file. Each line has an image's name, the corners `x0 y0 x1 y1` in pixels, and a
            class.
        images: The folder of the images; that of the file if None.
        on_error: `"raise"`, or `"skip"` to leave out the lines that are none of these.

    Returns:
        `keras_cvx.datasets.Dataset`, images in the order of the file and classes in that of the
        alphabet; `skipped` says what was left out.

    Raises:
        DatasetError: If a line is none of these; the message names it.
    """
    path = Path(path)
    rows, skipped = [], []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            name, *corners, label = line.split()
            x0, y0, x1, y1 = map(float, corners)
        except ValueError as error:
            wrong = (
                f"{str(path)!r}, line {number}: a line must be a name, four numbers and a class. "
                f"Received: {line!r}"
            )
            if on_error == "raise":
                raise DatasetError(wrong) from error
            skipped.append(wrong)
        else:
            rows.append((name, (x0, y0, x1, y1), label))
    names = list(dict.fromkeys(name for name, *_ in rows))
    class_names = tuple(sorted({label for *_, label in rows}))
    objects = grouped(
        [names.index(name) for name, *_ in rows],
        len(names),
        {
            "boxes": [box for _, box, _ in rows],
            "labels": [class_names.index(label) for *_, label in rows],
        },
    )
    folder = path.parent if images is None else Path(images)
    paths = [folder / name for name in names]
    return Dataset(Annotations(path, paths, class_names, objects), skipped=skipped)
