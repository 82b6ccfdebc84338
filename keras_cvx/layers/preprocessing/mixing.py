"""What layers have in common that mix the images of a batch, and all that belongs to them."""

import keras

from keras_cvx.layers.preprocessing.samples import (
    check_geometry,
    check_masks,
    check_rows,
    dense_rows,
    images_of,
    output_shapes,
    size_of,
)
from keras_cvx.layers.preprocessing.seeded import SeededLayer
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import checked_data_format, dtype_name, shapes_agree
from keras_cvx.ops.resizing import saturate


class MixingLayer(SeededLayer):
    """Makes each image of a batch anew of itself and others, and its boxes, masks and labels alike.

    A subclass says by `plan` which images are mixed and how much of each, and by `mix_images` and
    `mix_masks` how. The layer is called with a batch `(B, H, W, C)`, or with a sample, a dictionary
    of it under `"images"` and, if there are,

    - `"bounding_boxes"`: a dictionary of `"boxes"` `(B, N, 4)` and `"labels"` `(B, N)`, −1 in
      padded rows, and of whatever else has a row for each box; the result has the rows of all the
      images that are mixed, K times N;
    - `"segmentation_masks"`: `(B, H, W)` or `(B, H, W, 1)`;
    - `"labels"`: of the images themselves, one-hot floats `(B, C)`, blended by the shares;
    - `"geometry"`: the record of an earlier layer.

    All else passes through. With `training=False`, which `predict` and `evaluate` give to the
    layers of a model, everything does, boxes in their N rows; called alone, in `tf.data` for
    instance, the layer trains.

    The answer is of the kind of the question, as that of a `GeometricLayer` is, and random numbers
    are those of a `SeededLayer`.

    Args:
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        seed: Integer of at least 0; None draws one, which `keras.utils.set_random_seed` fixes.
        **kwargs: As for every Keras layer (`name`, `dtype`).
    """

    # How many images are mixed, K, and of how many random numbers each is planned.
    images_mixed = 2
    numbers_drawn = 1

    def __init__(self, *, data_format=None, seed=None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.data_format = checked_data_format(data_format)
        # Images keep their dtype, and half precision would move a box.
        self.autocast = False

    def plan(self, numbers, size):
        """What becomes of each image: a function of random numbers, the same on every kind.

        Args:
            numbers: Float32 `(B, numbers_drawn)`, uniform in `[0, 1)`.
            size: Height and width of the images: integers, or scalars of TensorFlow.

        Returns:
            Dictionary of `"sources"`, int32 `(B, K)`, the images of the batch that are mixed,
            `"shares"`, float32 `(B, K)`, how much of each, whose sum is 1, and what else the
            subclass needs.
        """
        raise NotImplementedError

    def mix_images(self, images, plan):
        """The images, their channels last, mixed; in their dtype."""
        raise NotImplementedError

    def mix_masks(self, masks, plan):
        """The masks, mixed."""
        raise NotImplementedError

    def mix_rows(self, rows, plan, size):
        """What belongs to the boxes, K times N rows: those of the first image, the second, ...

        Args:
            rows: Dictionary of tensors whose second axis is that of the K times N rows.
            plan: The dictionary that `plan` gave.
            size: Height and width of the images.
        """
        return rows

    def mix_geometry(self, record, plan, size):
        """The record of each image itself.

        Args:
            record: Dictionary of tensors, the geometry of each image before it was mixed.
            plan: The dictionary that `plan` gave.
            size: Height and width of the images.
        """
        return record

    def __call__(self, data, *args, **kwargs):
        images = images_of(data)
        if _arrays.is_of_keras(images):
            return super().__call__(data, *args, **kwargs)
        # On the host, as it came, and with no tensor of the backend.
        return _arrays.untranslated(self.call, images)(data, *args, **kwargs)

    def call(self, data, *, training=True):
        if not training:
            return data
        sample = _dense(data)
        self._check(sample)
        images = sample["images"]
        xp = _arrays.namespace(images)
        if self.data_format == "channels_first":
            images = xp.moveaxis(images, 1, -1)
        batch, *size, _ = xp.shape(images)
        plan = self.plan(self.uniform(images, (batch, self.numbers_drawn)), size)
        mixed = self.mix_images(images, plan)
        if self.data_format == "channels_first":
            mixed = xp.moveaxis(mixed, -1, 1)
        if not isinstance(data, dict):
            return mixed
        sample["images"] = mixed
        if sample.get("segmentation_masks") is not None:
            sample["segmentation_masks"] = self.mix_masks(sample["segmentation_masks"], plan)
        if sample.get("labels") is not None:
            sample["labels"] = blend(sample["labels"], plan)
        if sample.get("bounding_boxes") is not None:
            rows = sample["bounding_boxes"].items()
            rows = {name: _rows_of_all(value, plan["sources"]) for name, value in rows}
            sample["bounding_boxes"] = self.mix_rows(rows, plan, size)
        if sample.get("geometry") is not None:
            sample["geometry"] = self.mix_geometry(sample["geometry"], plan, size)
        return sample

    def compute_output_shape(self, data_shape):
        return output_shapes(self.compute_output_spec, data_shape)

    def compute_output_spec(self, data, *, training=True):
        sample = dict(data) if isinstance(data, dict) else {"images": data}
        self._check(sample)
        if sample.get("bounding_boxes") is not None and training:
            sample["bounding_boxes"] = {
                name: self._symbolic_rows(name, value)
                for name, value in sample["bounding_boxes"].items()
            }
        if not isinstance(data, dict):
            return keras.KerasTensor(data.shape, data.dtype)
        # What passes through is an output like all others.
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), sample)

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}

    def _symbolic_rows(self, name, value):
        batch, count, *rest = value.shape
        dtype = "float32" if name == "boxes" else value.dtype
        if name == "labels" and dtype.startswith("uint"):
            dtype = "int32"
        count = None if count is None else self.images_mixed * count
        return keras.KerasTensor((batch, count, *rest), dtype)

    def _check(self, sample):
        """Raises for parts of a sample that do not go together; symbolic ones will do."""
        batch, *size = size_of(sample["images"], self.data_format)
        if not batch:
            raise ValueError(
                "`images` must be a batch, of rank 4, for one image has no others to be mixed "
                f"with. Received: shape {tuple(sample['images'].shape)}. Let `batch` come before."
            )
        if sample.get("segmentation_masks") is not None:
            check_masks(sample["segmentation_masks"], batch, size)
        if sample.get("bounding_boxes") is not None:
            given = sample["bounding_boxes"]
            check_rows(given, batch)
            for name, value in given.items():
                if not shapes_agree(tuple(value.shape)[:2], tuple(given["boxes"].shape)[:2]):
                    raise ValueError(
                        f"`{name}` of `bounding_boxes` must have a row for each of the `boxes`. "
                        f"Received: shape {tuple(value.shape)} and boxes of shape "
                        f"{tuple(given['boxes'].shape)}"
                    )
        if sample.get("labels") is not None:
            labels = sample["labels"]
            shape, dtype = tuple(labels.shape), dtype_name(labels.dtype)
            if "float" not in dtype or not shapes_agree(shape, (*batch, None)):
                raise ValueError(
                    "`labels` of images that are mixed must be one-hot floats, of shape "
                    f"{(*batch, 'C')}: classes by number cannot be blended. Received: {dtype} of "
                    f"shape {shape}"
                )
        if sample.get("geometry") is not None:
            check_geometry(sample["geometry"], batch)


def partners(numbers):
    """Which images each is mixed with: itself, and others of the batch, no two of them the same.

    Where the batch has too few others, each comes as often as any, itself included.

    Args:
        numbers: Float32 `(B, P)`, uniform in `[0, 1)`.

    Returns:
        Int32 `(B, P + 1)`, itself first.

    Example:
        >>> import numpy as np
        >>> partners(np.float32([[0.0, 0.0], [0.0, 0.75], [0.5, 0.25], [0.75, 0.75]])).tolist()
        [[0, 1, 2], [1, 2, 0], [2, 0, 3], [3, 2, 1]]
    """
    xp = _arrays.namespace(numbers)
    batch = xp.shape(numbers)[0]
    whole = xp.cast(xp.convert_to_tensor(batch), "float32")
    # Steps to the next images, the others of these in ascending order.
    steps: list = []
    taken: list = []
    for k in range(numbers.shape[-1]):
        free = xp.maximum(whole - (k + 1), xp.ones_like(whole))
        # Rounding may make the product one too great.
        step = xp.minimum(xp.floor(numbers[:, k] * free), free - 1)
        for other in taken:
            step = step + xp.cast(step >= other, "float32")
        steps.append(step + 1)
        ascending, greatest = [], step
        for other in taken:
            ascending.append(xp.minimum(other, greatest))
            greatest = xp.maximum(other, greatest)
        taken = [*ascending, greatest]
    own = xp.arange(batch, dtype="int32")
    count = xp.cast(xp.maximum(whole, xp.ones_like(whole)), "int32")
    return xp.stack([own, *((own + xp.cast(step, "int32")) % count for step in steps)], -1)


def blend(values, plan):
    """Images or labels, added up by their shares.

    Args:
        values: `(B, ...)`.
        plan: As `MixingLayer.plan` makes it.

    Returns:
        `(B, ...)` of the same dtype, rounded if it is one of integers.
    """
    xp = _arrays.namespace(values)
    shape = (-1, *(1,) * (len(values.shape) - 1))
    blended = 0.0
    for k in range(plan["shares"].shape[-1]):
        part = xp.cast(xp.take(values, plan["sources"][:, k], 0), "float32")
        blended = blended + xp.reshape(plan["shares"][:, k], shape) * part
    # JAX forgets the shape where there is nothing to take.
    return saturate(xp.reshape(blended, xp.shape(values)), values.dtype)


def _rows_of_all(values, sources):
    """What belongs to the boxes of the images that are mixed, one after another."""
    xp = _arrays.namespace(values)
    batch, count, *rest = xp.shape(values)
    return xp.reshape(xp.take(values, sources, 0), (batch, sources.shape[-1] * count, *rest))


def _dense(data):
    """A sample of arrays or tensors, all of the kind of its images."""
    sample = dict(data) if isinstance(data, dict) else {"images": data}
    images = sample["images"]
    if isinstance(images, (list, tuple)) or _arrays.is_ragged(images):
        raise ValueError(
            "`images` must be one batch, of images of one size, for they are mixed. Received: "
            f"{type(images).__name__}. `ResizeWithPad` makes a batch of it."
        )
    xp = _arrays.namespace(images)
    sample["images"] = xp.convert_to_tensor(images)
    for name in ("segmentation_masks", "labels"):
        if sample.get(name) is not None:
            sample[name] = xp.convert_to_tensor(sample[name])
    if sample.get("bounding_boxes") is not None:
        rows = dense_rows(sample["bounding_boxes"], True)
        if isinstance(rows, dict):
            rows = {name: xp.convert_to_tensor(value) for name, value in rows.items()}
        if isinstance(rows, dict) and "boxes" in rows:
            boxes = xp.cast(rows["boxes"], "float32")
            if boxes.shape[-1] is None:
                # Of a tensor that was ragged in this axis too.
                boxes = xp.reshape(boxes, (*xp.shape(boxes)[:-1], 4))
            rows["boxes"] = boxes
        sample["bounding_boxes"] = rows
    return sample
