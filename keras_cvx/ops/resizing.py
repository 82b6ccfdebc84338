"""Images of another size, with the pixels that `tf.image.resize` gives, wherever they come from."""

import math

import numpy as np

from keras_cvx.ops import _arrays, _kernels
from keras_cvx.ops.arguments import check_choice, check_fill_value, check_integers, dtype_name

# Half the width of each kernel, in pixels of the source.
_RADIUS = {"bilinear": 1.0, "bicubic": 2.0, "lanczos3": 3.0, "lanczos5": 5.0}
INTERPOLATIONS = ("nearest", *_RADIUS)
# TensorFlow looks the cubic kernel up in a table of so many places a pixel.
_CUBIC_PLACES = 1024


def resize(images, size, *, interpolation="bilinear", antialias=False):
    """Resizes images as `tf.image.resize` does: pixel centres at half integers, edges repeated.

    NumPy arrays of uint8 are resized by OpenCV where it is installed and does the same within one
    grey level.

    Args:
        images: `(..., H, W, C)` with one leading axis or none: a NumPy array, a tensor, or one of
            TensorFlow's under another backend. Integers are rounded and saturated.
        size: Height and width of the result in pixels, positive; for tensors of TensorFlow they
            may be scalars of its own.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether the kernel widens with the reduction. `"nearest"` has none.

    Returns:
        The images in the new size and their own dtype.

    Raises:
        ValueError: If the rank, the size or the interpolation is another.

    Example:
        >>> resize(np.float32([[[0.0], [4.0]]]), (1, 4)).tolist()
        [[[0.0], [1.0], [3.0], [4.0]]]

    Reference:
        Keys 1981, Cubic Convolution Interpolation for Digital Image Processing, equation 15.
    """
    check_interpolation(interpolation)
    xp = _arrays.namespace(images)
    images = xp.convert_to_tensor(images)
    if dtype_name(images.dtype) == "bool":
        # TensorFlow has no kernels for it.
        images = xp.cast(images, "uint8")
        resized = resize(images, size, interpolation=interpolation, antialias=antialias)
        return xp.cast(resized, "bool")
    if len(images.shape) not in (3, 4):
        raise ValueError(
            "`images` must be of shape (H, W, C) or (B, H, W, C). "
            f"Received: shape {tuple(images.shape)}"
        )
    known = all(isinstance(side, (int, np.integer)) for side in (*size, *images.shape[-3:-1]))
    if all(isinstance(side, (int, np.integer)) for side in size):
        check_integers(1, height=size[0], width=size[1])
        size = (int(size[0]), int(size[1]))
    if known and tuple(images.shape[-3:-1]) == size:
        return images
    if known and 0 in images.shape[-3:-1]:
        raise ValueError(
            "`images` must have at least one row and one column. "
            f"Received: shape {tuple(images.shape)}"
        )
    native = _kernels.native_resize(images, interpolation, antialias, static=known)
    if native is not None:
        resized = native(images, size)
    elif interpolation == "nearest":
        resized = _nearest(xp, images, size)
    else:
        resized = _interpolated(xp, images, size, interpolation, antialias)
    return saturate(resized, images.dtype, within=interpolation in ("nearest", "bilinear"))


def check_interpolation(interpolation, known=INTERPOLATIONS):
    """Returns `interpolation` if it is known.

    Args:
        interpolation: Any object.
        known: Tuple of names, by default those that `resize` knows.

    Raises:
        ValueError: If it is none of them.
    """
    check_choice(known, interpolation=interpolation)
    return interpolation


def saturate(images, dtype, *, within=False):
    """Images in a dtype: rounded and cut to its range if it is one of integers.

    Args:
        images: Array or tensor of numbers.
        dtype: The dtype, of the array's own library or by name.
        within: Whether they lie in the range of the dtype, but for the rounding of float32.

    Returns:
        Array or tensor of that dtype; as booleans, what is above one half.

    Example:
        >>> saturate(np.float32([-0.6, 1.6, 300.0]), "uint8").tolist()
        [0, 2, 255]
    """
    if images.dtype == dtype:
        return images
    xp, name = _arrays.namespace(images), dtype_name(dtype)
    if name == "bool":
        return images > 0.5
    limits = np.iinfo(name) if "int" in name else None
    if within and limits and limits.bits <= 16:
        images = xp.round(images)
    elif limits:
        # The largest float32 below 2 ** 31 and so on, so that the cast cannot wrap around.
        high = np.float32(limits.max)
        high = high if int(high) <= limits.max else np.nextafter(high, np.float32(0))
        images = xp.maximum(xp.minimum(xp.round(images), high), np.float32(limits.min))
    return xp.cast(images, dtype)


def _nearest(xp, images, size):
    for axis, out in zip((-3, -2), size, strict=True):
        count = images.shape[axis]
        places = (np.arange(out, dtype="float32") + np.float32(0.5)) * np.float32(count / out)
        images = xp.take(images, np.minimum(np.floor(places), count - 1).astype("int32"), axis)
    return images


def _interpolated(xp, images, size, interpolation, antialias):
    """A sum of shifted copies for each axis: exact in float32 where products are rounded."""
    images = xp.cast(images, "float32")
    for axis, out in zip((-3, -2), size, strict=True):
        places, weights = taps(images.shape[axis], out, interpolation, antialias)
        weights = xp.convert_to_tensor(weights.reshape(-1, out, *(1,) * (-axis - 1)))
        images = sum(xp.take(images, place, axis) * weights[k] for k, place in enumerate(places))
    return images


def taps(count, out, interpolation, antialias):
    """From which pixels of a line each pixel of the resized line comes, and by what weights.

    Args:
        count: Positive integer, the pixels of the source.
        out: Positive integer, the pixels of the result.
        interpolation: One of `INTERPOLATIONS` but `"nearest"`.
        antialias: Whether the kernel widens with the reduction.

    Returns:
        Tuple of NumPy arrays `(K, out)`: int32 places, and float32 weights whose sum over K is 1.
    """
    # In float32, and with its two ways to the scale, so as to round where TensorFlow rounds.
    scale = np.float32(count) / np.float32(out)
    if antialias or interpolation not in ("bilinear", "bicubic"):
        scale = np.float32(1) / (np.float32(out) / np.float32(count))
    widening = max(scale, np.float32(1)) if antialias else np.float32(1)
    radius = np.float32(_RADIUS[interpolation]) * widening
    center = (np.arange(out, dtype="float32") + np.float32(0.5)) * scale
    if interpolation == "bicubic" and not antialias:
        place = center - np.float32(0.5)
        whole = np.floor(place)
        center = whole + np.rint((place - whole) * _CUBIC_PLACES) / _CUBIC_PLACES + 0.5
    first = np.ceil(center - radius - np.float32(0.5))
    places = first + np.arange(2 * math.ceil(radius) + 1, dtype="float32")[:, None]
    distance = np.abs(places + np.float32(0.5) - center)
    weights = _kernel(interpolation, distance * (np.float32(1) / widening))
    weights *= (places >= 0) & (places < count)
    weights /= weights.sum(0)
    used = (weights != 0.0).any(1)
    places = np.clip(places, 0, count - 1).astype("int32")
    return places[used], weights[used].astype("float32")


def _kernel(interpolation, x):
    """The kernel's value at distances x of at least 0, in pixels."""
    if interpolation == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    if interpolation == "bicubic":
        near = (1.5 * x - 2.5) * x * x + 1.0
        far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
        return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
    radius = _RADIUS[interpolation]
    return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


def pad(images, target_size, offset, fill_value=0):
    """Images on a larger canvas, or cut to a smaller one.

    Args:
        images: `(..., H, W, C)`, as `resize` takes them.
        target_size: Height and width of the result.
        offset: Row and column where the image's upper left corner lies; negative cuts it off.
        fill_value: Number for all pixels outside the image, rounded if theirs are integers.

    Returns:
        Images `(..., height, width, C)` of the same dtype.

    Raises:
        ValueError: If the images' dtype cannot hold `fill_value`.

    Example:
        >>> pad(np.float32([[[1.0], [2.0]]]), (1, 3), (0, -1)).tolist()
        [[[2.0], [0.0], [0.0]]]
    """
    xp = _arrays.namespace(images)
    check_fill_value(images.dtype, fill_value=fill_value)
    if "float" not in dtype_name(images.dtype):
        fill_value = round(fill_value)
    rank = len(images.shape)
    sizes = xp.shape(images)[-3:-1]
    cut, widths = [slice(None)] * (rank - 3), [(0, 0)] * (rank - 3)
    for here, low, out in zip(sizes, offset, target_size, strict=True):
        # An image that lies wholly outside is cut to nothing.
        first = _clipped(-low, here)
        last = _clipped(low + here - out, here - first)
        before = _clipped(low, out)
        cut.append(slice(first, here - last))
        widths.append((before, out - before - (here - first - last)))
    images = images[tuple(cut)]
    if all(isinstance(n, int) for width in widths for n in width) and not any(map(any, widths)):
        return images
    return xp.pad(images, [*widths, (0, 0)], constant_values=fill_value)


def _clipped(x, high):
    """`x` cut to the range from 0 to `high`: integers, or scalars of TensorFlow."""
    if isinstance(x, (int, np.integer)) and isinstance(high, (int, np.integer)):
        return max(min(x, high), 0)
    xp = _arrays.namespace(x, high)
    return xp.maximum(xp.minimum(x, high), 0)
