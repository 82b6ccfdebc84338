from pathlib import Path

import numpy as np
import pytest

from keras_cvx.datasets.annotations import Annotations, Paths, grouped
from keras_cvx.datasets.pixels.regions import RegionsBuilder

pytestmark = pytest.mark.host


def test_no_objects():
    for count in (0, 3):
        objects = grouped([], count, {"boxes": [], "labels": []})
        assert objects.offsets.tolist() == [0] * (count + 1)
        assert objects.boxes.shape == (0, 4)
        assert objects.labels.shape == objects.ids.shape == (0,)
        assert len(objects.regions) == 0


def test_objects_are_put_image_after_image_in_their_order():
    boxes = np.arange(20).reshape(5, 4)
    columns = {"boxes": boxes.tolist(), "labels": [0, 1, 2, 3, 4], "is_crowd": [1, 0, 0, 0, 0]}
    builder = RegionsBuilder()
    for x in range(5):
        builder.add([[x, 0, x + 1, 0, x, 1]])
    objects = grouped([2, 0, 2, 0, 2], 4, columns, builder)
    assert objects.offsets.tolist() == [0, 2, 2, 5, 5]
    assert objects.labels.tolist() == [1, 3, 0, 2, 4]
    np.testing.assert_array_equal(objects.boxes, boxes[[1, 3, 0, 2, 4]])
    assert objects.is_crowd.tolist() == [False, False, True, False, False]
    assert [objects.regions.polygons(row)[0][0, 0] for row in range(5)] == [1, 3, 0, 2, 4]
    # What is not told: no flags, no areas, places for ids.
    assert not objects.ignored.any()
    assert np.isnan(objects.areas).all()
    assert objects.ids.tolist() == [2, 4, 1, 3, 5]


def test_dtypes():
    objects = grouped([0], 1, {"boxes": [[1, 2, 3, 4]], "labels": [7], "ids": [2**40]})
    found = {
        name: getattr(objects, name).dtype.name for name in ("boxes", "labels", "areas", "ids")
    }
    assert found == {"boxes": "float64", "labels": "int32", "areas": "float64", "ids": "int64"}
    assert objects.ids.tolist() == [2**40]


def test_paths():
    paths = Paths("photos", ["a.png", "deep/b.png"])
    assert len(paths) == 2
    assert paths[1] == Path("photos/deep/b.png")
    assert list(paths) == [Path("photos/a.png"), Path("photos/deep/b.png")]


def test_names_of_mask_ids():
    objects = grouped([], 0, {"boxes": [], "labels": []})
    assert Annotations("s", [], ("a", "b"), objects).mask_class_names == ("background", "a", "b")
    assert Annotations("s", [], ("a", "b")).mask_class_names == ("a", "b")
