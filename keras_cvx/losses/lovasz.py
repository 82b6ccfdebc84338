"""The Lovász losses, which train for the intersection over union itself."""

from keras import ops

from keras_cvx import plugins
from keras_cvx.losses.segmentation_loss import SegmentationLoss
from keras_cvx.ops.arguments import check_integers
from keras_cvx.ops.lovasz import lovasz_jaccard, rounded_lovasz_jaccard


def lovasz_softmax(y_true, y_pred, *, per_image=False, classes="present", exact=True):
    """Mean over classes of the Lovász extension of each class's Jaccard loss.

    Args:
        y_true: Tensor `(B, N, C)` of 0 and 1. Pixels that are 0 here and in `y_pred` count nowhere.
        y_pred: Float tensor `(B, N, C)`, probabilities.
        per_image: Whether each image is judged by itself, or the batch as one.
        classes: As in `LovaszSoftmax`.
        exact: As in `LovaszSoftmax`.

    Returns:
        Float32 tensor `(B,)` if `per_image`, else a scalar; 0 where no class is present.
    """
    if classes not in ("present", "all"):
        y_true, y_pred = (ops.take(x, list(classes), axis=-1) for x in (y_true, y_pred))
    y_true = ops.cast(y_true, "float32")
    present = ops.any(y_true > 0, axis=1) if per_image else ops.any(y_true > 0, axis=(0, 1))[None]
    counted = ops.cast(ops.ones_like(present) if classes == "all" else present, "float32")
    shares = counted / ops.maximum(ops.sum(counted, axis=-1, keepdims=True), 1.0)
    if not exact:
        losses = rounded_lovasz_jaccard(y_true, y_pred, shares)
        return losses if per_image else losses[0]
    images, pixels, count = ops.shape(y_pred)
    rows = (images * count, pixels) if per_image else (count, images * pixels)
    order = (0, 2, 1) if per_image else (2, 0, 1)
    errors, truth = (
        ops.reshape(ops.transpose(x, order), rows) for x in (ops.abs(y_true - y_pred), y_true)
    )
    losses = ops.sum(
        ops.reshape(lovasz_jaccard(errors, truth), ops.shape(shares)) * shares, axis=-1
    )
    return losses if per_image else losses[0]


def lovasz_hinge(y_true, y_pred, mask=None, *, per_image=True):
    """The Lovász extension of the Jaccard loss of one foreground, on hinge errors.

    Args:
        y_true: Tensor `(B, N, 1)` of 0 and 1.
        y_pred: Float tensor `(B, N, 1)`, logits.
        mask: Boolean tensor `(B, N, 1)` of the pixels that count, or None for all.
        per_image: Whether each image is judged by itself, or the batch as one.

    Returns:
        Float32 tensor `(B,)` if `per_image`, else a scalar, at least 0.
    """
    # At 0 or less an error counts nowhere.
    errors = ops.relu(1.0 - y_pred * (2.0 * ops.cast(y_true, "float32") - 1.0))
    if mask is not None:
        errors = ops.where(mask, errors, 0.0)
    images, pixels, _ = ops.shape(y_pred)
    rows = (images, pixels) if per_image else (1, images * pixels)
    losses = lovasz_jaccard(ops.reshape(errors, rows), ops.reshape(y_true, rows))
    return losses if per_image else losses[0]


@plugins.register("LovaszSoftmax", kind="loss")
class LovaszSoftmax(SegmentationLoss):
    """Lovász-softmax loss: a surrogate of the mean IoU of all classes.

    Where the probabilities are 0 and 1 it is exactly 1 minus the mean IoU.

    Args:
        from_logits: Whether `y_pred` is of logits; else of probabilities. Logits taken for
            probabilities raise no error: the exact loss exceeds 1, the other is near 0, since
            errors above 1 count as none.
        per_image: Whether IoU is of each image, as in a challenge that scores images one by one,
            or of the whole batch, as in the metric of a data set.
        classes: Which classes have a part in the mean: `"present"`, those in the truth; `"all"`; or
            a sequence of ids, of which those in the truth.
        exact: Whether errors are ranked exactly, by a sort, which for many pixels and classes takes
            longer than all else in the loss. Else by their first 9 binary digits, several times
            faster. The value is exact for probabilities of 0 and 1; otherwise, for images of
            256 × 256, it is about 1e-6 below the exact one, and the gradient differs from the exact
            one by less than 1e-3 of its length, because pixels with almost equal errors share their
            weights. The fewer pixels, the larger both.
        axis: The axis of classes.
        reduction: As for every Keras loss; of a whole batch there is one value.
        name: As for every Keras loss.

    Call arguments:
        y_true: Ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot, of the shape of `y_pred`. Ids that
            are no class are an error in every class; `IgnoreClass` leaves them out.
        y_pred: Float tensor `(B, H, W, C)`.

    Raises:
        ValueError: If an argument is out of its range, or the shapes do not go together.

    Example:
        >>> loss = LovaszSoftmax()
        >>> float(loss(ops.array([[0, 1]]), ops.array([[[0.5, 0.5], [0.0, 1.0]]])))
        0.375

    Reference:
        Berman et al. 2018, The Lovász-Softmax loss, equation 11 and algorithm 1.
    """

    def __init__(
        self,
        from_logits=False,
        *,
        per_image=False,
        classes="present",
        exact=True,
        axis=-1,
        reduction="sum_over_batch_size",
        name="lovasz_softmax",
    ):
        super().__init__(from_logits, axis=axis, reduction=reduction, name=name)
        if classes not in ("present", "all"):
            if not isinstance(classes, (list, tuple)) or not classes:
                raise ValueError(
                    "`classes` must be 'present', 'all' or a sequence of ids. Received: "
                    f"classes={classes!r}"
                )
            for label in classes:
                check_integers(0, classes=label)
        self.per_image = per_image
        self.classes = classes
        self.exact = exact

    def of_pixels(self, y_true, y_pred, mask):
        if self.classes not in ("present", "all") and max(self.classes) >= y_pred.shape[-1]:
            raise ValueError(
                f"`classes` must be ids of the {y_pred.shape[-1]} classes of `y_pred`. Received: "
                f"classes={self.classes!r}"
            )
        return lovasz_softmax(
            y_true, y_pred, per_image=self.per_image, classes=self.classes, exact=self.exact
        )

    def get_config(self):
        config = super().get_config()
        config.update(per_image=self.per_image, classes=self.classes, exact=self.exact)
        return config


@plugins.register("LovaszHinge", kind="loss")
class LovaszHinge(SegmentationLoss):
    """Lovász hinge loss: a surrogate of the IoU of one foreground, on logits.

    Args:
        per_image: As in `LovaszSoftmax`.
        axis: The axis of the one class.
        reduction: As for every Keras loss; of a whole batch there is one value.
        name: As for every Keras loss.

    Call arguments:
        y_true: Tensor `(B, H, W)` or `(B, H, W, 1)` of 0 and 1.
        y_pred: Float tensor `(B, H, W, 1)`, logits: positive where the foreground is found.
            Probabilities raise no error, but cost up to 1 even where they are right.

    Raises:
        ValueError: If an argument is out of its range, or the shapes do not go together.

    Example:
        >>> y_pred = ops.array([[[2.0], [0.5], [-1.0], [-3.0]]])
        >>> float(LovaszHinge()(ops.array([[1, 1, 0, 0]]), y_pred))
        0.25

    Reference:
        Berman et al. 2018, The Lovász-Softmax loss, equation 12.
    """

    takes_probabilities = False

    def __init__(
        self,
        per_image=True,
        *,
        axis=-1,
        reduction="sum_over_batch_size",
        name="lovasz_hinge",
    ):
        super().__init__(True, axis=axis, reduction=reduction, name=name)
        self.per_image = per_image

    def of_pixels(self, y_true, y_pred, mask):
        if y_pred.shape[-1] != 1:
            raise ValueError(
                "`y_pred` must be of one class, the foreground. Received: "
                f"{y_pred.shape[-1]} classes; for several there is `LovaszSoftmax`."
            )
        return lovasz_hinge(y_true, y_pred, mask, per_image=self.per_image)

    def get_config(self):
        config = super().get_config()
        del config["from_logits"]
        config.update(per_image=self.per_image)
        return config
