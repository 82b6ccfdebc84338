"""Order of many rows of numbers by the sort that is fast on each backend."""

import math

import keras
from keras import ops


def falling_order(values, marks):
    """Where each row's values stand when they fall, and the marks in that order.

    Args:
        values: Float32 tensor `(R, N)`, none negative.
        marks: Integer tensor `(R, N)` of 0 and 1. Of values that differ by one unit in the last
            place those marked may come first.

    Returns:
        Integer tensor `(R, N)` of places, and int32 tensor `(R, N)`, the marks at these.
    """
    # The bits of floats that are not negative are in the order of the floats. As whole numbers
    # they are sorted faster, and the last bit carries the mark along.
    # `view` must know the size of the last axis.
    bits = ops.view(values[..., None], dtype="int32")[..., 0]
    keys = ops.bitwise_or(ops.bitwise_and(bits, -2), marks)
    # Where a shape is only reckoned, JAX has no number.
    if keras.backend.backend() == "jax" and isinstance(keys.shape[1], int):
        order = _order_in_rounds(keys)
        return order, ops.take_along_axis(marks, order, axis=1)
    # `argsort` would call a sort like this and forget the values.
    keys, order = ops.top_k(keys, keys.shape[1] or ops.shape(keys)[1])
    return order, ops.bitwise_and(keys, 1)


def _order_in_rounds(keys):
    """As `argsort` of the falling keys, by sorts of plain numbers.

    XLA sorts one array of integers on a CPU five times as fast as it sorts them with anything
    beside. So each round, from the last digit to the first, sorts a digit with the place in the
    bits below it.
    """
    count = keys.shape[1]
    place_bits = max(1, math.ceil(math.log2(max(count, 1))))
    digit_bits = 32 - place_bits
    # All ones minus the key, so that the order rises.
    keys = ops.cast(2**31 - 1 - keys, "uint32")
    places = ops.arange(count, dtype="uint32")
    order = None
    for shift in range(0, 31, digit_bits):
        digits = keys if order is None else ops.take_along_axis(keys, order, axis=1)
        digits = ops.left_shift(ops.right_shift(digits, shift), place_bits)
        ranked = ops.bitwise_and(
            ops.sort(ops.bitwise_or(digits, places), axis=1), 2**place_bits - 1
        )
        ranked = ops.cast(ranked, "int32")
        order = ranked if order is None else ops.take_along_axis(order, ranked, axis=1)
    return order
