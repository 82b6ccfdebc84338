"""What is wrong with the data of users: an error at the first fault, or a list of them all."""

import reprlib
import warnings
from pathlib import Path

from keras_cvx.ops.arguments import check_choice

_TOLD = 5


class DatasetError(ValueError):
    """What is wrong with the data in a file; the message names the file and the record.

    Example:
        >>> try:
        ...     Faults("raise").add("'annotations.json', image 7: a box must have four numbers")
        ... except DatasetError as error:
        ...     print(error)
        'annotations.json', image 7: a box must have four numbers
    """


class MissingMaskError(DatasetError):
    """That an image has no mask, in a data set in which only some have one."""


class Faults:
    """Raises at the first fault, or keeps what was wrong with the records that are skipped.

    Args:
        on_error: `"raise"` or `"skip"`.

    Attributes:
        messages: List of strings, one for each record that was skipped.
    """

    def __init__(self, on_error):
        check_choice(("raise", "skip"), on_error=on_error)
        self._skips = on_error == "skip"
        self.messages = []

    def add(self, message):
        """Takes note of a record that is wrong.

        Args:
            message: String that names the file and the record.

        Raises:
            DatasetError: With this message, unless records are to be skipped.
        """
        if not self._skips:
            raise DatasetError(message)
        self.messages.append(message)

    def warn(self):
        """Warns how many records were skipped, if any, and says what was wrong with the first."""
        if self.messages:
            warnings.warn(
                f"Records that were skipped are {listed(self.messages)}. All are in `skipped`.",
                stacklevel=3,
            )


def checked_path(name, path, what):
    """A path, whether there is anything or not.

    Args:
        name: The argument's name, for the error.
        path: Any object.
        what: What it is to be the path of.

    Raises:
        ValueError: If it is none.
    """
    try:
        return Path(path)
    except TypeError:
        raise ValueError(f"`{name}` must be the path of {what}. Received: {told(path)}") from None


def checked_folder(name, folder):
    """A folder as a path.

    Args:
        name: The argument's name, for the error.
        folder: Its path.

    Raises:
        ValueError: If there is none.
    """
    try:
        path = Path(folder)
    except TypeError:
        path = None
    if path is None or not path.is_dir():
        raise ValueError(f"`{name}` must be the path of a folder that is. Received: {folder!r}")
    return path


def listed(items, most=_TOLD):
    """How many there are and the first of them, for an error.

    Args:
        items: List, not empty.
        most: How many to tell.

    Returns:
        String such as `"7: a, b, c, d, e, ..."`.
    """
    shown = ", ".join(map(str, items[:most]))
    return f"{len(items)}: {shown}" + (", ..." if len(items) > most else "")


def told(value):
    """Any value from a file in a few characters, however long or deep it is.

    Args:
        value: Any object.
    """
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)
