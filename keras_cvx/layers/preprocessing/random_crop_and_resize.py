"""Augmentation: a random region of each image becomes the whole of it."""

import math

from keras_cvx import geometry, plugins
from keras_cvx.layers.preprocessing.cropping import CroppingLayer
from keras_cvx.layers.preprocessing.seeded import SeededLayer
from keras_cvx.ops import _arrays
from keras_cvx.ops.regions import CROP_INTERPOLATIONS, crop_and_resize
from keras_cvx.ops.resizing import check_interpolation

# So many regions are tried before the largest in the middle is taken, as in torchvision.
_ATTEMPTS = 10


@plugins.register("RandomCropAndResize", kind="layer")
class RandomCropAndResize(SeededLayer, CroppingLayer):
    """Crops a random region of each image and resizes it: "Inception-style" augmentation.

    The region has a share of the image's area that is uniform in `scale`, an aspect ratio whose
    logarithm is uniform, and a uniform place, all in whole pixels. Where ten of them do not fit
    into the image, it is the largest in the middle that has an allowed aspect ratio. With
    `training=False`, which `predict` and `evaluate` give to the layers of a model, it is the whole
    image, stretched; called alone, in `tf.data` for instance, the layer trains.

    Boxes are clipped, and one that keeps less than `min_visible` of its area becomes a padded row
    of −1. A region does not leave its image, so nothing is filled. `GeometricLayer` describes what
    the layer can be called with.

    The same seed gives the same regions, in one of the three places where it is called: on tensors
    of the backend by a `keras.random.SeedGenerator`, which begins anew when it is loaded; on those
    of TensorFlow under another backend, in `tf.data`, by a generator of TensorFlow's; on NumPy
    arrays by one of NumPy's, of which each worker process of a loader has its own, by its name.
    Tensors of the backend in worker processes get the same regions in each.

    Args:
        height: Positive integer, the height of the result in pixels.
        width: Positive integer, its width.
        scale: Pair of floats in `(0, 1]`, the least and the greatest share of the image's area.
        aspect_ratio: Pair of positive floats, the least and the greatest width by height.
        seed: Integer of at least 0; None draws one, which `keras.utils.set_random_seed` fixes.
        interpolation: `"bilinear"` or `"nearest"`.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep. One that
            keeps nothing never stays.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Raises:
        ValueError: If an argument is out of its range, an image or mask of another rank or size,
            or the sample has boxes and the layer no `bounding_box_format`.

    Example:
        >>> import numpy as np
        >>> augment = RandomCropAndResize(2, 2, scale=(0.25, 0.25), aspect_ratio=(1.0, 1.0), seed=3)
        >>> crop = augment(np.arange(16.0).reshape(4, 4, 1))
        >>> (crop - crop[0, 0])[..., 0].tolist()
        [[0.0, 1.0], [4.0, 5.0]]

    Reference:
        Szegedy et al. 2014, Going Deeper with Convolutions, section 6.
    """

    def __init__(
        self,
        height,
        width,
        *,
        scale=(0.08, 1.0),
        aspect_ratio=(3 / 4, 4 / 3),
        seed=None,
        interpolation="bilinear",
        min_visible=0.0,
        **kwargs,
    ):
        super().__init__(height, width, seed=seed, min_visible=min_visible, **kwargs)
        self.interpolation = check_interpolation(interpolation, CROP_INTERPOLATIONS)
        self.scale = _check_range("scale", scale, 1.0)
        self.aspect_ratio = _check_range("aspect_ratio", aspect_ratio, math.inf)

    def record(self, source_size):
        return geometry.resize(source_size, (self.height, self.width))

    def call(self, data, *, training=True):
        return self._move(data, self._random_record if training else self._record_of)

    def compute_output_spec(self, data, *, training=True):
        return super().compute_output_spec(data)

    def get_config(self):
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "scale": self.scale,
            "aspect_ratio": self.aspect_ratio,
        }

    def _random_record(self, images):
        """A record of each image, its region drawn."""
        xp = _arrays.namespace(images)
        *batch, height, width, _ = xp.shape(images)
        numbers = self.uniform(images, (*batch, 2 * _ATTEMPTS + 2))
        height, width = (xp.cast(xp.convert_to_tensor(x), "float32") for x in (height, width))
        region = random_region(numbers, height, width, self.scale, self.aspect_ratio)
        return geometry.crop_and_resize((height, width), region, (self.height, self.width))

    def _place(self, images, record, interpolation, antialias, fill_value):
        xp = _arrays.namespace(images)
        region = xp.broadcast_to(self.region(record), (*xp.shape(images)[:-3], 1, 4))
        size = (self.height, self.width)
        crops = crop_and_resize(images, region, size, interpolation=interpolation, fill_value=None)
        return xp.squeeze(crops, -4)


def random_region(numbers, height, width, scale, aspect_ratio):
    """Regions in whole pixels of images, as `torchvision.transforms.RandomResizedCrop` draws them.

    Args:
        numbers: Float32 `(..., 22)`, uniform in `[0, 1)`: ten areas, ten aspect ratios, two places.
        height: Height of the images, a float32 scalar.
        width: Their width, likewise.
        scale: Pair of floats, the range of the share of the area.
        aspect_ratio: Pair of floats, the range of width by height.

    Returns:
        Float32 `(..., 4)`, corners `x0, y0, x1, y1`, within the image.
    """
    xp = _arrays.namespace(numbers)
    shares, exponents = numbers[..., :_ATTEMPTS], numbers[..., _ATTEMPTS : 2 * _ATTEMPTS]
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * shares)
    ratios = aspect_ratio[0] * (aspect_ratio[1] / aspect_ratio[0]) ** exponents
    widths, heights = xp.round((areas * ratios) ** 0.5), xp.round((areas / ratios) ** 0.5)
    fits = xp.logical_and(
        xp.logical_and(widths >= 1, widths <= width),
        xp.logical_and(heights >= 1, heights <= height),
    )
    # What is left where no attempt fits, and then the last one that does, the one before it, ...
    zeros = xp.zeros_like(numbers[..., 0])
    one = zeros + 1
    high = zeros + xp.maximum(xp.minimum(xp.round(width / aspect_ratio[0]), height), one)
    wide = zeros + xp.maximum(xp.minimum(xp.round(height * aspect_ratio[1]), width), one)
    for attempt in reversed(range(_ATTEMPTS)):
        fit = fits[..., attempt]
        high = xp.where(fit, heights[..., attempt], high)
        wide = xp.where(fit, widths[..., attempt], wide)
    any_fits = xp.any(fits, axis=-1)
    corner = []
    for k, (whole, side) in enumerate(((height, high), (width, wide))):
        free = whole - side
        drawn = xp.minimum(xp.floor(numbers[..., 2 * _ATTEMPTS + k] * (free + 1)), free)
        corner.append(xp.where(any_fits, drawn, xp.floor(free / 2)))
    y0, x0 = corner
    return xp.stack([x0, y0, x0 + wide, y0 + high], -1)


def _check_range(name, pair, greatest):
    """Returns a pair of positive numbers in ascending order, none above `greatest`."""
    numbers = isinstance(pair, (tuple, list)) and len(pair) == 2
    if not numbers or not 0 < pair[0] <= pair[1] <= greatest or math.isinf(pair[1]):
        bound = "" if math.isinf(greatest) else f" of at most {greatest}"
        raise ValueError(
            f"`{name}` must be a pair of positive numbers{bound} in ascending order. "
            f"Received: {name}={pair!r}"
        )
    return pair
