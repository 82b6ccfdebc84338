import logging
import multiprocessing
import pickle

import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx import geometry
from keras_cvx.layers import (
    CropAndResize,
    GeometricLayer,
    RandomCropAndResize,
    ResizeWithCropOrPad,
    ResizeWithPad,
    RestoreDetections,
)
from keras_cvx.ops import convert, crop_and_resize
from keras_cvx.ops.boxes import FORMATS

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 24, 32
LAYERS = {
    "pad": lambda **options: ResizeWithPad(HEIGHT, WIDTH, fill_value=114, **options),
    "crop": lambda **options: ResizeWithCropOrPad(HEIGHT, WIDTH, min_visible=0.2, **options),
}


def sample_of(*shape, boxes=3, dtype="float32"):
    """A sample of one image `(H, W)` or of a batch `(B, H, W)`, its last box padding."""
    height, width = shape[-2:]
    corner = RNG.uniform(0, [0.5 * width, 0.5 * height], (*shape[:-2], boxes, 2))
    side = RNG.uniform(1, [0.5 * width, 0.5 * height], corner.shape)
    corners = np.concatenate([corner, corner + side], -1).astype("float32")
    labels = RNG.integers(0, 5, corners.shape[:-1]).astype("int32")
    if boxes:
        corners[..., -1, :], labels[..., -1] = -1, -1
    return {
        "images": RNG.uniform(0, 255, (*shape, 3)).astype(dtype),
        "bounding_boxes": {"boxes": corners, "labels": labels},
        "segmentation_masks": RNG.integers(0, 9, shape).astype("int32"),
    }


def to_numpy(structure):
    return keras.tree.map_structure(np.asarray, structure)


def assert_same(got, expected, tolerance=1e-2):
    """Pixels within a tolerance; all else exactly, but for the last bit of boxes.

    XLA rounds a product and a sum at once, others one after the other.
    """
    got, expected = to_numpy(got), to_numpy(expected)
    keras.tree.assert_same_structure(got, expected)
    np.testing.assert_allclose(
        got["images"].astype("float64"), expected["images"], rtol=0, atol=tolerance
    )
    assert got["images"].dtype == expected["images"].dtype
    for name in expected:
        if name not in {"images", "bounding_boxes"}:
            keras.tree.map_structure(np.testing.assert_array_equal, got[name], expected[name])
    boxes, expected_boxes = (dict(x.get("bounding_boxes", {})) for x in (got, expected))
    if boxes:
        np.testing.assert_allclose(
            boxes.pop("boxes"), expected_boxes.pop("boxes"), rtol=1e-6, atol=1e-5
        )
    keras.tree.map_structure(np.testing.assert_array_equal, boxes, expected_boxes)


@pytest.fixture(params=LAYERS)
def make(request):
    return LAYERS[request.param]


@pytest.fixture
def layer(make):
    return make(bounding_box_format="xyxy")


@pytest.mark.parametrize("batch", [(), (2,), (1,)])
@pytest.mark.parametrize("boxes", [0, 3])
def test_every_kind_of_arrays_gives_the_same(layer, as_kind, batch, boxes):
    for size in ((37, 53), (53, 37), (10, 12)):
        sample = sample_of(*batch, *size, boxes=boxes)
        moved = layer(as_kind(sample))
        assert_same(moved, layer(sample), 1e-3 if as_kind.exact else 1e-2)
        like = as_kind(np.zeros(2, "float32"))
        assert all(type(x) is type(like) for x in keras.tree.flatten(moved))


def test_bare_images_and_samples_give_the_same_pixels(layer, as_kind):
    sample = as_kind(sample_of(2, 37, 53))
    np.testing.assert_array_equal(
        np.asarray(layer(sample["images"])), np.asarray(layer(sample)["images"])
    )


def test_a_batch_is_its_images(layer):
    sample = sample_of(3, 37, 53)
    moved = layer(sample)
    for i in range(3):
        one = layer(keras.tree.map_structure(lambda x, i=i: x[i], sample))
        assert_same(one, keras.tree.map_structure(lambda x, i=i: x[i], moved), 0)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
def test_dtypes_stay(layer, as_kind, dtype):
    sample = sample_of(2, 37, 53, dtype=dtype)
    moved = layer(as_kind(sample))
    assert_same(moved, layer(sample), 0.25 if dtype == "float16" else 1.001)
    got = {key: x.dtype.name for key, x in to_numpy(moved["bounding_boxes"]).items()}
    assert got == {"boxes": "float32", "labels": "int32"}
    assert np.asarray(moved["images"]).dtype == dtype


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_does_not_touch_boxes_or_images(make, policy):
    sample = sample_of(2, 370, 530)
    expected = make(bounding_box_format="rel_xyxy", dtype="float32")
    layer = make(bounding_box_format="rel_xyxy", dtype=policy)
    tensors = keras.tree.map_structure(ops.convert_to_tensor, sample)
    assert_same(layer(tensors), expected(tensors), 0)
    narrow = {**tensors, "images": ops.cast(tensors["images"], "bfloat16")}
    moved = layer(narrow)
    assert keras.backend.standardize_dtype(moved["images"].dtype) == "bfloat16"
    for name in ("bounding_boxes", "geometry"):
        keras.tree.map_structure(
            np.testing.assert_array_equal, to_numpy(moved[name]), to_numpy(expected(tensors)[name])
        )


def test_unsigned_labels_become_signed(layer, as_kind):
    sample = sample_of(2, 60, 60)
    sample["bounding_boxes"]["labels"] = np.uint8([[1, 2, 3], [4, 5, 6]])
    sample["bounding_boxes"]["boxes"][:, 0] = [0, 0, 1, 1]
    labels = np.asarray(layer(as_kind(sample))["bounding_boxes"]["labels"])
    assert labels.dtype == "int32"
    symbols = keras.tree.map_structure(
        lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype.name), sample
    )
    assert layer(symbols)["bounding_boxes"]["labels"].dtype == "int32"
    assert labels[:, 0].tolist() == [1, 4] if isinstance(layer, ResizeWithPad) else [-1, -1]


@pytest.mark.parametrize("bounding_box_format", FORMATS)
def test_formats_of_boxes(make, as_kind, bounding_box_format):
    sample = sample_of(2, 37, 53)
    expected = make(bounding_box_format="xyxy")(sample)["bounding_boxes"]
    boxes = convert(
        sample["bounding_boxes"]["boxes"], "xyxy", bounding_box_format, height=37, width=53
    )
    padding = sample["bounding_boxes"]["labels"] < 0
    boxes[padding] = -1
    given = {**sample["bounding_boxes"], "boxes": boxes}
    moved = make(bounding_box_format=bounding_box_format)(
        as_kind({"images": sample["images"], "bounding_boxes": given})
    )
    got = to_numpy(moved["bounding_boxes"])
    np.testing.assert_array_equal(got["labels"], expected["labels"])
    gone = expected["labels"] < 0
    assert (gone >= padding).all()
    assert (got["boxes"][gone] == -1).all()
    back = convert(got["boxes"], bounding_box_format, "xyxy", height=HEIGHT, width=WIDTH)
    np.testing.assert_allclose(back[~gone], expected["boxes"][~gone], atol=1e-3)


def test_boxes_without_labels(layer):
    sample = sample_of(2, 37, 53)
    expected = layer(sample)["bounding_boxes"]["boxes"]
    del sample["bounding_boxes"]["labels"]
    np.testing.assert_array_equal(layer(sample)["bounding_boxes"]["boxes"], expected)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_channels_first_is_channels_last_transposed(make, as_kind, batch):
    sample = sample_of(*batch, 37, 53)
    last = make(bounding_box_format="xyxy", data_format="channels_last")(as_kind(sample))
    first = make(bounding_box_format="xyxy", data_format="channels_first")(
        as_kind({**sample, "images": np.moveaxis(sample["images"], -1, -3)})
    )
    assert first["images"].shape == (*batch, 3, HEIGHT, WIDTH)
    first["images"] = np.moveaxis(np.asarray(first["images"]), -3, -1)
    assert_same(first, last, 1e-3)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_masks_with_a_channel(layer, as_kind, batch):
    sample = sample_of(*batch, 37, 53)
    expected = np.asarray(layer(as_kind(sample))["segmentation_masks"])
    assert expected.shape == (*batch, HEIGHT, WIDTH)
    sample["segmentation_masks"] = sample["segmentation_masks"][..., None]
    got = np.asarray(layer(as_kind(sample))["segmentation_masks"])
    np.testing.assert_array_equal(got, expected[..., None])


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_masks_keep_their_dtype_and_have_no_new_classes(layer, as_kind, dtype):
    masks = (RNG.integers(0, 2, (60, 70)) * 200).astype(dtype)
    images = np.zeros((60, 70, 3), "uint8")
    given = as_kind({"images": images, "segmentation_masks": masks})
    moved = layer(given)["segmentation_masks"]
    assert moved.dtype == given["segmentation_masks"].dtype
    assert set(np.unique(np.asarray(moved))) <= {0, 200, 255}


def test_masks_of_booleans_need_a_fill_value_of_theirs(make, as_kind):
    sample = {"images": np.zeros((10, 70, 3), "uint8"), "segmentation_masks": np.ones((10, 70)) > 0}
    with pytest.raises(ValueError, match="`mask_fill_value`"):
        make()(as_kind(sample))
    moved = np.asarray(make(mask_fill_value=0)(as_kind(sample))["segmentation_masks"])
    assert moved.dtype == bool
    assert moved.any()
    assert not moved[0].any()


def test_all_else_passes_through(layer, as_kind):
    sample = as_kind(
        {**sample_of(2, 37, 53), "labels": np.int32([3, 4]), "weights": np.float32([0.5, 2])}
    )
    sample["bounding_boxes"]["crowd"] = as_kind(np.int32([[0, 1, 0]] * 2))
    moved = layer(sample)
    assert set(moved) == {*sample, "geometry"}
    for got, given in (
        (moved["labels"], sample["labels"]),
        (moved["weights"], sample["weights"]),
        (moved["bounding_boxes"]["crowd"], sample["bounding_boxes"]["crowd"]),
    ):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(given))
    assert "geometry" not in sample


def test_two_layers_compose_their_geometry(as_kind):
    sample = sample_of(2, 37, 53)
    first = ResizeWithPad(40, 48, bounding_box_format="xyxy", pad_position="bottom_right")
    second = ResizeWithCropOrPad(30, 60, bounding_box_format="xyxy")
    between = first(as_kind(sample))
    moved = to_numpy(second(between))
    assert moved["geometry"]["source_size"].tolist() == [[37, 53]] * 2
    assert moved["geometry"]["target_size"].tolist() == [[30, 60]] * 2
    both = geometry.compose(
        to_numpy(between["geometry"]), geometry.crop_or_pad([[40, 48]] * 2, (30, 60))
    )
    keras.tree.map_structure(
        lambda got, expected: np.testing.assert_allclose(got, expected, rtol=1e-6),
        moved["geometry"],
        both,
    )
    # By hand: 33 × 48 pixels of content, 7 rows down, then 5 up and 6 columns to the right.
    frame = np.float32([[[0.0, 0.0, 60.0, 30.0]]] * 2)
    uncut = geometry.restore_boxes(frame, moved["geometry"], clip=False)
    expected = np.float32([-6 * 53 / 48, -2 * 37 / 33, 54 * 53 / 48, 28 * 37 / 33])
    np.testing.assert_allclose(uncut, np.broadcast_to(expected, (2, 1, 4)), rtol=1e-6)
    cut = geometry.restore_boxes(frame, moved["geometry"])
    np.testing.assert_allclose(cut, np.broadcast_to([0, 0, 53, 28 * 37 / 33], (2, 1, 4)), rtol=1e-6)
    boxes = moved["bounding_boxes"]["boxes"]
    inside = (boxes > 0) & (boxes < [60, 30, 60, 30])
    back = geometry.restore_boxes(boxes, moved["geometry"])
    kept = inside.all(-1)
    assert kept.any()
    np.testing.assert_allclose(back[kept], sample["bounding_boxes"]["boxes"][kept], atol=1e-3)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"interpolation": "bicubic"}, {"antialias": True}, {"interpolation": "nearest"}],
    ids=str,
)
def test_in_a_model(compiled, tmp_path, known, options):
    sample = sample_of(2, 37, 53)
    layer = ResizeWithPad(HEIGHT, WIDTH, bounding_box_format="xywh", **options)
    side = (37, 53) if known else (None, None)
    inputs = {
        "images": keras.Input((*side, 3), name="images"),
        "bounding_boxes": {
            "boxes": keras.Input((None, 4), name="boxes"),
            "labels": keras.Input((None,), dtype="int32", name="labels"),
        },
        "segmentation_masks": keras.Input(side, dtype="int32", name="segmentation_masks"),
    }
    model = keras.Model(inputs, layer(inputs))
    shapes = {
        name: x.shape for name, x in model.output.items() if name.startswith(("images", "segm"))
    }
    assert shapes == {
        "images": (None, HEIGHT, WIDTH, 3),
        "segmentation_masks": (None, HEIGHT, WIDTH),
    }
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    tensors = keras.tree.map_structure(ops.convert_to_tensor, sample)
    for call in (model, loaded, compiled(model)):
        assert_same(call(tensors), layer(sample))
    if not known:
        other = sample_of(1, 20, 60)
        tensors = keras.tree.map_structure(ops.convert_to_tensor, other)
        assert_same(model(tensors), layer(other))


@pytest.mark.parametrize(
    "options", [{}, {"interpolation": "lanczos3"}, {"antialias": True}], ids=str
)
def test_predicts_images_of_several_sizes(options):
    inputs = keras.Input((None, None, 3), dtype="uint8")
    layer = ResizeWithPad(HEIGHT, WIDTH, **options)
    model = keras.Model(inputs, layer(inputs))
    # XLA has no kernels on TensorFlow for what it cannot unroll.
    native = keras.backend.backend() != "tensorflow" or not options
    assert all(x.supports_jit for x in model.layers) == native
    model.compile(jit_compile="auto" if not native or keras.backend.backend() == "torch" else True)
    for size in ((30, 20), (40, 50), (9, 80)):
        images = sample_of(2, *size, dtype="uint8")["images"]
        got = model.predict(images, verbose=0)
        assert got.dtype == "uint8"
        assert np.abs(got.astype(int) - layer(images)).max() <= 1


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def quiet(tf):
    """TensorFlow's log, which is to stay empty."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield
    tf.get_logger().removeHandler(handler)
    assert not messages


def samples(count):
    for i in range(count):
        sample = sample_of(8 + i, 8 + (37 * i) % 101, boxes=i % 4, dtype="uint8")
        yield {**sample, "id": str(i)}


def dataset_of(tf, given, **more):
    spec = {
        "images": tf.TensorSpec((None, None, 3), "uint8"),
        "bounding_boxes": {
            "boxes": tf.TensorSpec((None, 4), "float32"),
            "labels": tf.TensorSpec((None,), "int32"),
        },
        "segmentation_masks": tf.TensorSpec((None, None), "int32"),
        **more,
    }
    return tf.data.Dataset.from_generator(lambda: iter(given), output_signature=spec)


@pytest.mark.usefixtures("quiet")
def test_one_trace_for_images_of_a_hundred_sizes(tf, layer):
    traces, given = [], list(samples(100))

    def move(sample):
        traces.append(sample)
        return layer(sample)

    moved = dataset_of(tf, given, id=tf.TensorSpec((), "string")).map(move)
    spec = moved.element_spec
    assert spec["images"].shape == (HEIGHT, WIDTH, 3)
    assert spec["segmentation_masks"].shape == (HEIGHT, WIDTH)
    assert spec["bounding_boxes"]["boxes"].shape.as_list() == [None, 4]
    assert {tuple(x.shape) for x in spec["geometry"].values()} == {(2,)}
    got = list(moved.as_numpy_iterator())
    assert len(traces) == 1
    assert len({x["images"].shape for x in given}) == len(got) == 100
    for one, sample in zip(got, given, strict=True):
        assert one.pop("id").decode() == sample.pop("id")
        assert_same(one, layer(sample), 1)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic", "lanczos5"])
def test_mapped_itself(tf, interpolation):
    layer = ResizeWithPad(HEIGHT, WIDTH, interpolation=interpolation, antialias=True)
    images = [x["images"] for x in samples(5)]
    spec = tf.TensorSpec((None, None, 3), "uint8")
    data = tf.data.Dataset.from_generator(lambda: iter(images), output_signature=spec)
    got = np.stack(list(data.map(layer, num_parallel_calls=2).as_numpy_iterator()))
    assert np.abs(got - np.stack([layer(x).astype(int) for x in images])).max() <= 1


@pytest.mark.usefixtures("quiet")
def test_ragged_batches_in_tf_data(tf, layer):
    given = [{**x, "weight": np.float32(i)} for i, x in enumerate(samples(6))]
    for x in given:
        del x["id"]
    data = dataset_of(tf, given, weight=tf.TensorSpec((), "float32"))
    batches = list(data.ragged_batch(4).map(layer).as_numpy_iterator())
    assert [len(x["images"]) for x in batches] == [4, 2]
    for batch, part in zip(batches, (given[:4], given[4:]), strict=True):
        assert batch["weight"].tolist() == [x["weight"] for x in part]
        for i, sample in enumerate(part):
            one = keras.tree.map_structure(lambda x, i=i: x[i], batch)
            n = len(sample["bounding_boxes"]["labels"])
            assert (one["bounding_boxes"]["labels"][n:] == -1).all()
            assert (one["bounding_boxes"]["boxes"][n:] == -1).all()
            one["bounding_boxes"] = {k: v[:n] for k, v in one["bounding_boxes"].items()}
            assert_same(one, layer(sample), 1)


def test_ragged_images(tf, layer):
    images = [RNG.uniform(0, 255, (*size, 3)).astype("float32") for size in ((9, 40), (50, 20))]
    for rows in (images, images[:1]):
        got = layer(tf.ragged.stack([tf.constant(x) for x in rows]))
        expected = np.stack([layer(x) for x in rows])
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-3)
    none = tf.RaggedTensor.from_tensor(tf.zeros((0, 4, 4, 3)), ragged_rank=2)
    assert layer(none).shape == (0, HEIGHT, WIDTH, 3)


def test_ragged_boxes_of_dense_images(tf, layer):
    sample = sample_of(2, 30, 40)
    # Ragged in the axis of the four numbers too, as `tf.ragged.constant` makes it.
    boxes = tf.ragged.constant([[[1.0, 2.0, 30.0, 20.0]], []])
    ragged = {"boxes": boxes, "labels": tf.ragged.constant([[4], []], dtype="int32")}
    padded = {
        "boxes": np.float32([[[1, 2, 30, 20]], [[-1] * 4]]),
        "labels": np.int32([[4], [-1]]),
    }
    expected = layer({"images": sample["images"], "bounding_boxes": padded})
    images = tf.constant(sample["images"])
    assert_same(layer({"images": images, "bounding_boxes": ragged}), expected, 1e-3)
    data = tf.data.Dataset.from_tensors({"images": images, "bounding_boxes": ragged})
    assert_same(next(iter(data.map(layer))), expected, 1e-3)


def test_a_list_of_images(layer, as_kind):
    given = [sample_of(*size, boxes=n) for size, n in (((9, 40), 0), ((50, 20), 2), ((24, 32), 3))]
    ones = [layer(as_kind(x)) for x in given]
    images = [as_kind(x["images"]) for x in given]
    np.testing.assert_array_equal(
        np.asarray(layer(images)), np.stack([np.asarray(x["images"]) for x in ones])
    )
    columns = {
        "images": images,
        "bounding_boxes": {
            name: [as_kind(x["bounding_boxes"][name]) for x in given]
            for name in ("boxes", "labels")
        },
        "segmentation_masks": [as_kind(x["segmentation_masks"]) for x in given],
    }
    rows = {**columns, "bounding_boxes": [as_kind(x["bounding_boxes"]) for x in given]}
    for sample in (columns, rows):
        batch = to_numpy(layer({**sample, "labels": [1, 2, 3]}))
        assert [int(x) for x in batch["labels"]] == [1, 2, 3]
        for name in ("images", "segmentation_masks"):
            np.testing.assert_array_equal(
                batch[name], np.stack([np.asarray(x[name]) for x in ones])
            )
        assert batch["bounding_boxes"]["boxes"].shape == (3, 3, 4)
        for i, one in enumerate(map(to_numpy, ones)):
            n = len(one["bounding_boxes"]["labels"])
            for name, got in batch["bounding_boxes"].items():
                np.testing.assert_array_equal(got[i, :n], one["bounding_boxes"][name])
                assert (got[i, n:] == -1).all()
            for name in geometry.FIELDS:
                np.testing.assert_array_equal(batch["geometry"][name][i], one["geometry"][name])


def test_a_batch_with_lists_of_boxes(layer):
    sample = sample_of(2, 37, 53)
    listed = {"boxes": [], "labels": []}
    for i, n in enumerate((0, 2)):
        for name, rows in listed.items():
            rows.append(sample["bounding_boxes"][name][i, :n])
    moved = layer({"images": sample["images"], "bounding_boxes": listed})["bounding_boxes"]
    expected = layer(sample)["bounding_boxes"]
    assert (moved["labels"][0] == -1).all()
    for name in listed:
        np.testing.assert_array_equal(moved[name][1], expected[name][1, :2])


def test_a_list_of_files(layer, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    images = [sample_of(*size, dtype="uint8")["images"] for size in ((9, 40), (50, 20))]
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for image, path in zip(images, paths, strict=True):
        image_module.fromarray(image).save(path)
    image_module.fromarray(images[0][..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(layer([paths[0], str(paths[1])]), layer(images))
    grey = np.repeat(images[0][..., :1], 3, -1)
    np.testing.assert_array_equal(layer([tmp_path / "grey.png"]), layer([grey]))


@pytest.mark.parametrize("content", [None, b"", b"no image", "cut"])
def test_a_file_that_cannot_be_decoded_is_named(layer, tmp_path, content):
    image_module = pytest.importorskip("PIL.Image")
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    image_module.fromarray(sample_of(90, 90, dtype="uint8")["images"]).save(good)
    if content is not None:
        bad.write_bytes(good.read_bytes()[:2000] if content == "cut" else content)
    with pytest.raises(ValueError, match=r"`images\[1\]` must be.*bad\.png"):
        layer([good, bad])


@pytest.mark.usefixtures("no_tensors")
def test_numpy_arrays_meet_no_tensor_of_the_backend(layer):
    for sample in (sample_of(37, 53), sample_of(2, 37, 53, dtype="uint8")):
        moved = layer(layer(sample))
        assert all(isinstance(x, np.ndarray) for x in keras.tree.flatten(moved))
    moved = layer([sample["images"][0], sample["images"][1, :20]])
    assert isinstance(moved, np.ndarray)


def test_in_the_workers_of_a_pydataset(layer):
    images = [sample_of(2, 20 + i, 50 - i)["images"] for i in range(6)]

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            return layer(images[i]), np.zeros((2, 1))

    inputs = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    expected = np.concatenate([layer(x) for x in images])
    np.testing.assert_array_equal(model.predict(Data(workers=2), verbose=0), expected)


def test_in_two_worker_processes():
    """Spawned ones: what is forked with a framework's threads in it may never return.

    Of all layers in one test, for each process imports Keras anew.
    """
    options = {"bounding_box_format": "xyxy"}
    sample, regions = sample_of(37, 53), np.float32([[2, 1.5, 9, 8.75], [-3, 4, 25.5, 13]])
    detections = {"boxes": regions[None], "labels": np.int32([[3, 4]])}
    record = geometry.resize_with_pad(np.float32([[50, 100]]), (HEIGHT, WIDTH))
    calls = [
        *((make(**options), (sample,)) for make in LAYERS.values()),
        (CropAndResize(6, 5, **options), (sample["images"], regions)),
        (RestoreDetections(), (detections, record)),
    ]
    augment = RandomCropAndResize(HEIGHT, WIDTH, scale=(0.2, 0.5), seed=5, **options)
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(1) as first, spawning.Pool(1) as second:
        workers = (first, second)
        got = [[worker.apply_async(*call) for call in calls] for worker in workers]
        drawn = [worker.apply_async(augment, (sample,)) for worker in workers]
        got = [[result.get(120) for result in results] for results in got]
        drawn = [result.get(120) for result in drawn]
    expected = [call(*arguments) for call, arguments in calls]
    for results in got:
        keras.tree.map_structure(np.testing.assert_array_equal, results, expected)
    drawn.append(augment(sample))
    # The two, and the process that made them, each have a region of their own.
    assert len({tuple(moved["geometry"]["offset"].tolist()) for moved in drawn}) == 3
    for moved in drawn:
        region = augment.region(moved["geometry"])
        crop = crop_and_resize(sample["images"], region, (HEIGHT, WIDTH), fill_value=None)[0]
        np.testing.assert_array_equal(moved["images"], crop)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("RandomFlip", {"mode": "horizontal"}, 0.501),
        # Half a pixel by the letterbox and half by this.
        ("RandomTranslation", {"height_factor": 0.15, "width_factor": 0.15}, 1.001),
    ],
)
def test_augmentation_of_keras_after_the_letterbox(name, options, tolerance):
    """It takes the sample as it is, and its boxes still lie on the painted pixels."""
    images, masks = np.zeros((6, 37, 53, 3), "float32"), np.zeros((6, 37, 53, 1), "int32")
    images[:, 8:20, 12:31], masks[:, 8:20, 12:31] = 200, 7
    boxes = np.float32([[[12, 8, 31, 20], [-1, -1, -1, -1]]] * 6)
    sample = {
        "images": images,
        "segmentation_masks": masks,
        "bounding_boxes": {"boxes": boxes, "labels": np.int32([[7, -1]] * 6)},
    }
    letterbox = ResizeWithPad(HEIGHT, WIDTH, bounding_box_format="xyxy", mask_fill_value=0)
    between = letterbox(keras.tree.map_structure(ops.convert_to_tensor, sample))
    augment = getattr(keras.layers, name)(bounding_box_format="xyxy", seed=1, **options)
    moved = keras.tree.map_structure(ops.convert_to_numpy, augment(between, training=True))
    assert moved["bounding_boxes"]["labels"].tolist() == [[7, -1]] * 6
    found = moved["bounding_boxes"]["boxes"][:, 0]
    # Some have moved, and not all by the same.
    assert len(np.unique(found.round(2), axis=0)) > 1
    assert moved["segmentation_masks"].shape == (6, HEIGHT, WIDTH, 1)
    for i, box in enumerate(found):
        for shown in (
            moved["images"][i, ..., 0] >= 99.9,
            moved["segmentation_masks"][i, ..., 0] == 7,
        ):
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(extent - box).max() <= tolerance


def test_goes_to_other_processes(layer):
    sample = sample_of(37, 53)
    assert_same(pickle.loads(pickle.dumps(layer))(sample), layer(sample), 0)  # noqa: S301


def test_in_grain(layer):
    grain = pytest.importorskip("grain")
    given = [sample_of(20 + i, 50 - i) for i in range(4)]
    moved = grain.MapDataset.source(given).map(layer)
    for one, sample in zip(moved, given, strict=True):
        assert_same(one, layer(sample), 0)


IMAGES = np.zeros((2, 6, 8, 3), "float32")
ONE_BOX = {"boxes": np.zeros((2, 1, 4), "float32"), "labels": np.zeros((2, 1), "int32")}


@pytest.mark.parametrize(
    ("argument", "values"),
    {
        "height": [0, -1, 2.0, True, None],
        "width": [0, -1, "8"],
        "bounding_box_format": ["corners", "coco"],
        "data_format": ["channels_middle"],
    }.items(),
)
def test_bad_arguments(make, argument, values):
    cls = type(make())
    for value in values:
        with pytest.raises(ValueError, match=f"`{argument}`"):
            cls(**{"height": 4, "width": 4, argument: value})


@pytest.mark.parametrize(
    ("argument", "sample"),
    [
        ("images", np.zeros((6, 8), "float32")),
        ("images", np.zeros((1, 2, 6, 8, 3), "float32")),
        ("images", np.zeros((0, 8, 3), "float32")),
        ("images", np.zeros((2, 6, 0, 3), "float32")),
        ("data", {"labels": np.zeros(2)}),
        ("segmentation_masks", {"segmentation_masks": np.zeros((2, 8, 6), "int32")}),
        ("segmentation_masks", {"segmentation_masks": np.zeros((3, 6, 8), "int32")}),
        ("segmentation_masks", {"segmentation_masks": np.zeros((6, 8), "int32")}),
        ("mask_fill_value", {"segmentation_masks": np.zeros((2, 6, 8), "int8")}),
        ("bounding_boxes", {"bounding_boxes": np.zeros((2, 1, 4), "float32")}),
        ("bounding_boxes", {"bounding_boxes": {"labels": ONE_BOX["labels"]}}),
        ("bounding_boxes", {"bounding_boxes": {"boxes": np.zeros((3, 1, 4), "float32")}}),
        ("bounding_boxes", {"bounding_boxes": {"boxes": np.zeros((1, 4), "float32")}}),
        ("boxes", {"bounding_boxes": {"boxes": np.zeros((2, 1, 5), "float32")}}),
        ("labels", {"bounding_boxes": {**ONE_BOX, "labels": np.zeros((2, 3), "int32")}}),
        ("geometry", {"geometry": geometry.resize(np.ones((3, 2)), (6, 8))}),
        ("geometry", {"geometry": geometry.resize(np.ones((1, 2)), np.ones((1, 2)))}),
        ("geometry", {"geometry": {"foo": np.zeros((2, 2))}}),
    ],
)
def test_bad_samples(layer, as_kind, argument, sample):
    if isinstance(sample, dict) and "labels" not in sample:
        sample = {"images": IMAGES, **sample}
    with pytest.raises(ValueError, match=f"`{argument}`"):
        layer(as_kind(sample))


def symbols(**shapes):
    return {
        name: symbols(**shape) if isinstance(shape, dict) else keras.KerasTensor(shape)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("argument", "shapes"),
    [
        ("images", {"images": (8, 3)}),
        ("images", {"images": (None, 2, 6, 8, 3)}),
        ("images", {"images": (None, 0, 8, 3)}),
        ("segmentation_masks", {"segmentation_masks": (None, 8, 6)}),
        ("boxes", {"bounding_boxes": {"boxes": (None, 3, 5)}}),
        ("labels", {"bounding_boxes": {"boxes": (None, 3, 4), "labels": (None, 2)}}),
        ("geometry", {"geometry": dict.fromkeys(geometry.FIELDS, (4,))}),
        ("geometry", {"geometry": {"offset": (None, 2)}}),
    ],
)
def test_bad_symbols(layer, argument, shapes):
    with pytest.raises(ValueError, match=f"`{argument}"):
        layer(symbols(**{"images": (None, 6, 8, 3), **shapes}))


def test_symbolic_boxes_without_a_format(make):
    with pytest.raises(ValueError, match="`bounding_box_format` must be given"):
        make()(symbols(images=(None, 6, 8, 3), bounding_boxes={"boxes": (None, 3, 4)}))


def test_output_shapes_without_a_call(layer):
    shapes = {"images": (None, 6, 8, 3), "bounding_boxes": {"boxes": (None, 3, 4)}}
    moved = layer.compute_output_shape(shapes)
    assert moved["images"] == layer.compute_output_shape((None, 6, 8, 3))
    assert moved["images"] == (None, layer.height, layer.width, 3)
    assert moved["bounding_boxes"]["boxes"] == (None, 3, 4)
    assert moved["geometry"]["offset"] == (None, 2)


def test_boxes_of_one_object_an_image(layer):
    """As `Localizer` takes them; the layer moves rows."""
    one = {"boxes": np.zeros((len(IMAGES), 4), "float32"), "labels": np.zeros(len(IMAGES))}
    with pytest.raises(ValueError, match=r"pass `boxes\[\.\.\., None, :\]`"):
        layer({"images": IMAGES, "bounding_boxes": one})
    rows = {"boxes": one["boxes"][..., None, :], "labels": one["labels"][..., None]}
    moved = layer({"images": IMAGES, "bounding_boxes": rows})["bounding_boxes"]
    assert tuple(moved["boxes"].shape) == (len(IMAGES), 1, 4)


def test_boxes_without_a_format(make, as_kind):
    with pytest.raises(ValueError, match="`bounding_box_format` must be given"):
        make()(as_kind({"images": IMAGES, "bounding_boxes": ONE_BOX}))


@pytest.mark.parametrize(
    ("argument", "sample"),
    [
        ("images", {"images": []}),
        ("segmentation_masks", {"segmentation_masks": [IMAGES[0, ..., 0]]}),
        ("bounding_boxes", {"bounding_boxes": {"boxes": list(np.zeros((3, 1, 4)))}}),
        ("bounding_boxes", {"bounding_boxes": [{"boxes": np.zeros((1, 4))}]}),
        ("geometry", {"geometry": geometry.resize(np.ones((3, 2)), (6, 8))}),
    ],
)
def test_bad_lists(layer, argument, sample):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        layer({"images": list(IMAGES), **sample})


class Fractional(GeometricLayer):
    def record(self, source_size):
        return geometry.crop_and_resize(source_size, (0.6, 0.6, 6.6, 4.6), (4, 4))


def test_a_record_that_is_no_whole_pixels_is_refused():
    with pytest.raises(ValueError, match=r"`record` must give .* in whole pixels"):
        Fractional(4, 4)(np.zeros((6, 9, 3), "uint8"))


@pytest.mark.parametrize("name", ["fill_value", "mask_fill_value"])
def test_fill_values_that_are_no_numbers(make, name):
    for value in (None, (114, 114, 114), "white", float("nan")):
        with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
            type(make())(4, 4, **{name: value})


def test_files_of_unknown_rank(layer):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensors(tf.io.encode_png(np.zeros((6, 9, 3), "uint8")))
    with pytest.raises(ValueError, match="`expand_animations=False`"):
        data.map(tf.io.decode_image).map(layer)


def test_one_trace_for_all_sizes(layer, monkeypatch):
    """Of a pipeline, and of a ragged batch: what is counted is how often the layer asks itself."""
    tf = pytest.importorskip("tensorflow")
    count = []
    record = type(layer).record
    monkeypatch.setattr(
        type(layer), "record", lambda self, size: count.append(1) or record(self, size)
    )
    images = [np.zeros((20 + i, 50 - i, 3), "uint8") for i in range(20)]
    data = tf.data.Dataset.from_generator(
        lambda: iter(images), output_signature=tf.TensorSpec((None, None, 3), "uint8")
    )
    assert len(list(data.map(layer))) == len(images)
    assert len(count) == 1
    count.clear()
    assert len(list(data.ragged_batch(4).map(layer))) == 5
    assert len(count) == 1
