"""The ids in the file of a mask."""

from contextlib import contextmanager

import numpy as np

_LOSSLESS = ("BMP", "GIF", "PNG", "PPM", "TIFF")
_WIDE = ("I", "I;16", "I;16B", "I;16L")
# Pillow stretches grey values of few bits to 255, by these factors.
_STRETCHED = {"L;2": 85, "L;4": 17}
_LARGEST_ID, _LARGEST_LABEL = 2**16 - 1, 2**31 - 1


@contextmanager
def opened_file(path):
    """A picture of Pillow's whose header is read; what its decoder raises becomes a ValueError.

    Args:
        path: Of the file.

    Raises:
        ValueError: If it is missing, damaged, or no image.
        ImportError: If Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading masks needs Pillow. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    try:
        with Image.open(path) as opened:
            yield opened
    # Decoders of damaged files raise whatever they come across.
    except Exception as error:
        raise ValueError(
            f"Images and masks must be files that can be decoded. Received: {str(path)!r} ({error})"
        ) from error


def fault_of(opened):
    """Why a file holds no ids, by its header, or None.

    Args:
        opened: Picture of Pillow's, its pixels not loaded.
    """
    if opened.format not in _LOSSLESS:
        return (
            f"{str(opened.filename)!r} is {opened.format}, which may change ids. Save masks as PNG."
        )
    if opened.mode not in ("1", "L", "P", *_WIDE):
        return (
            f"{str(opened.filename)!r} has the mode {opened.mode!r}, colours or transparency and "
            "no ids. Turn each colour into its id, once, and save the ids as grey: "
            "`ids[(colours == (128, 0, 0)).all(-1)] = 1` for each, then "
            "`Image.fromarray(ids.astype('uint8')).save(path)`."
        )
    return None


def ids_of(path, table=None):
    """The ids of a mask's pixels, or their labels.

    Args:
        path: Of the file.
        table: Array of labels by id, −1 where there is none, as `table_of` makes it; or None.

    Returns:
        uint8 or int32 array `(H, W)`.

    Raises:
        ValueError: If the file is damaged, holds no ids, or one without a label.
    """
    with opened_file(path) as opened:
        fault = fault_of(opened)
        # Before the pixels are loaded, and forgotten.
        raw = opened.tile[0][3] if opened.mode == "L" and opened.tile else None
        ids = np.asarray(opened) if fault is None else None
    if ids is None:
        raise ValueError(f"A mask must hold one id for each pixel. Received: {fault}")
    step = _STRETCHED.get(raw if isinstance(raw, str) else raw[0] if raw else "", 1)
    ids = ids // step if step > 1 else ids
    ids = ids.astype("uint8" if ids.dtype in (bool, "uint8") else "int32")
    return ids if table is None else _labels(ids, table, path)


def table_of(ids):
    """A table of labels by id.

    Args:
        ids: Dict from ids to labels.

    Returns:
        Array that ends with −1, and has it for every id without a label: uint8 labels fit in int16.

    Raises:
        ValueError: If it is none.
    """
    right = isinstance(ids, dict) and all(
        isinstance(x, (int, np.integer)) and not isinstance(x, bool) and 0 <= x <= largest
        for pair in ids.items()
        for x, largest in zip(pair, (_LARGEST_ID, _LARGEST_LABEL), strict=True)
    )
    if not right or not ids:
        raise ValueError(
            f"`ids` must be a dict from ids, 0 to {_LARGEST_ID}, to labels of at least 0. "
            f"Received: ids={str(ids)[:200]}"
        )
    table = np.full(max(ids) + 2, -1, "int16" if max(ids.values()) < 256 else "int32")
    table[list(ids)] = list(ids.values())
    return table


def _labels(ids, table, path):
    past = len(table) - 1
    labels = table[np.where((ids < 0) | (ids > past), past, ids)]
    if labels.min(initial=0) < 0:
        unknown, counts = np.unique(ids[labels < 0], return_counts=True)
        pixels = [f"{x} ({n} pixels)" for x, n in zip(unknown[:5], counts[:5], strict=True)]
        raise ValueError(
            f"`ids` must have a label for every id in the masks. Received: {str(path)!r} with "
            f"{len(unknown)} others: {', '.join(pixels)}. Give such pixels a label, 255 if they "
            "are to be ignored."
        )
    return labels.astype("uint8" if table.dtype == "int16" else "int32")
