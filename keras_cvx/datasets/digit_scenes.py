"""Photographs with handwritten digits in them, made on the spot from what scikit-learn ships."""

import functools
import math
import numbers
from typing import Any, NamedTuple

import numpy as np

from keras_cvx.ops.arguments import check_choice

DIGIT_NAMES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

_SPLITS = ("train", "test")
_TRAIN_FRACTION = 0.7  # of every class' digits and of every photograph's columns
_EMPTY_FRACTION = 0.02
_SMALLEST_SIZE = 32
_CROP_SIDES = (96, 192)  # photograph pixels; the test regions are 192 columns wide
_HEIGHT_FRACTIONS = (16 / 128, 48 / 128)  # of the scene
_SMALLEST_HEIGHT = 8  # the scans have 8 rows
_ASPECT_JITTER = 1.25
_LARGEST_ROTATION = math.radians(12)
_INK = 0.5  # share of full pen pressure from which a point belongs to the stroke
_SCAN_MARGIN = 2
_PLACEMENT_TRIES = 12
_LARGEST_SPREAD = 40.0  # standard deviation of the green under a digit
_CONTRAST = 75.0  # least distance in luma, on even ground
_LUMA = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601


def digit_scenes(num_scenes, split="train", *, size=128, seed=0, max_objects=6):
    """Photographic scenes that contain handwritten digits, with boxes and masks.

    scikit-learn's 8 × 8 digit scans are drawn in random size, place and colour on random crops of
    its two sample photographs. Nothing is downloaded. Training and test scenes share neither a
    scan nor a column of a photograph, whatever the seed.

    Scene `i` depends on `seed`, `split`, `size`, `max_objects` and `i` alone, so a larger call
    begins with the scenes of a smaller one.

    Args:
        num_scenes: How many scenes to make, 0 or more.
        split: `"train"` or `"test"`.
        size: Height and width of a scene in pixels, at least 32. Digits grow with it: they are
            an eighth to three eighths of it high (16 to 48 pixels at 128), but never under 8.
        seed: Integer, 0 or more.
        max_objects: The most digits in one scene, and the number of rows in `boxes`. About one
            scene in fifty has none.

    Returns:
        A dict of NumPy arrays.

        - `images`: `(num_scenes, size, size, 3)` uint8, RGB.
        - `bounding_boxes`: a dict of `boxes` `(num_scenes, max_objects, 4)` float32, corners
          `x0, y0, x1, y1` in pixels, which enclose a digit's mask exactly; and `labels`
          `(num_scenes, max_objects)` int32, the digit. Rows past a scene's last digit are −1.
        - `segmentation_masks`: `(num_scenes, size, size)` uint8, 0 on the background and
          digit + 1 on ink. A pixel is ink when the pen covers at least half of it.

    Raises:
        ValueError: If an argument is outside the range given above.
        ImportError: If scikit-learn or Pillow is missing.

    Example:
        >>> scenes = digit_scenes(2, "test", size=64)
        >>> scenes["images"].shape
        (2, 64, 64, 3)
        >>> scenes["bounding_boxes"]["boxes"].shape
        (2, 6, 4)
    """
    _require_integer("num_scenes", num_scenes, 0)
    _require_integer("size", size, _SMALLEST_SIZE)
    _require_integer("seed", seed, 0)
    _require_integer("max_objects", max_objects, 0)
    check_choice(_SPLITS, split=split)

    scans = _digit_scans(split)
    regions = _photograph_regions(split)
    images = np.empty((num_scenes, size, size, 3), "uint8")
    masks = np.zeros((num_scenes, size, size), "uint8")
    boxes = np.full((num_scenes, max_objects, 4), -1, "float32")
    labels = np.full((num_scenes, max_objects), -1, "int32")
    for index in range(num_scenes):
        rng = np.random.default_rng((seed, _SPLITS.index(split), index))
        images[index] = _background(rng, regions, size)
        placed = _place_digits(rng, scans, images[index], masks[index], max_objects)
        for row, (box, label) in enumerate(placed):
            boxes[index, row] = box
            labels[index, row] = label

    return {
        "images": images,
        "bounding_boxes": {"boxes": boxes, "labels": labels},
        "segmentation_masks": masks,
    }


def _require_integer(name, value, least):
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(
            f"`{name}` must be an integer and at least {least}. Received: {name}={value!r}."
        )


def _sources():
    try:
        from PIL import Image
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "`digit_scenes` needs scikit-learn and Pillow. "
            "Install them with `pip install keras-cvx[datasets]`."
        ) from error
    return datasets, Image


def _split_digits(labels):
    """Indices of each split's digits: of every class 70 % train, the rest test.

    The test digits are spread evenly over the file, whose order is that of the writers: the splits
    differ in digits, not in hands.
    """
    trains = np.zeros(len(labels), bool)
    for digit in np.unique(labels):
        indices = np.flatnonzero(labels == digit)
        passed = np.floor(_TRAIN_FRACTION * np.arange(len(indices) + 1) + 0.5)
        trains[indices] = np.diff(passed) > 0
    return {"train": np.flatnonzero(trains), "test": np.flatnonzero(~trains)}


def _split_columns(width):
    """First column and the column past the last, for each split of a photograph."""
    border = round(_TRAIN_FRACTION * width)
    return {"train": (0, border), "test": (border, width)}


class _Scan(NamedTuple):
    image: Any  # grey Pillow image with an empty margin
    ink_box: tuple  # x0, y0, x1, y1 in its pixels
    label: int


@functools.cache
def _digit_scans(split):
    datasets, pillow = _sources()
    digits = datasets.load_digits()
    scans = []
    for index in _split_digits(digits.target)[split]:
        pressure = np.pad(digits.images[index] / 16, _SCAN_MARGIN)
        image = pillow.fromarray(np.rint(255 * pressure).astype("uint8"))
        scans.append(_Scan(image, _extent(pressure >= _INK), int(digits.target[index])))
    return tuple(scans)


@functools.cache
def _photograph_regions(split):
    """The split's part of every photograph.

    Each is an image of its own, so that no resampling filter can reach across the border.
    """
    datasets, pillow = _sources()
    regions = []
    for photograph in datasets.load_sample_images().images:
        first, last = _split_columns(photograph.shape[1])[split]
        regions.append(pillow.fromarray(np.ascontiguousarray(photograph[:, first:last])))
    return tuple(regions)


def _background(rng, regions, size):
    _, pillow = _sources()
    region = regions[rng.integers(len(regions))]
    side = _log_uniform(rng, *_CROP_SIDES)
    side = min(side, region.width, region.height)
    x0 = rng.uniform(0, region.width - side)
    y0 = rng.uniform(0, region.height - side)
    crop = region.resize(
        (size, size), pillow.Resampling.BILINEAR, box=(x0, y0, x0 + side, y0 + side)
    )
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def _log_uniform(rng, low, high):
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _extent(ink):
    """Box of the true pixels of a mask that has some; pixel i covers [i, i + 1)."""
    rows = ink.any(axis=1).nonzero()[0]
    columns = ink.any(axis=0).nonzero()[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _place_digits(rng, scans, image, mask, max_objects):
    """Draws digits into an image and its mask, in place.

    Returns:
        A list of `(box, label)`, one for each digit that found a place.
    """
    placed: list[tuple] = []
    if rng.random() < _EMPTY_FRACTION:
        return placed
    for _ in range(rng.integers(min(1, max_objects), max_objects + 1)):
        scan = scans[rng.integers(len(scans))]
        coverage = _drawn(rng, scan, len(image))
        ink = coverage >= 0.5
        place = _free_place(rng, ink, image, [box for box, _ in placed])
        if place is None:
            continue
        window, box = place
        _paint(rng, image[window], coverage)
        mask[window][ink] = scan.label + 1
        placed.append((box, scan.label))
    return placed


def _drawn(rng, scan, size):
    """A scan in a random shape: the pen's coverage of a window's pixels, float32 in `[0, 1]`."""
    _, pillow = _sources()
    left, top, right, bottom = scan.ink_box
    low, high = (max(_SMALLEST_HEIGHT, fraction * size) for fraction in _HEIGHT_FRACTIONS)
    scale_y = _log_uniform(rng, low, high) / (bottom - top)
    scale_x = scale_y * _log_uniform(rng, 1 / _ASPECT_JITTER, _ASPECT_JITTER)
    angle = rng.uniform(-_LARGEST_ROTATION, _LARGEST_ROTATION)
    cos, sin = math.cos(angle), math.sin(angle)

    # One scan pixel more than the ink, since the interpolated stroke reaches past its pixels.
    across, down = scale_x * (right - left + 1), scale_y * (bottom - top + 1)
    width = math.ceil(across * cos + down * abs(sin)) + 2
    height = math.ceil(across * abs(sin) + down * cos) + 2
    # Pillow asks for the way back, from the window's pixels to the scan's.
    a, b = cos / scale_x, sin / scale_x
    d, e = -sin / scale_y, cos / scale_y
    c = (left + right - a * width - b * height) / 2
    f = (top + bottom - d * width - e * height) / 2
    drawn = scan.image.transform(
        (width, height), pillow.Transform.AFFINE, (a, b, c, d, e, f), pillow.Resampling.BICUBIC
    )
    pressure = np.asarray(drawn, "float32") / 255
    # The steepness grows with the enlargement, so that edges stay about one pixel soft.
    return np.clip(0.5 + (pressure - _INK) * scale_y, 0, 1)


def _free_place(rng, ink, image, boxes):
    """A window of the scene on fairly even ground in which the ink's box touches no other.

    Returns:
        The window's slices and the ink's box in the scene, or None when a few tries found nothing.
    """
    height, width = ink.shape
    x0, y0, x1, y1 = _extent(ink)
    for _ in range(_PLACEMENT_TRIES):
        x = int(rng.integers(image.shape[1] - width + 1))
        y = int(rng.integers(image.shape[0] - height + 1))
        window = np.s_[y : y + height, x : x + width]
        box = (x + x0, y + y0, x + x1, y + y1)
        if any(_touch(box, other) for other in boxes):
            continue
        # No one colour stands out where, say, a dark roof meets the sky. Green stands for luma.
        if image[window][..., 1].std() <= _LARGEST_SPREAD:
            return window, box
    return None


def _touch(box, other):
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _paint(rng, window, coverage):
    """Blends a digit into the window of an image, in place, in a colour that can be read there."""
    ground = window.astype("float32")
    spread = float((ground @ _LUMA).std())
    wanted = rng.uniform(0, 255, 3).astype("float32")
    colour = _readable_colour(wanted, ground.mean(axis=(0, 1)), spread)
    window[...] = np.rint(ground + coverage[..., None] * (colour - ground))


def _readable_colour(colour, ground, spread):
    """`colour`, moved towards black or white until its luma is far enough from the ground's."""
    needed = min(_CONTRAST + spread, 127.0)
    luma, ground_luma = colour @ _LUMA, ground @ _LUMA
    if abs(luma - ground_luma) >= needed:
        return colour
    pole = 255.0 if ground_luma < 127.5 else 0.0
    target = ground_luma + math.copysign(needed, pole - ground_luma)
    return colour + (pole - colour) * (target - luma) / (pole - luma)
