import keras
import numpy as np
import pytest

from keras_cvx.ops.arguments import (
    check_axis,
    check_boxes,
    check_choice,
    check_integers,
    check_keys,
    checked_axis,
    ignored_ids,
    shapes_agree,
    spatial_axes,
)


def test_nothing_to_check():
    check_integers(1)
    assert shapes_agree((), ())


@pytest.mark.parametrize("value", [2, 7, np.int64(2), np.uint8(3)])
def test_integers_of_python_and_numpy(value):
    check_integers(2, depth=value)


@pytest.mark.parametrize("value", [1, -2, 2.0, np.float32(3), True, None, "3"])
def test_the_first_wrong_one_is_named(value):
    with pytest.raises(
        ValueError, match=r"`depth` must be an integer of at least 2\. Received: depth="
    ):
        check_integers(2, filters=2, depth=value, width=None)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 4, 0)])
def test_what_cannot_be_boxes(shape):
    with pytest.raises(ValueError, match="`others` must have a last axis of 4"):
        check_boxes(np.zeros(shape), "others")


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 3, 4)])
def test_what_can_be_boxes(shape):
    check_boxes(np.zeros(shape), "others")


def test_unknown_sizes_agree_and_ranks_must():
    assert shapes_agree((None, 5), (2, None))
    assert not shapes_agree((2, 5), (2, 6))
    assert not shapes_agree((2,), (2, 5))


def test_ignored_ids():
    assert ignored_ids((3, np.int64(255))) == (3, 255)
    for wrong in (2.0, "255", True, [255, None]):
        with pytest.raises(ValueError, match="`ignore_class` must be None, an integer or a seq"):
            ignored_ids(wrong)


def test_unknown_keys():
    check_keys({}, "y", ())
    check_keys({"boxes": 1}, "y", ("boxes", "labels"))
    message = r"`y` must have no other keys than \['boxes', 'labels'\]. Received: \['label'\]. Did"
    with pytest.raises(ValueError, match=message):
        check_keys({"boxes": 1, "label": 2}, "y", ("boxes", "labels"))
    with pytest.raises(ValueError, match=r"Received: \[0, 'zebra'\]|Received: \['0', 'zebra'\]\.$"):
        check_keys({0: 1, "zebra": 2}, "y", ("boxes", "labels"))


def test_axes():
    assert checked_axis(np.int64(-1)) == -1
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(ValueError, match="`axis` must be an integer"):
            checked_axis(wrong)
    for axis in (-2, 1):
        check_axis(axis, np.zeros((3, 4)), "x")
    for axis in (-3, 2):
        with pytest.raises(ValueError, match=r"`axis` must be one of the 2 axes of `x`.*\(3, 4\)"):
            check_axis(axis, np.zeros((3, 4)), "x")


def test_choices():
    check_choice(("sum", "concat"), fusion="sum", other="concat")
    with pytest.raises(
        ValueError, match=r"`fusion` must be one of \('sum', 'concat'\)\. Received: fusion='add'"
    ):
        check_choice(("sum", "concat"), other="sum", fusion="add")


def test_spatial_axes():
    assert (2, 5, 7, 3)[spatial_axes("channels_last")] == (5, 7)
    assert (2, 3, 5, 7)[spatial_axes("channels_first")] == (5, 7)
    assert spatial_axes() == spatial_axes(keras.config.image_data_format())
    with pytest.raises(ValueError, match="`data_format` must be"):
        spatial_axes("NHWC")
