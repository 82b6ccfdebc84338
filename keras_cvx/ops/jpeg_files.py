"""JPEG files of the plainest kind: their size in a few microseconds, their pixels by OpenCV."""

import functools
import struct

import numpy as np

_HEAD = 2**14  # bytes, before which the size nearly always stands
_START, _END = b"\xff\xd8", b"\xff\xd9"
# Tables, restarts, comments and JFIF's own segment say nothing of size, colours or orientation.
_TABLES, _FRAMES, _PROFILE = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE), (0xC0, 0xC1, 0xC2), 0xE2


def plain_size(content):
    r"""Height and width of a plain JPEG, or None for what is to be asked of Pillow.

    Plain are grey and three colours of 8 bits, sequential or progressive, with no segments but
    those of JFIF and a profile, which Pillow leaves aside: an orientation, of EXIF or XMP, another
    picture or Adobe's colours would be in others.

    Args:
        content: Bytes of a file, at least of its beginning.

    Example:
        >>> frame = bytes([8, 0, 4, 0, 6, 1, 1, 0x11, 0])
        >>> plain_size(b"\xff\xd8\xff\xc0" + bytes([0, 11]) + frame)
        (4, 6)

    Reference:
        ITU-T T.81, annex B.2: markers, segments and frame headers.
    """
    place = 2
    while content.startswith(_START) and place + 4 <= len(content):
        mark, kind, length = struct.unpack_from(">BBH", content, place)
        if mark != 0xFF or length < 2:
            return None
        if kind in _FRAMES:
            return _size_of_frame(content[place + 4 : place + 2 + length], length)
        profile = kind == _PROFILE and content.startswith(b"ICC_PROFILE\0", place + 4)
        if kind not in _TABLES and not profile:
            return None
        place += 2 + length
    return None


def _size_of_frame(frame, length):
    if len(frame) < 6 or len(frame) != length - 2:
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", frame)
    plain = bits == 8 and components in (1, 3) and len(frame) == 6 + 3 * components
    # A height of 0 stands behind the pixels.
    return (height, width) if plain and height and width and _is_no_bomb(height * width) else None


def _is_no_bomb(pixels):
    """Whether Pillow would neither refuse so many pixels nor warn of them."""
    from PIL import Image

    return Image.MAX_IMAGE_PIXELS is None or pixels <= Image.MAX_IMAGE_PIXELS


def plain_size_of_file(path):
    """As `plain_size`, of a file; None too where its size stands far behind.

    Args:
        path: Of the file.

    Raises:
        OSError: If it cannot be opened.
    """
    with open(path, "rb", buffering=0) as file:
        return plain_size(file.read(_HEAD))


def plain_pixels(path):
    """The pixels of a plain JPEG by OpenCV; None for what is to be asked of Pillow.

    Both have them of libjpeg, and here they are equal to the last bit.

    Args:
        path: Of the file.

    Returns:
        uint8 array `(H, W, 3)`, RGB, or None.

    Raises:
        OSError: If it cannot be opened.
    """
    decode = _opencv()
    if decode is None:
        return None
    with open(path, "rb", buffering=0) as file:
        content = file.read()
    # OpenCV fills up what is cut off, in grey, and says nothing.
    if not content.endswith(_END) or plain_size(content) is None:
        return None
    return decode(np.frombuffer(content, "uint8"))


@functools.cache
def _opencv():
    """OpenCV's function of a file's bytes, None if it is missing or of before version 4.11."""
    try:
        import cv2
    except ImportError:
        return None
    colours = getattr(cv2, "IMREAD_COLOR_RGB", None)
    return None if colours is None else lambda content: cv2.imdecode(content, colours)
