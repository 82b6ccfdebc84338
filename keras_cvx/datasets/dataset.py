"""A data set: images and their annotations, read when asked for."""

import operator
from collections.abc import Sequence

import numpy as np

from keras_cvx.datasets.checking import check
from keras_cvx.datasets.pipelines.batches import Batches
from keras_cvx.datasets.record import Record
from keras_cvx.ops.arguments import check_integers


class Dataset(Sequence):
    """Images and their annotations, or some of them, read from files when asked for.

    `data[i]` is a `Record`; a slice, a list or an array of integers gives such a data set again,
    which shares all annotations with this one. The readers make it.

    Args:
        annotations: `Annotations` of the whole data set.
        rows: Integers, the images that are part of this one; None for all.
        skipped: What was wrong with the records that were left out.

    Attributes:
        class_names: Tuple of strings by label; empty where the files tell none.
        mask_class_names: The same by the ids of masks. Where masks are painted from objects, 0 is
            the background, and a model needs `len(mask_class_names)` classes.
        annotations: `Annotations` of the whole data set, as flat arrays.
        skipped: Tuple of strings: what was wrong with the records that were left out.

    Example:
        >>> from keras_cvx.datasets import Annotations, grouped
        >>> images = [np.zeros((8, 8, 3), "uint8") for _ in range(4)]
        >>> objects = grouped([1, 3], 4, {"boxes": [[0, 0, 4, 2], [2, 2, 8, 8]], "labels": [0, 1]})
        >>> data = Dataset(Annotations("four photographs", images, ("cat", "dog"), objects))
        >>> data
        <Dataset of 4 images, 2 classes, from 'four photographs'>
        >>> data[3].boxes.tolist(), len(data[::2])
        ([[2.0, 2.0, 8.0, 8.0]], 2)
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
            >>> from keras_cvx.datasets import Annotations
            >>> images = [np.zeros((8, 8, 3), "uint8")] * 5
            >>> train, valid = Dataset(Annotations("five", images, ())).split(0.8)
            >>> len(train), len(valid)
            (4, 1)
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
        classes without objects, several classes of one name, and turned images of which nothing
        tells what frame their boxes are in.

        Args:
            *others: Further parts of the data, such as the one to validate with.
            progress: Whether a bar is shown while more than 500 images are scanned.

        Returns:
            A `Report`: its `ok` says whether nothing is wrong; `print` shows counts and the first
            examples; `findings` and `label_counts` have the same as objects.
        """
        return check([self, *others], progress=progress)

    def to_tf_data(self, batch_size, *, deterministic=True, **options):
        """Batches of images and targets for `fit`, as a `tf.data.Dataset`.

        It works under every backend of Keras. TensorFlow decodes plain JPEG and PNG files, to the
        pixels that `Record.image` has, which reads all others. `preprocess` and `augment` get
        TensorFlow's tensors in a graph.

        Each iteration is the next epoch, whether the one before came to its end or not; Keras
        itself begins one to look at a batch where it has to build a loss.

        Args:
            batch_size: Positive integer.
            deterministic: Whether order is kept where another would be faster.
            **options: All of them are None, False or 0 unless told, and `shard` is `(0, 1)`.

                - `preprocess`: A layer such as `ResizeWithPad`, or another function, of one sample
                  as `Record.sample` gives it, to another; or a list of them. Of the result the
                  images and targets are kept.
                - `augment`: The same of a batch: a dict of `images` `(B, H, W, 3)`,
                  `bounding_boxes`, and `segmentation_masks` `(B, H, W, 1)`, such as the layers of
                  Keras take. They run one batch after the other: seeded ones draw the same numbers
                  each time.
                - `targets`: As for `Record.sample`.
                - `max_boxes`: Rows of boxes for each image, −1 where there is none; what is more is
                  cut, the last ones, with a warning of how many. None for as many as an image of
                  this data set has at most, before those outside of their image are left out.
                  `"batch"` for as many as one of the batch has; models may then be compiled for
                  several shapes.
                - `shuffle`: Whether an epoch has an order of its own, by the seed and its number.
                - `seed`: Integer of at least 0. Equal seeds give equal batches, of all pipelines;
                  of random layers only those in `augment`.
                - `shard`: Pair of an index and the count of hosts, each of which gets images of its
                  own, equally many: as many as are left over, fewer than the count, are left out.
                - `drop_remainder`: Whether a last batch of fewer images is left out.

        Returns:
            A `tf.data.Dataset` of pairs of the images `(B, H, W, 3)` and the targets: a dict of
            `boxes` `(B, N, 4)` float32 and `labels` `(B, N)` int32, or integer masks `(B, H, W)`;
            for a tuple of both, a dict of both by the keys of a sample.

        Raises:
            ValueError: If an argument is none of the above; when a batch is made, if its images
                are of several sizes.
            DatasetError: When a batch is made, if an image cannot be read; as TensorFlow's
                `InvalidArgumentError`, whose text has the message.
            ImportError: If TensorFlow is missing.

        Example:
            >>> letterbox = ResizeWithPad(416, 416, bounding_box_format="xyxy")  # doctest: +SKIP
            >>> pipeline = data.to_tf_data(16, preprocess=letterbox, shuffle=True)  # doctest: +SKIP
            >>> detector.fit(pipeline, epochs=8)  # doctest: +SKIP
        """
        from keras_cvx.datasets.pipelines.tf_data import tf_data

        batches = Batches(self.annotations, self._rows, batch_size, **options)
        return tf_data(batches, deterministic=deterministic)

    def to_pydataset(
        self, batch_size, *, workers=1, use_multiprocessing=False, max_queue_size=10, **options
    ):
        """Batches of images and targets for `fit`, as a `keras.utils.PyDataset` of NumPy arrays.

        The next epoch begins when Keras calls `on_epoch_end` after the last batch: one that is left
        before, as where Keras looks at a batch to build a loss, begins anew. Workers also serve a
        loop over the batches.

        Workers that are processes are forked where the system forks, and must then touch none of
        the frameworks, or they may hang: `ResizeWithPad` and its kind stay in NumPy, while Keras'
        own layers compute with the backend; use these with threads, or `to_tf_data`. What random
        layers draw depends on the workers. Threads hand batches over at no cost, processes copy
        them; with threads, call `cv2.setNumThreads(1)` where OpenCV is installed, which otherwise
        starts threads of its own for each image.

        Args:
            batch_size: Positive integer.
            workers: Number of threads or processes.
            use_multiprocessing: Whether they are processes.
            max_queue_size: The most batches that they are ahead.
            **options: As for `to_tf_data`. `preprocess` and `augment` get NumPy arrays, and may
                give tensors.

        Returns:
            A `keras.utils.PyDataset` of what `to_tf_data` gives.

        Raises:
            ValueError: As for `to_tf_data`.
            DatasetError: When a batch is made, if an image cannot be read.
        """
        from keras_cvx.datasets.pipelines.py_dataset import BatchesPyDataset

        batches = Batches(self.annotations, self._rows, batch_size, **options)
        return BatchesPyDataset(
            batches,
            workers=workers,
            use_multiprocessing=use_multiprocessing,
            max_queue_size=max_queue_size,
        )

    def to_grain(self, batch_size, **options):
        """Batches of images and targets for `fit`, as a `grain.IterDataset` of NumPy arrays.

        Threads read ahead. Each iterator is of the next epoch, as in `to_tf_data`; its `get_state`
        tells the epoch and the next batch, and `set_state` goes on there. The state of random
        layers is not in it.

        Args:
            batch_size: Positive integer.
            **options: As for `to_tf_data`. `preprocess` and `augment` get NumPy arrays, and may
                give tensors.

        Returns:
            A `grain.IterDataset` of what `to_tf_data` gives.

        Raises:
            ValueError: As for `to_tf_data`.
            DatasetError: When a batch is made, if an image cannot be read.
            ImportError: If grain is missing.
        """
        from keras_cvx.datasets.pipelines.grain_dataset import grain_dataset

        return grain_dataset(Batches(self.annotations, self._rows, batch_size, **options))

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
