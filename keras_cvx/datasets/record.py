"""One image and its annotations."""

import contextlib

import numpy as np

from keras_cvx.datasets._kept import kept
from keras_cvx.datasets.faults import DatasetError
from keras_cvx.datasets.pixels.mask_files import opened_file
from keras_cvx.datasets.pixels.orientation import (
    upright_boxes,
    upright_pixels,
    upright_points,
    upright_shape,
)
from keras_cvx.datasets.pixels.rasterizing import counts_of_mask, filled, paint
from keras_cvx.ops.arguments import check_choice
from keras_cvx.ops.jpeg_files import plain_size_of_file
from keras_cvx.ops.pictures import orientation_of, picture, upright_size

TARGETS = ("bounding_boxes", "segmentation_masks")
IGNORED_ID = 255  # of a mask's pixels that are to be ignored


class Record:
    """An image and what is known of it, in the frame of the upright image.

    What is read from files or drawn is so when first asked for, and kept with this record alone.

    Args:
        annotations: `Annotations` of the whole data set.
        index: The image's place among all.

    Attributes:
        index: Its place in the whole data set.
        image_id: Integer or string, the file's.
        path: `pathlib.Path` of the image, or None if it has no file of its own.
        image: uint8 `(H, W, 3)`, RGB, turned upright by its orientation (EXIF).
        size: Pair of height and width of the upright image, from the file's header.
        boxes: float32 `(N, 4)`, corners `x0, y0, x1, y1` in pixels, as annotated: they may leave
            the image or have no area.
        labels: int32 `(N,)`, places in the class names.
        is_crowd: Boolean `(N,)`: regions of many objects.
        ignored: Boolean `(N,)`: objects for no training and no score.
        areas: float64 `(N,)` in pixels, of the objects; of their boxes where none is told.
        outlines: List of N lists of float64 arrays `(points, 2)`, x and y in pixels, as annotated;
            an empty list where an object has none. Where the annotations are turned, so are they:
            drawn anew, pixels that they pass through may differ from those of `masks`.
        run_lengths: List of N uint32 arrays, as `run_length_mask` takes them; None where an object
            is annotated without.
        masks: Boolean `(N, H, W)`, the pixels of each object.
        mask: Integer `(H, W)`, the class of each pixel: from a file of masks, its ids; from the
            objects' regions, 0 where there is none, otherwise the label + 1. Where objects overlap,
            the one of fewer pixels is in front; of equally many, the later one. Crowds are behind
            all others. Objects of 255 classes and more have no such mask: 255 would be both the
            id of a class and that of pixels to be ignored.

    Example:
        >>> from keras_cvx.datasets import Annotations, grouped
        >>> objects = grouped([0], 1, {"boxes": [[0, 0, 4, 2]], "labels": [1]})
        >>> images = [np.zeros((8, 6, 3), "uint8")]
        >>> annotations = Annotations("one photograph", images, ("cat", "dog"), objects)
        >>> record = Record(annotations, 0)
        >>> record.size, record.boxes.tolist(), record.areas.tolist()
        ((8, 6), [[0.0, 0.0, 4.0, 2.0]], [8.0])
    """

    def __init__(self, annotations, index):
        self._all = annotations
        self.index = index
        objects = annotations.objects
        self._rows = slice(0, 0)
        if objects is not None:
            self._rows = slice(*objects.offsets[index : index + 2].tolist())

    def __repr__(self):
        place = self.path or f"image {self.image_id!r} of {str(self._all.source)!r}"
        return f"<Record {str(place)!r}, {self._rows.stop - self._rows.start} objects>"

    @property
    def image_id(self):
        ids = self._all.image_ids
        return self.index if ids is None else ids[self.index]

    @property
    def path(self):
        return None if isinstance(self._image, np.ndarray) else self._image

    @kept
    def _image(self):
        return self._all.images[self.index]

    @kept
    def image(self):
        if self.path is None:
            return self._image
        with self._reading():
            pixels = picture(self.path)
        if pixels.shape[:2] != self.size:
            raise DatasetError(
                f"{self._place}: the pixels of an image must be of the size in its header. "
                f"Received: {str(self.path)!r} of {self.size} by its header, {pixels.shape[:2]} by "
                "its pixels. If its orientation (EXIF) stands behind them, save it anew."
            )
        return pixels

    @property
    def size(self):
        return self._header[0]

    @kept
    def _header(self):
        """Height and width of the upright image, and EXIF's orientation."""
        if self.path is None:
            return self._image.shape[:2], 1
        if self.plain_size is not None:
            return self.plain_size, 1
        with self._reading(), opened_file(self.path) as opened:
            return upright_size(opened), orientation_of(opened)

    @kept
    def plain_size(self):
        """Height and width of an image that is in a plain JPEG file; None for all others."""
        try:
            return None if self.path is None else plain_size_of_file(self.path)
        # Pillow is asked, which says what is wrong with it.
        except (OSError, ValueError):
            return None

    @kept
    def _turn(self):
        """The orientation that the annotations' frame has, 1 for that of the upright image."""
        size, orientation = self._header
        stated, stored = self.stated_size, upright_shape(size, orientation)
        if stated not in (None, size, stored):
            raise DatasetError(self._other_size(stated))
        if self._all.frame == "auto":
            return orientation if stated == stored != size else 1
        return orientation if self._all.frame == "stored" else 1

    @property
    def frame_is_guessed(self):
        """Whether the image is stored turned, and nothing tells what the annotations are of."""
        size, orientation = self._header
        if orientation == 1 or self._all.frame != "auto":
            return False
        if upright_shape(size, orientation) == size:
            return True
        # A mask tells by its own height and width.
        return self.stated_size is None and self._all.objects is not None

    @property
    def stated_size(self):
        """Height and width that the annotations tell, or None."""
        sizes = self._all.sizes
        if sizes is None or not sizes[self.index].all():
            return None
        return tuple(sizes[self.index].tolist())

    @kept
    def boxes(self):
        return self.exact_boxes.astype("float32")

    @kept
    def exact_boxes(self):
        objects = self._all.objects
        if objects is None:
            return np.zeros((0, 4))
        boxes = upright_boxes(objects.boxes[self._rows], self._frame, self._turn)
        return boxes * np.tile(self.size[::-1], 2) if objects.relative else boxes

    @property
    def _frame(self):
        """Height and width of the annotations' frame, in their unit."""
        return (1, 1) if self._all.objects.relative else upright_shape(self.size, self._turn)

    @property
    def labels(self):
        return self._column("labels", "int32")

    @property
    def is_crowd(self):
        return self._column("is_crowd", "bool")

    @property
    def ignored(self):
        return self._column("ignored", "bool")

    @kept
    def areas(self):
        told = self._column("areas", "float64")
        x0, y0, x1, y1 = self.exact_boxes.T
        return np.where(np.isnan(told), (x1 - x0) * (y1 - y0), told)

    def _column(self, name, dtype):
        objects = self._all.objects
        return np.zeros(0, dtype) if objects is None else getattr(objects, name)[self._rows]

    @kept
    def outlines(self):
        return [
            [self._upright_outline(outline) for outline in self._all.objects.regions.polygons(row)]
            for row in self._row_numbers
        ]

    def _upright_outline(self, outline):
        points = upright_points(outline, self._frame, self._turn)
        return points * self.size[::-1] if self._all.objects.relative else points

    @kept
    def run_lengths(self):
        given = [self._all.objects.regions.run_lengths(row) for row in self._row_numbers]
        size, turn = upright_shape(self.size, self._turn), self._turn
        if turn == 1:
            return given
        return [
            None if counts is None else counts_of_mask(upright_pixels(filled(counts, size), turn))
            for counts in given
        ]

    @kept
    def masks(self):
        size = upright_shape(self.size, self._turn)
        masks = np.zeros((self._rows.stop - self._rows.start, *size), bool)
        for row, counts in enumerate(self._run_lengths(size)):
            masks[row] = filled(counts, size)
        turned = upright_pixels(np.moveaxis(masks, 0, -1), self._turn)
        return np.ascontiguousarray(np.moveaxis(turned, -1, 0))

    @kept
    def mask(self):
        files = self._all.masks
        if files is None:
            painted = self._painted(upright_shape(self.size, self._turn))
            return np.ascontiguousarray(upright_pixels(painted, self._turn))
        with self._reading():
            ids = files[self.index]
        size, orientation = self._header
        stored = upright_shape(size, orientation)
        if self._all.frame == "stored" or (ids.shape == stored != size):
            ids = np.ascontiguousarray(upright_pixels(ids, orientation))
        if ids.shape != size:
            raise DatasetError(self._other_size(ids.shape))
        return ids

    def sample(self, targets=None):
        """The image and what a model is to learn of it, with the keys of Keras' samples.

        Boxes are cut at the image's border; crowds, ignored objects and those without area are left
        out.

        Args:
            targets: `"bounding_boxes"`, `"segmentation_masks"`, or a tuple of both; None for boxes
                where there are some in the data set, and masks otherwise.

        Returns:
            Dict of `images`, uint8 `(H, W, 3)`, and `bounding_boxes`, a dict of `boxes` float32
            `(N, 4)` and `labels` int32 `(N,)`, or `segmentation_masks`, integer `(H, W)`, or both.

        Raises:
            DatasetError: If the image or its mask cannot be read, or is of another size than the
                annotations are for.
        """
        sample = {"images": self.image}
        for target in checked_targets(targets, self._all):
            sample[target] = (
                self.mask if target == "segmentation_masks" else self.learnable_objects()
            )
        return sample

    def learnable_objects(self):
        """The `bounding_boxes` of `sample`, for which no pixel is read."""
        boxes, labels = self.boxes, self.labels
        height, width = self.size
        inside = np.clip(boxes, 0, np.array([width, height, width, height], "float32"))
        kept = (inside[:, :2] < inside[:, 2:]).all(-1) & ~self.is_crowd & ~self.ignored
        return {"boxes": inside[kept], "labels": labels[kept]}

    def _painted(self, size):
        """The class of each pixel of the annotations' frame."""
        check_paintable(self._all)
        columns = np.zeros(size[::-1], "uint8")
        labels, is_crowd = self.labels.tolist(), self.is_crowd.tolist()
        layers = [
            (not is_crowd[order], -int(counts[1::2].sum()), order, counts)
            for order, counts in enumerate(self._run_lengths(size))
        ]
        # From the back to the front.
        for *_, order, counts in sorted(layers, key=lambda layer: layer[:3]):
            paint(columns, counts, labels[order] + 1)
        return columns.T

    def _run_lengths(self, size):
        """Of each object."""
        objects = self._all.objects
        for row in self._row_numbers:
            with self._reading():
                counts = objects.regions.counts_within(row, size, relative=objects.relative)
            if counts is None:
                raise DatasetError(
                    f"{self._place}: every object must have an outline or run-lengths for a mask. "
                    f"Received: object {objects.ids[row]} with a box alone"
                )
            yield counts

    @property
    def _row_numbers(self):
        """Where its objects stand among all."""
        return range(self._rows.start, self._rows.stop)

    @property
    def _place(self):
        """The data set and the image, for errors."""
        return f"{str(self._all.source)!r}, image {self.image_id!r}"

    @contextlib.contextmanager
    def _reading(self):
        try:
            yield
        except DatasetError:
            raise
        except ValueError as error:
            raise DatasetError(f"{self._place}: {error}") from error

    def _other_size(self, stated):
        return (
            f"{self._place}: an image must be of the size that its annotations are for. Received: "
            f"{str(self.path)!r} of height={self.size[0]} and width={self.size[1]}, annotations "
            f"for height={stated[0]} and width={stated[1]}. Was it resized?"
        )


def check_paintable(annotations):
    """Raises if the ids of masks that are painted from objects reach the one of ignored pixels.

    Args:
        annotations: `Annotations`.

    Raises:
        DatasetError: Naming the number of classes.
    """
    count = len(annotations.class_names)
    if annotations.masks is None and count >= IGNORED_ID:
        raise DatasetError(
            f"{str(annotations.source)!r}: a mask can be painted of at most {IGNORED_ID - 1} "
            f"classes, for the id {IGNORED_ID} is of pixels to be ignored. Received: {count} "
            "classes. Use `masks`, the pixels of each object, or put classes together."
        )


def checked_targets(targets, annotations):
    """Which targets a sample is to have, as a tuple.

    Args:
        targets: As `Record.sample` takes them.
        annotations: `Annotations`.

    Raises:
        ValueError: If there is no such target, or the data set has none.
        DatasetError: If masks are asked for that cannot be painted.
    """
    if targets is None:
        return TARGETS[:1] if annotations.objects is not None else TARGETS[1:]
    asked = tuple(targets) if isinstance(targets, (tuple, list)) else (targets,)
    for target in asked:
        check_choice(TARGETS, targets=target)
    if TARGETS[0] in asked and annotations.objects is None:
        raise ValueError(
            f"`targets` must be {TARGETS[1]!r}: {str(annotations.source)!r} has no boxes. "
            f"Received: targets={targets!r}"
        )
    if TARGETS[1] in asked:
        check_paintable(annotations)
    return asked
