import sys

import numpy as np
import pytest

from keras_cvx.datasets import DatasetError, tfds

pytestmark = pytest.mark.host

library = pytest.importorskip("tensorflow_datasets")

NAMES = ["cat", "dog", "cow"]


def example(place):
    """An image of its own size and colour, with as many objects as its place modulo 3."""
    count = place % 3
    return {
        "picture": np.full((8 + place, 10, 3), place, "uint8"),
        "image/filename": f"{place}.jpg",
        "things": [
            {
                "bbox": library.features.BBox(0.25, 0.5, 0.75, 1.0 - 0.25 * row),
                "label": NAMES[(place + row) % 3],
                "is_crowd": row == 1,
            }
            for row in range(count)
        ],
    }


class Boxes(library.core.GeneratorBasedBuilder):
    """Objects, under names of their own."""

    VERSION = library.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=library.features.FeaturesDict(
                {
                    "picture": library.features.Image(shape=(None, None, 3)),
                    "image/filename": library.features.Text(),
                    "things": library.features.Sequence(
                        {
                            "bbox": library.features.BBoxFeature(),
                            "label": library.features.ClassLabel(names=NAMES),
                            "is_crowd": np.bool_,
                        }
                    ),
                }
            )
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for place in range(10):
            yield f"{place:03d}", example(place)


class Masks(Boxes):
    """Masks of ids."""

    def _info(self):
        return self.dataset_info_from_configs(
            features=library.features.FeaturesDict(
                {
                    "image": library.features.Image(shape=(None, None, 1)),
                    "segmentation_mask": library.features.Image(shape=(None, None, 1)),
                }
            )
        )

    def _generate_examples(self):
        for place in range(4):
            pixels = np.full((6, 5 + place, 1), place, "uint8")
            yield place, {"image": 10 * pixels, "segmentation_mask": pixels}


class Labels(Masks):
    """Nothing but a class."""

    def _info(self):
        return self.dataset_info_from_configs(
            features=library.features.FeaturesDict(
                {
                    "image": library.features.Image(shape=(None, None, 3)),
                    "label": library.features.ClassLabel(names=NAMES),
                }
            )
        )

    def _generate_examples(self):
        yield 0, {"image": np.zeros((2, 2, 3), "uint8"), "label": 1}


def prepared(builder, folder, file_format="array_record"):
    made = builder(data_dir=folder, file_format=file_format)
    made.download_and_prepare()
    return made


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return prepared(Boxes, tmp_path_factory.mktemp("boxes"))


def by_name(data):
    return sorted(data, key=lambda record: int(record.image_id.split(".")[0]))


def test_objects(boxes):
    data = tfds(boxes, "train")
    assert len(data) == 10
    assert data.class_names == ("cat", "dog", "cow")
    for place, record in enumerate(by_name(data)):
        assert record.image_id == f"{place}.jpg"
        np.testing.assert_array_equal(record.image, example(place)["picture"])
        height = 8 + place
        expected = [[5, height / 4, 10 - 2.5 * row, height * 0.75] for row in range(place % 3)]
        np.testing.assert_allclose(record.boxes, np.reshape(expected, (-1, 4)), rtol=1e-6)
        assert record.labels.tolist() == [(place + row) % 3 for row in range(place % 3)]
        assert record.is_crowd.tolist() == [False, True][: place % 3]
    assert len(by_name(data)[2].sample()["bounding_boxes"]["labels"]) == 1


def test_slices(boxes):
    parts = [tfds(boxes, split) for split in ("train[:30%]", "train[30%:]")]
    assert [len(part) for part in parts] == [3, 7]
    names = [record.image_id for part in parts for record in part]
    assert names == [record.image_id for record in tfds(boxes)]
    for wrong in ("train[:0%]", "valid", "train[x]"):
        with pytest.raises(DatasetError, match=r"must be a split with records"):
            tfds(boxes, wrong)


def test_masks(tmp_path):
    data = tfds(prepared(Masks, tmp_path), "train[1:]")
    assert len(data) == 3
    for record in data:
        value = int(record.mask[0, 0])
        assert record.mask.tolist() == [[value] * (5 + value)] * 6
        assert record.image.tolist() == [[[10 * value] * 3] * (5 + value)] * 6
        assert sorted(record.sample()) == ["images", "segmentation_masks"]
    assert data.check().ok


def test_what_has_neither_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"labels/1\.0\.0, train' must have an image, and objec"):
        tfds(prepared(Labels, tmp_path))


def test_a_format_without_random_access_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"Received: 'tfrecord'. Prepare it anew"):
        tfds(prepared(Masks, tmp_path, "tfrecord"))


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[datasets\]"):
        tfds("voc")
