import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.metrics.detection_pairs import components, ranks_within


def test_no_pairs():
    nothing = np.zeros(0, int)
    assert [part.tolist() for part in components(nothing, nothing)] == [[], []]
    assert ranks_within(nothing).tolist() == []


def test_ranks():
    assert ranks_within(np.array([4, 4, 7, 4, 9, 7])).tolist() == [0, 1, 0, 2, 0, 1]


@settings(max_examples=100, deadline=None)
@given(pairs=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_parts_are_what_can_be_reached(pairs):
    rows, truths = (
        np.unique(column, return_inverse=True)[1] for column in zip(*sorted(pairs), strict=True)
    )
    part_of_row, part_of_truth = components(rows, truths)
    # Walks of up to 32 steps through the at most 20 nodes, detections first.
    count = rows.max() + 1
    reached = np.eye(count + truths.max() + 1, dtype=bool)
    reached[rows, count + truths] = reached[count + truths, rows] = True
    for _ in range(5):
        reached = reached @ reached
    part = np.concatenate([part_of_row, part_of_truth])
    np.testing.assert_array_equal(part[:, None] == part, reached)


def test_a_long_chain_is_one_part():
    # Each detection touches two neighbours, in an order that is no help.
    rows = np.repeat(np.arange(200), 2)
    truths = np.random.default_rng(0).permutation(201)[rows + np.tile([0, 1], 200)]
    assert [set(part.tolist()) for part in components(rows, truths)] == [{0}, {0}]
