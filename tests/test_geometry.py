import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry, testing

SIZES = testing.image_sizes(8, 64) | testing.image_sizes(8, 400)
# Large enough that float32 knows a pixel of the source to 1e-3.
TARGETS = testing.image_sizes(48, 400)
POSITIONS = list(geometry.POSITIONS)


def numbers(record):
    return {name: np.asarray(record[name]).tolist() for name in geometry.FIELDS}


def extent(painted):
    """First row and column, and number of rows and columns, of what is painted."""
    rows, columns = (np.flatnonzero(painted.any(axis)) for axis in (1, 0))
    return [rows[0], columns[0]], [len(rows), len(columns)]


def records(size, target):
    """One of each kind."""
    height, width = size
    region = (0.25 * width, 0.125 * height, 0.75 * width, height)
    return [
        geometry.resize(size, target),
        *(geometry.resize_with_pad(size, target, pad_position=name) for name in POSITIONS),
        geometry.resize_with_pad(size, target, allow_upscale=False),
        geometry.crop_or_pad(size, target),
        geometry.crop_or_pad(size, target, offset=(-3, 5)),
        geometry.crop_and_resize(size, region, target),
    ]


def test_nothing(as_kind):
    one = as_kind(geometry.resize((4, 8), (8, 8)))
    none = as_kind(geometry.resize(np.zeros((0, 2)), (8, 8)))
    assert none["offset"].shape == (0, 2)
    for move in (geometry.transform_boxes, geometry.restore_boxes):
        assert move(as_kind(np.zeros((0, 4))), one).shape == (0, 4)
        assert move(as_kind(np.zeros((3, 0, 4))), one).shape == (3, 0, 4)
        assert move(as_kind(np.zeros((0, 5, 4))), none).shape == (0, 5, 4)
    for move in (geometry.transform_points, geometry.restore_points):
        assert move(as_kind(np.zeros((0, 2))), one).shape == (0, 2)
    assert geometry.compose(none, one)["offset"].shape == (0, 2)


# (29, 50) into squares: in float32 50 / (50 / 61) is less than 61.
@pytest.mark.parametrize("square", [True, False])
def test_letterbox_lies_where_tensorflow_puts_it(square):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    smaller = checked = 0
    for _ in range(300):
        size, target = (rng.integers(8, 200, 2).tolist() for _ in range(2))
        target = target[:1] * 2 if square else target
        if min(side / max(np.divide(size, target)) for side in size) < 1.01:
            continue  # TensorFlow refuses to resize to nothing.
        image = tf.image.resize_with_pad(tf.ones((*size, 1)), *target, method="nearest")
        offset, content = extent(image.numpy()[..., 0] > 0)
        record = numbers(geometry.resize_with_pad(tuple(size), tuple(target)))
        assert (record["offset"], record["content_size"]) == (offset, content), (size, target)
        smaller += all(side < whole for side, whole in zip(content, target, strict=True))
        checked += 1
    assert checked > 200
    assert smaller > 0


def test_crop_or_pad_lies_where_tensorflow_puts_it():
    tf = pytest.importorskip("tensorflow")
    sides = range(1, 6)
    for here in sides:
        for out in sides:
            image = tf.reshape(tf.range(1, here + 1), (here, 1, 1))
            got = tf.image.resize_with_crop_or_pad(image, out, 1).numpy().ravel().tolist()
            [offset, _] = numbers(geometry.crop_or_pad((here, 1), (out, 1)))["offset"]
            first = next(i for i, value in enumerate(got) if value)
            assert offset == first - (got[first] - 1), (here, out)


def test_all_kinds_of_sizes_give_the_same_records(as_kind):
    rng = np.random.default_rng(0)
    sizes = rng.integers(8, 400, (20, 2))
    region = rng.uniform(0, 100, (20, 4)).astype("float32")
    region[:, 2:] += region[:, :2] + 1

    def batch(source, target, region):
        return [
            geometry.resize(source, target),
            *(geometry.resize_with_pad(source, target, pad_position=x) for x in POSITIONS),
            geometry.crop_or_pad(source, target),
            geometry.crop_and_resize(source, region, target),
        ]

    for dtype in ("int32", "float32"):
        got = batch(as_kind(sizes.astype(dtype)), (61, 97), as_kind(region))
        also = batch(as_kind(sizes.astype(dtype)), as_kind(np.array([61, 97], dtype)), region)
        pairs = [
            batch(tuple(size), (61, 97), tuple(box))
            for size, box in zip(sizes.tolist(), region.tolist(), strict=True)
        ]
        for several, same, ones in zip(got, also, zip(*pairs, strict=True), strict=True):
            expected = {name: [numbers(one)[name] for one in ones] for name in geometry.FIELDS}
            assert numbers(several) == numbers(same) == expected
            assert {keras.backend.standardize_dtype(x.dtype) for x in several.values()} == {
                "float32"
            }


def test_compiled_records_are_the_eager_ones(compiled):
    """A compiler that multiplies by the reciprocal of the target loses a pixel."""
    sizes = np.stack(np.meshgrid(np.arange(8, 60), np.arange(8, 60)), -1).reshape(-1, 2)
    sizes = sizes.astype("int32")
    for target in ((24, 32), (61, 61)):
        expected = numbers(geometry.resize_with_pad(sizes, target))
        record = compiled(lambda x, target=target: geometry.resize_with_pad(x, target))
        got = record(ops.convert_to_tensor(sizes))
        assert numbers(keras.tree.map_structure(ops.convert_to_numpy, got)) == expected
        tf = pytest.importorskip("tensorflow")
        graph = tf.function(
            lambda x, target=target: geometry.resize_with_pad(x, target),
            input_signature=[tf.TensorSpec((None, 2), "int32")],
        )
        assert numbers(graph(tf.constant(sizes))) == expected


def test_answers_in_kind(as_kind):
    boxes = as_kind(np.float32([[1, 2, 3, 4]]))
    record = geometry.resize_with_pad(as_kind(np.int32([50, 100])), (64, 64))
    for got in (*record.values(), geometry.transform_boxes(boxes, record)):
        assert type(got) is type(boxes)


def test_sizes_as_nested_lists_are_pairs_of_height_and_width():
    record = geometry.resize([[4, 8], [5, 9]], [8, 8])
    assert numbers(record)["source_size"] == [[4, 8], [5, 9]]


def test_a_record_survives_json():
    record = geometry.resize_with_pad((64, 64), (64, 64), pad_position="top_left")
    back = json.loads(json.dumps(numbers(record)))
    box = [[4.0, 2.0, 8.0, 4.0]]
    assert (
        geometry.transform_boxes(box, back).tolist()
        == geometry.transform_boxes(box, record).tolist()
    )
    assert numbers(geometry.compose(back, back)) == numbers(geometry.compose(record, record))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=SIZES, target=TARGETS)
def test_there_and_back(data, size, target):
    boxes = data.draw(testing.boxes((6,), size, inside=True))
    for record in records(size, target):
        there = geometry.transform_boxes(boxes, record)
        back = geometry.restore_boxes(there, record, clip=False)
        np.testing.assert_allclose(back, boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(geometry.restore_boxes(there, record), boxes, rtol=0, atol=1e-3)
        for corners in (boxes[:, :2], boxes[:, 2:]):
            points = geometry.transform_points(corners, record)
            back = geometry.restore_points(points, record)
            np.testing.assert_allclose(back, corners, rtol=0, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sizes=st.tuples(SIZES, TARGETS, TARGETS))
def test_composed_is_one_after_the_other(data, sizes):
    boxes = data.draw(testing.boxes((6,), sizes[0], inside=True))
    for first in records(*sizes[:2]):
        for second in records(*sizes[1:]):
            both = geometry.compose(first, second)
            expected = geometry.transform_boxes(geometry.transform_boxes(boxes, first), second)
            got = geometry.transform_boxes(boxes, both)
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
            assert numbers(both)["source_size"] == list(sizes[0])
            assert numbers(both)["target_size"] == list(sizes[2])


@settings(max_examples=60, deadline=None)
@given(size=testing.image_sizes(1, 2000), target=testing.image_sizes(1, 400))
def test_the_content_lies_in_the_target(size, target):
    for name in POSITIONS:
        for allow_upscale in (True, False):
            record = geometry.resize_with_pad(
                size, target, pad_position=name, allow_upscale=allow_upscale
            )
            low = record["offset"]
            high = low + record["content_size"]
            assert (low >= 0).all(), name
            assert (high <= target).all(), name
            assert (record["content_size"] >= 1).all()
            assert all((record[field] == np.round(record[field])).all() for field in record)
            if not allow_upscale:
                assert (record["content_size"] <= size).all()
            if name != "center":
                row, column = name.split("_")
                assert high[0] == target[0] if row == "bottom" else low[0] == 0
                assert high[1] == target[1] if column == "right" else low[1] == 0


def test_padded_rows_stay(as_kind):
    boxes = as_kind(np.float32([[-1, -1, -1, -1], [0, 0, 10, 10], [-1, -1, 3, 3]]))
    record = as_kind(geometry.resize_with_pad((50, 100), (64, 64)))
    for move in (geometry.transform_boxes, geometry.restore_boxes):
        moved = np.asarray(move(boxes, record))
        assert moved[0].tolist() == [-1] * 4
        assert (moved[1:] != -1).all()


def test_restored_boxes_are_clipped_to_the_source(as_kind):
    record = as_kind(geometry.resize_with_pad((50, 100), (64, 64)))
    whole = as_kind(np.float32([[0, 0, 64, 64], [-9, 20, 70, 30]]))
    clipped = np.asarray(geometry.restore_boxes(whole, record))
    assert clipped.tolist() == [[0, 0, 100, 50], [0, 6.25, 100, 21.875]]
    free = np.asarray(geometry.restore_boxes(whole, record, clip=False))
    assert free.tolist() == [[0, -25, 100, 75], [-14.0625, 6.25, 109.375, 21.875]]


def test_a_record_for_each_image(as_kind):
    sizes = np.int32([[50, 100], [64, 32]])
    several = as_kind(geometry.resize_with_pad(sizes, (64, 64)))
    boxes = np.float32([[[1, 2, 3, 4], [-1] * 4], [[5, 6, 7, 8], [0, 0, 1, 1]]])
    got = np.asarray(geometry.transform_boxes(as_kind(boxes), several))
    for i, size in enumerate(sizes.tolist()):
        one = geometry.resize_with_pad(tuple(size), (64, 64))
        assert got[i].tolist() == geometry.transform_boxes(boxes[i], one).tolist()


def test_one_record_for_all_images():
    record = geometry.resize_with_pad((50, 100), (64, 64))
    boxes = np.float32([[[1, 2, 3, 4]], [[5, 6, 7, 8]]])
    expected = [geometry.transform_boxes(one, record).tolist() for one in boxes]
    assert geometry.transform_boxes(boxes, record).tolist() == expected


def test_compiles(compiled):
    boxes = np.float32([[1, 2, 3, 4]])
    record = geometry.resize_with_pad((50, 100), (64, 64))
    tensors = keras.tree.map_structure(ops.convert_to_tensor, record)
    both = compiled(lambda x: geometry.restore_boxes(geometry.transform_boxes(x, tensors), tensors))
    np.testing.assert_allclose(
        ops.convert_to_numpy(both(ops.convert_to_tensor(boxes))), boxes, atol=1e-5
    )


@settings(max_examples=40, deadline=None)
@given(size=testing.image_sizes(1, 40), factor=st.integers(1, 4), channels=st.booleans())
def test_an_enlarged_mask_comes_back(size, factor, channels):
    mask = np.arange(np.prod(size), dtype="int32").reshape(size)
    mask = mask[..., None] if channels else mask
    record = geometry.compose(
        geometry.resize(size, tuple(factor * side for side in size)),
        geometry.crop_or_pad(
            tuple(factor * side for side in size), tuple(factor * side + 5 for side in size)
        ),
    )
    there = geometry.transform_mask(mask, record, fill_value=-7)
    assert there.dtype == mask.dtype
    assert (there != -7).sum() == mask.size * factor**2
    np.testing.assert_array_equal(geometry.restore_mask(there, record), mask)


def test_what_the_target_does_not_show_of_a_mask_is_filled():
    mask = np.uint8([[1, 2, 3, 4]])
    record = geometry.crop_or_pad((1, 4), (1, 2))
    there = geometry.transform_mask(mask, record)
    assert there.tolist() == [[2, 3]]
    assert geometry.restore_mask(there, record).tolist() == [[255, 2, 3, 255]]
    assert geometry.restore_mask(there, record, fill_value=9).tolist() == [[9, 2, 3, 9]]


ONE = geometry.resize((4, 8), (8, 8))
TWO = geometry.resize(np.ones((2, 2)), (8, 8))
THREE = geometry.resize(np.ones((3, 2)), (8, 8))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: geometry.resize_with_pad((4, 8), (8, 8), pad_position="left"), "`pad_position`"),
        (lambda: geometry.transform_boxes(np.zeros((3, 1, 4)), TWO), "`geometry`"),
        (lambda: geometry.transform_boxes(np.zeros((1, 1, 4)), TWO), "`geometry`"),
        (lambda: geometry.transform_boxes(np.zeros((2, 4)), TWO), "`geometry`"),
        (lambda: geometry.restore_boxes(np.zeros((2, 1, 4)), THREE), "`geometry`"),
        (lambda: geometry.restore_points(np.zeros((2, 1, 2)), THREE), "`geometry`"),
        (lambda: geometry.compose(TWO, THREE), "`geometry`"),
        (lambda: geometry.compose(geometry.resize(np.ones((1, 2)), 8 * np.ones(2)), TWO), "`geom"),
        (lambda: geometry.transform_boxes(np.zeros((1, 4)), {"offset": (0, 0)}), "`geometry`"),
        (lambda: geometry.transform_boxes(np.zeros((1, 4)), None), "`geometry`"),
        (lambda: geometry.transform_boxes(np.zeros((1, 5)), ONE), "`boxes`"),
        (lambda: geometry.restore_boxes(np.zeros(4), ONE), "`boxes`"),
        (lambda: geometry.transform_points(np.zeros((1, 4)), ONE), "`points`"),
        (lambda: geometry.transform_mask(np.zeros((8, 4)), ONE), "`mask`"),
        (lambda: geometry.restore_mask(np.zeros((4, 8)), ONE), "`mask`"),
        (lambda: geometry.transform_mask(np.zeros((2, 1, 1, 1)), TWO), "`mask`"),
    ],
)
def test_bad_input(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("source_size", lambda: geometry.resize((4, 8, 3), (8, 8))),
        ("source_size", lambda: geometry.resize_with_pad(np.array([4, 8, 3]), (8, 8))),
        ("target_size", lambda: geometry.crop_or_pad((4, 8), 8)),
        ("target_size", lambda: geometry.resize_with_pad((10, 10), (0, 5))),
        ("source_size", lambda: geometry.resize((-10, 10), (5, 5))),
        ("source_size", lambda: geometry.resize((float("nan"), 10), (5, 5))),
        ("box", lambda: geometry.crop_and_resize((10, 10), (3, 3, 3, 3), (5, 5))),
        ("box", lambda: geometry.crop_and_resize((10, 10), (3, 3, 5), (5, 5))),
        ("geometry", lambda: geometry.compose(None, geometry.resize((4, 8), (8, 8)))),
        ("geometry", lambda: geometry.compose(geometry.resize((4, 8), (8, 8)), {"offset": 0})),
        (
            "geometry",
            lambda: geometry.compose(
                geometry.resize((4, 8), (8, 8)), geometry.resize((9, 9), (3, 3))
            ),
        ),
        ("geometry", lambda: geometry.transform_mask(np.zeros((4, 8), "uint8"), None)),
        (
            "fill_value",
            lambda: geometry.transform_mask(
                np.zeros((4, 8), "uint8"), geometry.resize((4, 8), (8, 8)), fill_value=-1
            ),
        ),
    ],
)
def test_bad_records(argument, make):
    with pytest.raises(ValueError, match=f"`{argument}"):
        make()


def test_lists_of_arrays_are_as_nested_lists():
    sizes = [[4, 8], [5, 9], [6, 7]]
    expected = numbers(geometry.resize(sizes, (8, 8)))
    assert numbers(geometry.resize([np.array(size) for size in sizes], (8, 8))) == expected
    tensors = [ops.convert_to_tensor(size) for size in sizes]
    got = keras.tree.map_structure(ops.convert_to_numpy, geometry.resize(tensors, (8, 8)))
    assert numbers(got) == expected


def test_symbolic_boxes():
    record = {name: keras.KerasTensor((None, 2)) for name in geometry.FIELDS}
    restored = geometry.restore_boxes(keras.KerasTensor((None, 5, 4)), record)
    assert restored.shape == (None, 5, 4)


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(*[st.integers(8, 2000)] * 2),
    target=st.tuples(*[st.integers(8, 2000)] * 2),
    position=st.sampled_from(sorted(POSITIONS)),
    data=st.data(),
)
def test_there_and_back_over_all_sizes(size, target, position, data):
    """1e-3 pixels, and four units in the last place of the target's numbers where they are more."""
    boxes = data.draw(testing.boxes((4,), size, inside=True))
    record = geometry.resize_with_pad(size, target, pad_position=position)
    back = geometry.restore_boxes(geometry.transform_boxes(boxes, record), record, clip=False)
    reduction = np.max(record["source_size"] / record["content_size"])
    units = np.spacing(np.float32(max(target))) * reduction
    np.testing.assert_allclose(back, boxes, rtol=0, atol=max(1e-3, 4 * units))
