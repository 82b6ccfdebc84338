import importlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets as sklearn_datasets

from keras_cvx.datasets import DIGIT_NAMES, digit_scenes

pytestmark = pytest.mark.host

# The package exports the function under the module's own name.
module = importlib.import_module("keras_cvx.datasets.digit_scenes")

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module", params=["train", "test"])
def scenes(request):
    return digit_scenes(200, request.param, seed=3)


@pytest.fixture
def forget_sources():
    caches = (module._digit_scans, module._photograph_regions)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def objects(scenes):
    """Every object as `(scene's index, box, label)`."""
    boxes, labels = scenes["bounding_boxes"]["boxes"], scenes["bounding_boxes"]["labels"]
    for index, row in np.argwhere(labels >= 0):
        yield index, boxes[index, row].astype(int), labels[index, row]


def assert_same(scenes, others):
    np.testing.assert_array_equal(scenes["images"], others["images"])
    np.testing.assert_array_equal(scenes["segmentation_masks"], others["segmentation_masks"])
    for key in ("boxes", "labels"):
        np.testing.assert_array_equal(scenes["bounding_boxes"][key], others["bounding_boxes"][key])


def test_no_scenes():
    scenes = digit_scenes(0, size=40, max_objects=3)
    assert scenes["images"].shape == (0, 40, 40, 3)
    assert scenes["bounding_boxes"]["boxes"].shape == (0, 3, 4)
    assert scenes["bounding_boxes"]["labels"].shape == (0, 3)
    assert scenes["segmentation_masks"].shape == (0, 40, 40)


def test_no_objects_allowed():
    scenes = digit_scenes(3, size=32, max_objects=0)
    assert scenes["bounding_boxes"]["boxes"].shape == (3, 0, 4)
    assert not scenes["segmentation_masks"].any()
    assert scenes["images"].std() > 0


def test_types_and_shapes(scenes):
    assert scenes["images"].shape == (200, 128, 128, 3)
    assert scenes["images"].dtype == np.uint8
    assert scenes["bounding_boxes"]["boxes"].shape == (200, 6, 4)
    assert scenes["bounding_boxes"]["boxes"].dtype == np.float32
    assert scenes["bounding_boxes"]["labels"].dtype == np.int32
    assert scenes["segmentation_masks"].dtype == np.uint8


def test_padded_rows_come_last_and_are_minus_one(scenes):
    labels = scenes["bounding_boxes"]["labels"]
    padded = labels == -1
    assert (np.diff(padded.astype(int), axis=1) >= 0).all()
    assert (scenes["bounding_boxes"]["boxes"][padded] == -1).all()
    assert (scenes["bounding_boxes"]["boxes"][~padded] >= 0).all()
    assert set(labels[~padded]) == set(range(len(DIGIT_NAMES)))


def test_scenes_hold_none_to_all_objects(scenes):
    counts = np.bincount((scenes["bounding_boxes"]["labels"] >= 0).sum(axis=1), minlength=7)
    assert 1 <= counts[0] <= 14
    assert (counts[1:] > 10).all()


def test_a_box_is_the_exact_extent_of_its_ink(scenes):
    unexplained = scenes["segmentation_masks"].copy()
    for index, (x0, y0, x1, y1), label in objects(scenes):
        inside = unexplained[index, y0:y1, x0:x1]
        assert set(np.unique(inside)) <= {0, label + 1}
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()
        inside[...] = 0
    assert not unexplained.any()


def test_boxes_do_not_overlap(scenes):
    covered = np.zeros((200, 128, 128), int)
    for index, (x0, y0, x1, y1), _ in objects(scenes):
        covered[index, y0:y1, x0:x1] += 1
    assert covered.max() == 1


@pytest.mark.parametrize(("size", "low", "high"), [(64, 8, 24), (128, 16, 48), (192, 24, 72)])
def test_digits_grow_with_the_scene(size, low, high):
    scenes = digit_scenes(60, size=size)
    heights = np.array([y1 - y0 for _, (_, y0, _, y1), _ in objects(scenes)])
    # Rotation and the softness of the stroke move a height a little out of the range.
    assert heights.min() >= 0.75 * low
    assert heights.max() <= 1.25 * high
    assert np.percentile(heights, 5) < 1.25 * low
    assert np.percentile(heights, 95) > 0.75 * high


def test_ink_stands_out_from_its_ground(scenes):
    contrasts = []
    for index, (x0, y0, x1, y1), _ in objects(scenes):
        luma = scenes["images"][index, y0:y1, x0:x1] @ LUMA
        ink = scenes["segmentation_masks"][index, y0:y1, x0:x1] > 0
        if not ink.all():
            contrasts.append(abs(luma[ink].mean() - luma[~ink].mean()))
    assert np.percentile(contrasts, 2) > 35
    assert np.median(contrasts) > 70


channel = st.floats(0, 255, width=32)
rgb = st.tuples(channel, channel, channel).map(lambda c: np.array(c, "float32"))


@given(rgb, rgb, st.floats(0, 128))
def test_a_readable_colour_is_a_colour_far_from_the_ground(colour, ground, spread):
    readable = module._readable_colour(colour, ground, spread)
    assert (readable >= 0).all()
    assert (readable <= 255).all()
    needed = min(module._CONTRAST + spread, 127)
    assert abs((readable - ground) @ LUMA) >= needed - 1e-2
    if abs((colour - ground) @ LUMA) > needed + 1e-2:
        np.testing.assert_array_equal(readable, colour)


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 3), st.integers(0, 3), st.sampled_from(["train", "test"]), st.integers(0, 2**40)
)
def test_a_larger_call_begins_with_the_smaller_one(few, more, split, seed):
    small = digit_scenes(few, split, size=48, seed=seed, max_objects=3)
    large = digit_scenes(few + more, split, size=48, seed=seed, max_objects=3)
    first = {key: large[key][:few] for key in ("images", "segmentation_masks")}
    first["bounding_boxes"] = {key: value[:few] for key, value in large["bounding_boxes"].items()}
    assert_same(small, first)


def test_seed_and_split_change_the_scenes():
    images = [
        digit_scenes(1, split, size=32, seed=seed)["images"].tobytes()
        for split in ("train", "test")
        for seed in (0, 1)
    ]
    assert len(set(images)) == 4


def test_splits_are_laid_out_independently():
    train, test = (
        digit_scenes(20, split, size=64)["bounding_boxes"]["labels"] >= 0
        for split in ("train", "test")
    )
    assert (train.sum(axis=1) != test.sum(axis=1)).sum() > 5


def test_scenes_do_not_touch_the_global_random_state():
    before = np.random.get_state()[1].copy()
    digit_scenes(1, size=32)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_every_digit_is_in_one_split(labels):
    labels = np.array(labels)
    split = module._split_digits(labels)
    indices = np.concatenate([split["train"], split["test"]])
    assert sorted(indices) == list(range(len(labels)))
    for digit in np.unique(labels):
        share = (labels[split["train"]] == digit).sum()
        assert abs(share - 0.7 * (labels == digit).sum()) <= 0.5


def test_train_and_test_share_no_scan():
    train, test = (
        {scan.image.tobytes() for scan in module._digit_scans(s)} for s in module._SPLITS
    )
    assert train.isdisjoint(test)
    scans = module._digit_scans("train")
    digits = sklearn_datasets.load_digits()
    first_seven = next(scan for scan in scans if scan.label == 7)
    pressure = np.asarray(first_seven.image)[2:-2, 2:-2] * (16 / 255)
    np.testing.assert_allclose(pressure, digits.images[digits.target == 7][0], atol=0.05)


@given(st.integers(2, 5000))
def test_every_column_is_in_one_split(width):
    columns = module._split_columns(width)
    assert columns["train"][0] == 0
    assert columns["train"][1] == columns["test"][0]
    assert columns["test"][1] == width
    assert abs(columns["train"][1] - 0.7 * width) <= 0.5


@pytest.mark.usefixtures("forget_sources")
def test_crops_stay_in_their_split_of_the_photograph(monkeypatch):
    """Photographs painted red in the training columns, blue in the others, never mix."""
    photograph = np.zeros((427, 640, 3), "uint8")
    border = module._split_columns(640)["test"][0]
    photograph[:, :border, 0] = 255
    photograph[:, border:, 2] = 255
    images = type("Bunch", (), {"images": [photograph, photograph]})
    monkeypatch.setattr(sklearn_datasets, "load_sample_images", lambda: images)
    for split, colour in (("train", [255, 0, 0]), ("test", [0, 0, 255])):
        scenes = digit_scenes(60, split, size=32, max_objects=0)
        assert (scenes["images"] == colour).all()


@pytest.mark.usefixtures("forget_sources")
def test_crops_are_flipped_and_scaled(monkeypatch):
    """A photograph whose red counts columns shows how far a crop reaches, and which way round."""
    ramp = np.zeros((427, 640, 3), "uint8")
    ramp[..., 0] = np.arange(640) // 3
    images = type("Bunch", (), {"images": [ramp]})
    monkeypatch.setattr(sklearn_datasets, "load_sample_images", lambda: images)
    red = digit_scenes(60, size=64, max_objects=0)["images"][:, 0, :, 0].astype(int)
    reach = 3 * (red[:, -1] - red[:, 0]) * 64 / 63
    assert 15 <= (reach < 0).sum() <= 45
    assert abs(reach).min() < 110
    assert abs(reach).max() > 170


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_scenes": -1}, "num_scenes"),
        ({"num_scenes": 2.0}, "num_scenes"),
        ({"num_scenes": 1, "split": "validation"}, "split"),
        ({"num_scenes": 1, "size": 31}, "size"),
        ({"num_scenes": 1, "seed": -1}, "seed"),
        ({"num_scenes": 1, "max_objects": -1}, "max_objects"),
    ],
)
def test_wrong_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}="):
        digit_scenes(**arguments)


@pytest.mark.usefixtures("forget_sources")
@pytest.mark.parametrize("library", ["sklearn", "PIL"])
def test_a_missing_library_names_the_extra(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"keras-cvx\[datasets\]"):
        digit_scenes(1)
