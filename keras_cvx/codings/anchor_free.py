"""The default coding: one box a cell, a score for each class, and dynamic assignment."""

import math

import keras
import numpy as np
from keras import ops

from keras_cvx import plugins
from keras_cvx.codings.grid_coding import GridCoding
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.assignment import assigned_boxes, near_cells, task_aligned
from keras_cvx.ops.box_coding import decode_distances, encode_distances
from keras_cvx.ops.iou import pairwise_iou

# The last step between distances is about e ** 2.5, twelve times, the first.
_GROWTH = 2.5


@plugins.register("task_aligned", kind="assigner")
def assign_task_aligned(
    overlaps, scores, boxes, present, centers, strides, *, top_k=7, alpha=0.5, beta=4.0
):
    """The default assigner of `AnchorFreeCoding`, and what every assigner takes and gives.

    It is `ops.task_aligned` among the cells of `ops.near_cells`.

    Args:
        overlaps: Float tensor `(B, N, A)`, IoU of each object with each cell's predicted box.
        scores: Float tensor `(B, N, A)` in `[0, 1]`, each cell's score for the object's class.
        boxes: Float tensor `(B, N, 4)`, the objects, as corners in pixels.
        present: Boolean tensor `(B, N)`, false for padded rows.
        centers: Float tensor `(B, A, 2)`, the cells' centres in pixels.
        strides: Float tensor `(B, A, 1)` in pixels.
        top_k: Positive integer.
        alpha: Positive float, exponent of the score.
        beta: Positive float, exponent of the overlap.

    Returns:
        Tuple `(assigned, targets)`: boolean `(B, N, A)`, at most one true a column, and float32
        `(B, A)` in `[0, 1]`, 0 for a cell without object.
    """
    candidates = near_cells(boxes, present, centers, strides)
    return task_aligned(overlaps, scores, candidates, top_k=top_k, alpha=alpha, beta=beta)


@plugins.register("AnchorFreeCoding", kind="coding", alias="anchor_free")
class AnchorFreeCoding(GridCoding):
    """One box a cell and level, without anchors or objectness.

    Each side of the box is as far from the cell's centre as the mean of a distribution over
    `bins` distances says: the first `4 * bins` channels are its logits for the left, upper, right
    and lower side. The distances, in strides, are −½, 0, and `K (e^(2.5 k / K) − 1) / (e^2.5 − 1)`
    for k = 1 … K = `bins - 2`, as far as a box can reach: ever closer together towards 0, because
    IoU forgives an error in proportion to the box. The other C channels are logits, one a class;
    the score of a class is trained to be the IoU of the box with the object. In every step each
    object is assigned to the cells that agree with it best (`ops.task_aligned`).

    The loss of an image is the binary cross-entropy of its scores, plus `box_weight` times the
    CIoU loss and `distribution_weight` times the distribution focal loss of the assigned boxes,
    each weighted by its target; all are divided by the sum of the image's targets, or by 1 if
    that is less.

    Args:
        top_k: Positive integer, the most cells that answer for one object.
        alpha: Positive float, exponent of the score in the alignment.
        beta: Positive float, exponent of the IoU in the alignment.
        bins: Integer of at least 3.
        box_weight: Non-negative float.
        distribution_weight: Non-negative float.
        assigner: What gives the cells to the objects: the name of a plugin of kind `"assigner"`,
            or the function, with the arguments and results of `"task_aligned"`; `top_k`, `alpha`
            and `beta` go on to it.
        box_loss: The loss in place of CIoU: the name of a plugin of kind `"loss"`, or the object.
            Its `call` is given corners in pixels, `(B, A, 4)` and `(B, A, 4)`.

    Raises:
        ValueError: If an argument is out of its range, or of another kind.

    Example:
        >>> coding = AnchorFreeCoding(top_k=5, bins=8)
        >>> [channels for channels, _ in coding.branches(num_classes=10)]
        [32, 10]
        >>> plugins.get("anchor_free", kind="coding").bins
        16

    Reference:
        - Feng et al. 2021, TOOD, equations 1 to 5 (assignment, targets).
        - Li et al. 2020, Generalized Focal Loss, equations 5 and 6 (distribution of a side; there
          the distances are evenly spaced).
        - Zheng et al. 2020, Distance-IoU Loss, equation 10 (CIoU loss).
    """

    def __init__(
        self,
        top_k=7,
        alpha=0.5,
        *,
        beta=4.0,
        bins=16,
        box_weight=7.5,
        distribution_weight=1.5,
        assigner="task_aligned",
        box_loss="CIoULoss",
    ):
        check_integers(1, top_k=top_k)
        check_integers(3, bins=bins)
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not value > 0:
                raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
        for name, value in (
            ("box_weight", box_weight),
            ("distribution_weight", distribution_weight),
        ):
            if not value >= 0:
                raise ValueError(f"`{name}` must be at least 0. Received: {name}={value}")
        self.top_k = top_k
        self.alpha = alpha
        self.beta = beta
        self.bins = bins
        self.box_weight = box_weight
        self.distribution_weight = distribution_weight
        self.assigner = plugins.get(assigner, kind="assigner")
        self.box_loss = plugins.get(box_loss, kind="loss")
        received = getattr(self.box_loss, "bounding_box_format", "xyxy")
        if received != "xyxy":
            raise ValueError(
                "`box_loss` must have bounding_box_format='xyxy', for it is given corners. "
                f"Received: box_loss with bounding_box_format={received!r}"
            )

    def branches(self, num_classes):
        # Every score starts at 0.01, so that the many empty cells do not drown the first steps
        # (Lin et al. 2017, Focal Loss for Dense Object Detection, section 3.3).
        return [(4 * self.bins, 0.0), (num_classes, -math.log(99.0))]

    def decode(self, outputs, centers, strides):
        sides, logits = self._split(outputs)
        return self._boxes(sides, centers, strides)[0], ops.sigmoid(logits)

    def loss(self, outputs, centers, strides, boxes, labels):
        sides, logits = self._split(outputs)
        predicted, normalizer = self._boxes(sides, centers, strides)
        classes = ops.one_hot(ops.maximum(labels, 0), logits.shape[-1], dtype="float32")
        assigned, targets = self.assigner(
            pairwise_iou(boxes, predicted),
            self._scores(logits, labels),
            boxes,
            labels >= 0,
            centers,
            strides,
            top_k=self.top_k,
            alpha=self.alpha,
            beta=self.beta,
        )
        truth = assigned_boxes(assigned, boxes)
        assigned = ops.swapaxes(ops.cast(assigned, "float32"), 1, 2)  # (B, A, N)
        class_targets = ops.matmul(assigned, classes) * ops.expand_dims(targets, -1)
        class_loss = ops.sum(
            ops.binary_crossentropy(class_targets, logits, from_logits=True), axis=(1, 2)
        )
        # Without the reduction over rows: the targets weigh them.
        of_boxes = getattr(self.box_loss, "call", self.box_loss)
        box_loss = self.box_weight * of_boxes(truth, predicted)
        box_loss += self.distribution_weight * self._distribution_loss(
            sides, normalizer, truth, centers, strides
        )
        box_loss = ops.sum(targets * box_loss, axis=-1)
        return (class_loss + box_loss) / ops.maximum(ops.sum(targets, axis=-1), 1.0)

    def get_config(self):
        return {
            "top_k": self.top_k,
            "alpha": self.alpha,
            "beta": self.beta,
            "bins": self.bins,
            "box_weight": self.box_weight,
            "distribution_weight": self.distribution_weight,
            "assigner": keras.saving.serialize_keras_object(self.assigner),
            "box_loss": keras.saving.serialize_keras_object(self.box_loss),
        }

    def _split(self, outputs):
        """Logits of the sides `(B, A, 4, bins)` and of the classes `(B, A, C)`."""
        self._check_channels(outputs, 4 * self.bins)
        cells = outputs.shape[1] or ops.shape(outputs)[1]
        sides = ops.reshape(outputs[..., : 4 * self.bins], (-1, cells, 4, self.bins))
        return sides, outputs[..., 4 * self.bins :]

    @staticmethod
    def _scores(logits, labels):
        """Score of every cell for each object's class `(B, N, A)`."""
        scores = ops.swapaxes(ops.sigmoid(logits), 1, 2)  # (B, C, A)
        return ops.take_along_axis(scores, ops.maximum(labels, 0)[..., None], axis=1)

    def _boxes(self, sides, centers, strides):
        """Corners `(B, A, 4)`, and the logarithm of each side's partition sum `(B, A, 4)`."""
        normalizer = ops.logsumexp(sides, axis=-1)
        probabilities = ops.exp(sides - normalizer[..., None])
        # No product of matrices: accelerators would round its factors.
        mean = ops.sum(probabilities * ops.convert_to_tensor(self._distances()), axis=-1)
        return decode_distances(mean, centers, strides), normalizer

    def _distribution_loss(self, sides, normalizer, truth, centers, strides):
        """Cross-entropy with the two bins around each true distance, mean of the sides `(B, A)`."""
        bins = self._distances()
        distances = ops.clip(
            encode_distances(truth, centers, strides), float(bins[0]), float(bins[-1])
        )[..., None]
        # The share of a bin falls linearly from 1 at its distance to 0 at its neighbours'. The
        # shares sum to 1, so that the partition sum stands outside.
        before, after = np.append(bins[0] - 1, bins[:-1]), np.append(bins[1:], bins[-1] + 1)
        before, after, bins = (ops.convert_to_tensor(x) for x in (before, after, bins))
        rising, falling = (
            (distances - neighbour) / (bins - neighbour) for neighbour in (before, after)
        )
        share = ops.relu(ops.minimum(rising, falling))
        return ops.mean(normalizer - ops.sum(share * sides, axis=-1), axis=-1)

    def _distances(self):
        """Distances of the bins in strides: −½, 0, and on in steps that grow to the last."""
        last = self.bins - 2
        growth = np.expm1(_GROWTH * np.arange(1, last + 1) / last) / np.expm1(_GROWTH)
        return np.concatenate([[-0.5, 0.0], last * growth]).astype("float32")
