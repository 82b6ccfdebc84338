import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.layers import MixUp, Mosaic
from keras_cvx.layers.preprocessing.mixing import blend, partners

HEIGHT, WIDTH = 20, 28
RNG = np.random.default_rng(0)
LAYERS = {
    "mosaic": lambda **options: Mosaic(**{"bounding_box_format": "xyxy", **OPTIONS, **options}),
    "mix_up": lambda **options: MixUp(**{**OPTIONS, **options}),
}
OPTIONS = {"seed": 5, "data_format": "channels_last"}


@pytest.fixture(params=LAYERS)
def layer(request):
    """Makes a layer, with a seed and without what only one of them takes."""
    return LAYERS[request.param]


@pytest.fixture
def sample(painted):
    sample = painted(5, (HEIGHT, WIDTH), seed=2)
    return {**sample, "labels": np.eye(5, 3, dtype="float32"), "names": np.arange(5)}


def same(one, other):
    """Whether two structures of arrays are equal."""
    one, other = (map(ops.convert_to_numpy, keras.tree.flatten(x)) for x in (one, other))
    return all(map(np.array_equal, one, other))


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(0, 9), others=st.integers(1, 3), seed=st.integers(0, 2**20))
def test_partners_are_others_as_far_as_there_are(batch, others, seed):
    numbers = np.random.default_rng(seed).random((batch, others), "float32")
    numbers[numbers > 0.9] = np.nextafter(np.float32(1), np.float32(0))
    mixed = partners(numbers)
    assert mixed.shape == (batch, others + 1)
    assert mixed.dtype == "int32"
    assert mixed[:, 0].tolist() == list(range(batch))
    for row in mixed:
        times = np.bincount(row, minlength=batch)
        assert times.max() - times.min() <= 1
        assert len(times) == batch


def test_all_partners_come_equally_often():
    """Of six images, each triple of the five others, in any order: within 5 deviations."""
    mixed = np.concatenate([partners(RNG.random((6, 3), "float32")) for _ in range(2000)])
    steps = (mixed[:, 1:] - mixed[:, :1]) % 6
    triples, counts = np.unique(steps, axis=0, return_counts=True)
    assert len(triples) == 60
    np.testing.assert_allclose(counts, 200, atol=5 * 200**0.5)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64", "bool"])
def test_a_blend_keeps_the_dtype(library, to_numpy, dtype):
    """Integers are rounded."""
    values = np.array([[0, 5], [1, 0]]).astype(dtype)
    plan = {"sources": np.int32([[0, 1], [1, 0]]), "shares": np.float32([[0.25, 0.75]] * 2)}
    mixed = to_numpy(blend(library(values), keras.tree.map_structure(library, plan)))
    # JAX has no float64.
    assert mixed.dtype == to_numpy(library(values)).dtype
    expected = values.astype("float32")
    expected = 0.25 * expected + 0.75 * expected[::-1]
    if dtype == "bool":
        expected = expected > 0.5
    elif "int" in dtype:
        expected = np.rint(expected)
    np.testing.assert_array_equal(mixed, expected.astype(dtype))


def test_without_training_everything_passes_through(library, layer, sample):
    given = keras.tree.map_structure(library, sample)
    for data in (given, given["images"]):
        assert same(layer()(data, training=False), data)
    assert layer()(sample, training=False) is sample


def test_the_same_seed_mixes_the_same(library, with_state, layer, sample):
    call = with_state if library is ops.convert_to_tensor else functools.partial
    images, one = library(sample["images"]), call(layer())
    first = one(images)
    assert type(first) is type(images)
    assert same(call(layer())(images), first)
    assert not same(one(images), first)
    assert not same(call(layer(seed=6))(images), first)


def test_compiled(compiled_with_state, layer, sample):
    """The state of its generator goes on, and from the same state it draws the same."""
    images, mix = ops.convert_to_tensor(sample["images"]), layer()
    mix.build()
    state = ops.convert_to_numpy(mix.seed_generator.state)
    call = compiled_with_state(mix)
    first, second = (call(images) for _ in range(2))
    assert not same(first, second)
    mix.seed_generator.state.assign(state)
    assert same(call(images), first)


def test_without_a_seed_keras_decides(layer, sample):
    seeded = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        seeded.append(layer(seed=None)(sample))
    assert same(*seeded)
    assert not same(layer(seed=None)(sample), seeded[0])


def test_what_is_given_stays_as_it_is(layer, sample):
    before = keras.tree.map_structure(np.copy, sample)
    mixed = layer()(sample)
    assert same(sample, before)
    np.testing.assert_array_equal(mixed["names"], before["names"])
    assert not same(mixed["images"], before["images"])


def test_a_bare_batch_is_that_of_a_sample(layer, sample):
    np.testing.assert_array_equal(layer()(sample["images"]), layer()(sample)["images"])


def test_channels_first(layer, sample):
    expected = layer()(sample)
    first = layer(data_format="channels_first")
    mixed = first({**sample, "images": np.moveaxis(sample["images"], -1, 1)})
    np.testing.assert_array_equal(np.moveaxis(mixed.pop("images"), 1, -1), expected.pop("images"))
    assert same(mixed, expected)


def test_masks_of_either_rank_and_of_floats(layer, sample):
    expected = layer()(sample)["segmentation_masks"]
    masks = sample["segmentation_masks"]
    for other in (masks[..., None], masks.astype("float32")):
        mixed = layer()({**sample, "segmentation_masks": other})["segmentation_masks"]
        assert mixed.shape == other.shape
        np.testing.assert_array_equal(mixed.reshape(masks.shape), expected)


def test_labels_without_a_sign_become_signed(layer, sample):
    boxes = {
        "boxes": sample["bounding_boxes"]["boxes"],
        "labels": np.maximum(sample["bounding_boxes"]["labels"], 0).astype("uint8"),
    }
    mixed = layer()({**sample, "bounding_boxes": boxes})["bounding_boxes"]
    assert mixed["labels"].dtype == "int32"


def rows_of(sample):
    """The boxes as lists, each as long as there are objects."""
    boxes, labels = (sample["bounding_boxes"][name] for name in ("boxes", "labels"))
    stays = [np.flatnonzero(row >= 0) for row in labels]
    return {
        "boxes": [x[i] for x, i in zip(boxes, stays, strict=True)],
        "labels": [x[i] for x, i in zip(labels, stays, strict=True)],
    }


def assert_same_objects(mixed, expected):
    """The same boxes and labels, padded or not, in the same order."""
    for one, other in zip(mixed["labels"], expected["labels"], strict=True):
        np.testing.assert_array_equal(one[one >= 0], other[other >= 0])
    for boxes, labels, others, numbers in zip(
        mixed["boxes"], mixed["labels"], expected["boxes"], expected["labels"], strict=True
    ):
        np.testing.assert_array_equal(boxes[labels >= 0], others[numbers >= 0])


def test_lists_of_boxes(layer, sample):
    expected = layer()(sample)["bounding_boxes"]
    mixed = layer()({**sample, "bounding_boxes": rows_of(sample)})["bounding_boxes"]
    assert_same_objects(mixed, expected)


def test_in_a_pipeline(layer, sample):
    """Batches of unknown length, objects of unknown number; all sizes of images stay known."""
    tf = pytest.importorskip("tensorflow")
    rows = {
        name: tf.ragged.stack([tf.constant(x) for x in parts])
        for name, parts in rows_of(sample).items()
    }
    data = tf.data.Dataset.from_tensor_slices({**sample, "bounding_boxes": rows})
    # Batches of four and of one.
    data = data.ragged_batch(4)
    data = data.map(lambda x: {**x, "images": tf.ensure_shape(x["images"], (None, 20, 28, 3))})
    mix = layer()
    mixed = data.map(mix)
    spec = mixed.element_spec
    assert spec["images"].shape.as_list() == [None, HEIGHT, WIDTH, 3]
    assert spec["segmentation_masks"].shape.as_list() == [None, HEIGHT, WIDTH]
    assert spec["bounding_boxes"]["boxes"].shape.as_list() == [None, None, 4]
    first = list(mixed.as_numpy_iterator())
    assert [len(x["images"]) for x in first] == [4, 1]
    # Another epoch mixes others, and another layer of the same seed the same.
    assert not same(list(mixed.as_numpy_iterator()), first)
    assert same(list(data.map(layer()).as_numpy_iterator()), first)
    fixed = tf.data.Dataset.from_tensor_slices(sample).batch(5, drop_remainder=True).map(layer())
    known = fixed.element_spec["bounding_boxes"]["boxes"].shape
    assert known.as_list() == [5, 4 * layer().images_mixed, 4]


def test_sizes_that_a_pipeline_does_not_know(layer, sample):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(sample).batch(5)
    expected = next(data.map(layer()).as_numpy_iterator())

    def forget(x):
        images, masks = x["images"], x["segmentation_masks"]
        images = tf.py_function(lambda y: y, [images], tf.uint8)
        masks = tf.py_function(lambda y: y, [masks], tf.int32)
        images = tf.ensure_shape(images, (None, None, None, 3))
        masks = tf.ensure_shape(masks, (None, None, None))
        return {**x, "images": images, "segmentation_masks": masks}

    mixed = next(data.map(forget).map(layer()).as_numpy_iterator())
    assert same(mixed, expected)


def test_in_a_model(with_state, layer, sample):
    """It mixes in training, and `predict` shows the images as they are."""
    image = keras.Input((HEIGHT, WIDTH, 3), dtype="uint8")
    model = keras.Model(image, layer()(image))
    assert model.output_shape == (None, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(model.predict(sample["images"], verbose=0), sample["images"])
    call = with_state(model, training=True)
    one, other = (call(ops.convert_to_tensor(sample["images"])) for _ in range(2))
    assert not same(one, other)
    assert not model.trainable_variables


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_half_precision_does_not_touch_boxes_or_images(jitted, layer, sample, dtype):
    """Boxes beyond 2048 pixels are none of half precision, and images keep what they have."""
    numbers = RNG.random((5, 5), "float32")
    sample["images"] = sample["images"].astype(dtype)
    sample["bounding_boxes"]["boxes"] += np.float32(0.0625)
    mix, host = layer(dtype="mixed_float16"), layer()
    mix.build()
    mix.uniform = lambda like, shape: ops.convert_to_tensor(numbers[:, : shape[1]])
    host.uniform = lambda like, shape: numbers[:, : shape[1]]
    expected = host(sample)
    mixed = jitted(mix)(keras.tree.map_structure(ops.convert_to_tensor, sample))
    mixed = keras.tree.map_structure(ops.convert_to_numpy, mixed)
    assert mixed["images"].dtype == dtype
    assert same(mixed["bounding_boxes"], expected["bounding_boxes"])
    one, other = (x["images"].astype("float32") for x in (mixed, expected))
    np.testing.assert_allclose(one, other, atol=1.0 if dtype == "uint8" else 1e-2)


@pytest.mark.usefixtures("no_tensors")
@pytest.mark.parametrize("training", [True, False])
def test_numpy_arrays_meet_no_tensor_of_the_backend(layer, sample, training):
    mix = layer()
    for data in (sample, sample["images"]):
        mixed = mix(data, training=training)
        assert {type(x) for x in keras.tree.flatten(mixed)} == {np.ndarray}
    assert not mix.built


IMAGES = np.zeros((2, 8, 9, 3), "uint8")
BOXES = {"boxes": np.zeros((2, 4, 4), "float32"), "labels": np.zeros((2, 4), "int32")}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGES[0], "`images` must be a batch, of rank 4"),
        ({"images": list(IMAGES)}, "`images` must be one batch"),
        ({"image": IMAGES}, "key 'images'"),
        ({"images": IMAGES[:, :0]}, "at least one row"),
        ({"images": IMAGES, "labels": np.int32([1, 2])}, "`labels` .* one-hot floats"),
        ({"images": IMAGES, "labels": np.int32([[0, 1]] * 2)}, "`labels` .* one-hot floats"),
        ({"images": IMAGES, "labels": np.float32([1, 2])}, "`labels` .* one-hot floats"),
        ({"images": IMAGES, "labels": np.eye(3)}, "`labels` .* one-hot floats"),
        ({"images": IMAGES, "segmentation_masks": IMAGES[:, 1:]}, "`segmentation_masks` must be"),
        ({"images": IMAGES, "bounding_boxes": BOXES["boxes"]}, "`bounding_boxes` must be"),
        ({"images": IMAGES, "bounding_boxes": {"labels": BOXES["labels"]}}, "'boxes' and 'labels'"),
        (
            {"images": IMAGES, "bounding_boxes": {**BOXES, "labels": np.zeros((2, 3))}},
            "`labels` must be one for each",
        ),
        (
            {"images": IMAGES, "bounding_boxes": {**BOXES, "crowd": np.zeros((2, 3))}},
            "`crowd` of `bounding_boxes` must have a row",
        ),
        ({"images": IMAGES, "geometry": {}}, "`geometry` must be a record"),
    ],
)
def test_bad_samples(layer, data, message):
    with pytest.raises(ValueError, match=message):
        layer()(data)


def test_ragged_images(layer):
    tf = pytest.importorskip("tensorflow")
    ragged = tf.ragged.stack([tf.zeros((4, 5, 3)), tf.zeros((3, 5, 3))])
    with pytest.raises(ValueError, match="`images` must be one batch"):
        layer()(ragged)
