"""What the pipelines yield and in which order: batches of a data set, in NumPy."""

import math
import warnings

import keras
import numpy as np

from keras_cvx.datasets.record import TARGETS, Record, checked_targets
from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_integers, dtype_name

BOXES, MASKS = TARGETS


class Batches:
    """The batches of a data set in every epoch, by their places.

    The other arguments are the options of `Dataset.to_tf_data`, which describes them.

    Args:
        annotations: `Annotations`.
        rows: Integer array of the places of the images in them.

    Attributes:
        targets: Tuple of the targets' keys in a sample.
        max_boxes: The rows of boxes of each image; None for those of the batch's largest.
        may_cut: Whether objects past these rows are to be cut.
        mask_dtype: Name of the masks' dtype, the same for all batches.
        preprocess, augment: Tuples of functions.
    """

    def __init__(
        self,
        annotations,
        rows,
        batch_size,
        *,
        preprocess=None,
        augment=None,
        targets=None,
        max_boxes=None,
        shuffle=False,
        seed=0,
        shard=(0, 1),
        drop_remainder=False,
    ):
        check_integers(1, batch_size=batch_size)
        check_integers(0, seed=seed)
        self.annotations, self._rows = annotations, rows
        self.batch_size, self.drop_remainder = batch_size, drop_remainder
        self._shuffle, self._seed = shuffle, seed
        self._shard = _checked_shard(shard, len(rows))
        self.preprocess = _functions("preprocess", preprocess)
        self.augment = _functions("augment", augment)
        self.targets = checked_targets(targets, annotations)
        self.max_boxes = self._checked_most(max_boxes) if BOXES in self.targets else None
        self.may_cut = max_boxes is not None
        self.mask_dtype = _mask_dtype(annotations)
        self._order = (None, None)

    def __len__(self):
        images = len(self._rows) // self._shard[1]
        if self.drop_remainder:
            return images // self.batch_size
        return math.ceil(images / self.batch_size)

    def order(self, epoch):
        """The images of an epoch, batch after batch.

        A host has every `count`-th image of the order of all. Its batch k and those of the others
        are together the batch k that one host would have, of `count` times the size.

        Args:
            epoch: Integer from 0 on.

        Returns:
            Integer array of the images' places in the annotations.
        """
        known, order = self._order
        if known != epoch:
            count = len(self._rows)
            order = np.arange(count)
            if self._shuffle:
                order = np.random.default_rng((self._seed, epoch)).permutation(count)
            index, hosts = self._shard
            order = self._rows[order[: count - count % hosts][index::hosts]]
            # At once, for threads ask.
            self._order = (epoch, order)
        return order

    def batch(self, epoch, index):
        """A batch, as `fit` takes it.

        Args:
            epoch: Integer from 0 on.
            index: Integer from 0 to the number of batches − 1.

        Returns:
            Tuple of the images and the targets.

        Raises:
            IndexError: If there is no such batch.
            DatasetError: If an image or its mask cannot be read.
            ValueError: If the images are of several sizes.
        """
        return self.finished(self.prepared(epoch, index))

    def prepared(self, epoch, index):
        """A batch before `augment`: a dict with the keys of a sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} batches. Received: index={index}")
        start = index * self.batch_size
        rows = self.order(epoch)[start : start + self.batch_size]
        return self._stacked(map(self._sample, rows.tolist()), len(rows))

    def finished(self, batch):
        """Images and targets of a batch that `prepared` gave, augmented."""
        if self.augment:
            # The accelerator has a model to train.
            with keras.device("cpu"):
                batch = self.augmented(batch)
            batch = self.cleaned(keras.tree.map_structure(_as_numpy, batch))
        return self.as_pair(batch)

    def preprocessed(self, sample):
        """What `preprocess` makes of a sample: of its keys the images and the targets."""
        return self._applied("preprocess", self.preprocess, sample)

    def augmented(self, batch):
        """What `augment` makes of a batch, as `preprocessed`."""
        if MASKS in self.targets:
            # Keras' layers need it.
            batch = {**batch, MASKS: batch[MASKS][..., None]}
        return self._applied("augment", self.augment, batch)

    def cleaned(self, batch):
        """A batch as `prepared` gives it, from what `augment` left, floats perhaps.

        Args:
            batch: Dict with the keys of a sample, of arrays or of TensorFlow's tensors.
        """
        batch = dict(batch)
        if MASKS in batch:
            batch[MASKS] = _flat(batch[MASKS], self.mask_dtype)
        if BOXES in batch:
            xp = _arrays.namespace(batch[BOXES]["labels"])
            labels = _whole(batch[BOXES]["labels"], "int32")
            boxes = xp.cast(batch[BOXES]["boxes"], "float32")
            present = xp.expand_dims(labels >= 0, -1)
            batch[BOXES] = {
                "boxes": xp.where(present, boxes, -xp.ones_like(boxes)),
                "labels": xp.where(labels >= 0, labels, -xp.ones_like(labels)),
            }
        return batch

    def as_pair(self, batch):
        """Images and targets of a batch.

        Args:
            batch: Dict with the keys of a sample.
        """
        targets = {name: batch[name] for name in self.targets}
        return batch["images"], targets if len(targets) > 1 else targets[self.targets[0]]

    def _sample(self, row):
        sample = Record(self.annotations, row).sample(self.targets)
        return keras.tree.map_structure(_as_numpy, self.preprocessed(sample))

    def _applied(self, argument, functions, sample):
        keys = ("images", *self.targets)
        for function in functions:
            sample = function(sample)
            if not isinstance(sample, dict) or not set(keys) <= set(sample):
                found = sorted(map(str, sample)) if isinstance(sample, dict) else type(sample)
                raise ValueError(
                    f"`{argument}` must return a dict with the keys {keys}. Received: {found} from "
                    f"{function!r}"
                )
        return {name: sample[name] for name in keys}

    def _stacked(self, samples, count):
        """A batch of so many samples, each of which is forgotten before the next one is made."""
        stacks: dict = {}
        objects, sizes = [], set()
        for place, sample in enumerate(samples):
            sizes.add(sample["images"].shape[:2])
            # All of them, for the error.
            if len(sizes) == 1:
                for name in {"images", MASKS} & set(sample):
                    stacks[name] = _with_row(stacks.get(name), place, sample[name], count)
                objects.append(sample.get(BOXES))
        if len(sizes) > 1:
            raise ValueError(several_sizes(sorted(sizes)))
        if BOXES in self.targets:
            stacks[BOXES] = padded(objects, self.max_boxes, may_cut=self.may_cut)
        if MASKS in self.targets:
            stacks[MASKS] = _flat(stacks[MASKS], self.mask_dtype)
        return stacks

    def _checked_most(self, max_boxes):
        if max_boxes == "batch":
            return None
        counts = _most_objects(self.annotations.objects)[self._rows]
        if max_boxes is None:
            return int(counts.max(initial=0))
        if isinstance(max_boxes, str):
            raise ValueError(
                "`max_boxes` must be None, an integer or 'batch'. Received: "
                f"max_boxes={max_boxes!r}"
            )
        check_integers(0, max_boxes=max_boxes)
        cut = np.maximum(counts - max_boxes, 0)
        if cut.any():
            warnings.warn(
                f"`max_boxes={max_boxes}` cuts {cut.sum()} of {counts.sum()} boxes, the last ones "
                f"of {np.count_nonzero(cut)} images; the most in one image are {counts.max()}. "
                "Boxes that lie outside of their image count here.",
                # The user's call of a method of `Dataset`.
                stacklevel=4,
            )
        return int(max_boxes)


def padded(objects, most=None, *, may_cut=True):
    """Boxes and labels of several images in one array each, −1 in rows without an object.

    Rows whose label is −1 already are left out, as layers that crop have them.

    Args:
        objects: List of dicts of `boxes` `(N, 4)` and `labels` `(N,)`.
        most: The rows that an image is to have. None for those of the image with most.
        may_cut: Whether objects past these rows are cut.

    Returns:
        Dict of `boxes` `(B, most, 4)` float32 and `labels` `(B, most)` int32.

    Raises:
        ValueError: If an image has more objects, and none may be cut.

    Example:
        >>> box = {"boxes": np.array([[0.0, 0.0, 1.0, 1.0]]), "labels": np.array([3])}
        >>> padded([box], 2)["labels"].tolist()
        [[3, -1]]
    """
    present = [np.flatnonzero(one["labels"] >= 0) for one in objects]
    largest = max(map(len, present), default=0)
    most = largest if most is None else most
    if largest > most and not may_cut:
        raise ValueError(
            "`max_boxes` must be given, or 'batch', where `preprocess` adds objects. Received: an "
            f"image of {largest} objects, where the data set has {most} at most"
        )
    boxes = np.full((len(objects), most, 4), -1, "float32")
    labels = np.full((len(objects), most), -1, "int32")
    for image, (one, rows) in enumerate(zip(objects, present, strict=True)):
        kept = rows[:most]
        boxes[image, : len(kept)] = one["boxes"][kept]
        labels[image, : len(kept)] = one["labels"][kept]
    return {"boxes": boxes, "labels": labels}


def several_sizes(sizes):
    """The error for a batch of images of several sizes.

    Args:
        sizes: Any object that tells heights and widths.
    """
    return (
        f"The images of a batch must be of one size. Received: heights and widths {sizes}. Make "
        "them of one size, for instance with `preprocess=keras_cvx.layers.ResizeWithPad(height, "
        "width, bounding_box_format='xyxy')`."
    )


def _with_row(stack, place, row, count):
    """A stack of `count` rows, None before the first, with this one in its place.

    As `np.stack`, but no more than one row is in memory besides.
    """
    if stack is None:
        stack = np.empty((count, *row.shape), row.dtype)
    if row.shape != stack.shape[1:]:
        raise ValueError(
            "Images and masks of a batch must be of one shape. Received: shapes "
            f"{stack.shape[1:]} and {row.shape}"
        )
    if row.dtype != stack.dtype:
        stack = stack.astype(np.result_type(stack, row))
    stack[place] = row
    return stack


def _as_numpy(x):
    # A worker that has only arrays touches no framework.
    return x if isinstance(x, np.ndarray) else keras.ops.convert_to_numpy(x)


def _flat(masks, dtype):
    """Masks without a last axis of 1, in a dtype of integers."""
    xp = _arrays.namespace(masks)
    return _whole(xp.reshape(masks, xp.shape(masks)[:3]), dtype)


def _whole(x, dtype):
    """Integers, from floats perhaps."""
    xp = _arrays.namespace(x)
    return xp.cast(xp.round(x) if "float" in dtype_name(x.dtype) else x, dtype)


def _most_objects(objects):
    """For each image how many objects `Record.sample` gives at most: some may lie outside of it."""
    x0, y0, x1, y1 = objects.boxes.T
    learnable = ~objects.is_crowd & ~objects.ignored & (x0 < x1) & (y0 < y1)
    return np.diff(np.append(0, np.cumsum(learnable))[objects.offsets])


def _mask_dtype(annotations):
    if annotations.masks is not None:
        return getattr(annotations.masks, "dtype", "int32")
    # As `Record` paints them.
    return "uint8"


def _functions(argument, given):
    functions = () if given is None else tuple(given) if isinstance(given, (list, tuple)) else given
    functions = functions if isinstance(functions, tuple) else (functions,)
    if not all(map(callable, functions)):
        raise ValueError(
            f"`{argument}` must be a layer or another function of a sample, or a list of them. "
            f"Received: {argument}={given!r}"
        )
    return functions


def _checked_shard(shard, num_images):
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise ValueError(f"`shard` must be a pair of index and count. Received: shard={shard!r}")
    index, count = shard
    check_integers(0, index=index)
    check_integers(1, count=count)
    if index >= count:
        raise ValueError(f"`shard` must have an index below its count. Received: shard={shard!r}")
    if 0 < num_images < count:
        raise ValueError(
            f"`shard` must be of at most as many hosts as there are images, {num_images}. "
            f"Received: shard={shard!r}"
        )
    return index, count
