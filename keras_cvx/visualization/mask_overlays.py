"""Pixels of masks over pixels of images."""

import numpy as np

from keras_cvx.ops.masks import NO_CLASS

# Kinds of pixels in a map of errors.
RIGHT, MISSED, FALSE, IGNORED = 1, 2, 3, 4
ERROR_NAMES = {RIGHT: "right", MISSED: "missed", FALSE: "false", IGNORED: "ignored"}
ERROR_COLOURS = {RIGHT: (63, 144, 218), MISSED: (255, 110, 90), FALSE: (170, 0, 90)}
STRIPES = (120, 205)  # greys of ignored pixels
_STRIPE_DOTS = 5
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_DARKEST = 60  # of the image under a mask, so that dark colours are seen on it


def error_map(truth, prediction, background, ignore_class):
    """Which pixels are right, missed and false.

    Args:
        truth: Integer array `(H, W)`.
        prediction: Likewise; −1 where there is none.
        background: The background's label, or None.
        ignore_class: Tuple of ids.

    Returns:
        uint8 array `(H, W)` of `RIGHT`, `MISSED`, `FALSE`, `IGNORED`, and 0 elsewhere.
    """
    ignored = np.isin(truth, ignore_class)
    unsure = np.isin(prediction, (*ignore_class, NO_CLASS))
    is_object = np.ones(truth.shape, bool) if background is None else truth != background
    kinds = np.zeros(truth.shape, "uint8")
    kinds[is_object] = MISSED
    kinds[is_object & (truth == prediction)] = RIGHT
    kinds[~is_object & (prediction != truth) & ~unsure] = FALSE
    kinds[ignored] = IGNORED
    return kinds


def overlay(image, mask, colours, ignored, *, opacity, scale):
    """An image in grey, pixels of a mask in their colours and ignored ones striped.

    Args:
        image: uint8 array `(H, W, 3)`.
        mask: Integer array `(H, W)`.
        colours: Dict of RGB from 0 to 255 by label; others are not painted.
        ignored: Tuple of ids.
        opacity: Of the colours, from 0 to 1.
        scale: Dots of a pixel. Pixels larger than a dot are repeated, so that stripes are as wide
            in small images as in large ones.

    Returns:
        uint8 array `(H, W, 3)`, or with the sides times `scale`.
    """
    grey = (image @ _LUMA) * ((255 - _DARKEST) / 255) + _DARKEST
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    for label in np.unique(mask):
        if label in colours:
            painted = mask == label
            pixels[painted] += opacity * (colours[label] - pixels[painted])
    pixels = np.rint(pixels).astype("uint8")
    striped = np.isin(mask, ignored)
    if scale > 1:
        pixels, striped = (x.repeat(scale, 0).repeat(scale, 1) for x in (pixels, striped))
    rows, columns = np.nonzero(striped)
    width = max(round(_STRIPE_DOTS / min(scale, 1)), 1)
    pixels[rows, columns] = np.take(STRIPES, (rows + columns) // width % 2)[:, None]
    return pixels
