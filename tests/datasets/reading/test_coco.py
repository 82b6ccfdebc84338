import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from keras_cvx.datasets import coco, polygon_mask, run_length_mask

pytestmark = pytest.mark.host

HEIGHT, WIDTH = 8, 10
SIZE = (HEIGHT, WIDTH)


def rectangle(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


SQUARE = rectangle(1, 1, 3, 3)


def run_lengths(mask, *, compressed):
    pixels = np.concatenate([[0], mask.T.ravel(), [2]]).astype(int)
    counts = np.diff(np.flatnonzero(np.diff(pixels)), prepend=0).tolist()
    encoded = pycoco.frPyObjects({"size": list(mask.shape), "counts": counts}, *mask.shape)
    assert pycoco.area(encoded) == mask.sum()
    return {
        "size": list(mask.shape),
        "counts": encoded["counts"].decode() if compressed else counts,
    }


def annotation(segmentation, category=44, *, image=7, number=1, **others):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        **others,
    }


def test_no_images(coco_file):
    data = coco(*coco_file([], images=[]))
    assert len(data) == 0
    assert data.class_names == ("car", "bottle", "brush")


def test_an_image_without_objects_is_background(coco_file):
    data = coco(*coco_file([]))
    assert len(data) == 2
    sample = data[1].sample("segmentation_masks")
    assert sorted(sample) == ["images", "segmentation_masks"]
    np.testing.assert_array_equal(sample["images"], np.full((HEIGHT, WIDTH, 3), [1, 5, 9]))
    np.testing.assert_array_equal(sample["segmentation_masks"], np.zeros(SIZE))
    assert sample["segmentation_masks"].dtype == "uint8"


def test_categories_become_contiguous_labels(coco_file):
    path, folder = coco_file(
        [
            annotation(rectangle(0, 0, 2, 1), 3),
            annotation(rectangle(2, 0, 4, 1), 90),
            annotation(rectangle(4, 0, 6, 1), 44),
        ]
    )
    data = coco(str(path), images=str(folder))
    assert data.class_names == ("car", "bottle", "brush")
    assert data[0].labels.tolist() == [0, 2, 1]
    expected = np.zeros(SIZE, int)
    expected[0, :6] = [1, 1, 3, 3, 2, 2]
    np.testing.assert_array_equal(data[0].mask, expected)
    assert not data[1].mask.any()


def test_it_is_a_sequence_in_the_order_of_the_file(coco_file):
    data = coco(*coco_file([annotation(rectangle(1, 1, 3, 3), image=2)]))
    assert [record.image_id for record in data] == [7, 2]
    assert [record.path.name for record in data] == ["a.png", "b.png"]
    part = pickle.loads(pickle.dumps(data[1:]))  # noqa: S301
    assert [record.image_id for record in part] == [2]
    assert part.class_names == data.class_names
    assert (part[0].mask == 2).sum() == 4
    assert part[0].image[0, 0, 0] == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_the_smaller_object_is_in_front(coco_file, reverse):
    regions = [
        annotation(rectangle(0, 0, 6, 6), 3),
        annotation(rectangle(4, 4, 8, 8), 44),
        annotation(rectangle(5, 5, 6, 6), 90),
    ]
    mask = coco(*coco_file(regions[:: -1 if reverse else 1]))[0].mask
    expected = np.zeros(SIZE, int)
    expected[:6, :6], expected[4:8, 4:8], expected[5, 5] = 1, 2, 3
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_of_equal_objects_the_later_is_in_front(coco_file, reverse):
    order = slice(None, None, -1 if reverse else 1)
    regions = [annotation(rectangle(0, 0, 4, 4), 3), annotation(rectangle(2, 0, 6, 4), 44)][order]
    mask = coco(*coco_file(regions))[0].mask
    assert mask[0, :6].tolist() == ([1, 1, 1, 1, 2, 2] if reverse else [1, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_crowds_are_behind_all_others(coco_file, compressed, reverse):
    crowd = np.zeros(SIZE, bool)
    crowd[1:3, 1:4] = True
    regions = [
        annotation(rectangle(0, 0, 8, 2), 3),
        annotation(run_lengths(crowd, compressed=compressed), 90, iscrowd=1),
    ]
    mask = coco(*coco_file(regions[:: -1 if reverse else 1]))[0].mask
    expected = np.zeros(SIZE, int)
    expected[crowd] = 3
    expected[:2, :8] = 1
    np.testing.assert_array_equal(mask, expected)


def test_what_is_to_be_ignored(coco_file):
    regions = [annotation(SQUARE, ignore=flag, number=flag + 1) for flag in (0, 1)]
    [record, _] = coco(*coco_file([*regions, annotation(SQUARE, number=3)]))
    assert record.ignored.tolist() == [False, True, False]
    assert record.is_crowd.tolist() == [False] * 3


@st.composite
def annotations_of(draw):
    kind = draw(st.sampled_from(["polygons", "counts", "compressed"]))
    if kind == "polygons":
        point = st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT))
        outline = st.lists(point, min_size=3, max_size=5).map(lambda p: [x for xy in p for x in xy])
        given_ = draw(st.lists(outline, min_size=1, max_size=2))
    else:
        x0, y0 = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
        mask = np.zeros(SIZE, bool)
        mask[y0 : draw(st.integers(y0, HEIGHT)), x0 : draw(st.integers(x0, WIDTH))] = True
        given_ = run_lengths(mask, compressed=kind == "compressed")
    category = draw(st.sampled_from([3, 44, 90]))
    return annotation(given_, category, iscrowd=int(kind != "polygons" and draw(st.booleans())))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(annotations_of(), max_size=5))
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_are_those_of_pycocotools(coco_file, capsys, annotations):
    """Painted over one another from pycocotools' own masks of the same file."""
    annotations = [{**one, "id": place} for place, one in enumerate(annotations, start=1)]
    path, folder = coco_file(annotations)
    data, reference = coco(path, folder), COCO(str(path))
    capsys.readouterr()
    for index, image in enumerate(record.image_id for record in data):
        expected = np.zeros(SIZE, int)
        objects = reference.loadAnns(reference.getAnnIds(imgIds=[image]))
        for order, one in enumerate(objects):
            one["mask"] = reference.annToMask(one) == 1
            one["place"] = (-one["iscrowd"], -one["mask"].sum(), order)
        for one in sorted(objects, key=lambda one: one["place"]):
            expected[one["mask"]] = sorted(reference.getCatIds()).index(one["category_id"]) + 1
        np.testing.assert_array_equal(data[index].mask, expected)


def test_masks_agree_with_the_functions(coco_file):
    outline = [[0.5, 0.5, 8.25, 1.0, 4.0, 7.5]]
    inside = polygon_mask(outline, SIZE)
    lengths = run_lengths(inside, compressed=True)
    np.testing.assert_array_equal(run_length_mask(lengths["counts"], SIZE), inside)
    for given_ in (outline, lengths):
        mask = coco(*coco_file([annotation(given_, 90)]))[0].mask
        np.testing.assert_array_equal(mask, 3 * inside)


def test_as_many_categories_as_a_mask_can_tell(coco_file):
    named = [{"id": 2 * i, "name": f"{i}"} for i in range(254)]
    regions = [annotation(rectangle(0, 0, 1, 1), 506), annotation(rectangle(1, 0, 2, 1), 0)]
    data = coco(*coco_file(regions, categories=named))
    mask = data[0].mask
    assert mask.dtype == "uint8"
    assert mask[0, :3].tolist() == [254, 1, 0]
    assert data.mask_class_names[254] == "253"


def test_files_in_folders_of_the_folder(coco_file):
    image = {"id": "x", "file_name": "more\\c.png", "width": 3.0, "height": 2}
    path, folder = coco_file([annotation([[0, 0, 2, 0, 2, 2, 0, 2]], 3, image="x")], images=[image])
    (folder / "more").mkdir()
    Image.new("RGB", (3, 2)).save(folder / "more" / "c.png")
    data = coco(path, folder)
    assert data[0].path == folder / "more" / "c.png"
    assert data[0].mask.tolist() == [[1, 1, 0], [1, 1, 0]]


def test_a_byte_order_mark_is_no_harm(coco_file):
    path, folder = coco_file([])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(coco(path, folder)) == 2


def test_objects_whose_ids_are_words_are_kept(coco_file):
    regions = [annotation(SQUARE, number=x) for x in ("0f-3a", 7.0, None, 9)]
    assert coco(*coco_file(regions)).annotations.objects.ids.tolist() == [1, 7, 3, 9]
