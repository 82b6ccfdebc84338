"""The state that exact evaluations of detections share: what was judged, mergeable, on the host."""

import copy
from typing import NamedTuple

import numpy as np

from keras_cvx.metrics.detection_records import (
    Detections,
    Truths,
    on_host,
    read_detections,
    read_truths,
)
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.boxes import check_format

# Rows that wait before they are judged together: few calls of NumPy for many images, and
# some 100 MB while they are judged.
_TOGETHER = 2**17


class Verdicts(NamedTuple):
    """Columns of judged detections, of one class and image sorted by falling confidence.

    `ranks` are the places among those of their class and image, from 0. `hits` and `ignored` are
    the bits of `np.packbits` along the last axis: whether a detection is right, and whether it is
    neither right nor wrong, under each condition.
    """

    images: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    ranks: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray


class DetectionEvaluation:
    """Collects and judges detections; a subclass says how one judges, and what comes out.

    It is no `keras.metrics.Metric`: its state grows with the detections, some 40 bytes each, and
    it works on the host in float64.
    """

    def __init__(self, num_classes, *, bounding_box_format="xyxy"):
        check_integers(1, num_classes=num_classes)
        self.num_classes = int(num_classes)
        self.bounding_box_format = check_format(bounding_box_format)
        self.reset_state()

    def reset_state(self):
        """Forgets all images."""
        self._num_images = 0
        self._image_ids = {}  # keys in the order of the images, if these have ids
        self._waiting = []  # pairs of `Truths` and `Detections`
        self._verdicts = []
        self._num_truths = 0  # array of classes and conditions, once something was judged

    def update_state(self, y_true, y_pred):
        """Adds a batch of images.

        Args:
            y_true: Dictionary of the ground truth, as the class has it.
            y_pred: Dictionary of the detections, as the class has it.

        Raises:
            ValueError: If a key is missing, lengths differ, a label is not in `[0, num_classes)`
                and not −1, a confidence is NaN, a box is not finite, or an image has been here
                before. Nothing has changed then.
        """
        count, truths = read_truths(y_true, self.num_classes, self.bounding_box_format)
        found_in, found = read_detections(y_pred, self.num_classes, self.bounding_box_format)
        if count != found_in:
            raise ValueError(
                "`y_true` and `y_pred` must be of the same images. "
                f"Received: {count} images in `y_true`, {found_in} in `y_pred`"
            )
        self._add_images(count, _read_ids(y_true.get("image_ids"), count))
        start = self._num_images - count
        truths = truths._replace(images=truths.images + start)
        self._waiting.append((truths, found._replace(images=found.images + start)))
        if sum(len(side.labels) for sides in self._waiting for side in sides) >= _TOGETHER:
            self._judge_waiting()

    def merge_state(self, others):
        """Adds what other evaluations have seen, as if it had been seen here.

        Args:
            others: Evaluations of the same class and arguments, or one.

        Raises:
            ValueError: If one is of another class or of other arguments, or has seen an image that
                was here before, as the `"image_ids"` tell. Nothing has changed then.
        """
        merged = copy.copy(self)
        merged._image_ids, merged._verdicts = dict(self._image_ids), list(self._verdicts)
        for other in [others] if isinstance(others, DetectionEvaluation) else others:
            if type(other) is not type(self) or other.get_config() != self.get_config():
                theirs = other.get_config() if isinstance(other, DetectionEvaluation) else ""
                raise ValueError(
                    "`others` must be evaluations of the same class and arguments. Received: "
                    f"{type(other).__name__} {theirs} for {type(self).__name__} {self.get_config()}"
                )
            other._judge_waiting()
            start = merged._num_images
            merged._add_images(other._num_images, other._image_ids)
            merged._verdicts += [v._replace(images=v.images + start) for v in other._verdicts]
            merged._num_truths = merged._num_truths + other._num_truths
        self.__dict__.update(merged.__dict__)

    def get_config(self):
        """The arguments by name."""
        return {
            "num_classes": self.num_classes,
            "bounding_box_format": self.bounding_box_format,
        }

    def __getstate__(self):
        # Another process is to receive what was judged, and not the work.
        self._judge_waiting()
        return self.__dict__

    def _judge(self, truths, found):
        """`Verdicts`, and the number of ground truths that count, of each class and condition."""
        raise NotImplementedError

    def _judge_waiting(self):
        truths, found = self._waiting_together()
        self._waiting = []
        verdicts, num_truths = self._judge(truths, found)
        self._verdicts.append(verdicts)
        self._num_truths = self._num_truths + num_truths

    def _waiting_together(self):
        nothing = np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0)
        none = np.zeros(0, bool)
        sides = zip(
            (Truths(*nothing, none, none), Detections(*nothing)), *self._waiting, strict=True
        )
        return [
            type(side[0])(*(np.concatenate(column) for column in zip(*side, strict=True)))
            for side in sides
        ]

    def _judged(self):
        """All verdicts, image after image in the order of their ids, and the numbers of truths."""
        if self._waiting or not self._verdicts:
            self._judge_waiting()
        self._verdicts = [
            Verdicts(*(np.concatenate(column) for column in zip(*self._verdicts, strict=True)))
        ]
        verdicts, num_truths = self._verdicts[0], self._num_truths
        # Detections of equal confidence count in the order of their images.
        place = (
            np.array(list(self._image_ids))[verdicts.images] if self._image_ids else verdicts.images
        )
        if (place[1:] < place[:-1]).any():
            verdicts = Verdicts(*(x[np.argsort(place, kind="stable")] for x in verdicts))
        return verdicts, num_truths

    def _add_images(self, count, image_ids):
        ids = dict.fromkeys(image_ids)
        if self._num_images and count and bool(ids) != bool(self._image_ids):
            raise ValueError(
                "`image_ids` must be given for every image or for none. Received: "
                f"{count} images with{'' if ids else 'out'} after {self._num_images} "
                f"with{'out' if ids else ''}"
            )
        again = sorted(image for image in ids if image in self._image_ids)
        if again or len(ids) not in (0, count):
            raise ValueError(
                "`image_ids` must name each image once between two resets. Received: "
                f"{again[:8] or sorted(image_ids)} again"
            )
        self._num_images += count
        self._image_ids.update(ids)


def _read_ids(image_ids, count):
    if image_ids is None:
        return []
    ids = on_host(image_ids)
    # An empty list has no type of its own.
    if ids.shape != (count,) or (count and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(
            f"`y_true['image_ids']` must be ({count},) integers, one for each image. "
            f"Received: shape {ids.shape}, {ids.dtype}"
        )
    return ids.tolist()
