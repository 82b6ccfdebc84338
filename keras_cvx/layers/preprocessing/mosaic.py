"""Augmentation: four images of a batch meet in each."""

from keras_cvx import geometry, plugins
from keras_cvx.layers.preprocessing.cropping import checked_min_visible, cut
from keras_cvx.layers.preprocessing.mixing import MixingLayer, partners
from keras_cvx.layers.preprocessing.samples import check_format_given
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_numbers
from keras_cvx.ops.boxes import check_format, convert


@plugins.register("Mosaic", kind="layer")
class Mosaic(MixingLayer):
    """Shows four images in each: the image itself and three others of the batch.

    The four lie two by two, unscaled, and a window of the images' size shows where they meet: the
    image itself with its lower right corner at the meeting point, the others with the corner that
    is next to it. That point is a whole pixel of the window, any in the range of `center` with the
    same probability, so that pixels and masks are copied and boxes move by whole pixels. The three
    others differ where the batch has three; a batch of one shows parts of its image four times.

    Boxes are cut to the part of their image that is shown, and one that keeps less than
    `min_visible` of its area becomes a padded row of −1; there are four times as many rows. A
    record of geometry stays that of the image itself. `MixingLayer` describes what the layer can be
    called with, and what it does with `training=False`.

    Args:
        center: Pair of floats in `[0, 1]`, the least and the greatest share of the window's height,
            and of its width, before the meeting point; rounded to whole pixels.
        min_visible: Float in `[0, 1]`, the least share of its area that a box must keep. One that
            keeps nothing never stays.
        bounding_box_format: Format of the boxes, as Keras names it; needed where there are boxes.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        seed: Integer of at least 0; None draws one, which `keras.utils.set_random_seed` fixes.
        **kwargs: As for every Keras layer (`name`, `dtype`).

    Raises:
        ValueError: If an argument is out of its range, the images are no batch, what belongs to
            them is of another shape, or the sample has boxes and the layer no
            `bounding_box_format`.

    Example:
        >>> import numpy as np
        >>> mosaic = Mosaic(center=(0.5, 0.5), bounding_box_format="xyxy")
        >>> boxes = {"boxes": np.float32([[[0, 0, 3, 4]]]), "labels": np.int32([[5]])}
        >>> sample = {"images": np.arange(16.0).reshape(1, 4, 4, 1), "bounding_boxes": boxes}
        >>> mixed = mosaic(sample)
        >>> mixed["images"][0, ..., 0].astype(int).tolist()
        [[10, 11, 8, 9], [14, 15, 12, 13], [2, 3, 0, 1], [6, 7, 4, 5]]
        >>> mixed["bounding_boxes"]["boxes"][0, 0].tolist()
        [0.0, 0.0, 1.0, 2.0]

    Reference:
        Bochkovskiy et al. 2020, YOLOv4: Optimal Speed and Accuracy of Object Detection,
        section 3.4.
    """

    images_mixed = 4
    numbers_drawn = 5

    def __init__(
        self,
        *,
        center=(0.25, 0.75),
        min_visible=0.1,
        bounding_box_format=None,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        if bounding_box_format is not None:
            check_format(bounding_box_format)
        self.center = _checked_center(center)
        self.min_visible = checked_min_visible(min_visible)
        self.bounding_box_format = bounding_box_format

    def plan(self, numbers, size):
        xp = _arrays.namespace(numbers)
        meeting, before = [], []
        for axis, side in enumerate(_floats(xp, size)):
            low, high = (xp.round(share * side) for share in self.center)
            drawn = low + xp.floor(numbers[:, axis] * (high - low + 1))
            # Rounding may make the product one too great.
            meeting.append(xp.minimum(drawn, high))
            before.append(meeting[-1] / side)
        (top, left), whole = before, xp.ones_like(before[0])
        rows, columns = (top, whole - top), (left, whole - left)
        return {
            "sources": partners(numbers[:, 2:]),
            "shares": xp.stack([high * wide for high in rows for wide in columns], -1),
            # Row and column.
            "meeting": xp.stack(meeting, -1),
        }

    def mix_images(self, images, plan):
        xp = _arrays.namespace(images)
        _, height, width, *channels = xp.shape(images)
        meeting = xp.cast(plan["meeting"], "int32")
        rows = xp.arange(height, dtype="int32") - meeting[:, :1]
        columns = xp.arange(width, dtype="int32") - meeting[:, 1:]
        sources = plan["sources"]
        left = xp.where(rows >= 0, sources[:, 2:3], sources[:, 0:1])
        right = xp.where(rows >= 0, sources[:, 3:4], sources[:, 1:2])
        across = xp.expand_dims(columns, -2)
        shown = xp.where(across >= 0, xp.expand_dims(right, -1), xp.expand_dims(left, -1))
        # Left of and above the meeting point an image ends, right of and below it one begins.
        place = (shown * height + xp.expand_dims(rows % height, -1)) * width + across % width
        pixels = xp.reshape(images, (-1, *channels))
        # JAX forgets the shape where there is nothing to take.
        return xp.reshape(xp.take(pixels, place, 0), xp.shape(images))

    def mix_masks(self, masks, plan):
        return self.mix_images(masks, plan)

    def mix_rows(self, rows, plan, size):
        xp = _arrays.namespace(rows["boxes"])
        batch, count, _ = xp.shape(rows["boxes"])
        height, width = size
        sides = {"height": height, "width": width}
        corners = convert(rows["boxes"], self.bounding_box_format, "xyxy", **sides)
        corners = xp.reshape(corners, (batch, 4, count // 4, 4))
        region, shift = _parts(plan["meeting"], size)
        left, stays = cut(corners, region, self.min_visible)
        moved = xp.reshape(left + shift, (batch, count, 4))
        moved = convert(moved, "xyxy", self.bounding_box_format, **sides)
        if rows.get("labels") is None:
            present = xp.logical_not(xp.all(xp.equal(rows["boxes"], -1.0), axis=-1))
        else:
            present = rows["labels"] >= 0
        present = xp.logical_and(present, xp.reshape(stays, (batch, count)))
        moved = xp.where(xp.expand_dims(present, -1), moved, -xp.ones_like(moved))
        mixed = {**rows, "boxes": moved}
        if rows.get("labels") is not None:
            mixed["labels"] = xp.where(present, rows["labels"], -xp.ones_like(rows["labels"]))
        return mixed

    def mix_geometry(self, record, plan, size):
        xp = _arrays.namespace(plan["meeting"])
        sides = xp.stack(_floats(xp, size))
        moved = geometry.crop_or_pad(sides, sides, offset=plan["meeting"] - sides)
        composed = geometry.compose(record, moved)
        shape = xp.shape(plan["meeting"])
        return {name: xp.broadcast_to(field, shape) for name, field in composed.items()}

    def get_config(self):
        return {
            **super().get_config(),
            "center": self.center,
            "min_visible": self.min_visible,
            "bounding_box_format": self.bounding_box_format,
        }

    def _check(self, sample):
        if sample.get("bounding_boxes") is not None:
            check_format_given(self.bounding_box_format)
        super()._check(sample)


def _parts(meeting, size):
    """What is shown of the four images, in their own pixels, and how it moves into the window.

    Args:
        meeting: Float32 `(B, 2)`, row and column where the four meet.
        size: Height and width of the images.

    Returns:
        Tuple of float32 `(B, 4, 1, 4)`, corners, and likewise what is to be added to corners.
    """
    xp = _arrays.namespace(meeting)
    spans = []
    for axis, side in enumerate(_floats(xp, size)):
        point = meeting[:, axis]
        seam, zeros = side - point, xp.zeros_like(point)
        # First and last of what is shown, and its shift: before the meeting point and after it.
        spans.append([(seam, zeros + side, -seam), (zeros, seam, point)])
    regions, shifts = [], []
    for y0, y1, down in spans[0]:
        for x0, x1, across in spans[1]:
            regions.append(xp.stack([x0, y0, x1, y1], -1))
            shifts.append(xp.stack([across, down, across, down], -1))
    return tuple(xp.expand_dims(xp.stack(x, 1), -2) for x in (regions, shifts))


def _floats(xp, size):
    return [xp.cast(xp.convert_to_tensor(side), "float32") for side in size]


def _checked_center(center):
    """`center` if it is a pair of shares in ascending order."""
    pair = isinstance(center, (tuple, list)) and len(center) == 2
    if pair:
        check_numbers(**{"center[0]": center[0], "center[1]": center[1]})
    if not pair or not 0 <= center[0] <= center[1] <= 1:
        raise ValueError(
            "`center` must be a pair of numbers in [0, 1] in ascending order. "
            f"Received: center={center!r}"
        )
    return center
