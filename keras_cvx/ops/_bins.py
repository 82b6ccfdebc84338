"""Counts of numbers by bins, and a look-up by them, by what is fast on each backend."""

import keras
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


def counts(places, size):
    """How often each of `size` places occurs, int32 `(size,)`."""
    places = ops.reshape(places, (-1,))
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # `bincount` of Keras does not compile by XLA; this does.
        return tf.raw_ops.DenseBincount(input=places, size=size, weights=tf.zeros((0,), "int32"))
    if backend == "torch":
        return ops.bincount(places, minlength=size)
    return ops.segment_sum(ops.ones_like(places), places, num_segments=size)


def look_up(table, places):
    """Entry of a flat table at each place; no gradient is asked for."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # Twice as fast as `gather` where entries are single numbers.
        return tf.gather_nd(table, places[..., None])
    if backend == "torch":
        # `take` of Keras looks for negative places first.
        return table.index_select(0, places.reshape(-1)).reshape(places.shape)
    # `take` of Keras forgets the shape where there is nothing to take.
    return table[places]
