"""From the logits of every pixel to a mask, at the size of the images as they came."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.layers.preprocessing.geometric import GeometricLayer
from keras_cvx.ops.masks import most_probable


@plugins.register("SegmentationDecoding", kind="layer")
class SegmentationDecoding(keras.layers.Layer):
    """Turns logits into the most probable class of every pixel, and its probability.

    With `preprocessing`, the logits are of images that passed through that layer, and the masks of
    those that went in: logits are moved back by the inverse of its record, interpolated, before
    the class is taken, so that contours stay smooth where a small mask becomes a large one.

    Args:
        preprocessing: A layer such as `ResizeWithPad(256, 256)`, or None.
        classification: What takes the place of the most probable class: a layer from logits
            `(B, H, W, C)`, or `(H, W, C)`, to masks and confidence of their size as below, or the
            name of a plugin of kind `"layer"`; such as one with thresholds.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        logits: Float array `(B, h, w, C)`, or `(h, w, C)`; with `preprocessing`, of its size.
        images: The images that went into `preprocessing`, of which only the size is read; needed
            with it.

    Returns:
        Dictionary of `"masks"`, int32 `(B, H, W)`, class ids, and `"confidence"`, float32
        `(B, H, W)`, their probabilities. Where a logit is NaN, or `preprocessing` has cut the
        pixel off, the id is −1; there the confidence is NaN or 0.

    Raises:
        ValueError: If a part is no such layer, or the logits are not of the size of
            `preprocessing`.

    Example:
        >>> from keras_cvx.layers import ResizeWithPad
        >>> logits = np.zeros((4, 4, 2), "float32")
        >>> logits[:, 2:, 1] = 100.0
        >>> found = SegmentationDecoding(ResizeWithPad(4, 4)).at_size(logits, (1, 2))
        >>> found["masks"].tolist(), found["confidence"].tolist()
        ([[0, 1]], [[0.5, 1.0]])
    """

    def __init__(self, preprocessing=None, classification=None, **kwargs):
        super().__init__(**kwargs)
        if preprocessing is not None and not isinstance(preprocessing, GeometricLayer):
            raise ValueError(
                "`preprocessing` must be None, or a layer that records how it moves an image, such "
                f"as `keras_cvx.layers.ResizeWithPad(256, 256)`. Received: {preprocessing!r}"
            )
        self.preprocessing: Any = preprocessing
        self.classification: Any = (
            None if classification is None else plugins.get(classification, kind="layer")
        )
        # Half precision tells no probabilities near 1 apart.
        self.autocast = False
        self.built = True

    def call(self, logits, images=None):
        if self.preprocessing is None:
            return self.classified(logits)
        return self.at_size(logits, self._size_of(logits, images, ops.shape))

    def classified(self, logits):
        """Masks and confidence of the logits' own size.

        Args:
            logits: Float array `(B, H, W, C)`, or `(H, W, C)`.

        Returns:
            As `call` does; of NumPy arrays, NumPy arrays.
        """
        if self.classification is None:
            return most_probable(logits)
        found = self.classification(logits)
        if not isinstance(found, dict) or set(found) != {"masks", "confidence"}:
            raise ValueError(
                "`classification` must give a dictionary of 'masks' and 'confidence'. Received: "
                f"{sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__}"
            )
        if isinstance(logits, np.ndarray):
            found = keras.tree.map_structure(ops.convert_to_numpy, found)
        return found

    def at_size(self, logits, size):
        """As `call`, with the size of the images that went into `preprocessing`.

        Args:
            logits: Float array `(B, h, w, C)`, or `(h, w, C)`, of the size of `preprocessing`. Of
                NumPy arrays all is computed on the host, where a size that changes from image to
                image costs no compilation.
            size: Pair of height and width in pixels.

        Returns:
            As `call` does.
        """
        restore = self.preprocessing.restore_maps
        found = self.classified(restore(logits, size))
        xp = np if isinstance(logits, np.ndarray) else ops
        seen = restore(xp.ones((*self._target, 1), "float32"), size)[..., 0] > 0.5
        return {
            name: xp.where(seen, value, xp.full_like(value, unseen))
            for (name, value), unseen in zip(found.items(), (-1, 0), strict=True)
        }

    def compute_output_spec(self, logits, images=None):
        shape = tuple(logits.shape[:-1])
        if self.preprocessing is not None:
            size = self._size_of(logits, images, lambda x: x.shape)
            shape = (*shape[:-2], *size)
        return {
            "masks": keras.KerasTensor(shape, "int32"),
            "confidence": keras.KerasTensor(shape, "float32"),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "preprocessing": keras.saving.serialize_keras_object(self.preprocessing),
            "classification": keras.saving.serialize_keras_object(self.classification),
        }

    @classmethod
    def from_config(cls, config):
        names = {"preprocessing", "classification"} & set(config)
        parts = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        return cls(**{**config, **parts})

    @property
    def _target(self):
        return self.preprocessing.height, self.preprocessing.width

    def _size_of(self, logits, images, shape_of):
        """Height and width of the images, if the logits are of the size that they are made."""
        received = tuple(logits.shape)
        if images is None or received[-3:-1] != self._target:
            raise ValueError(
                "`logits` must be of the size of `preprocessing`, (..., "
                f"{self._target[0]}, {self._target[1]}, C), and `images` those that went into it. "
                f"Received: logits of shape {received}, images "
                f"{None if images is None else tuple(images.shape)}"
            )
        sides = (
            slice(-3, -1) if self.preprocessing.data_format == "channels_last" else slice(-2, None)
        )
        return tuple(shape_of(images)[sides])
