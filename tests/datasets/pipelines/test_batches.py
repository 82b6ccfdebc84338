"""What all pipelines have in common, and that they agree; each has a file of its own besides."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.datasets import Dataset
from keras_cvx.datasets.annotations import Annotations, grouped
from keras_cvx.datasets.pipelines.batches import padded
from keras_cvx.layers import ResizeWithPad

LETTERBOX = ResizeWithPad(40, 40, bounding_box_format="xyxy", interpolation="nearest")
ENGINES = ["to_tf_data", "to_pydataset", "to_grain"]


def epochs(data, engine, count=1, **options):
    """Batches of some epochs, as NumPy arrays."""
    pytest.importorskip({"to_tf_data": "tensorflow", "to_grain": "grain"}.get(engine, "numpy"))
    pipeline = getattr(data, engine)(**{"batch_size": 3, "preprocess": LETTERBOX, **options})
    found = []
    for _ in range(count):
        found.append([keras.tree.map_structure(np.asarray, batch) for batch in pipeline])
        if engine == "to_pydataset":
            pipeline.on_epoch_end()
    return found


def expected(data, order, batch_size=3, most=2):
    """The same from the records, in a loop."""
    found = []
    for start in range(0, len(order), batch_size):
        images, boxes, labels = [], [], []
        for place in order[start : start + batch_size]:
            sample = LETTERBOX(data[int(place)].sample())
            images.append(sample["images"])
            rows = sample["bounding_boxes"]
            missing = most - len(rows["labels"])
            boxes.append(np.concatenate([rows["boxes"], -np.ones((missing, 4))]))
            labels.append(np.concatenate([rows["labels"], -np.ones(missing)]))
        found.append((np.stack(images), {"boxes": np.stack(boxes), "labels": np.stack(labels)}))
    return found


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for (images, targets), (other_images, other_targets) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(targets["labels"], other_targets["labels"])
        np.testing.assert_allclose(targets["boxes"], other_targets["boxes"], atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_data_set(photographs, engine):
    assert epochs(photographs[:0], engine) == [[]]


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_are_those_of_the_records(photographs, engine):
    [batches] = epochs(photographs, engine)
    assert_equal(batches, expected(photographs, range(7)))
    images, targets = batches[0]
    assert (images.dtype, targets["boxes"].dtype, targets["labels"].dtype) == (
        "uint8", "float32", "int32",
    )  # fmt: skip
    # The boxes lie on what is bright.
    for image, boxes, labels in zip(images, targets["boxes"], targets["labels"], strict=True):
        assert (image > 50).any() == (labels >= 0).any()
        for box in boxes[labels >= 0]:
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            assert image[y, x, 0] > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_orders_of_epochs(photographs, engine):
    found = epochs(photographs, engine, count=2, shuffle=True, seed=5)
    orders = [np.random.default_rng((5, epoch)).permutation(7) for epoch in range(2)]
    assert orders[0].tolist() != orders[1].tolist()
    for batches, order in zip(found, orders, strict=True):
        assert_equal(batches, expected(photographs, order))


@pytest.mark.parametrize("engine", ENGINES)
def test_shards_share_the_images(photographs, engine):
    found = [
        epochs(photographs, engine, shard=(index, 2), batch_size=2, shuffle=True)[0]
        for index in range(2)
    ]
    assert [len(batches) for batches in found] == [2, 2]
    order = np.random.default_rng((0, 0)).permutation(7)
    assert_equal(found[0], expected(photographs, order[[0, 2, 4]], 2))
    assert_equal(found[1], expected(photographs, order[[1, 3, 5]], 2))


@pytest.mark.parametrize("engine", ENGINES)
def test_rests_may_be_left_out(photographs, engine):
    [batches] = epochs(photographs, engine, drop_remainder=True)
    assert_equal(batches, expected(photographs, range(6)))


@pytest.mark.parametrize("engine", ENGINES)
def test_boxes_of_the_batch(photographs, engine):
    [batches] = epochs(photographs[:4], engine, batch_size=2, max_boxes="batch")
    assert [targets["labels"].shape for _, targets in batches] == [(2, 1), (2, 2)]
    assert batches[1][1]["labels"].tolist() == [[2, 2], [-1, -1]]


@pytest.mark.parametrize("engine", ENGINES)
def test_boxes_are_cut_with_a_warning(photographs, engine):
    with pytest.warns(
        UserWarning, match=r"`max_boxes=1` cuts 2 of 6 boxes.*of 2 images.* are 2"
    ) as told:
        [batches] = epochs(photographs, engine, max_boxes=1)
    # It points at the call, not into the package.
    assert told[0].filename == __file__
    labels = np.concatenate([targets["labels"] for _, targets in batches])
    assert labels.tolist() == [[-1], [1], [2], [-1], [4], [5], [-1]]
    [wide] = epochs(photographs, engine, max_boxes=4)
    assert_equal(wide, expected(photographs, range(7), most=4))


@pytest.mark.parametrize("engine", ENGINES)
def test_augmentation_of_batches(photographs, engine):
    flip = keras.layers.RandomFlip("horizontal", seed=3, bounding_box_format="xyxy")
    [batches] = epochs(photographs, engine, augment=flip)
    plain = expected(photographs, range(7))
    flipped = 0
    for (images, targets), (before, _) in zip(batches, plain, strict=True):
        for place, image in enumerate(images):
            turned = not np.array_equal(image, before[place])
            flipped += turned
            np.testing.assert_array_equal(image[:, ::-1] if turned else image, before[place])
            labels = targets["labels"][place]
            for box in targets["boxes"][place][labels >= 0]:
                x, y = ((box[:2] + box[2:]) / 2).astype(int)
                assert image[y, x, 0] > 50
            assert (targets["boxes"][place][labels < 0] == -1).all()
    assert flipped


@pytest.mark.parametrize("engine", ENGINES)
def test_images_of_several_sizes_are_named(photographs, engine):
    with pytest.raises(Exception, match=r"must be of one size.*preprocess=keras_cvx"):
        epochs(photographs, engine, preprocess=None)


@pytest.mark.parametrize("engine", ENGINES)
def test_masks(engine):
    masks = [np.full((4, 6), place, "uint8") for place in range(3)]
    images = [np.full((4, 6, 3), place, "uint8") for place in range(3)]
    data = Dataset(Annotations("masks", images, (), masks=masks))
    [[(first, targets), (last, _)]] = epochs(data, engine, batch_size=2, preprocess=None)
    assert first[:, 0, 0, 0].tolist() == [0, 1]
    assert last.shape == (1, 4, 6, 3)
    assert targets[:, 1, 1].tolist() == [0, 1]
    assert targets.shape == (2, 4, 6)
    assert np.issubdtype(targets.dtype, np.integer)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_image_is_named(photographs, tmp_path, engine):
    (tmp_path / "a.png").write_text("no picture")
    objects = grouped([], 1, {"boxes": [], "labels": []})
    data = Dataset(Annotations("folder", [tmp_path / "a.png"], ("x",), objects))
    with pytest.raises(Exception, match=r"a\.png' \(cannot identify"):
        epochs(data, engine)


def arrays(count):
    """A data set of images in memory, each as bright as its place."""
    images = [np.full((4, 6, 3), place, "uint8") for place in range(count)]
    return Dataset(Annotations("arrays", images, (), masks=[np.zeros((4, 6), "uint8")] * count))


def test_dtypes_are_those_of_all_images():
    def third_is_half(sample):
        third = sample["images"].max() == 2
        return {**sample, "images": sample["images"] / np.float32(2)} if third else sample

    [[(images, _)]] = epochs(arrays(4), "to_pydataset", batch_size=4, preprocess=third_is_half)
    assert images.dtype == "float32"
    assert images[:, 0, 0, 0].tolist() == [0, 1, 1, 3]


def test_images_of_several_channels_are_an_error():
    def first_is_grey(sample):
        channels = 3 if sample["images"].max() else 1
        return {**sample, "images": sample["images"][..., :channels]}

    with pytest.raises(ValueError, match=r"of one shape.*\(4, 6, 1\) and \(4, 6, 3\)"):
        epochs(arrays(2), "to_pydataset", batch_size=2, preprocess=first_is_grey)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 5))
def test_rows_are_padded_and_cut(counts, most):
    objects = [
        {"boxes": np.full((count, 4), place), "labels": np.arange(count)}
        for place, count in enumerate(counts)
    ]
    found = padded(objects, most)
    for place, count in enumerate(counts):
        kept = min(count, most)
        assert found["labels"][place].tolist() == [*range(kept), *[-1] * (most - kept)]
        assert (found["boxes"][place, :kept] == place).all()
        assert (found["boxes"][place, kept:] == -1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"shard": (2, 2)}, "`shard` must have an index below its count"),
        ({"shard": 3}, "`shard` must be a pair"),
        ({"shard": (0, 9)}, "`shard` must be of at most as many hosts as there are images, 7"),
        ({"max_boxes": "all"}, "`max_boxes` must be None, an integer or 'batch'"),
        ({"preprocess": 3}, "`preprocess` must be a layer or another function"),
        ({"targets": "boxes"}, "`targets` must be one of"),
    ],
)
def test_wrong_options(photographs, options, message):
    with pytest.raises(ValueError, match=message):
        photographs.to_pydataset(**{"batch_size": 2, **options})
