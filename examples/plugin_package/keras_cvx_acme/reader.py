"""A reader of text files with a box a line: `photo.png 2 1 8 6 cat`."""

from pathlib import Path

from keras_cvx import plugins
from keras_cvx.datasets import Annotations, Dataset, DatasetError, grouped


@plugins.register("lines", kind="reader", package="acme")
def lines(path):
    """The images and boxes of a text file.

    Args:
        path: The file; image names are relative to its folder. Each line has a name, the corners
            `x0 y0 x1 y1` in pixels, and a class.

    Returns:
        `keras_cvx.datasets.Dataset`, images in the order of the file and classes in that of the
        alphabet.

    Raises:
        DatasetError: If a line is none of these; the message names it.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            name, *corners, label = line.split()
            x0, y0, x1, y1 = map(float, corners)
        except ValueError as error:
            raise DatasetError(
                f"{str(path)!r}, line {number}: a line must be a name, four numbers and a class. "
                f"Received: {line!r}"
            ) from error
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
    images = [path.parent / name for name in names]
    return Dataset(Annotations(path, images, class_names, objects))
