import itertools

import pytest

from keras_cvx.layers.decoders.feature_maps import checked_levels

pytestmark = pytest.mark.host


def without_padding(side):
    """Sides of InceptionV3's maps at strides 2, 4, 8, 16 and 32."""
    halved = [side]
    # Two convolutions of three rows stand between the first ones, which lose two rows.
    for lost in (0, 2, 2, 0, 0):
        halved.append((halved[-1] - lost - 3) // 2 + 1)
    return halved[1:]


def test_no_maps():
    with pytest.raises(ValueError, match=r"of rank 4 for each of the strides \[8\]"):
        checked_levels([], (1, 32, 32, 3), [8], "channels_last")


def test_of_a_single_map_its_shape():
    expected = [(1, 3, 4, 6)]
    assert checked_levels((1, 3, 4, 6), (1, 3, 29, 45), [8], "channels_first") == expected
    assert checked_levels(expected, (1, 3, 29, 45), [8], "channels_first") == expected


def test_what_is_unknown_is_not_asked():
    shapes = [(None, None, 6, 3), (None, 4, None, 3)]
    for images in (None, (None, None, None, 3), (None, None, 45, 3)):
        assert checked_levels(shapes, images, [8, 16], "channels_last") == shapes


def test_with_padding_and_without():
    strides = [2, 4, 8, 16, 32]
    for side in [*range(140, 420), 1024]:
        padded = [-(-side // stride) for stride in strides]
        for sides in (padded, [n + 1 for n in padded], without_padding(side)):
            shapes = [(1, n, n, 3) for n in sides]
            assert checked_levels(shapes, (1, side, side, 3), strides, "channels_last") == shapes


@pytest.mark.parametrize("side", [320, 512, 1023])
def test_maps_of_other_strides(side):
    for stride, other in itertools.product([2, 4, 8, 16, 32], repeat=2):
        shape = (1, 3, *(-(-n // other) for n in (side, side + 100)))
        if other == stride:
            continue
        with pytest.raises(ValueError, match=rf"that of stride {stride} has .*`keras_cvx"):
            checked_levels([shape], (1, 3, side, side + 100), [stride], "channels_first")


def test_images_of_another_rank():
    with pytest.raises(ValueError, match="`images` must be of rank 4"):
        checked_levels([(1, 4, 4, 3)], (32, 32, 3), [8], "channels_last")
