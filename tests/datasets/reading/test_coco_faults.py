import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycoco

from keras_cvx.datasets import DatasetError, coco

pytestmark = pytest.mark.host

SIZE = HEIGHT, WIDTH = 8, 10
SQUARE = [[1, 1, 3, 1, 3, 3, 1, 3]]
ALL = {"size": SIZE, "counts": pycoco.encode(np.ones(SIZE, "uint8", "F"))["counts"].decode()}


def annotation(segmentation, category=44, *, image=7, number=1, **others):
    keys = {"id": number, "image_id": image, "category_id": category}
    return {**keys, "segmentation": segmentation, **others}


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
def test_wrong_annotations_are_named_or_skipped(coco_file, wrong, message):
    regions = [
        annotation(SQUARE),
        {**annotation(SQUARE, number=5), **wrong},
        annotation([[4, 4, 7, 4, 7, 6, 4, 6]], 3, number=6),
    ]
    path, folder = coco_file(regions)
    with pytest.raises(DatasetError, match=rf"^'.*instances\.json'.*{message}"):
        coco(path, folder)
    with pytest.warns(UserWarning, match=r"skipped are 1: .*id 5"):
        data = coco(path, folder, on_error="skip")
    assert data[0].boxes.tolist() == [[1, 1, 3, 3], [4, 4, 7, 6]]
    assert data[0].labels.tolist() == [1, 0]
    assert data[0].masks.sum((1, 2)).tolist() == [4, 6]


def test_a_second_image_of_an_id_hides_no_fault_of_the_first(coco_file):
    image = {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    path, folder = coco_file([annotation(SQUARE, bbox=[1, 2, 3])], images=[image, image])
    with pytest.warns(
        UserWarning, match=r"skipped are 2: .*comes twice.*annotations, id 1: `bbox`"
    ):
        coco(path, folder, on_error="skip")


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_annotations_that_lack_a_key_are_named(coco_file, key):
    region = annotation(SQUARE)
    del region[key]
    with pytest.raises(DatasetError, match=r"annotations, id 1: it must have image_id, category_i"):
        coco(*coco_file([region]))


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
def test_wrong_images_are_named_or_skipped(coco_file, wrong, message):
    regions = [annotation(SQUARE, image=4), annotation(SQUARE, 3, image=5, number=2)]
    path, folder = coco_file(regions, images=[IMAGE, wrong, {**IMAGE, "id": 6}])
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
        (
            [{"id": 44, "name": "bottle"}] * 2,
            r", categories, id 44: .*an id of its own. Received: id=44",
        ),
        ([{"id": "a", "name": "b"}], r", categories, id 'a': it must have id, name"),
        ([{"id": 3}], r", categories, id 3: it must have id, name"),
        (None, r" must be a whole JSON file in UTF-8, a dict of lists.*'\[' is missing before 'n'"),
        ([], r" must have a category in its list under the key 'categories'. Received: none"),
    ],
)
def test_wrong_categories_are_named(coco_file, categories, message):
    with pytest.raises(DatasetError, match=rf"^'.*instances\.json'{message}"):
        coco(*coco_file([], categories=categories))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b'{"images": [', "cannot be read"),
        (b"\xff\xfe{\0}\0", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1, 2]", "cannot be read"),
        (
            b"{}",
            "must have lists under the keys 'images', 'categories'. Received: no 'images' and no ",
        ),
        (b'{"images": []}', "must have lists under the keys .* Received: no 'categories'$"),
        (b'{"categories": [], "annotations": []}', "must have lists .* Received: no 'images'$"),
    ],
)
def test_files_that_are_not_of_coco_are_named(coco_file, content, message):
    path, folder = coco_file([])
    path.write_bytes(content)
    for on_error in ("raise", "skip"):
        with pytest.raises(DatasetError, match=rf"instances\.json'.* {message}"):
            coco(path, folder, on_error=on_error)


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_a_file_that_ends_too_soon_is_an_error_even_where_records_are_skipped(coco_file, end):
    path, folder = coco_file([annotation(SQUARE)])
    content = path.read_bytes()
    path.write_bytes(content[: end % len(content)])
    with pytest.raises(DatasetError, match=r"instances\.json'"):
        coco(path, folder, on_error="skip")


def test_wrong_arguments_are_named(coco_file):
    path, folder = coco_file([])
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


def test_an_image_of_another_size_is_named(coco_file):
    path, folder = coco_file([annotation(SQUARE, image=2)])
    Image.new("RGB", (9, 7)).save(folder / "b.png")
    data = coco(path, folder)
    assert data[0].mask.shape == SIZE
    for name in ("boxes", "mask", "masks"):
        with pytest.raises(DatasetError, match=r"image 2: .*b\.png' of height=7 and width=9, anno"):
            getattr(data[1], name)


def test_a_damaged_image_is_named(coco_file):
    path, folder = coco_file([])
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
def test_a_changed_file_gives_masks_or_the_clear_error(coco_file, data):
    """Whatever stands in the place of a value, only the documented error comes out."""
    regions = [
        annotation(SQUARE, number=3),
        annotation(ALL, 3, number=4, iscrowd=1),
    ]
    path, folder = coco_file(regions)
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
def test_a_missing_library_names_the_extra(coco_file, monkeypatch, library):
    data = coco(*coco_file([annotation(SQUARE)]))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"keras-cvx\["):
        data[0].sample("segmentation_masks")


def test_a_file_without_annotations_is_of_images_without_objects(coco_file):
    """Such as COCO's own of test images."""
    path, folder = coco_file([])
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    data = coco(path, folder)
    assert [record.labels.tolist() for record in data] == [[], []]


def test_changed_files_give_records_or_the_clear_error(coco_file, survive):
    outlines = [annotation(SQUARE, number=3), annotation(SQUARE, 3, image=2, bbox=[1, 1, 2.5, 2])]
    path, _ = coco_file([*outlines, annotation(ALL, 3, number=4, area=80.0, iscrowd=1)])
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    outcomes = survive(
        path.parent,
        lambda folder, on_error: coco(folder / path.name, folder / "images", on_error=on_error),
    )
    assert all(outcomes[name] > 5 for name in ("read", "error", "skipped")), outcomes
