"""The records of a JSON file of any length, one by one.

ijson would do, but a file of brackets within brackets ends the process with it, and it reads
COCO's own file in a quarter of the speed.
"""

import json
import re

from keras_cvx.datasets.faults import DatasetError

_BLOCK = 2**20
_LONGEST = 2**28  # characters of one record
_NO_SPACE = re.compile(r"[^ \t\n\r]")


def json_records(path, *keys, required=()):
    """The items of the lists under some keys at the top of a JSON file, as they are read.

    Args:
        path: `pathlib.Path` of the file, in UTF-8.
        *keys: Strings.
        required: Those of them that the file must have.

    Yields:
        Tuples of the key, the place in its list, and the item: a dict, list, string, number,
        Boolean or None.

    Raises:
        DatasetError: If the file cannot be read to its end, or is none of a dict with lists; in
            the end, if it lacks a key that is required.
    """
    missing = dict.fromkeys(required)
    try:
        # With or without a byte order mark.
        with path.open(encoding="utf-8-sig") as file:
            yield from _items(_Text(file), keys, missing)
    except OSError as error:
        raise DatasetError(f"{str(path)!r} must be a file that can be read. ({error})") from error
    # Of bytes that are no UTF-8 and of integers of thousands of digits too.
    except (ValueError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{str(path)!r} must be a whole JSON file in UTF-8, a dict of lists. It cannot be "
            f"read: {error}"
        ) from error
    if missing:
        raise DatasetError(
            f"{str(path)!r} must have lists under the keys {', '.join(map(repr, required))}. "
            f"Received: no {' and no '.join(map(repr, missing))}"
        )


def _items(text, keys, missing):
    """The items under some keys; those that are found are taken off the missing ones."""
    text.take("{")
    more = not text.takes("}")
    while more:
        key = text.value()
        text.take(":")
        # Whatever else stands there in place of a string.
        if isinstance(key, str):
            missing.pop(key, None)
        if key not in keys and not text.stands("["):
            text.value()
        else:
            # What nobody asked for may be long too.
            for place, item in enumerate(_of_list(text)):
                if key in keys:
                    yield key, place, item
        more = text.takes(",")
        if not more:
            text.take("}")
    text.end()


def _of_list(text):
    text.take("[")
    more = not text.takes("]")
    while more:
        yield text.value()
        more = text.takes(",")
        if not more:
            text.take("]")


class _Text:
    """The text of a file, of which a block is held from the place that is read next."""

    def __init__(self, file):
        self._file = file
        self._text, self._place, self._before = "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

    def value(self):
        """The value that stands next."""
        self._skip_space()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except json.JSONDecodeError as error:
                # The value may only be cut off.
                if self._read(len(self._text) - self._place):
                    continue
                raise ValueError(f"{error.msg}, at character {self._before + error.pos}") from None
            # So may a number be, before its fraction or its exponent.
            if len(self._text) - end > len("e+") or not self._read(_BLOCK):
                self._place = end
                return value

    def stands(self, sign):
        """Whether a sign stands next."""
        self._skip_space()
        return self._text.startswith(sign, self._place)

    def takes(self, sign):
        """Whether a sign stands next, which is passed if so."""
        found = self.stands(sign)
        self._place += found
        return found

    def take(self, sign):
        """Passes a sign that must stand next."""
        if not self.takes(sign):
            found = self._text[self._place : self._place + 1] or "the end"
            raise ValueError(f"{sign!r} is missing before {found!r}, at character {self._at}")

    def end(self):
        """Nothing more may follow."""
        self._skip_space()
        if self._place < len(self._text):
            raise ValueError(f"more follows after its end, at character {self._at}")

    @property
    def _at(self):
        return self._before + self._place

    def _skip_space(self):
        while True:
            found = _NO_SPACE.search(self._text, self._place)
            self._place = found.start() if found else len(self._text)
            if self._place < len(self._text) or not self._read(_BLOCK):
                return

    def _read(self, length):
        """Reads on, and says whether there was more."""
        if len(self._text) - self._place > _LONGEST:
            raise ValueError(f"a value is longer than {_LONGEST} characters, at {self._at}")
        more = self._file.read(max(length, _BLOCK))
        if more:
            self._before += self._place
            self._text, self._place = self._text[self._place :] + more, 0
        return bool(more)
