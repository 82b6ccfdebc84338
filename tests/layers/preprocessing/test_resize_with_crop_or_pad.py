import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx import geometry, testing
from keras_cvx.layers import ResizeWithCropOrPad

RNG = np.random.default_rng(0)
SIZES, LARGE = testing.image_sizes(1, 40), testing.image_sizes(8, 2000)


def sample_of(size, boxes, labels):
    return {
        "images": RNG.uniform(1, 255, (*size, 2)).astype("float32"),
        "bounding_boxes": {"boxes": np.float32(boxes), "labels": np.int32(labels)},
        "segmentation_masks": RNG.integers(0, 9, size).astype("int32"),
    }


@pytest.mark.parametrize("count", [0, 2])
def test_no_images_and_no_boxes(as_kind, count):
    sample = as_kind(
        {
            "images": np.zeros((count, 5, 7, 3), "uint8"),
            "bounding_boxes": {
                "boxes": np.zeros((count, 0, 4), "float32"),
                "labels": np.zeros((count, 0), "int32"),
            },
            "segmentation_masks": np.zeros((count, 5, 7, 1), "int32"),
        }
    )
    moved = ResizeWithCropOrPad(3, 9, bounding_box_format="xywh")(sample)
    assert moved["images"].shape == (count, 3, 9, 3)
    assert moved["segmentation_masks"].shape == (count, 3, 9, 1)
    assert moved["bounding_boxes"]["boxes"].shape == (count, 0, 4)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, target=SIZES)
def test_pixels_of_tensorflow(size, target):
    tf = pytest.importorskip("tensorflow")
    images = RNG.uniform(0, 255, (2, *size, 3)).astype("float32")
    expected = tf.image.resize_with_crop_or_pad(images, *target).numpy()
    np.testing.assert_array_equal(ResizeWithCropOrPad(*target)(images), expected)


@pytest.mark.parametrize("target", [(3, 4), (9, 12), (3, 12), (8, 4), (5, 7)])
def test_pixels_of_every_kind(as_kind, target):
    tf = pytest.importorskip("tensorflow")
    images = RNG.uniform(0, 255, (2, 5, 7, 3)).astype("float32")
    expected = tf.image.resize_with_crop_or_pad(images, *target).numpy()
    got = ResizeWithCropOrPad(*target)(as_kind(images))
    np.testing.assert_array_equal(np.asarray(got), expected)


def spans(size):
    """Rows and columns `[first, last)` of a rectangle in an image."""
    return st.tuples(
        *(
            st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True).map(sorted)
            for n in size
        )
    )


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=SIZES, target=SIZES)
def test_a_painted_box_is_found_exactly(data, size, target):
    assert_found(size, target, data.draw(spans(size)))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=LARGE, target=LARGE)
def test_a_painted_box_in_images_of_up_to_2000_pixels(data, size, target):
    assert_found(size, target, data.draw(spans(size)))


@pytest.mark.parametrize(
    ("size", "target"), [((8, 2000), (2000, 8)), ((2000, 8), (8, 2000)), ((2000, 1999), (9, 8))]
)
def test_a_painted_box_at_the_extremes(size, target):
    (height, width), middle = size, [n // 2 for n in size]
    assert_found(size, target, ([0, height], [0, width]))
    assert_found(size, target, ([middle[0] - 2, height], [0, middle[1] + 3]))


def assert_found(size, target, spans):
    (y0, y1), (x0, x1) = spans
    image, mask = np.zeros((*size, 1), "uint8"), np.zeros(size, "uint8")
    image[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 200, 8
    boxes = {"boxes": np.float32([[x0, y0, x1, y1]]), "labels": np.int32([3])}
    moved = ResizeWithCropOrPad(*target, bounding_box_format="xyxy")(
        {"images": image, "bounding_boxes": boxes, "segmentation_masks": mask}
    )
    [got], [label] = moved["bounding_boxes"]["boxes"], moved["bounding_boxes"]["labels"]
    for painted in (moved["images"][..., 0] == 200, moved["segmentation_masks"] == 8):
        if not painted.any():
            assert got.tolist() == [-1] * 4
            assert label == -1
            continue
        rows, columns = (np.flatnonzero(painted.any(axis)) for axis in (1, 0))
        assert got.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert label == 3
    if all(out >= here for out, here in zip(target, size, strict=True)):
        back = geometry.restore_boxes(got[None], moved["geometry"])
        assert back.tolist() == [[x0, y0, x1, y1]]


@pytest.mark.parametrize(
    ("min_visible", "kept"),
    [
        (0.0, [0, 1, 2, 3]),
        (0.25, [0, 1, 2, 3]),
        (0.26, [0, 1, 2]),
        (0.5, [0, 1, 2]),
        (0.51, [0, 1]),
        (1.0, [0, 1]),
    ],
)
def test_min_visible(as_kind, min_visible, kept):
    # Of an image 8 × 8 the middle 4 × 4 are left.
    boxes = [[2, 2, 6, 6], [3, 3, 4, 5], [0, 2, 4, 4], [0, 0, 4, 4]]
    boxes += [[0, 0, 2, 8], [3, 3, 3, 5], [-1] * 4]
    sample = as_kind(sample_of((8, 8), boxes, [0, 1, 2, 3, 4, 5, -1]))
    layer = ResizeWithCropOrPad(4, 4, min_visible=min_visible, bounding_box_format="xyxy")
    moved = layer(sample)["bounding_boxes"]
    expected = {0: [0, 0, 4, 4], 1: [1, 1, 2, 3], 2: [0, 0, 2, 2], 3: [0, 0, 2, 2]}
    labels = [i if i in kept else -1 for i in range(7)]
    assert np.asarray(moved["labels"]).tolist() == labels
    assert np.asarray(moved["boxes"]).tolist() == [expected.get(i, [-1] * 4) for i in labels]


def test_fill_values(as_kind):
    sample = as_kind(sample_of((2, 2), np.zeros((0, 4)), []))
    layer = ResizeWithCropOrPad(
        4, 2, fill_value=7.5, mask_fill_value=99, bounding_box_format="xyxy"
    )
    moved = layer(sample)
    assert (np.asarray(moved["images"])[[0, -1]] == 7.5).all()
    assert (np.asarray(moved["segmentation_masks"])[[0, -1]] == 99).all()
    np.testing.assert_array_equal(np.asarray(moved["images"])[1:3], np.asarray(sample["images"]))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("target", [(24, 70), (50, 31)])
def test_in_a_model(compiled, known, target):
    """One axis cropped and one padded; the same pixels, masks and labels as on the host."""
    size = (37, 53)
    boxes = [[1, 2.5, 20, 30], [30.25, 20, 52, 36], [0, 0, 3, 3], [-1] * 4]
    samples = [sample_of(size, boxes[k:] + boxes[:k], [4, 5, 6, -1]) for k in (0, 1)]
    for sample in samples:
        sample["bounding_boxes"]["labels"][(sample["bounding_boxes"]["boxes"] == -1).all(-1)] = -1
    batch = keras.tree.map_structure(lambda *x: np.stack(x), *samples)
    layer = ResizeWithCropOrPad(
        *target, min_visible=0.3, fill_value=-3, mask_fill_value=99, bounding_box_format="xyxy"
    )
    side = size if known else (None, None)
    inputs = {
        "images": keras.Input((*side, 2), name="images"),
        "bounding_boxes": {
            "boxes": keras.Input((None, 4), name="boxes"),
            "labels": keras.Input((None,), dtype="int32", name="labels"),
        },
        "segmentation_masks": keras.Input(side, dtype="int32", name="segmentation_masks"),
    }
    model = keras.Model(inputs, layer(inputs))
    expected = layer(batch)
    kept = expected["bounding_boxes"]["labels"] >= 0
    assert kept.any()
    assert (~kept).sum() > 2
    tensors = keras.tree.map_structure(ops.convert_to_tensor, batch)
    for call in (model, compiled(model)):
        moved = keras.tree.map_structure(ops.convert_to_numpy, call(tensors))
        # XLA rounds a product and a sum at once, others one after the other.
        np.testing.assert_allclose(
            moved["bounding_boxes"].pop("boxes"),
            expected["bounding_boxes"]["boxes"],
            rtol=0,
            atol=1e-5,
        )
        right = {**expected, "bounding_boxes": {"labels": expected["bounding_boxes"]["labels"]}}
        keras.tree.map_structure(np.testing.assert_array_equal, moved, right)


@pytest.mark.parametrize("min_visible", [-0.1, 1.1, float("nan")])
def test_bad_arguments(min_visible):
    with pytest.raises(ValueError, match="`min_visible`"):
        ResizeWithCropOrPad(4, 4, min_visible=min_visible)
