import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.ops import decode_distances, decode_places, encode_distances, encode_places
from keras_cvx.testing import boxes

COORDINATES = st.integers(0, 40).map(float)


def test_no_boxes():
    none, centers, strides = np.zeros((2, 0, 4)), np.zeros((2, 0, 2)), np.ones((2, 0, 1))
    assert encode_distances(none, centers, strides).shape == (2, 0, 4)
    assert encode_places(none, centers, strides, centers).shape == (2, 0, 4)


@settings(max_examples=50, deadline=None)
@given(boxes((8,)), COORDINATES, COORDINATES, st.sampled_from([8.0, 14.0, 32.0]))
def test_there_and_back(corners, x, y, stride):
    """The identity, to the rounding of float32."""
    corners, centers, strides, size = (
        ops.convert_to_tensor(np.asarray(values, "float32"))
        for values in (corners, [x, y], [stride], [48.0, 32.0])
    )
    scale = 1.0 + np.abs(ops.convert_to_numpy(corners)).max()
    for back in (
        decode_distances(encode_distances(corners, centers, strides), centers, strides),
        decode_places(encode_places(corners, centers, strides, size), centers, strides, size),
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(back) / scale, ops.convert_to_numpy(corners) / scale, atol=1e-6
        )


def test_places_are_those_of_the_paper():
    """Section 2: an object in the middle of cell (1, 0), a quarter of the image high and wide."""
    place = encode_places(
        *(
            ops.convert_to_tensor(values)
            for values in ([10.0, 2.0, 14.0, 6.0], [12.0, 4.0], [8.0], [16.0, 16.0])
        )
    )
    assert ops.convert_to_numpy(place).tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5])


def test_a_negative_root_is_an_empty_box():
    place = ops.convert_to_tensor([0.5, 0.5, -1.0, 0.5])
    cell = ops.convert_to_tensor([12.0, 4.0, 8.0, 16.0, 16.0])
    box = ops.convert_to_numpy(decode_places(place, cell[:2], cell[2:3], cell[3:]))
    assert box[0] == box[2] == 12.0
    assert box[3] - box[1] == 4.0
