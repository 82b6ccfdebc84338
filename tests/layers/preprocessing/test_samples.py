import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx.layers.preprocessing.samples import (
    check_format_given,
    check_geometry,
    check_masks,
    check_rows,
    dense_rows,
    images_of,
    size_of,
)
from keras_cvx.ops.arguments import FIELDS


def test_images_alone_or_in_a_sample():
    images = np.zeros((0, 4, 5, 3))
    assert images_of(images) is images_of({"images": images}) is images
    for without in ({}, {"images": None, "labels": 1}):
        with pytest.raises(ValueError, match=r"the key 'images'. Received: .* keys \["):
            images_of(without)


@pytest.mark.parametrize(
    ("shape", "data_format", "expected"),
    [
        ((4, 5, 3), "channels_last", ((), 4, 5)),
        ((3, 4, 5), "channels_first", ((), 4, 5)),
        ((0, 4, 5, 3), "channels_last", ((0,), 4, 5)),
        ((2, 3, 4, 5), "channels_first", ((2,), 4, 5)),
    ],
)
def test_size(shape, data_format, expected):
    assert size_of(np.zeros(shape), data_format) == expected


def test_size_of_symbolic_images():
    assert size_of(keras.KerasTensor((None, None, 5, 3)), "channels_last") == ((None,), None, 5)


@pytest.mark.parametrize("shape", [(4, 5), (1, 2, 4, 5, 3)])
def test_another_rank(shape):
    with pytest.raises(ValueError, match="of rank 3, one image, or of rank 4, a batch"):
        size_of(np.zeros(shape), "channels_last")


def test_no_pixels():
    with pytest.raises(ValueError, match="height=4, width=0"):
        size_of(np.zeros((2, 4, 0, 3)), "channels_last")


def test_masks_have_the_size_of_their_images():
    for shape in ((2, 4, 5), (2, 4, 5, 1), (None, 4, None)):
        check_masks(keras.KerasTensor(shape), (2,), (4, 5))
    for shape in ((2, 5, 4), (1, 4, 5), (4, 5)):
        with pytest.raises(ValueError, match="size of their images"):
            check_masks(np.zeros(shape), (2,), (4, 5))


def test_one_record_or_one_for_each_image():
    record = {name: np.ones(2) for name in FIELDS}
    check_geometry(record, (3,))
    several = {name: np.tile(value, (2, 1)) for name, value in record.items()}
    check_geometry(several, (2,))
    with pytest.raises(ValueError, match=r"records of \(2,\) for images of \(3,\)"):
        check_geometry(several, (3,))
    with pytest.raises(ValueError, match="`geometry` must be a record"):
        check_geometry({"offset": np.zeros(2)}, (3,))


def test_a_format_must_be_given():
    check_format_given("xyxy")
    with pytest.raises(ValueError, match="`bounding_box_format='xyxy'`"):
        check_format_given(None)


ROWS = {"boxes": np.zeros((2, 0, 4)), "labels": np.zeros((2, 0))}
WRONG_ROWS = {
    "no dictionary": (np.zeros((2, 0, 4)), "Received: ndarray"),
    "no boxes": ({"labels": ROWS["labels"]}, "the keys 'boxes' and 'labels'"),
    "one box": ({"boxes": np.zeros((2, 4))}, r"pass `boxes\[..., None, :\]`"),
    "three sides": ({"boxes": np.zeros((2, 5, 3))}, r"Received: boxes of shape \(2, 5, 3\)$"),
    "another batch": ({"boxes": np.zeros((3, 5, 4))}, r"\(2, 'N', 4\)"),
    "other labels": (
        {"boxes": np.zeros((2, 5, 4)), "labels": np.zeros((2, 4))},
        r"labels of shape \(2, 4\) and boxes of shape \(2, 5, 4\)",
    ),
}


def test_rows():
    check_rows(ROWS, (2,))
    check_rows({"boxes": ROWS["boxes"]}, (2,))


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_rows_that_are_refused(case):
    rows, message = WRONG_ROWS[case]
    with pytest.raises(ValueError, match=message):
        check_rows(rows, (2,))


def test_lists_become_padded_rows():
    rows = dense_rows({"boxes": [[], [[1, 2, 3, 4]]], "labels": [[], [7]]}, batched=True)
    assert ops.convert_to_numpy(rows["boxes"])[1].tolist() == [[1, 2, 3, 4]]
    assert ops.convert_to_numpy(rows["labels"]).tolist() == [[-1], [7]]


def test_an_empty_list_of_one_image():
    rows = dense_rows({"boxes": [], "labels": []}, batched=False)
    assert (rows["boxes"].shape, rows["boxes"].dtype) == ((0, 4), "float32")
    assert (rows["labels"].shape, rows["labels"].dtype) == ((0,), "int32")


def test_what_is_no_dictionary_is_left_to_the_check():
    assert dense_rows("boxes", batched=True) == "boxes"
