import pickle

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError, voc

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 10, 8
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>6</ymax>"
    "</bndbox></object>"
)


def write(devkit, **names):
    """The files of images, with objects of these classes."""
    for image, classes in names.items():
        path = devkit / "Annotations" / f"{image}.xml"
        path.write_text(f"<annotation>{''.join(map(OBJECT.format, classes))}</annotation>")


def test_masks_are_those_of_the_files(devkit):
    ids = np.zeros((HEIGHT, WIDTH), "uint8")
    ids[2:6, 1:5], ids[0] = 12, 255
    palette = Image.fromarray(ids)
    palette.putpalette(np.random.default_rng(0).integers(0, 256, 768, "uint8").tobytes())
    (devkit / "SegmentationClass").mkdir()
    palette.save(devkit / "SegmentationClass" / "a.png")
    write(devkit, a=["dog"], b=["cat"])
    data = pickle.loads(pickle.dumps(voc(devkit)))  # noqa: S301
    np.testing.assert_array_equal(data[0].mask, ids)
    # The dog's label and 1.
    assert data[0].labels.tolist() == [11]
    assert sorted(data[0].sample(("bounding_boxes", "segmentation_masks"))) == [
        "bounding_boxes", "images", "segmentation_masks",
    ]  # fmt: skip
    with pytest.raises(DatasetError, match=r"SegmentationClass/b\.png' must be there for a mask"):
        data[1].mask  # noqa: B018


def test_masks_of_other_ids_or_colours_are_named(devkit):
    (devkit / "SegmentationClass").mkdir()
    write(devkit, a=["x", "y"])
    path = devkit / "SegmentationClass" / "a.png"
    ids = np.zeros((HEIGHT, WIDTH), "uint8")
    ids[0, :3] = 1, 2, 3
    Image.fromarray(ids).save(path)
    with pytest.raises(DatasetError, match=r"a\.png' must have ids from 0 to 2, .*Received: 1: 3"):
        voc(devkit)[0].mask  # noqa: B018
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    with pytest.raises(DatasetError, match=r"mode 'RGB', colours or transparency and no ids"):
        voc(devkit)[0].mask  # noqa: B018


def test_without_masks_or_outlines_there_are_none(devkit):
    write(devkit, a=["dog"])
    with pytest.raises(DatasetError, match="with a box alone"):
        voc(devkit)[0].mask  # noqa: B018


def test_a_list_for_segmentation_is_of_images_with_masks(devkit):
    write(devkit, a=["dog"], b=["cat"])
    for task in ("Main", "Segmentation"):
        (devkit / "ImageSets" / task / "train.txt").write_text("b\na\n")
    # Without the folder of masks there are none to be had.
    assert len(voc(devkit, split="Segmentation/train")) == 2
    (devkit / "SegmentationClass").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 3).save(devkit / "SegmentationClass" / "a.png")
    for split in ("train", "Main/train"):
        assert [record.image_id for record in voc(devkit, split=split)] == ["b", "a"]
        found = voc(devkit, split=split).check()
        assert [str(one) for one in found.findings if "mask" in one.what] == [
            f"note: 1 images without mask: {devkit / 'JPEGImages' / 'b.png'}"
        ]
    with pytest.raises(
        DatasetError,
        match=r"train\.txt', line 1: an image .*must have a mask. .*b.png",
    ):
        voc(devkit, split="Segmentation/train")
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, split="Segmentation/train", on_error="skip")
    assert [record.mask.max() for record in data] == [3]
    for wrong in ("Main/val", "Layout/train", "Segmentation/", "Main/../Segmentation/x"):
        with pytest.raises(ValueError, match="`split` must be None or the name of a list in"):
            voc(devkit, split=wrong)
