"""Augmentation: another image of the batch shines through each."""

import math

from keras_cvx import plugins
from keras_cvx.layers.preprocessing.mixing import MixingLayer, blend, partners
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_numbers


@plugins.register("MixUp", kind="layer")
class MixUp(MixingLayer):
    """Blends each image with another of the batch; both keep their boxes.

    An image has the share λ, drawn from Beta(alpha, alpha), and the other 1 − λ. All pixels stay
    in their place, and so do the boxes of both, in whatever format; there are twice as many rows,
    those of the image itself first. Masks cannot be blended, for between two classes there is no
    third: the mask is that of the image with the larger share, and boxes of the other one have no
    part in it. A batch of one is blended with itself. `MixingLayer` describes what the layer can be
    called with, and what it does with `training=False`.

    Keras' layer of this name joins the labels of boxes along the batch, so that they no longer
    belong to their boxes, and blends the numbers of classes in masks.

    Args:
        alpha: Positive float. The larger it is, the nearer is λ to one half; 1.5 is that of the
            second reference for detectors, and 0.2 a usual one for classifiers.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        seed: Integer of at least 0; None draws one, which `keras.utils.set_random_seed` fixes.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Raises:
        ValueError: If an argument is out of its range, the images are no batch, or what belongs to
            them is of another shape.

    Example:
        >>> import numpy as np
        >>> images = np.zeros((2, 4, 4, 1)) + np.float32([0, 1]).reshape(2, 1, 1, 1)
        >>> mixed = MixUp(seed=1)({"images": images, "labels": np.eye(2)})
        >>> bool(np.allclose(mixed["images"][:, 0, 0, 0], mixed["labels"][:, 1]))
        True

    Reference:
        - Zhang et al. 2017, mixup: Beyond Empirical Risk Minimization.
        - Zhang et al. 2019, Bag of Freebies for Training Object Detection Neural Networks,
          section 3.1.
    """

    images_mixed = 2
    numbers_drawn = 5

    def __init__(self, *, alpha=1.5, data_format=None, seed=None, **kwargs):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        check_numbers(alpha=alpha)
        if not alpha > 0:
            raise ValueError(f"`alpha` must be positive. Received: alpha={alpha}")
        self.alpha = alpha

    def plan(self, numbers, size):
        share = symmetric_beta(numbers[:, 1:], self.alpha)
        return {
            "sources": partners(numbers[:, :1]),
            "shares": _arrays.namespace(share).stack([share, 1 - share], -1),
        }

    def mix_images(self, images, plan):
        return blend(images, plan)

    def mix_masks(self, masks, plan):
        xp = _arrays.namespace(masks)
        own, other = (plan["sources"][:, k] for k in range(2))
        shown = xp.where(plan["shares"][:, 0] >= 0.5, own, other)
        return xp.reshape(xp.take(masks, shown, 0), xp.shape(masks))

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}


def symmetric_beta(numbers, alpha):
    """Numbers of the distribution Beta(alpha, alpha), made of uniform ones by arithmetic alone.

    So they are the same on every backend, and compile where its own generator does not. Two
    numbers give one of Beta(alpha + 1, alpha + 1), by the first reference; a gamma variate of
    alpha is one of alpha + 1 times U to the power of 1 / alpha, by the second, and a beta variate
    the share of one gamma variate in the sum of two.

    Args:
        numbers: Float32 `(..., 4)`, uniform in `[0, 1)`.
        alpha: Positive float.

    Returns:
        Float32 `(...)` in `[0, 1]`.

    Example:
        >>> import numpy as np
        >>> round(float(symmetric_beta(np.float32([0.5, 0.75, 0.75, 0.5]), 1.0)), 5)
        0.33333

    Reference:
        - Ulrich 1984, Computer Generation of Distributions on the M-Sphere.
        - Marsaglia and Tsang 2000, A Simple Method for Generating Gamma Variables, section 6.
    """
    xp = _arrays.namespace(numbers)
    # In (0, 1], so that nothing is divided by 0.
    radius, turn, one, other = (1 - numbers[..., k] for k in range(4))
    # The variate is (1 + t) / 2 with t = s cos(2 pi V) and s = sqrt(1 - w); below are 1 + t and
    # 1 - t, which keep their digits near 0.
    w = radius ** (2 / (2 * alpha + 1))
    s = (1 - w) ** 0.5
    half = xp.cos(math.pi * turn) ** 2
    first = w / (1 + s) + 2 * s * half
    second = w / (1 + s) + 2 * s * (1 - half)
    # Powers of the ratios to the greater one, for those of small numbers would both vanish.
    greater = xp.maximum(one, other)
    first = first * (one / greater) ** (1 / alpha)
    second = second * (other / greater) ** (1 / alpha)
    return first / (first + second)
