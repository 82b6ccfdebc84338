import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_cvx.datasets import Dataset, DatasetError, coco, polygon_mask, run_length_mask
from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.pixels.orientation import ORIENTATIONS
from keras_cvx.datasets.pixels.rasterizing import counts_of_mask
from keras_cvx.datasets.pixels.regions import RegionsBuilder

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 24, 16
BOX = (4, 2, 12, 5)  # of stored pixels: x0, y0, width and height


@pytest.fixture
def photograph(tmp_path):
    """Function of EXIF's orientation: a dark image, a bright box in it, read as COCO's."""

    def make(orientation, *, stated=(HEIGHT, WIDTH), **arguments):
        x, y, width, height = BOX
        pixels = np.zeros((HEIGHT, WIDTH, 3), "uint8")
        pixels[y : y + height, x : x + width] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        content = {
            "images": [
                {"id": 1, "file_name": "a.png", "height": stated[0], "width": stated[1]}
                if stated
                else {"id": 1, "file_name": "a.png"}
            ],
            "categories": [{"id": 1, "name": "bright"}],
            "annotations": [
                {"image_id": 1, "category_id": 1, "bbox": BOX}
                | ({"segmentation": [corners]} if stated else {})
            ],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        return coco(tmp_path / "a.json", tmp_path, **arguments)[0]

    return make


def bright_box(image):
    ys, xs = np.nonzero(image[..., 0] > 128)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_and_masks_of_the_stored_frame_turn_with_their_pixels(photograph, orientation):
    record = photograph(orientation, frame="stored")
    bright = record.image[..., 0] > 128
    assert bright.sum() == BOX[2] * BOX[3]
    assert record.size == record.image.shape[:2]
    assert record.boxes.tolist() == [bright_box(record.image)]
    np.testing.assert_array_equal(record.mask, bright.astype(int))
    np.testing.assert_array_equal(record.masks, bright[None])
    assert record.areas.tolist() == [BOX[2] * BOX[3]]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_outlines_turn_with_their_pixels(photograph, orientation):
    record = photograph(orientation, frame="stored")
    [[outline]] = record.outlines
    expected = bright_box(record.image)
    assert [*outline.min(0), *outline.max(0)] == expected
    assert record.exact_boxes.tolist() == [expected]
    assert record.run_lengths == [None]
    np.testing.assert_array_equal(polygon_mask([outline.ravel()], record.size), record.masks[0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_run_lengths_turn_with_their_pixels(photograph, tmp_path, orientation):
    photograph(orientation)
    stored = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3
    builder = RegionsBuilder()
    builder.add(counts=counts_of_mask(stored).tolist())
    builder.add()
    columns = {"boxes": [[0, 0, 1, 1]] * 2, "labels": [0, 0]}
    objects = grouped([0, 0], 1, columns, builder)
    images = Paths(tmp_path, ["a.png"])
    record = Dataset(Annotations("one", images, ("a",), objects, frame="stored"))[0]
    counts, none = record.run_lengths
    assert none is None
    assert record.outlines == [[], []]
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(run_length_mask(counts, record.size), upright)


def test_outlines_of_fractions_become_pixels():
    builder = RegionsBuilder()
    builder.add([[0.25, 0.5, 0.75, 0.5, 0.75, 1.0]])
    columns = {"boxes": [[0.1, 0.5, 0.7, 1.0]], "labels": [1]}
    objects = grouped([0], 1, columns, builder, relative=True)
    image = np.zeros((10, 20, 3), "uint8")
    record = Dataset(Annotations("arrays", [image], ("a", "b"), objects))[0]
    assert record.outlines[0][0].tolist() == [[5, 5], [15, 5], [15, 10]]
    assert record.exact_boxes.dtype == "float64"
    assert record.exact_boxes.tolist() == [[2, 5, 14, 10]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_told_size_says_which_frame_it_is(photograph, orientation):
    record = photograph(orientation)
    assert record.boxes.tolist() == [bright_box(record.image)]
    x, y, width, height = BOX
    as_told = [[x, y, x + width, y + height]]
    upright = photograph(orientation, stated=(WIDTH, HEIGHT))
    assert upright.size == (WIDTH, HEIGHT)
    assert upright.boxes.tolist() == as_told
    assert upright.mask[y, x] == 1
    assert upright.mask.sum() == width * height
    # Nothing tells here, and viewers show it upright.
    assert photograph(orientation, stated=None).boxes.tolist() == as_told


@pytest.mark.parametrize("frame", ["auto", "upright"])
def test_a_half_turn_is_not_to_be_seen_by_the_size(photograph, frame):
    x, y, width, height = BOX
    assert photograph(3, frame=frame).boxes.tolist() == [[x, y, x + width, y + height]]


def test_another_size_is_an_error(photograph):
    record = photograph(1, stated=(HEIGHT, WIDTH + 1))
    for name in ("boxes", "mask", "masks", "areas"):
        with pytest.raises(DatasetError, match=r"height=16 and width=24.*height=16 and width=25"):
            getattr(record, name)


def arrays(boxes, labels, **columns):
    objects = grouped([0] * len(labels), 1, {"boxes": boxes, "labels": labels, **columns})
    image = np.zeros((10, 20, 3), "uint8")
    return Dataset(Annotations("arrays", [image], ("a", "b"), objects))[0]


def test_a_sample_has_what_can_be_learnt():
    record = arrays(
        [
            [1, 1, 5, 5],
            [-3, 2, 4, 30],  # leaves the image
            [6, 6, 6, 9],  # no area
            [25, 0, 30, 5],  # outside
            [0, 0, 20, 10],  # a crowd
            [2, 2, 3, 3],  # difficult
        ],
        [0, 1, 0, 0, 1, 1],
        is_crowd=[0, 0, 0, 0, 1, 0],
        ignored=[0, 0, 0, 0, 0, 1],
    )
    assert record.boxes.shape == (6, 4)
    assert record.boxes[1].tolist() == [-3, 2, 4, 30]
    found = record.sample()
    assert sorted(found) == ["bounding_boxes", "images"]
    boxes, labels = found["bounding_boxes"]["boxes"], found["bounding_boxes"]["labels"]
    assert boxes.tolist() == [[1, 1, 5, 5], [0, 2, 4, 10]]
    assert labels.tolist() == [0, 1]
    assert (boxes.dtype, labels.dtype) == ("float32", "int32")


def test_areas_that_are_not_told_are_those_of_the_boxes():
    record = arrays([[1, 1, 5, 5], [0, 0, 2, 3]], [0, 1], areas=[7.5, np.nan])
    assert record.areas.tolist() == [7.5, 6.0]
    assert record.ignored.tolist() == record.is_crowd.tolist() == [False, False]


def test_fractions_become_pixels():
    objects = grouped([0], 1, {"boxes": [[0.25, 0.5, 0.75, 1.0]], "labels": [1]}, relative=True)
    image = np.zeros((10, 20, 3), "uint8")
    record = Dataset(Annotations("arrays", [image], ("a", "b"), objects))[0]
    assert record.boxes.tolist() == [[5.0, 5.0, 15.0, 10.0]]
    assert record.path is None
    assert record.image_id == 0
    assert repr(record) == "<Record \"image 0 of 'arrays'\", 1 objects>"


def test_a_box_alone_has_no_mask():
    record = arrays([[1, 1, 5, 5]], [0])
    with pytest.raises(DatasetError, match=r"object 1 with a box alone"):
        record.sample("segmentation_masks")


@pytest.mark.parametrize("targets", ["boxes", ("bounding_boxes", "masks"), 3])
def test_wrong_targets(targets):
    with pytest.raises(ValueError, match=r"`targets` must be one of \('bounding_boxes', 'segment"):
        arrays([], []).sample(targets)


def test_both_targets(photograph):
    sample = photograph(1).sample(("segmentation_masks", "bounding_boxes"))
    assert sorted(sample) == ["bounding_boxes", "images", "segmentation_masks"]
    assert sample["segmentation_masks"].sum() == BOX[2] * BOX[3]


def test_a_data_set_of_masks_has_no_boxes():
    masks = [np.zeros((4, 6), "uint8")]
    record = Dataset(Annotations("m", [np.zeros((4, 6, 3), "uint8")], (), masks=masks))[0]
    assert sorted(record.sample()) == ["images", "segmentation_masks"]
    assert record.boxes.shape == (0, 4)
    assert record.labels.tolist() == record.areas.tolist() == []
    with pytest.raises(ValueError, match=r"`targets` must be 'segmentation_masks': 'm' has no box"):
        record.sample("bounding_boxes")


def test_areas_of_boxes_are_not_rounded():
    record = arrays([[5000.1, 7000.1, 5001.1, 7001.1]], [0])
    np.testing.assert_allclose(record.areas, [1.0], rtol=1e-9)


def test_a_mask_that_would_confuse_a_class_with_what_is_ignored():
    """The label 254 would be painted as 255."""
    builder = RegionsBuilder()
    builder.add([[0, 0, 2, 0, 2, 2, 0, 2]])
    objects = grouped([0], 1, {"boxes": [[0, 0, 2, 2]], "labels": [3]}, builder)
    image = np.zeros((10, 20, 3), "uint8")
    for count, message in ((254, None), (255, "255 classes"), (1203, "1203 classes")):
        names = tuple(map(str, range(count)))
        data = Dataset(Annotations("many", [image], names, objects))
        assert data[0].masks.sum() == 4
        assert data[0].sample()["bounding_boxes"]["labels"].tolist() == [3]
        if message is None:
            assert np.unique(data[0].mask).tolist() == [0, 4]
            continue
        told = rf"^'many': a mask can be painted of at most 254 classes.*Received: {message}"
        for call in (
            lambda record=data[0]: record.mask,
            lambda record=data[0]: record.sample("segmentation_masks"),
            # Before an image is read.
            lambda data=data: data.to_pydataset(1, targets="segmentation_masks"),
        ):
            with pytest.raises(DatasetError, match=told):
                call()
