"""Exact euclidean distances in masks."""

import keras
from keras import ops

# Torch makes an array in every step; from 2**23 numbers on it gets fresh memory for each.
PIXELS_AT_ONCE = 2**20


def signed_distance(masks):
    """How far each pixel lies from a mask, in the graph and exactly.

    The work is of order H·W·(H + log W) for each mask.

    Args:
        masks: Boolean or integer tensor `(..., H, W)`, true in the mask; H and W known when the
            step is traced.

    Returns:
        Float32 tensor `(..., H, W)`, in pixels, euclidean from centre to centre: outside the
        distance to the nearest pixel of the mask; inside, with a minus, that to the nearest pixel
        outside, less 1, so that 0 lies along the mask's own edge. An empty mask, and one that
        fills the image, have no contour and are 0 everywhere.

    Raises:
        ValueError: If H or W is unknown, or the tensor has less than two axes.

    Example:
        >>> distance = signed_distance([[0, 0, 0, 1, 1, 1]])
        >>> ops.convert_to_numpy(distance).tolist()
        [[3.0, 2.0, 1.0, 0.0, -1.0, -2.0]]

    Reference:
        Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, section 2; the
        convention inside is that of its published code.
    """
    masks = ops.cast(ops.convert_to_tensor(masks), "bool")
    if len(masks.shape) < 2 or None in masks.shape[-2:]:
        raise ValueError(
            "`masks` must be (..., H, W), H and W known when the step is traced. Received: shape "
            f"{tuple(masks.shape)}"
        )
    if keras.backend.backend() == "torch" and len(masks.shape) > 2 and 0 not in masks.shape:
        height, width = masks.shape[-2:]
        parts = masks.reshape(-1, height, width).split(max(1, PIXELS_AT_ONCE // (height * width)))
        return ops.concatenate([_signed_distance(part) for part in parts]).reshape(masks.shape)
    return _signed_distance(masks)


def _signed_distance(masks):
    outside = _distance_to(masks)
    inside = ops.relu(_distance_to(ops.logical_not(masks)) - 1.0)
    some = ops.any(masks, axis=(-2, -1), keepdims=True)
    contour = ops.logical_and(some, ops.logical_not(ops.all(masks, axis=(-2, -1), keepdims=True)))
    signed = ops.where(masks, 0.0 - inside, outside)
    return ops.where(contour, signed, ops.zeros_like(signed))


def _distance_to(masks):
    """Distance of each pixel to the nearest true one; large and finite where there is none."""
    height, width = masks.shape[-2:]
    far = 4 * (height + width)
    row = _gaps(masks, far)
    row = ops.square(ops.cast(ops.minimum(row, ops.flip(_gaps(ops.flip(masks, -1), far), -1)),
                              "float32"))  # fmt: skip
    places = ops.cast(ops.arange(height, dtype="int32")[:, None], "float32")

    def nearer(k, least):
        # The lower envelope of parabolas, one for each row.
        step = ops.square(places - ops.cast(k, "float32"))
        return ops.minimum(least, ops.take(row, ops.reshape(k, (1,)), axis=-2) + step)

    # Below 2**24 squared distances are whole numbers that float32 holds exactly.
    return ops.sqrt(ops.fori_loop(0, height, nearer, ops.full_like(row, float(far) ** 2)))


def _gaps(masks, far):
    """Steps back to the last true pixel of the row; each turn doubles the steps it has tried."""
    gaps = ops.where(masks, 0, far)
    step, width = 1, masks.shape[-1]
    while step < width:
        shifted = ops.pad(
            gaps[..., :-step],
            [(0, 0)] * (len(masks.shape) - 1) + [(step, 0)],
            constant_values=far,
        )
        gaps = ops.minimum(gaps, shifted + step)
        step *= 2
    return gaps
