"""Pixels of images as pictures have them."""

import numpy as np


def as_bytes(images):
    """Images with values from 0 to 255 as uint8; what is beyond is cut, fractions are rounded.

    Args:
        images: List of NumPy arrays.

    Raises:
        ValueError: If all are floats of which none is above 1, nor all are 0: as they are in
            images from 0 to 1, which would come out black.

    Example:
        >>> as_bytes([np.array([1.5, 300.0])])[0].tolist()
        [2, 255]
    """
    highest = max((image.max(initial=0) for image in images), default=0)
    if 0 < highest <= 1 and all(image.dtype.kind not in "iub" for image in images):
        raise ValueError(
            "`images` must have values from 0 to 255. Received: floats of which none is above "
            f"{highest:.3g}. Of images from 0 to 1, pass `255 * images`."
        )
    return [
        image
        if image.dtype == np.uint8
        else np.rint(np.clip(image.astype("float32"), 0, 255)).astype("uint8")
        for image in images
    ]
