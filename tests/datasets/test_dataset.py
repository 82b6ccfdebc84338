import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cvx.datasets import Dataset, Record
from keras_cvx.datasets.annotations import Annotations, grouped

pytestmark = pytest.mark.host


def dataset(labels, num_classes=5):
    """Images of one pixel, their colour their place; labels: a list for each of them."""
    images = [np.full((1, 1, 3), place % 256, "uint8") for place in range(len(labels))]
    rows = [place for place, some in enumerate(labels) for _ in some]
    flat = [label for some in labels for label in some]
    objects = grouped(
        rows, len(labels), {"boxes": np.tile([0.0, 0, 1, 1], (len(flat), 1)), "labels": flat}
    )
    names = tuple("abcdefgh"[:num_classes])
    return Dataset(Annotations("test", images, names, objects))


def places(data):
    return [record.index for record in data]


def test_an_empty_data_set():
    data = dataset([])
    assert len(data) == 0
    assert list(data) == []
    assert [len(part) for part in data.split(0.5, stratify=True)] == [0, 0]
    assert repr(data) == "<Dataset of 0 images, 5 classes, from 'test'>"


def test_records_and_parts():
    data = dataset([[1], [], [2, 3], [4]])
    assert isinstance(data[2], Record)
    assert data[2].labels.tolist() == [2, 3]
    assert data[-1].labels.tolist() == [4]
    assert data[np.int64(1)].boxes.shape == (0, 4)
    assert places(data[1:]) == [1, 2, 3]
    assert places(data[::-2][1:]) == [1]
    assert places(data[[3, 0]]) == [3, 0]
    assert places(data[np.array([True, False, False, True])]) == [0, 3]
    assert data[[3, 0]][0].labels.tolist() == [4]
    for index in (4, -5):
        with pytest.raises(IndexError):
            data[index]
    with pytest.raises(TypeError):
        data["a"]
    again = pickle.loads(pickle.dumps(data[2:]))  # noqa: S301
    assert again[0].labels.tolist() == [2, 3]


label_lists = st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=30)


@settings(deadline=None)
@given(label_lists, st.floats(0.01, 0.99), st.integers(0, 3), st.booleans())
def test_parts_are_all_images_once_in_their_order(labels, fraction, seed, stratify):
    data = dataset(labels)
    first, second = data.split(fraction, seed, stratify=stratify)
    assert sorted(places(first) + places(second)) == list(range(len(labels)))
    assert places(first) == sorted(places(first))
    assert places(second) == sorted(places(second))
    assert abs(len(first) - fraction * len(labels)) <= 0.5 + 1e-9
    again, _ = data.split(fraction, seed, stratify=stratify)
    assert places(again) == places(first)


@settings(deadline=None)
@given(label_lists, st.floats(0.01, 0.99), st.integers(0, 3))
def test_strata_have_their_share(labels, fraction, seed):
    """By the class of each image that the fewest images have, counted in a loop."""
    images_with = [sum(label in some for some in labels) for label in range(5)]
    strata = [min(some, key=lambda x: (images_with[x], x)) if some else -1 for some in labels]
    first, _ = dataset(labels).split(fraction, seed, stratify=True)
    for stratum in set(strata):
        share = sum(strata[place] == stratum for place in places(first))
        assert abs(share - fraction * strata.count(stratum)) < 1 + 1e-9


def test_seeds_differ_and_parts_can_be_split_again():
    data = dataset([[place % 5] for place in range(100)])
    first, rest = data.split(0.6)
    assert places(first) != places(data.split(0.6, seed=1)[0])
    assert places(first) != list(range(60))
    valid, test = rest.split(0.5, stratify=True)
    assert sorted(places(first) + places(valid) + places(test)) == list(range(100))
    counts = np.bincount([label for record in valid for label in record.labels])
    assert abs(counts - 4).max() <= 3


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, float("nan")])
def test_wrong_fractions(fraction):
    with pytest.raises(ValueError, match=r"`fraction` must be a number between 0 and 1. Received"):
        dataset([[1]]).split(fraction)


def test_masks_alone_have_no_strata():
    data = Dataset(Annotations("test", [np.zeros((1, 1, 3), "uint8")], ()))
    with pytest.raises(ValueError, match=r"`stratify` must be False: the images have masks alone"):
        data.split(0.5, stratify=True)
    with pytest.raises(ValueError, match=r"`seed` must be an integer"):
        data.split(0.5, seed=-1)
