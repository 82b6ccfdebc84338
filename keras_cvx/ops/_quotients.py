"""Quotients whose gradients stay within float32's range."""

from keras import ops

# The smallest normal float32; what is below has lost its precision.
SMALLEST = 2.0**-126


def quotient(numerator, denominator):
    """The quotient, with a gradient that is finite wherever the true one is.

    Args:
        numerator: Float32 tensor.
        denominator: Float32 tensor of the same shape, at least `SMALLEST`.

    Returns:
        Float32 tensor of that shape; NaN where either is.
    """
    # The last two terms are 0 and only carry the gradient, which never squares a small
    # denominator: that would overflow. Quotients of quotients would do the same, but XLA rewrites
    # them to products.
    top, bottom = ops.stop_gradient(numerator), ops.stop_gradient(denominator)
    held = top / bottom
    return held + (numerator - top) / bottom - held * ((denominator - bottom) / bottom)
