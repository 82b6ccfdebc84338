"""The records of a JSON file of any length, one by one."""

from keras_cvx.datasets.faults import DatasetError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def json_records(path, key):
    """The items of the list under a key at the top of a JSON file, as they are read.

    Args:
        path: `pathlib.Path` of the file, in UTF-8.
        key: String.

    Yields:
        What the items are: dicts, lists, strings, numbers, Booleans or None.

    Raises:
        DatasetError: If the file cannot be read to its end, or has no such list.
        ImportError: If ijson is missing.
    """
    try:
        import ijson
    except ImportError as error:
        raise ImportError(
            "Reading JSON files needs ijson. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    try:
        with path.open("rb") as file:
            if file.read(3) != _BYTE_ORDER_MARK:
                file.seek(0)
            yield from ijson.items(file, f"{key}.item", use_float=True)
    except OSError as error:
        raise DatasetError(f"{str(path)!r} must be a file that can be read. ({error})") from error
    # Of bytes that are no UTF-8, and of integers of thousands of digits, a ValueError.
    except (ijson.JSONError, ValueError) as error:
        raise DatasetError(
            f"{str(path)!r} must be a whole JSON file in UTF-8. Its {key!r} cannot be read: {error}"
        ) from error
