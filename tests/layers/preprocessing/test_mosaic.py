import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry
from keras_cvx.layers import Mosaic
from keras_cvx.ops import convert

HEIGHT, WIDTH = 26, 36
RNG = np.random.default_rng(0)
NUMBERS = RNG.random((5, 5), "float32")


def layer(**options):
    defaults = {"seed": 5, "bounding_box_format": "xyxy", "data_format": "channels_last"}
    return Mosaic(**{**defaults, **options})


def window(maps, plan):
    """By the picture: the four side by side, and what a window shows of them."""
    shown = []
    for (a, b, c, d), (row, column) in zip(plan["sources"], plan["meeting"], strict=True):
        rows = [np.concatenate([maps[i], maps[j]], axis=1) for i, j in ((a, b), (c, d))]
        canvas = np.concatenate(rows, axis=0)
        height, width = maps.shape[1:3]
        y, x = height - int(row), width - int(column)
        shown.append(canvas[y : y + height, x : x + width])
    return np.stack(shown)


def moved_boxes(boxes, labels, plan, size, min_visible):
    """By a loop in double precision: each box on the canvas of four, cut to its quarter."""
    (height, width), mixed = size, []
    for sources, (row, column) in zip(plan["sources"], plan["meeting"], strict=True):
        rows = []
        for part, source in enumerate(sources):
            top, left = part < 2, part % 2 == 0
            down, across = row - height * top, column - width * left
            quarter = (
                (0 if left else column, column if left else width),
                (0 if top else row, row if top else height),
            )
            for box, label in zip(boxes[source].astype("float64"), labels[source], strict=True):
                x0, x1 = np.clip(box[[0, 2]] + across, *quarter[0])
                y0, y1 = np.clip(box[[1, 3]] + down, *quarter[1])
                whole = (box[2] - box[0]) * (box[3] - box[1])
                shown = (x1 - x0) * (y1 - y0)
                stays = label >= 0 and shown > 0 and shown >= min_visible * whole
                rows.append((x0, y0, x1, y1, label) if stays else (-1,) * 5)
        mixed.append(rows)
    mixed = np.array(mixed).reshape(len(plan["sources"]), -1, 5)
    return mixed[..., :4], mixed[..., 4]


@pytest.mark.parametrize(("batch", "rows"), [(0, 3), (2, 0)])
def test_empty(library, with_numbers, painted, batch, rows):
    mosaic = with_numbers(layer(), NUMBERS[:batch])
    mixed = mosaic(keras.tree.map_structure(library, painted(batch, (8, 12), rows)))
    assert tuple(mixed["images"].shape) == (batch, 8, 12, 3)
    assert tuple(mixed["segmentation_masks"].shape) == (batch, 8, 12)
    assert tuple(mixed["bounding_boxes"]["boxes"].shape) == (batch, 4 * rows, 4)
    assert tuple(mixed["bounding_boxes"]["labels"].shape) == (batch, 4 * rows)


@pytest.mark.parametrize(("batch", "dtype"), [(1, "float32"), (5, "uint8")])
def test_all_kinds_show_the_same_window(library, with_numbers, to_numpy, painted, batch, dtype):
    """With the same numbers, and that of the picture: pixels, masks, boxes, and all the rest."""
    sample = painted(batch, (HEIGHT, WIDTH), seed=3)
    sample["images"] = sample["images"].astype(dtype)
    sample["labels"] = np.eye(batch, 3, dtype="float32")
    sample["geometry"] = geometry.resize(np.float32([[52, 9]] * batch), (HEIGHT, WIDTH))
    mosaic = layer()
    plan = mosaic.plan(NUMBERS[:batch], (HEIGHT, WIDTH))
    given = keras.tree.map_structure(library, sample)
    mixed = with_numbers(mosaic, NUMBERS[:batch])(given)
    assert type(mixed["images"]) is type(given["images"])
    mixed = keras.tree.map_structure(to_numpy, mixed)
    assert mixed["images"].dtype == dtype
    np.testing.assert_array_equal(mixed["images"], window(sample["images"], plan))
    masks = sample["segmentation_masks"]
    np.testing.assert_array_equal(mixed["segmentation_masks"], window(masks, plan))
    truth = sample["bounding_boxes"]
    boxes, labels = moved_boxes(truth["boxes"], truth["labels"], plan, (HEIGHT, WIDTH), 0.1)
    assert (labels >= 0).any()
    np.testing.assert_array_equal(mixed["bounding_boxes"]["boxes"], boxes)
    np.testing.assert_array_equal(mixed["bounding_boxes"]["labels"], labels)
    mosaic.uniform = lambda like, shape: NUMBERS[:batch]
    on_host = mosaic(sample)
    np.testing.assert_allclose(mixed["labels"], on_host["labels"], atol=1e-6)
    for name, field in on_host["geometry"].items():
        np.testing.assert_allclose(mixed["geometry"][name], field, rtol=1e-6)


def extent(shown):
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def assert_found(mixed, masks, min_visible, atol=0.0):
    """Every box encloses the pixels of its block, and every block has its box, or too little of it.

    Of four images or more none is shown twice, so that a colour is found once.
    """
    areas = np.bincount(masks.ravel())
    for image, boxes, labels in zip(
        mixed["images"], *(mixed["bounding_boxes"][x] for x in ("boxes", "labels")), strict=True
    ):
        numbers = image[..., 0].astype(int)
        np.testing.assert_array_equal(image[..., 1], 7 * numbers % 256)
        found = np.bincount(numbers.ravel(), minlength=len(areas))
        expected = [k for k, n in enumerate(found) if k and n and n >= min_visible * areas[k]]
        assert sorted(labels[labels >= 0].tolist()) == expected
        assert (boxes[labels < 0] == -1).all()
        for box, label in zip(boxes[labels >= 0], labels[labels >= 0], strict=True):
            np.testing.assert_allclose(box, extent(numbers == label), rtol=0, atol=atol)


sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
centers = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda x: [n / 8 for n in sorted(x)])


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(4, 6),
    size=sizes,
    center=centers,
    sixteenths=st.integers(0, 16),
    seed=st.integers(0, 2**20),
)
def test_painted_blocks_lie_in_their_boxes(painted, batch, size, center, sixteenths, seed):
    sample = painted(batch, size, rows=6, seed=seed)
    least = sixteenths / 16
    mixed = layer(center=center, min_visible=least, seed=seed)(sample)
    assert_found(mixed, sample["segmentation_masks"], least)


# In eighths of pixels, which float32 holds, so that what is cut and what is left are exact.
eighths = st.tuples(
    *[st.integers(-8 * 8, (side + 8) * 8) for side in (WIDTH, HEIGHT)] * 2, st.integers(-1, 2)
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(eighths, min_size=12, max_size=12),
    center=centers,
    sixteenths=st.integers(0, 16),
    seed=st.integers(0, 2**20),
)
def test_a_box_is_cut_and_moved_and_no_more(rows, center, sixteenths, seed):
    """None is lost, none is added, and each is the cut and moved one, to the last bit."""
    rows = np.array(rows).reshape(3, 4, 5)
    corners = np.sort(rows[..., :4].reshape(3, 4, 2, 2), axis=2).reshape(3, 4, 4) / 8
    truth = {"boxes": corners.astype("float32"), "labels": rows[..., 4].astype("int32")}
    numbers = np.random.default_rng(seed).random((3, 5), "float32")
    mosaic = layer(center=center, min_visible=sixteenths / 16)
    mosaic.uniform = lambda like, shape: numbers
    images = np.zeros((3, HEIGHT, WIDTH, 1), "uint8")
    mixed = mosaic({"images": images, "bounding_boxes": truth})["bounding_boxes"]
    boxes, labels = moved_boxes(
        corners,
        truth["labels"],
        mosaic.plan(numbers, (HEIGHT, WIDTH)),
        (HEIGHT, WIDTH),
        sixteenths / 16,
    )
    np.testing.assert_array_equal(mixed["boxes"], boxes)
    np.testing.assert_array_equal(mixed["labels"], labels)


@pytest.mark.parametrize("least", [0.0, 0.125, 0.13, 0.25, 0.5, 0.51, 1.0])
def test_min_visible(least):
    """The lower right quarter of the image lies at the upper left."""
    shares = [0.5, 0.25, 0.125, 0.0, 1.0]
    first = [4, 2, 1, 0, 8]
    boxes = {"boxes": np.float32([[[x, 8, x + 8, 16] for x in first]])}
    boxes["labels"] = np.arange(5, dtype="int32")[None]
    mosaic = layer(center=(0.5, 0.5), min_visible=least)
    mixed = mosaic({"images": np.zeros((1, 16, 16, 1), "uint8"), "bounding_boxes": boxes})
    labels = mixed["bounding_boxes"]["labels"][0, :5]
    assert labels.tolist() == [i if x and x >= least else -1 for i, x in enumerate(shares)]


def test_the_meeting_point_is_any_pixel_of_its_range():
    numbers = RNG.random((20000, 5), "float32")
    numbers[0], numbers[1] = 0, np.nextafter(np.float32(1), np.float32(0))
    meeting = layer(center=(0.25, 0.7)).plan(numbers, (8, 20))["meeting"]
    for points, low, high in zip(meeting.T, (2, 5), (6, 14), strict=True):
        values, counts = np.unique(points, return_counts=True)
        assert values.tolist() == list(range(low, high + 1))
        expected = len(numbers) / len(values)
        np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(expected))
    fixed = layer(center=(0.5, 0.5)).plan(numbers, (8, 20))["meeting"]
    assert (fixed == [4, 10]).all()


def test_labels_are_blended_by_what_is_shown():
    """A class for each image: its share is that of its pixels."""
    images = np.broadcast_to(np.arange(5, dtype="uint8")[:, None, None, None], (5, 7, 11, 1))
    mixed = layer()({"images": images, "labels": np.eye(5)})
    shown = [np.bincount(image.ravel(), minlength=5) / image.size for image in mixed["images"]]
    np.testing.assert_allclose(mixed["labels"], shown, atol=1e-6)
    assert mixed["labels"].dtype == "float64"


@pytest.mark.parametrize("shared", [False, True])
def test_the_record_is_that_of_the_image_itself(shared):
    """After an earlier one: where its pixels lie in the mosaic."""
    mosaic = layer()
    mosaic.uniform = lambda like, shape: NUMBERS
    masks = RNG.integers(1, 1000, (5, 2 * HEIGHT, 2 * WIDTH))
    record = geometry.crop_or_pad((2 * HEIGHT, 2 * WIDTH), (HEIGHT, WIDTH), offset=(-9, -20))
    if not shared:
        record = {name: np.repeat(field[None], 5, 0) for name, field in record.items()}
    cropped = masks[:, 9 : 9 + HEIGHT, 20 : 20 + WIDTH]
    mixed = mosaic(
        {"images": cropped[..., None], "segmentation_masks": cropped, "geometry": record}
    )
    meeting = mosaic.plan(NUMBERS, (HEIGHT, WIDTH))["meeting"].astype(int)
    for i, (row, column) in enumerate(meeting):
        one = {name: field[i] for name, field in mixed["geometry"].items()}
        moved = geometry.transform_mask(masks[i], one)
        shown = mixed["segmentation_masks"][i]
        np.testing.assert_array_equal(shown[:row, :column], moved[:row, :column])


@pytest.mark.parametrize("bounding_box_format", ["rel_yxyx", "center_xywh"])
def test_formats(painted, bounding_box_format):
    sample = painted(5, (HEIGHT, WIDTH), seed=2)
    expected = layer()(sample)["bounding_boxes"]
    sides = {"height": HEIGHT, "width": WIDTH}
    given = sample["bounding_boxes"]
    given = {**given, "boxes": convert(given["boxes"], "xyxy", bounding_box_format, **sides)}
    mosaic = layer(bounding_box_format=bounding_box_format)
    mixed = mosaic({**sample, "bounding_boxes": given})["bounding_boxes"]
    np.testing.assert_array_equal(mixed["labels"], expected["labels"])
    stays = mixed["labels"] >= 0
    corners = convert(mixed["boxes"], bounding_box_format, "xyxy", **sides)
    np.testing.assert_allclose(corners[stays], expected["boxes"][stays], atol=1e-4)
    assert (mixed["boxes"][~stays] == -1).all()


def test_boxes_without_labels_and_rows_of_other_things(painted):
    sample = painted(5, (HEIGHT, WIDTH), seed=2)
    given = sample["bounding_boxes"]
    expected = layer()(sample)["bounding_boxes"]
    bare = layer()({**sample, "bounding_boxes": {"boxes": given["boxes"]}})["bounding_boxes"]
    np.testing.assert_array_equal(bare["boxes"], expected["boxes"])
    other = {**given, "labels": given["labels"].astype("int64"), "twice": 2 * given["labels"]}
    mixed = layer()({**sample, "bounding_boxes": other})["bounding_boxes"]
    stays = expected["labels"] >= 0
    np.testing.assert_array_equal(mixed["twice"][stays], 2 * expected["labels"][stays])
    assert mixed["labels"].dtype == "int64"


def augmented(augment, mosaic, sample):
    """First by a layer of Keras, then by ours; on tensors of the backend."""
    sample = {**sample, "segmentation_masks": sample["segmentation_masks"][..., None]}
    tensors = keras.tree.map_structure(ops.convert_to_tensor, sample)
    return keras.tree.map_structure(ops.convert_to_numpy, mosaic(augment(tensors, training=True)))


def in_pipeline(augment, mosaic, sample):
    tf = pytest.importorskip("tensorflow")
    # Under JAX and torch Keras' layers take no masks here, once they have moved boxes.
    sample = {name: part for name, part in sample.items() if name != "segmentation_masks"}
    data = tf.data.Dataset.from_tensor_slices(sample).batch(6).map(augment).map(mosaic)
    return next(data.as_numpy_iterator())


# JAX compiles each operation of theirs by itself, for many seconds.
RUNS = [in_pipeline] if keras.backend.backend() == "jax" else [in_pipeline, augmented]


@pytest.mark.parametrize("run", RUNS)
def test_after_a_flip_of_keras(painted, run):
    sample = painted(6, (HEIGHT, WIDTH), seed=4)
    masks = sample["segmentation_masks"]
    flip = keras.layers.RandomFlip(
        "horizontal", seed=1, bounding_box_format="xyxy", data_format="channels_last"
    )
    mixed = run(flip, layer(min_visible=0.25), sample)
    # Keras moves boxes by shares of the width.
    assert_found(mixed, masks, 0.25, atol=1e-4)
    if "segmentation_masks" in mixed:
        numbers = mixed["segmentation_masks"][..., 0]
        np.testing.assert_array_equal(numbers, mixed["images"][..., 0])


@pytest.mark.parametrize("run", RUNS)
def test_after_a_rotation_of_keras(painted, run):
    """Where a block is shown there is its box, as wide as the slanted block."""
    turn = keras.layers.RandomRotation(
        0.05,
        fill_mode="constant",
        interpolation="nearest",
        seed=2,
        bounding_box_format="xyxy",
        data_format="channels_last",
    )
    mixed = run(turn, layer(min_visible=0.0), painted(6, (HEIGHT, WIDTH), seed=4))
    for image, boxes, labels in zip(
        mixed["images"], *(mixed["bounding_boxes"][x] for x in ("boxes", "labels")), strict=True
    ):
        found = set(np.unique(image[..., 0])) - {0}
        assert found <= set(labels)
        assert len(found) > 1
        for number in found:
            shown, box = np.array(extent(image[..., 0] == number)), boxes[labels == number][0]
            # Its pixels are whole ones.
            assert (shown[:2] >= box[:2] - 1).all()
            assert (shown[2:] <= box[2:] + 1).all()


def test_the_gradient_is_how_often_a_pixel_is_shown(gradient, jitted):
    mosaic = layer()
    mosaic.build()
    mosaic.uniform = lambda like, shape: ops.convert_to_tensor(NUMBERS)
    images = RNG.random((5, HEIGHT, WIDTH, 1)).astype("float32")
    _, slope = gradient(jitted(lambda x: ops.sum(mosaic(x))), images)
    plan = mosaic.plan(NUMBERS, (HEIGHT, WIDTH))
    places = np.arange(images.size).reshape(images.shape)
    shown = np.bincount(window(places, plan).ravel(), minlength=images.size)
    np.testing.assert_array_equal(slope, shown.reshape(images.shape))
    assert not mosaic.trainable_variables


def test_boxes_without_a_format(painted):
    with pytest.raises(ValueError, match="`bounding_box_format` must be given"):
        layer(bounding_box_format=None)(painted(2, (8, 8)))


@pytest.mark.parametrize("center", [(0.75, 0.25), (-0.1, 0.5), (0.5, 1.1), 0.5, (0.5,), ("a", 1)])
def test_bad_centers(center):
    with pytest.raises(ValueError, match="center"):
        Mosaic(center=center)
