import json
import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from keras_cvx.datasets import DatasetError, coco, polygon_mask, run_length_mask

pytestmark = pytest.mark.host

HEIGHT, WIDTH = 8, 10
SIZE = (HEIGHT, WIDTH)
CATEGORIES = [{"id": 44, "name": "bottle"}, {"id": 3, "name": "car"}, {"id": 90, "name": "brush"}]


def rectangle(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


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


@pytest.fixture
def written(tmp_path):
    """Function of annotations: their file with two images, and the folder of these."""
    folder = tmp_path / "images"
    folder.mkdir()
    images = [
        {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
        {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
    ]
    for value, image in enumerate(images):
        Image.new("RGB", (WIDTH, HEIGHT), (value, 5, 9)).save(folder / image["file_name"])

    def write(annotations, **changes):
        path = tmp_path / "instances.json"
        content = {"images": images, "categories": CATEGORIES, "annotations": annotations}
        path.write_text(json.dumps({**content, **changes}))
        return path, folder

    return write


def test_no_images(written):
    data = coco(*written([], images=[]))
    assert len(data) == 0
    assert data.class_names == ("car", "bottle", "brush")


def test_an_image_without_objects_is_background(written):
    data = coco(*written([]))
    assert len(data) == 2
    sample = data[1].sample("segmentation_masks")
    assert sorted(sample) == ["images", "segmentation_masks"]
    np.testing.assert_array_equal(sample["images"], np.full((HEIGHT, WIDTH, 3), [1, 5, 9]))
    np.testing.assert_array_equal(sample["segmentation_masks"], np.zeros(SIZE))
    assert sample["segmentation_masks"].dtype == "uint8"


def test_categories_become_contiguous_labels(written):
    path, folder = written(
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


def test_it_is_a_sequence_in_the_order_of_the_file(written):
    data = coco(*written([annotation(rectangle(1, 1, 3, 3), image=2)]))
    assert [record.image_id for record in data] == [7, 2]
    assert [record.path.name for record in data] == ["a.png", "b.png"]
    part = pickle.loads(pickle.dumps(data[1:]))  # noqa: S301
    assert [record.image_id for record in part] == [2]
    assert part.class_names == data.class_names
    assert (part[0].mask == 2).sum() == 4
    assert part[0].image[0, 0, 0] == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_the_smaller_object_is_in_front(written, reverse):
    regions = [
        annotation(rectangle(0, 0, 6, 6), 3),
        annotation(rectangle(4, 4, 8, 8), 44),
        annotation(rectangle(5, 5, 6, 6), 90),
    ]
    mask = coco(*written(regions[:: -1 if reverse else 1]))[0].mask
    expected = np.zeros(SIZE, int)
    expected[:6, :6], expected[4:8, 4:8], expected[5, 5] = 1, 2, 3
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_of_equal_objects_the_later_is_in_front(written, reverse):
    order = slice(None, None, -1 if reverse else 1)
    regions = [annotation(rectangle(0, 0, 4, 4), 3), annotation(rectangle(2, 0, 6, 4), 44)][order]
    mask = coco(*written(regions))[0].mask
    assert mask[0, :6].tolist() == ([1, 1, 1, 1, 2, 2] if reverse else [1, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_crowds_are_behind_all_others(written, compressed, reverse):
    crowd = np.zeros(SIZE, bool)
    crowd[1:3, 1:4] = True
    regions = [
        annotation(rectangle(0, 0, 8, 2), 3),
        annotation(run_lengths(crowd, compressed=compressed), 90, iscrowd=1),
    ]
    mask = coco(*written(regions[:: -1 if reverse else 1]))[0].mask
    expected = np.zeros(SIZE, int)
    expected[crowd] = 3
    expected[:2, :8] = 1
    np.testing.assert_array_equal(mask, expected)


def test_what_is_to_be_ignored(written):
    regions = [annotation(SQUARE, ignore=flag, number=flag + 1) for flag in (0, 1)]
    [record, _] = coco(*written([*regions, annotation(SQUARE, number=3)]))
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
def test_masks_are_those_of_pycocotools(written, capsys, annotations):
    """Painted over one another from pycocotools' own masks of the same file."""
    annotations = [{**one, "id": place} for place, one in enumerate(annotations, start=1)]
    path, folder = written(annotations)
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


def test_masks_agree_with_the_functions(written):
    outline = [[0.5, 0.5, 8.25, 1.0, 4.0, 7.5]]
    inside = polygon_mask(outline, SIZE)
    lengths = run_lengths(inside, compressed=True)
    np.testing.assert_array_equal(run_length_mask(lengths["counts"], SIZE), inside)
    for given_ in (outline, lengths):
        mask = coco(*written([annotation(given_, 90)]))[0].mask
        np.testing.assert_array_equal(mask, 3 * inside)


@pytest.mark.parametrize(("categories", "dtype"), [(254, "uint8"), (255, "int32")])
def test_many_categories(written, categories, dtype):
    named = [{"id": 2 * i, "name": f"{i}"} for i in range(categories)]
    regions = [annotation(rectangle(0, 0, 1, 1), 2 * categories - 2)]
    data = coco(*written(regions, categories=named))
    mask = data[0].mask
    assert mask.dtype == dtype
    assert mask[0, 0] == categories
    assert data.class_names[categories - 1] == f"{categories - 1}"


def test_files_in_folders_of_the_folder(written):
    image = {"id": "x", "file_name": "more\\c.png", "width": 3.0, "height": 2}
    path, folder = written([annotation([[0, 0, 2, 0, 2, 2, 0, 2]], 3, image="x")], images=[image])
    (folder / "more").mkdir()
    Image.new("RGB", (3, 2)).save(folder / "more" / "c.png")
    data = coco(path, folder)
    assert data[0].path == folder / "more" / "c.png"
    assert data[0].mask.tolist() == [[1, 1, 0], [1, 1, 0]]


def test_a_byte_order_mark_is_no_harm(written):
    path, folder = written([])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(coco(path, folder)) == 2


SQUARE = rectangle(1, 1, 3, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"segmentation": [[1, 1, 3, 1, 3, 3, 2]]}, r"even number.*7 coordinates"),
        ({"segmentation": [SQUARE[0], [1, 1, 3, 3]]}, r"`polygons\[1\]`.*least 6"),
        ({"segmentation": [[1, 1, 99, 1, 3, 3]]}, r"point \[99.0, 1.0\]"),
        ({"segmentation": [[1, 1, 3, -9, 3, 3]]}, r"point \[3.0, -9.0\]"),
        (
            {"segmentation": [[1, 1, "3", 9, 3, 3]]},
            r"`polygons\[0\]` must be a list of numbers.*Received: \[1, 1, '3'",
        ),
        ({"segmentation": 5}, r"`segmentation` must be a list of polygons.*Received: 5"),
        ({"segmentation": "abc"}, r"`segmentation` must be a list of polygons.*Received: 'abc'"),
        ({"segmentation": {"counts": [3, 2]}}, r"add up to 8 x 10.*a sum of 5"),
        ({"segmentation": {"counts": "31"}}, r"`counts` must be.*a sum of 4"),
        ({"segmentation": {"counts": "3P"}}, r"`counts` must be a whole compressed"),
        ({"segmentation": {"size": [8, 10]}}, r"`counts` must be.*Received: None"),
        ({"segmentation": {"size": 8, "counts": [80]}}, r"`size` must.*Received: 8"),
        (
            {"segmentation": {"size": [10, 8], "counts": [80]}},
            r"`size` must be that of the image, \[8, 10\]. Received: \[10, 8\]",
        ),
        ({"segmentation": None}, r"must have a `bbox` or a `segmentation`. Received: neither"),
        ({"bbox": [1, 2, 3]}, r"`bbox` must be x, y, width and height.*Received: \[1, 2, 3\]"),
        ({"bbox": [1, 2, -3, 4]}, r"`bbox` must be x, y, .*Received: \[1, 2, -3, 4\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"`bbox` must be x, y, .*Received: \[1, 2, 3, nan\]"),
        ({"bbox": [1, 2, float("inf"), 4]}, r"`bbox` must be x, y, .*Received: \[1, 2, inf, 4\]"),
        ({"segmentation": [[1, 1, float("nan"), 1, 3, 3]]}, r"point \[nan, 1.0\]"),
        ({"bbox": [1, 1e300, 3, 4]}, r"`bbox` must be x, y, .*Received: \[1, 1e\+300, 3, 4\]"),
        ({"bbox": [1, 2, "a", 4]}, r"`bbox` must be x, y, .*Received: \[1, 2, 'a', 4\]"),
        ({"bbox": [1.5, 2, 10**400, 4]}, r"`bbox` must be x, y, .*Received: \[1.5, 2, 1000"),
        ({"bbox": 5}, r"`bbox` must be x, y, .*Received: 5"),
        ({"bbox": ["1", "2", "3", "4"]}, r"`bbox` must be x, y, .*Received: \['1', "),
        ({"segmentation": [1, 1, 3, 1, 3, 3]}, r"`polygons\[0\]` must be a list of num.*: 1$"),
        ({"segmentation": [[[1, 1], [3, 1], [3, 3]]]}, r"`polygons\[0\]` must be a list of num"),
        ({"area": "1_0"}, r"`area` must be a finite number of at least 0. Received: '1_0'"),
        ({"area": -4}, r"`area` must be a finite number of at least 0. Received: -4"),
        ({"iscrowd": "0"}, r"`iscrowd` must be 0 or 1. Received: '0'"),
        ({"ignore": []}, r"`ignore` must be 0 or 1. Received: \[\]"),
        ({"category_id": 1}, r"a category of the file. Received: category_id=1"),
        ({"image_id": 8}, r"the id of an image. Received: image_id=8"),
        ({"image_id": [7]}, r"it must have image_id, category_id. Received: "),
        ({"category_id": None}, r"it must have image_id, category_id. Received: "),
    ],
)
def test_wrong_annotations_are_named_or_skipped(written, wrong, message):
    regions = [
        annotation(SQUARE),
        {**annotation(SQUARE, number=5), **wrong},
        annotation(rectangle(4, 4, 7, 6), 3, number=6),
    ]
    path, folder = written(regions)
    with pytest.raises(DatasetError, match=rf"^'.*instances\.json'.*{message}"):
        coco(path, folder)
    with pytest.warns(UserWarning, match=r"skipped are 1: .*id 5"):
        data = coco(path, folder, on_error="skip")
    assert data[0].boxes.tolist() == [[1, 1, 3, 3], [4, 4, 7, 6]]
    assert data[0].labels.tolist() == [1, 0]
    assert data[0].masks.sum((1, 2)).tolist() == [4, 6]


def test_objects_whose_ids_are_words_are_kept(written):
    regions = [annotation(SQUARE, number=x) for x in ("0f-3a", 7.0, None, 9)]
    assert coco(*written(regions)).annotations.objects.ids.tolist() == [1, 7, 3, 9]


def test_a_second_image_of_an_id_hides_no_fault_of_the_first(written):
    image = {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    path, folder = written([annotation(SQUARE, bbox=[1, 2, 3])], images=[image, image])
    with pytest.warns(
        UserWarning, match=r"skipped are 2: .*comes twice.*annotations, id 1: `bbox`"
    ):
        coco(path, folder, on_error="skip")


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_annotations_that_lack_a_key_are_named(written, key):
    region = annotation(SQUARE)
    del region[key]
    with pytest.raises(DatasetError, match=r"annotations, id 1: it must have image_id, category_i"):
        coco(*written([region]))


IMAGE = {"id": 4, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (IMAGE, r"id 4: .*an id of its own. Received: id=4, which comes twice"),
        ({**IMAGE, "id": 5, "width": 0}, r"id 5: `width` must be an integer of at least 1"),
        ({**IMAGE, "id": 5, "height": "8"}, r"id 5: `height` must be an integer of at least 1"),
        ({**IMAGE, "id": 5, "height": 2**30}, r"id 5: `size` must be of fewer than 2\*\*31 pixels"),
        ({**IMAGE, "id": 5, "file_name": ""}, r"id 5: .*a file in "),
        ({**IMAGE, "id": 5, "file_name": None}, r"id 5: it must have id, file_name"),
        ({**IMAGE, "id": 5, "file_name": "../a.png"}, r"id 5: .*a file in .*file_name='../a.png'"),
        ({**IMAGE, "id": 5, "file_name": "x\\..\\..\\a"}, r"id 5: .*a file in "),
        ({**IMAGE, "id": 5, "file_name": "/etc/passwd"}, r"id 5: .*a file in "),
        ({**IMAGE, "id": 5, "file_name": "C:\\a.png"}, r"id 5: .*a file in "),
        ({**IMAGE, "id": 5, "file_name": "no.png"}, r"id 5: .*a file that is there.*no\.png"),
        ({**IMAGE, "id": 1.5}, r"item 1: it must have id, file_name"),
        (3, r"item 1: it must have id, file_name. Received: 3"),
    ],
)
def test_wrong_images_are_named_or_skipped(written, wrong, message):
    regions = [annotation(SQUARE, image=4), annotation(SQUARE, 3, image=5, number=2)]
    path, folder = written(regions, images=[IMAGE, wrong, {**IMAGE, "id": 6}])
    with pytest.raises(DatasetError, match=rf"^'.*instances\.json', images, {message}"):
        coco(path, folder)
    with pytest.warns(UserWarning, match="skipped are"):
        data = coco(path, folder, on_error="skip")
    assert [record.image_id for record in data] == [4, 6]
    assert data[0].labels.tolist() == [1]
    # What belongs to an image that was skipped is not told again.
    told = isinstance(wrong, dict) and wrong["id"] == 5
    assert len(data.skipped) == (1 if told else 2)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([CATEGORIES[0]] * 2, r", categories, id 44: .*an id of its own. Received: id=44"),
        ([{"id": "a", "name": "b"}], r", categories, id 'a': it must have id, name"),
        ([{"id": 3}], r", categories, id 3: it must have id, name"),
        (None, r" must be a whole JSON file in UTF-8, a dict of lists.*'\[' is missing before 'n'"),
        ([], r" must have lists under the keys .*no category"),
    ],
)
def test_wrong_categories_are_named(written, categories, message):
    with pytest.raises(DatasetError, match=rf"^'.*instances\.json'{message}"):
        coco(*written([], categories=categories))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b'{"images": [', "cannot be read"),
        (b"\xff\xfe{\0}\0", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1, 2]", "cannot be read"),
        (b"{}", "must have lists under the keys"),
    ],
)
def test_files_that_are_not_of_coco_are_named(written, content, message):
    path, folder = written([])
    path.write_bytes(content)
    for on_error in ("raise", "skip"):
        with pytest.raises(DatasetError, match=rf"instances\.json'.* {message}"):
            coco(path, folder, on_error=on_error)


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_a_file_that_ends_too_soon_is_an_error_even_where_records_are_skipped(written, end):
    path, folder = written([annotation(SQUARE)])
    content = path.read_bytes()
    path.write_bytes(content[: end % len(content)])
    with pytest.raises(DatasetError, match=r"instances\.json'"):
        coco(path, folder, on_error="skip")


def test_wrong_arguments_are_named(written):
    path, folder = written([])
    with pytest.raises(ValueError, match=r"`annotations` must be the path of a JSON file. Rec"):
        coco(3.5, folder)
    for wrong in (path.parent / "no.json", path.parent):
        with pytest.raises(DatasetError, match=r"must be a file that can be read"):
            coco(wrong, folder)
    with pytest.raises(
        ValueError, match=r"`images` must be the path of a folder that is. Received"
    ):
        coco(path, folder / "nothing")
    with pytest.raises(
        ValueError, match=r"`on_error` must be one of .*Received: on_error='ignore'"
    ):
        coco(path, folder, on_error="ignore")
    with pytest.raises(ValueError, match=r"`frame` must be one of .*Received: frame='raw'"):
        coco(path, folder, frame="raw")


def test_an_image_of_another_size_is_named(written):
    path, folder = written([annotation(SQUARE, image=2)])
    Image.new("RGB", (9, 7)).save(folder / "b.png")
    data = coco(path, folder)
    assert data[0].mask.shape == SIZE
    for name in ("boxes", "mask", "masks"):
        with pytest.raises(DatasetError, match=r"image 2: .*b\.png' of height=7 and width=9, anno"):
            getattr(data[1], name)


def test_a_damaged_image_is_named(written):
    path, folder = written([])
    (folder / "a.png").write_text("not a picture")
    record = coco(path, folder)[0]
    for name in ("size", "image", "mask"):
        with pytest.raises(
            DatasetError, match=r"image 7: .*Received: '.*a\.png' \(cannot identify"
        ):
            getattr(record, name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 90) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_changed_file_gives_masks_or_the_clear_error(written, data):
    """Whatever stands in the place of a value, only the documented error comes out."""
    regions = [
        annotation(SQUARE, number=3),
        annotation(run_lengths(np.ones(SIZE, bool), compressed=True), 3, number=4, iscrowd=1),
    ]
    path, folder = written(regions)
    content = json.loads(path.read_text())
    place, value = content, data.draw(json_values)
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    path.write_text(json.dumps(content))
    try:
        read = coco(path, folder)
        for record in read:
            sample = record.sample(("bounding_boxes", "segmentation_masks"))
            assert sample["segmentation_masks"].shape == SIZE
            assert sample["segmentation_masks"].max() <= len(read.class_names)
            assert np.isfinite(record.boxes).all()
    except DatasetError as error:
        assert "instances.json" in str(error)  # noqa: PT017


@pytest.mark.parametrize("library", ["PIL", "pycocotools"])
def test_a_missing_library_names_the_extra(written, monkeypatch, library):
    data = coco(*written([annotation(SQUARE)]))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"keras-cvx\["):
        data[0].sample("segmentation_masks")
