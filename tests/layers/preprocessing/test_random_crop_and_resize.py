import functools
import multiprocessing
import types

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry, testing
from keras_cvx.layers import RandomCropAndResize
from keras_cvx.layers.preprocessing.random_crop_and_resize import random_region
from keras_cvx.ops import convert, crop_and_resize, resize

HEIGHT, WIDTH = 26, 36
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, HEIGHT, WIDTH, 3)).astype("uint8")
MASKS = (IMAGES[..., 0] % 5).astype("int32")
BOXES = np.float32([[[2, 3, 10, 12], [20, 10, 36, 26], [-1, -1, -1, -1]]] * 4)
LABELS = np.int32([[1, 2, -1]] * 4)


def to_numpy(x):
    return ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)


def sample(library=np.asarray, rows=slice(None)):
    return {
        "images": library(IMAGES[rows]),
        "bounding_boxes": {"boxes": library(BOXES[rows]), "labels": library(LABELS[rows])},
        "segmentation_masks": library(MASKS[rows]),
    }


def layer(**options):
    defaults = {
        "scale": (0.2, 0.7),
        "seed": 5,
        "bounding_box_format": "xyxy",
        "data_format": "channels_last",
    }
    return RandomCropAndResize(20, 24, **{**defaults, **options})


def offsets(moved):
    return to_numpy(moved["geometry"]["offset"]).tolist()


def test_empty(library):
    moved = layer()(sample(library, slice(0)))
    assert tuple(moved["images"].shape) == (0, 20, 24, 3)
    assert tuple(moved["geometry"]["offset"].shape) == (0, 2)


def test_the_same_seed_gives_the_same_regions(library):
    one, other = layer(), layer()
    first = one(sample(library))
    assert type(first["images"]) is type(library(IMAGES))
    assert len({tuple(x) for x in offsets(first)}) == len(IMAGES)
    assert offsets(other(sample(library))) == offsets(first)
    assert offsets(one(sample(library))) != offsets(first)
    assert offsets(layer(seed=6)(sample(library))) != offsets(first)
    assert offsets(one(sample(library, 0))) != offsets(one(sample(library, 0)))


def test_without_a_seed_keras_decides(library):
    seeded = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        seeded.append(offsets(layer(seed=None)(sample(library))))
    assert seeded[0] == seeded[1]
    assert offsets(layer(seed=None)(sample(library))) != seeded[0]


def undecided(record):
    """Pixels of the result whose centres lie between two of the source: rounding decides."""
    close = []
    for axis, side in enumerate((20, 24)):
        scale = float(record["source_size"][axis]) / float(record["content_size"][axis])
        place = (np.arange(side) + 0.5 - float(record["offset"][axis])) * scale
        close.append(np.abs(place - np.rint(place)) < 1e-4)
    return close[0][:, None] | close[1][None]


def test_pixels_boxes_and_masks_move_together(library):
    """All by the record: the mask is that of `geometry`, and the boxes are its clipped ones."""
    least = 0.5
    moved = layer(min_visible=least, interpolation="nearest")(sample(library))
    for i in range(len(IMAGES)):
        record = {name: to_numpy(field)[i] for name, field in moved["geometry"].items()}
        expected = geometry.transform_mask(MASKS[i], record)
        decided = ~undecided(record)
        assert decided.mean() > 0.3
        np.testing.assert_array_equal(
            to_numpy(moved["segmentation_masks"])[i][decided], expected[decided]
        )
        np.testing.assert_array_equal(
            to_numpy(moved["images"])[i, ..., 0] % 5, to_numpy(moved["segmentation_masks"])[i]
        )
        region = np.rint(geometry.restore_boxes([[0, 0, 24, 20]], record, clip=False))[0]
        left = np.hstack([np.maximum(BOXES[i][:, :2], region[:2]), BOXES[i][:, 2:]])
        left[:, 2:] = np.maximum(np.minimum(left[:, 2:], region[2:]), left[:, :2])
        kept, whole = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (left, BOXES[i]))
        stays = (kept > 0) & (kept >= least * whole) & (LABELS[i] >= 0)
        clipped = geometry.transform_boxes(left, record)
        boxes = to_numpy(moved["bounding_boxes"]["boxes"])[i]
        np.testing.assert_allclose(boxes, np.where(stays[:, None], clipped, -1.0), atol=1e-4)
        labels = to_numpy(moved["bounding_boxes"]["labels"])[i]
        np.testing.assert_array_equal(labels, np.where(stays, LABELS[i], -1))


def extent(shown):
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@st.composite
def shares(draw):
    """Where a rectangle begins and ends in a region, or beyond it: shares of its sides.

    Of the smallest regions, four pixels high, at least one is painted, so that none is gone.
    """
    low = draw(st.floats(-0.3, 0.7))
    return low, draw(st.floats(max(low, 0.0) + 0.3, 1.3))


@settings(max_examples=40, deadline=None)
@given(
    size=testing.image_sizes(8, 90),
    target=testing.image_sizes(8, 100),
    across=shares(),
    down=shares(),
    seed=st.integers(0, 2**20),
    interpolation=st.sampled_from(["nearest", "bilinear"]),
)
def test_a_painted_rectangle_lies_in_its_box(size, target, across, down, seed, interpolation):
    assert_found(size, target, across, down, seed, interpolation)


@settings(max_examples=15, deadline=None)
@given(
    size=testing.image_sizes(8, 2000),
    target=testing.image_sizes(8, 2000),
    across=shares(),
    down=shares(),
    seed=st.integers(0, 2**20),
)
def test_a_painted_rectangle_in_images_of_up_to_2000_pixels(size, target, across, down, seed):
    assert_found(size, target, across, down, seed, "bilinear")


@pytest.mark.parametrize(
    ("size", "target"),
    [((2000, 1500), (224, 224)), ((8, 2000), (2000, 8)), ((1500, 2000), (2000, 1500))],
)
def test_a_painted_rectangle_at_the_extremes(size, target):
    for interpolation in ("nearest", "bilinear"):
        assert_found(size, target, (0.25, 1.2), (0.0, 0.75), 3, interpolation)


def assert_found(size, target, across, down, seed, interpolation):
    """What the region shows of it lies within half a pixel of the clipped box."""
    options = {
        "scale": (0.3, 1.0),
        "seed": seed,
        "interpolation": interpolation,
        "bounding_box_format": "xyxy",
        "data_format": "channels_last",
    }
    image, mask = np.zeros((*size, 1), "float32"), np.zeros(size, "uint8")
    # The same seed draws the same region, so that the rectangle can be painted into it.
    record = RandomCropAndResize(*target, **options)({"images": image})["geometry"]
    whole = np.float32([[0, 0, target[1], target[0]]])
    region = np.rint(geometry.restore_boxes(whole, record, clip=False))[0]
    corner, side = region[:2], region[2:] - region[:2]
    low, high = (corner + side * np.float32([across[k], down[k]]) for k in (0, 1))
    x0, y0, x1, y1 = painted = np.rint(np.clip([*low, *high], 0, [*size[::-1]] * 2)).astype(int)
    image[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 1.0, 1
    boxes = {"boxes": np.float32([painted]), "labels": np.int32([4])}
    moved = RandomCropAndResize(*target, **options)(
        {"images": image, "bounding_boxes": boxes, "segmentation_masks": mask}
    )
    keras.tree.map_structure(np.testing.assert_array_equal, moved["geometry"], record)
    clipped = np.clip(painted, [*region[:2]] * 2, [*region[2:]] * 2)
    shown = geometry.transform_boxes(np.float32([clipped]), record)[0]
    tolerance = max(1e-3, 2 * np.spacing(np.abs(record["offset"]).max()))
    [box] = moved["bounding_boxes"]["boxes"]
    assert moved["bounding_boxes"]["labels"].tolist() == [4]
    np.testing.assert_allclose(box, shown, atol=tolerance)
    for found in (moved["images"][..., 0] >= 0.5, moved["segmentation_masks"] == 1):
        assert np.abs(extent(found) - box).max() <= 0.5 + tolerance
    restored = geometry.restore_boxes(box[None], record)[0]
    np.testing.assert_allclose(restored, clipped, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    scale=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(sorted),
    ratio=st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)).map(sorted),
    seed=st.integers(0, 2**20),
)
def test_regions_are_of_whole_pixels_in_the_image(size, scale, ratio, seed):
    """And those of a loop as torchvision has it, from the same numbers."""
    numbers = np.random.default_rng(seed).random((7, 22), "float32")
    regions = random_region(numbers, *np.float32(size), scale, ratio)
    height, width = size
    np.testing.assert_array_equal(regions, np.round(regions))
    assert (regions[:, :2] >= 0).all()
    assert (regions[:, 2:] <= [width, height]).all()
    assert (regions[:, 2:] > regions[:, :2]).all()
    for row, region in zip(numbers, regions, strict=True):
        np.testing.assert_allclose(region, looped_region(row, size, scale, ratio), atol=1.0)


def looped_region(numbers, size, scale, ratio):
    (height, width), numbers = size, numbers.astype("float64")
    for share, exponent in zip(numbers[:10], numbers[10:20], strict=True):
        surface = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        aspect = np.exp(np.log(ratio[0]) + (np.log(ratio[1]) - np.log(ratio[0])) * exponent)
        wide, high = round(np.sqrt(surface * aspect)), round(np.sqrt(surface / aspect))
        if 0 < wide <= width and 0 < high <= height:
            y0 = np.floor(numbers[20] * (height - high + 1))
            x0 = np.floor(numbers[21] * (width - wide + 1))
            return x0, y0, x0 + wide, y0 + high
    wide, high = width, height
    if width / height < ratio[0]:
        high = max(round(width / ratio[0]), 1)
    elif width / height > ratio[1]:
        wide = max(round(height * ratio[1]), 1)
    x0, y0 = (width - wide) // 2, (height - high) // 2
    return x0, y0, x0 + wide, y0 + high


def test_shares_and_ratios_are_spread_over_their_ranges():
    numbers = RNG.random((20000, 22), "float32")
    x0, y0, x1, y1 = random_region(numbers, *np.float32([1000, 1000]), (0.1, 0.3), (0.5, 2.0)).T
    shares, ratios = (x1 - x0) * (y1 - y0) / 1e6, np.log2((x1 - x0) / (y1 - y0))
    for values, low, high in ((shares, 0.1, 0.3), (ratios, -1.0, 1.0)):
        quartiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(quartiles, np.linspace(low, high, 5), atol=0.03 * (high - low))
    assert x0.min() < 5
    assert x1.max() > 995


def test_at_inference_the_whole_image_is_resized(library):
    moved = layer()(sample(library), training=False)
    images = to_numpy(moved["images"])
    expected = to_numpy(resize(ops.convert_to_tensor(IMAGES), (20, 24)))
    np.testing.assert_allclose(images.astype(int), expected.astype(int), atol=1)
    record = geometry.resize((HEIGHT, WIDTH), (20, 24))
    boxes = to_numpy(moved["bounding_boxes"]["boxes"])[0]
    np.testing.assert_allclose(boxes, geometry.transform_boxes(BOXES[0], record), atol=1e-4)


def test_in_a_model():
    image = keras.Input((HEIGHT, WIDTH, 3), dtype="uint8")
    model = keras.Model(image, layer()(image))
    assert model.output_shape == (None, 20, 24, 3)
    resized = layer()(IMAGES, training=False)
    predicted = model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(predicted.astype(int), resized.astype(int), atol=1)
    one, other = (to_numpy(model(IMAGES, training=True)) for _ in range(2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("xla", [False, True])
def test_a_sample_in_a_model(compiled_with_state, xla):
    """What a model draws, the host makes of the same region: pixels, boxes and masks."""
    inputs = {
        "images": keras.Input((HEIGHT, WIDTH, 3), dtype="uint8", name="images"),
        "bounding_boxes": {
            "boxes": keras.Input((None, 4), name="boxes"),
            "labels": keras.Input((None,), dtype="int32", name="labels"),
        },
        "segmentation_masks": keras.Input(
            (HEIGHT, WIDTH), dtype="int32", name="segmentation_masks"
        ),
    }
    crop = layer(min_visible=0.4)
    model = keras.Model(inputs, crop(inputs))
    compiled = compiled_with_state if xla else functools.partial
    call = compiled(model, training=True)
    drawn = []
    for _ in range(2):
        moved = keras.tree.map_structure(
            to_numpy, call(keras.tree.map_structure(ops.convert_to_tensor, sample()))
        )
        drawn.append(moved["geometry"]["offset"])
        assert_moved_by_its_record(crop, moved)
    assert not np.array_equal(*drawn)


def assert_moved_by_its_record(crop, moved):
    """As the host moves `sample()` by the record that came out."""
    record = moved["geometry"]
    region = crop.region(record)
    expected = crop_and_resize(IMAGES, region, (20, 24), fill_value=None)[:, 0]
    np.testing.assert_allclose(moved["images"].astype(int), expected.astype(int), atol=1)
    boxes, stays = crop.move_boxes(BOXES, record)
    stays &= LABELS >= 0
    assert stays.any()
    np.testing.assert_array_equal(moved["bounding_boxes"]["labels"], np.where(stays, LABELS, -1))
    np.testing.assert_allclose(
        moved["bounding_boxes"]["boxes"], np.where(stays[..., None], boxes, -1.0), atol=1e-4
    )
    for i, mask in enumerate(MASKS):
        one = {name: field[i] for name, field in record.items()}
        decided = ~undecided(one)
        right = geometry.transform_mask(mask, one)
        np.testing.assert_array_equal(moved["segmentation_masks"][i][decided], right[decided])


@pytest.mark.parametrize("xla", [False, True])
def test_in_a_model_at_inference(compiled_with_state, xla):
    image = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(image, layer()(image))
    options = {"training": False}
    compiled = compiled_with_state if xla else functools.partial
    call = compiled(model, **options)
    images = IMAGES.astype("float32")
    np.testing.assert_allclose(
        to_numpy(call(ops.convert_to_tensor(images))),
        layer()(images, training=False),
        rtol=0,
        atol=1e-2,
    )


def test_compiled(compiled_with_state):
    tensors = keras.tree.map_structure(ops.convert_to_tensor, sample())
    one, other = compiled_with_state(layer()), compiled_with_state(layer())
    moved = one(tensors)
    assert offsets(other(tensors)) == offsets(moved)
    assert offsets(one(tensors)) != offsets(moved)
    record = {name: to_numpy(field) for name, field in moved["geometry"].items()}
    whole = np.float32([[[0, 0, 24, 20]]] * len(IMAGES))
    region = geometry.restore_boxes(whole, record, clip=False)
    expected = crop_and_resize(IMAGES, region, (20, 24), fill_value=None)[:, 0]
    images = to_numpy(moved["images"]).astype(int)
    np.testing.assert_allclose(images, expected.astype(int), atol=1)


@pytest.mark.parametrize("batched", [True, False])
def test_in_a_pipeline(batched):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(sample())
    data = data.batch(2) if batched else data

    def run(crop):
        return np.concatenate([np.atleast_2d(offsets(moved)) for moved in data.map(crop)])

    crop = layer()
    first = run(crop)
    assert len(np.unique(first, axis=0)) == len(IMAGES)
    np.testing.assert_array_equal(run(layer()), first)
    # Another epoch sees other regions.
    assert not np.array_equal(run(crop), first)


def test_images_of_several_sizes():
    images = [IMAGES[0], IMAGES[1, :15], IMAGES[2, :, :17]]
    boxes = {"boxes": list(BOXES[:3]), "labels": list(LABELS[:3])}
    moved = layer()({"images": images, "bounding_boxes": boxes})
    assert moved["images"].shape == (3, 20, 24, 3)
    assert moved["geometry"]["source_size"].tolist() == [[26, 36], [15, 36], [26, 17]]
    resized = layer()(images, training=False)
    np.testing.assert_array_equal(resized[1], layer()(images[1], training=False))
    tf = pytest.importorskip("tensorflow")
    ragged = tf.ragged.stack([tf.constant(image) for image in images[:2]])
    assert layer()(ragged).shape == (2, 20, 24, 3)


def test_relative_boxes_and_an_earlier_record():
    boxes = convert(BOXES, "xyxy", "rel_yxyx", height=HEIGHT, width=WIDTH)
    earlier = geometry.resize((2 * HEIGHT, 2 * WIDTH), (HEIGHT, WIDTH))
    earlier = {name: np.repeat(field[None], 4, 0) for name, field in earlier.items()}
    given = {
        "images": IMAGES,
        "bounding_boxes": {"boxes": boxes, "labels": LABELS},
        "geometry": earlier,
    }
    moved = layer(bounding_box_format="rel_yxyx", scale=(0.7, 1.0), min_visible=1.0)(given)
    got = convert(moved["bounding_boxes"]["boxes"], "rel_yxyx", "xyxy", height=20, width=24)
    stays = moved["bounding_boxes"]["labels"] >= 0
    assert stays.any()
    restored = geometry.restore_boxes(got, moved["geometry"])
    np.testing.assert_allclose(restored[stays], 2 * BOXES[stays], atol=1e-3)


def test_channels_first():
    moved = layer(data_format="channels_first")(np.moveaxis(IMAGES, -1, 1))
    np.testing.assert_array_equal(moved, np.moveaxis(layer()(IMAGES), -1, 1))


def test_without_regions_nothing_of_the_backend_is_made():
    crop = layer()
    crop(sample())
    assert not crop.built
    assert not crop.variables


@pytest.mark.usefixtures("no_tensors")
@pytest.mark.parametrize("training", [True, False])
def test_numpy_arrays_meet_no_tensor_of_the_backend(training):
    crop = layer(min_visible=0.3)
    for data in (sample(), sample(rows=0), {"images": [IMAGES[0], IMAGES[1, :15]]}):
        moved = crop(data, training=training)
        assert {type(x) for x in keras.tree.flatten(moved)} == {np.ndarray}


def test_boxes_without_a_format():
    with pytest.raises(ValueError, match="`bounding_box_format` must be given"):
        layer(bounding_box_format=None)(sample())


def test_boxes_at_the_edge_of_the_region(library):
    """Rounded in the target, one that only touches it had an area, and one inside lost some."""
    images = np.zeros((1, 427, 640, 1), "uint8")
    for seed in range(12):
        augment = layer(scale=(0.2, 0.8), seed=seed)
        record = augment({"images": library(images)})["geometry"]
        record = {name: to_numpy(field)[0] for name, field in record.items()}
        x0, y0, x1, y1 = np.rint(geometry.restore_boxes([[0, 0, 24, 20]], record, clip=False))[0]
        inside = [[x0, y0, x0 + 5, y1], [x1 - 5, y0, x1, y1], [x0, y1 - 3, x1, y1]]
        outside = [[x0 - 9, y0, x0, y1], [x1, y0, x1 + 9, y1], [x0, y1, x1, y1 + 9]]
        boxes = np.float32([inside + outside])
        for least in (0.0, 1.0):
            again = layer(scale=(0.2, 0.8), seed=seed, min_visible=least)
            given = {"boxes": boxes, "labels": np.arange(6, dtype="int32")[None]}
            moved = again(
                {
                    "images": library(images),
                    "bounding_boxes": {name: library(part) for name, part in given.items()},
                }
            )
            labels = to_numpy(moved["bounding_boxes"]["labels"])[0].tolist()
            assert labels == [0, 1, 2, -1, -1, -1]


def test_each_process_of_a_loader_draws_its_own(monkeypatch):
    augment = layer()
    first = offsets(augment(sample(rows=0)))
    drawn = [first]
    for name in ("Process-1", "Process-2"):
        process = types.SimpleNamespace(name=name)
        monkeypatch.setattr(multiprocessing, "current_process", lambda process=process: process)
        monkeypatch.setattr(multiprocessing, "parent_process", object)
        # Forked with the state of its parent, and made anew.
        forked, made = (offsets(x(sample(rows=0))) for x in (augment, layer()))
        assert forked == made
        drawn.append(forked)
    assert len({tuple(x) for x in drawn}) == 3
