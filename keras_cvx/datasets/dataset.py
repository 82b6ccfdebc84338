"""A data set: images and their annotations, read when asked for."""

import operator
from collections.abc import Sequence

import numpy as np

from keras_cvx.datasets.checking import check
from keras_cvx.datasets.record import Record
from keras_cvx.ops.arguments import check_integers


class Dataset(Sequence):
    """Images and their annotations, or some of them, read from files when asked for.

    `data[i]` is a `Record`; a slice, a list or an array of integers gives such a data set again,
    which shares all annotations with this one. The readers make it.

    Attributes:
        class_names: Tuple of strings by label; empty where the files tell none.
        mask_class_names: The same by the ids of masks. Where masks are painted from objects, 0 is
            the background, and a model needs `len(mask_class_names)` classes.
        annotations: `Annotations` of the whole data set, as flat arrays.
        skipped: Tuple of strings: what was wrong with the records that were left out.
    """

    def __init__(self, annotations, rows=None, skipped=()):
        self.annotations = annotations
        self._rows = np.arange(len(annotations.images)) if rows is None else rows
        self.class_names = annotations.class_names
        self.mask_class_names = annotations.mask_class_names
        self.skipped = tuple(skipped)

    def __repr__(self):
        return (
            f"<Dataset of {len(self)} images, {len(self.class_names)} classes, "
            f"from {str(self.annotations.source)!r}>"
        )

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, (slice, list, np.ndarray)):
            return Dataset(self.annotations, self._rows[index], self.skipped)
        return Record(self.annotations, int(self._rows[operator.index(index)]))

    def split(self, fraction, seed=0, *, stratify=False):
        """Two data sets: a fraction of the images at random, and the others.

        Args:
            fraction: Number between 0 and 1: the share of the first; its number of images is
                rounded.
            seed: Integer of at least 0. Equal seeds give equal splits.
            stratify: Whether images go by the class that is the rarest of those in them: both parts
                then have of each such class their share, to one image; likewise of images without
                objects.

        Returns:
            Tuple of two `Dataset`s, in which the images keep their order.

        Raises:
            ValueError: If the fraction is none, or there are no labels to go by.

        Example:
            >>> train, valid = data.split(0.8, stratify=True)  # doctest: +SKIP
        """
        check_integers(0, seed=seed)
        if not 0 < fraction < 1:
            raise ValueError(
                f"`fraction` must be a number between 0 and 1. Received: fraction={fraction!r}"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        if stratify:
            order = order[np.argsort(self._rarest_classes()[order], kind="stable")]
        # One in so many of those that follow one another, and so of each class.
        passed = np.floor(fraction * np.arange(len(self) + 1) + 0.5)
        first = np.zeros(len(self), bool)
        first[order] = np.diff(passed) > 0
        return self[np.flatnonzero(first)], self[np.flatnonzero(~first)]

    def check(self, *others, progress=True):
        """Looks at every image and annotation, and says what is wrong.

        All images are decoded. What is found: images and masks that cannot be read or are of
        another size, boxes outside of their image (by more than a pixel) or without area, objects
        and images that are there twice, ids of masks that are no class, and images that are in two
        parts, whatever their names: those of the same pixels. Of note, but not wrong: images and
        classes without objects, and turned images of which nothing tells what frame their boxes
        are in.

        Args:
            *others: Further parts of the data, such as the one to validate with.
            progress: Whether a bar is shown while more than 500 images are scanned.

        Returns:
            A `Report`: its `ok` says whether nothing is wrong; `print` shows counts and the first
            examples; `findings` and `label_counts` have the same as objects.
        """
        return check([self, *others], progress=progress)

    def _rarest_classes(self):
        """For each image the label, of those in it, that the fewest images have; −1 for none."""
        objects = self.annotations.objects
        if objects is None:
            raise ValueError(
                "`stratify` must be False: the images have masks alone, and no labels to go by. "
                "Received: stratify=True"
            )
        counts = np.diff(objects.offsets)[self._rows]
        images = np.repeat(np.arange(len(self)), counts)
        starts = np.cumsum(counts) - counts
        rows = np.repeat(objects.offsets[self._rows] - starts, counts) + np.arange(len(images))
        pairs = np.unique(np.stack([images, objects.labels[rows]]), axis=1)
        frequencies = np.bincount(pairs[1], minlength=len(self.class_names))
        # Of equally rare ones the one of the lower label, whatever the order in the file.
        pairs = pairs[:, np.lexsort((pairs[1], frequencies[pairs[1]], pairs[0]))]
        rarest = np.full(len(self), -1)
        present, first = np.unique(pairs[0], return_index=True)
        rarest[present] = pairs[1][first]
        return rarest
