"""The boundary loss."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.segmentation_loss import SegmentationLoss, flat_pixels, probabilities
from keras_cvx.ops.arguments import check_axis
from keras_cvx.ops.distance import signed_distance


def boundary(distances, y_pred, mask=None):
    """Mean over pixels and classes of probability times signed distance, of each image.

    Args:
        distances: Float tensor `(B, N, C)`, signed distance of each pixel to each class's contour.
        y_pred: Float tensor `(B, N, C)`, probabilities.
        mask: Boolean tensor `(B, N, 1)` of the pixels that count, or None for all.

    Returns:
        Float32 tensor `(B,)`, in pixels; below 0 where most of the probability lies inside. 0
        where no pixel counts.
    """
    products = ops.mean(distances * y_pred, axis=-1, keepdims=True)  # (B, N, 1)
    mask = ops.ones_like(products) if mask is None else ops.cast(mask, "float32")
    pixels = ops.sum(mask, axis=(1, 2))
    return ops.sum(ops.where(mask > 0, products, 0.0), axis=(1, 2)) / ops.maximum(pixels, 1.0)


@plugins.register("BoundaryLoss", kind="loss")
class BoundaryLoss(SegmentationLoss):
    """Boundary loss: how far from the true contour the predicted regions reach.

    The signed distances are computed from the masks in the graph, exactly. The loss is below 0 for
    good predictions; it is meant beside a loss of regions, whose weight shrinks as training goes
    on.

    Args:
        from_logits: Whether `y_pred` is of logits; else of probabilities. Logits taken for
            probabilities raise no error: the loss then falls without end as they grow.
        axis: The axis of classes.
        reduction: As for every Keras loss.
        name: As for every Keras loss.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot, of the shape of `y_pred`; H and W
            known when the step is traced.
        y_pred: Float tensor `(B, H, W, C)`.

    Raises:
        ValueError: If the shapes do not go together.

    Example:
        >>> loss = BoundaryLoss()
        >>> float(loss(ops.array([[[1, 1, 0, 0]]]), ops.array([[[[0.0], [0.0], [0.0], [1.0]]]])))
        0.5

    Reference:
        Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, equation 5; the
        distances as `keras_cvx.ops.signed_distance` defines them.
    """

    default_name = "boundary_loss"

    def call(self, y_true, y_pred, mask=None):
        check_axis(self.axis, y_pred, "y_pred")
        sides = list(y_pred.shape)
        del sides[self.axis]
        if len(sides) != 3 or None in sides[1:]:
            raise ValueError(
                "`y_pred` must be (B, H, W, C), with H and W known when the step is traced. "
                f"Received: shape {tuple(y_pred.shape)}"
            )
        truth, y_pred, mask = flat_pixels(y_true, y_pred, self.axis, mask)
        if mask is not None:
            truth = ops.where(mask, truth, 0.0)
        regions = ops.reshape(ops.transpose(truth > 0, (0, 2, 1)), (-1, *sides[1:]))
        distances = ops.reshape(signed_distance(regions), (-1, y_pred.shape[-1], truth.shape[1]))
        y_pred = probabilities(y_pred, self.from_logits)
        return boundary(ops.transpose(distances, (0, 2, 1)), y_pred, mask)
