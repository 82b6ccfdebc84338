"""The head that predicts the one object of an image: its class and its box."""

import keras
from keras import layers, ops

from keras_cvx import plugins
from keras_cvx.ops.arguments import check_integers, checked_data_format, spatial_axes
from keras_cvx.ops.boxes import check_format, convert
from keras_cvx.ops.grids import cell_centers

# In cells from a cell's centre: at first, each cell takes its neighbours' centres for the edges.
_EDGES = (-1.0, -1.0, 1.0, 1.0)
# The cells' guesses move slower than attention. At its pace, boxes that miss their object grow
# until they meet it, to the whole image, before the network has learnt to look; there, IoU hardly
# has a slope.
_PACE = 0.1


@plugins.register("LocalizationHead", kind="layer")
class LocalizationHead(keras.layers.Layer):
    """Finds the four edges of an image's one object in a feature map, and reads its class there.

    The mean over all cells, as global pooling takes it, hides where in the image a feature was.
    Here each edge is a weighted mean of its own: every cell guesses where the edge is, relative to
    itself, and the weights of the cells are a softmax of their logits for this edge. The loss of
    the box thus teaches the head where to look. The class is read from the features under the mean
    of the four weights, into which its loss sends no gradient.

    Whatever the logits, the box lies in the image and its corners are in order: edges are sorted
    and clipped. The gradient passes the clipping, so that a box as large as the image can shrink.

    Args:
        num_classes: Positive integer C.
        bounding_box_format: Format of the boxes, as Keras names it. One in pixels needs `images`.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Call arguments:
        inputs: Float tensor `(B, H, W, channels)`, a feature map that covers the image. With
            `"channels_first"`, `(B, channels, H, W)`. Any size.
        images: Tensor `(B, height, width, 3)` in the same data format, whose size is the unit of
            boxes in pixels; nothing else is read. None for relative formats.

    Returns:
        Dictionary of `"labels"`, float32 `(B, C)`, probabilities that sum to 1, and `"boxes"`,
        float32 `(B, 4)` in the format asked for.

    Raises:
        ValueError: If an argument is out of its range, `inputs` or `images` are not of rank 4, or
            `images` are missing where the boxes are in pixels.

    Example:
        >>> head = LocalizationHead(num_classes=10, bounding_box_format="rel_xyxy")
        >>> outputs = head(ops.ones((2, 4, 6, 32)))
        >>> tuple(outputs["labels"].shape), tuple(outputs["boxes"].shape)
        ((2, 10), (2, 4))

    Reference:
        Sun et al. 2018, Integral Human Pose Regression, equation 3, for a place that is the mean
        under a softmax over cells.
    """

    def __init__(
        self,
        num_classes,
        *,
        bounding_box_format="xyxy",
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integers(1, num_classes=num_classes)
        self.num_classes = num_classes
        self.bounding_box_format = check_format(bounding_box_format)
        self.data_format = checked_data_format(data_format)
        # float32 whatever the policy: half precision cannot place a corner in a large image.
        self._attention = layers.Dense(4, dtype="float32")
        self._classes = layers.Dense(num_classes, activation="softmax", dtype="float32")
        self._edges = layers.Dense(4, dtype="float32")

    def build(self, inputs_shape, images_shape=None):
        self._check(inputs_shape, images_shape)
        channels = inputs_shape[1 if self.data_format == "channels_first" else 3]
        for layer in (self._attention, self._classes, self._edges):
            layer.build((None, channels))
        self.built = True

    def call(self, inputs, images=None):
        self._check(inputs.shape, None if images is None else images.shape)
        if self.data_format == "channels_first":
            inputs = ops.transpose(inputs, (0, 2, 3, 1))
        # The tensor's own shape where it is static, so that the cells are constants.
        height, width, channels = ops.shape(inputs)[1:]
        features = ops.cast(ops.reshape(inputs, (-1, height * width, channels)), "float32")
        logits = self._attention(features)  # (B, H·W, 4)
        # A softmax; that of Keras warns of a map of one cell.
        weights = ops.exp(logits - ops.logsumexp(logits, axis=1, keepdims=True))
        centers = ops.tile(cell_centers(height, width, 1)[:, :2], (1, 2))  # (H·W, 4), in cells
        guesses = centers + ops.convert_to_tensor(_EDGES) + _PACE * self._edges(features)
        extent = ops.cast(ops.stack([width, height, width, height]), "float32")
        edges = ops.sum(weights * guesses, axis=1) / extent  # (B, 4), fractions of the image
        corners = edges[:, :2], edges[:, 2:]
        boxes = _in_unit_square(ops.minimum(*corners), ops.maximum(*corners))
        # The class looks where the box has taught it to look, and draws attention nowhere else.
        seen = ops.stop_gradient(ops.mean(weights, axis=-1, keepdims=True))
        pooled = ops.sum(seen * features, axis=1)
        size = (None, None) if images is None else ops.shape(images)[self._spatial]
        boxes = convert(boxes, "rel_xyxy", self.bounding_box_format, height=size[0], width=size[1])
        return {"labels": self._classes(pooled), "boxes": boxes}

    def compute_output_shape(self, inputs_shape, images_shape=None):
        self._check(inputs_shape, images_shape)
        return {"labels": (inputs_shape[0], self.num_classes), "boxes": (inputs_shape[0], 4)}

    def compute_output_spec(self, inputs, images=None):
        shapes = self.compute_output_shape(inputs.shape, None if images is None else images.shape)
        return {k: keras.KerasTensor(shape, dtype="float32") for k, shape in shapes.items()}

    def get_config(self):
        config = super().get_config()
        config.update(
            num_classes=self.num_classes,
            bounding_box_format=self.bounding_box_format,
            data_format=self.data_format,
        )
        return config

    @property
    def _spatial(self):
        return spatial_axes(self.data_format)

    def _check(self, shape, images_shape):
        if len(shape) != 4:
            raise ValueError(
                "`inputs` must be a feature map of rank 4. "
                f"Received: shape {tuple(shape)}. Take it before any global pooling."
            )
        if images_shape is None:
            if not self.bounding_box_format.startswith("rel_"):
                raise ValueError(
                    "`images` must be given for boxes in pixels: the head is called on feature map "
                    f"and images. Received: bounding_box_format={self.bounding_box_format!r} and "
                    "images=None. Pass them, or choose a relative format."
                )
        elif len(images_shape) != 4:
            raise ValueError(f"`images` must be of rank 4. Received: shape {tuple(images_shape)}")


def _in_unit_square(low, high):
    """Boxes cut to the unit square, with the gradient of what was not cut."""
    boxes = ops.concatenate([low, high], axis=-1)
    # The second term is 0 and only carries a gradient.
    return ops.clip(ops.stop_gradient(boxes), 0.0, 1.0) + (boxes - ops.stop_gradient(boxes))
