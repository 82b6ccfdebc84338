"""Image files and pictures of Pillow's, as arrays on the host."""

import os
import sys

import numpy as np

from keras_cvx.ops.jpeg_files import plain_pixels

_ORIENTATION, _TURNED = 0x0112, range(5, 9)  # EXIF's tag, and its values that swap the sides


def is_picture(image):
    """Whether an image is the path of a file, or a picture of Pillow's.

    Args:
        image: Any object.
    """
    pillow = sys.modules.get("PIL.Image")
    return isinstance(image, (str, os.PathLike)) or (
        pillow is not None and isinstance(image, pillow.Image)
    )


def picture(image, name="images", data_format="channels_last"):
    """The pixels of a file or of a picture of Pillow's, upright and in RGB.

    Args:
        image: Path or picture. Its orientation (EXIF) is applied, 16 bits become 8, and
            transparency is dropped.
        name: The argument's name, for the error.
        data_format: Of the result: `"channels_last"` or `"channels_first"`.

    Returns:
        uint8 array `(H, W, 3)`; with `"channels_first"`, `(3, H, W)`.

    Raises:
        ValueError: If it cannot be decoded.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            "Reading image files needs Pillow. Install it with `pip install keras-cvx[vision]`."
        ) from error
    try:
        if isinstance(image, Image.Image):
            pixels = _pixels(ImageOps.exif_transpose(image))
        elif (pixels := plain_pixels(image)) is None:
            with Image.open(image) as opened:
                # Not copied where it is upright, which would take as long as decoding it.
                ImageOps.exif_transpose(opened, in_place=True)
                pixels = _pixels(opened)
        return pixels if data_format == "channels_last" else np.moveaxis(pixels, -1, 0)
    # Decoders of damaged files raise whatever they come across.
    except Exception as error:
        raise ValueError(
            f"`{name}` must be an image, or the path of a file that can be decoded. "
            f"Received: {str(image)!r} ({error})"
        ) from error


def _pixels(upright):
    from PIL import Image

    if upright.mode.startswith("I;16"):
        # Pillow's own conversion would cut to 255 what is brighter.
        grey = (np.asarray(upright).astype("float32") / 257).round().astype("uint8")
        upright = Image.fromarray(grey)
    if upright.mode in ("I", "F"):
        raise ValueError(f"mode {upright.mode!r} has no range: convert it to 8 bits first")
    return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def upright_size(opened):
    """Height and width that `picture` gives an image, from its header alone.

    Only a PNG whose orientation stands behind its pixels is told unturned: they would have to be
    decoded first.

    Args:
        opened: Picture of Pillow's, whose pixels need not be loaded.

    Returns:
        Tuple of two integers.
    """
    width, height = opened.size
    return (width, height) if orientation_of(opened) in _TURNED else (height, width)


def orientation_of(opened):
    """How EXIF says that an image is stored turned, from its header alone.

    Args:
        opened: Picture of Pillow's, whose pixels need not be loaded.

    Returns:
        Integer from 1, upright, to 8; 1 where none or no such is told.
    """
    from PIL import Image

    # Pillow turns a TIFF itself, size and all.
    if opened.format == "TIFF":
        return 1
    # The method of a PNG would load it.
    told = Image.Image.getexif(opened).get(_ORIENTATION)
    return told if told in range(1, 9) else 1
