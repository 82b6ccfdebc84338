"""Bins of numbers by their leading digits."""

from keras import ops

# Sign, exponent and 8 of 10 digits of half precision.
DIGITS = 8
MAGNITUDES = 32 << DIGITS
# The bin of 1, and those below.
UP_TO_ONE = (15 << DIGITS) + 1


def bins_of(values, rows):
    """Place of each value in `(rows, 2, MAGNITUDES)` flattened: negative ones first.

    Of each sign, bins rise with the magnitude; each is a part in 2**8 of its power of 2, and below
    2**-14 they are 2**-22 wide. 0 is in the first bin of either sign.

    Args:
        values: Float32 tensor, finite in half precision.
        rows: Int32 tensor that broadcasts with it, the row of each.

    Returns:
        Int32 tensor of the shape of `values`.
    """
    bits = ops.view(ops.cast(values, "float16"), dtype="int16")
    bits = ops.cast(ops.right_shift(bits, 10 - DIGITS), "int32")
    return bits + (rows * (2 * MAGNITUDES) + MAGNITUDES)
