import sys

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError, voc

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 10, 8
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
]  # fmt: skip


def thing(name="dog", box=(2, 3, 5, 6), more=""):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    told = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name>{more}<bndbox>{told}</bndbox></object>\n"


def xml(*objects, file="a.png", size=(WIDTH, HEIGHT)):
    width, height = size
    return (
        f"<annotation>\n<folder>VOC</folder><filename>{file}</filename>\n<size><width>{width}"
        f"</width><height>{height}</height><depth>3</depth></size>\n{''.join(objects)}</annotation>"
    )


def save(path, size=(WIDTH, HEIGHT), colour=(1, 5, 9), **options):
    Image.new("RGB", size, colour).save(path, **options)


def write(devkit, **contents):
    for name, content in contents.items():
        (devkit / "Annotations" / f"{name}.xml").write_text(content)


def test_an_image_without_objects(devkit):
    write(devkit, a=xml())
    data = voc(devkit)
    assert len(data) == 1
    assert data.class_names == tuple(CLASSES)
    record = data[0]
    assert record.boxes.shape == (0, 4)
    assert record.labels.shape == record.ignored.shape == (0,)
    np.testing.assert_array_equal(record.image, np.full((HEIGHT, WIDTH, 3), [1, 5, 9]))


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"must have XML files. Received: none. Give the folder"):
        voc(tmp_path)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DatasetError, match=r"must have the folder 'JPEGImages' beside 'Annotat"):
        voc(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DatasetError, match=r"Annotations' must have XML files. Received: none"):
        voc(tmp_path)


def test_boxes_cover_the_pixels_that_the_first_and_last_count(devkit):
    """The development kit counts pixels from 1, and the last is within."""
    image = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    first, last = (3, 2), (7, 5)  # x and y, counted from 1
    for y in range(first[1], last[1] + 1):
        for x in range(first[0], last[0] + 1):
            image[y - 1, x - 1] = 255
    Image.fromarray(image).save(devkit / "JPEGImages" / "a.png")
    write(devkit, a=xml(thing("cat", (*first, *last)), thing("dog", (1, 1, WIDTH, HEIGHT))))
    record = voc(devkit)[0]
    x0, y0, x1, y1 = record.boxes[0].astype(int)
    assert (record.image[y0:y1, x0:x1] == 255).all()
    assert (record.image == 255).sum() == 3 * (x1 - x0) * (y1 - y0)
    assert record.boxes[1].tolist() == [0, 0, WIDTH, HEIGHT]
    assert record.boxes.dtype == "float32"


def test_labels_are_in_the_order_of_the_development_kit(devkit):
    write(devkit, a=xml(*(thing(name) for name in CLASSES[::-1])))
    assert voc(devkit)[0].labels.tolist() == list(range(20))[::-1]


def test_other_classes_are_sorted(devkit):
    write(devkit, a=xml(thing("zebra"), thing("dog"), thing("Straße")), b=xml(thing("ape")))
    data = voc(devkit)
    assert data.class_names == ("Straße", "ape", "dog", "zebra")
    assert [record.labels.tolist() for record in data] == [[3, 2, 0], [1]]


def test_given_classes_are_all_there_are(devkit):
    write(devkit, a=xml(thing("zebra"), thing("dog")), b=xml(thing("ape"), thing("dog")))
    with pytest.raises(DatasetError, match=r"b\.xml', object 0: a class must be one of .*'ape'"):
        voc(devkit, class_names=["zebra", "cow", "dog"])
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, class_names=["zebra", "cow", "dog"], on_error="skip")
    assert data.class_names == ("zebra", "cow", "dog")
    assert [record.labels.tolist() for record in data] == [[0, 2], [2]]
    for wrong in ("dog", ["dog", "dog"], [], [3], [""]):
        with pytest.raises(ValueError, match=r"`class_names` must be a list of different strings"):
            voc(devkit, class_names=wrong)


def test_difficult_objects_are_ignored_and_parts_are_none(devkit):
    part = "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"  # noqa: E501
    write(
        devkit,
        a=xml(
            thing("person", (1, 1, 2, 2), f"<difficult>1</difficult>{part}{part}"),
            thing("dog", (2, 2, 3, 3), "<difficult>0</difficult>"),
            thing("dog", (3, 3, 4, 4), "<difficult/>"),
        ),
    )
    record = voc(devkit)[0]
    assert record.labels.tolist() == [14, 11, 11]
    assert record.ignored.tolist() == [True, False, False]
    assert record.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4]]
    assert record.sample()["bounding_boxes"]["labels"].tolist() == [11, 11]


def test_a_part_is_no_name_and_no_box(devkit):
    inner = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    write(devkit, a=xml(f"<object>{inner}</object>"))
    with pytest.raises(DatasetError, match=r"object 0: a class must have a name"):
        voc(devkit)
    write(devkit, a=xml(f"<object><name>dog</name>{inner}</object>"))
    with pytest.raises(DatasetError, match=r"object 0: it must have a `bndbox`"):
        voc(devkit)


def test_splits(devkit):
    write(devkit, a=xml(thing()), b=xml(thing("cat"), file="b.png"))
    (devkit / "ImageSets/Main/train.txt").write_text("\ufeffb\r\n\r\na\r\n", "utf-8")
    (devkit / "ImageSets/Segmentation/train.txt").write_text("a\n")
    (devkit / "ImageSets/Segmentation/val.txt").write_text("a")
    assert [record.image_id for record in voc(devkit)] == ["a", "b"]
    assert [record.image_id for record in voc(devkit, split="train")] == ["b", "a"]
    assert [record.image_id for record in voc(devkit, split="val")] == ["a"]
    with pytest.raises(ValueError, match=r"`split` must be .*which has 2: train, val. Rec.*'x'"):
        voc(devkit, split="x")


def test_splits_have_equal_labels(devkit):
    write(devkit, a=xml(thing("zebra")), b=xml(thing("cat")), c="<annotation>")
    for name in "ab":
        (devkit / f"ImageSets/Main/{name}.txt").write_text(name)
    parts = [voc(devkit, split=name) for name in "ab"]
    assert [part.class_names for part in parts] == [("cat", "zebra")] * 2
    assert [part[0].labels.tolist() for part in parts] == [[1], [0]]


@pytest.mark.parametrize("line", ["c", "a", "../Annotations/b/../../x", "/etc/passwd", "a -1"])
def test_wrong_lines_of_splits_are_named_or_skipped(devkit, line):
    write(devkit, a=xml(thing()), b=xml(thing("cat"), file="b.png"))
    (devkit / "ImageSets/Main/train.txt").write_text(f"a\n{line}\nb\n")
    with pytest.raises(DatasetError, match=r"train\.txt', line 2: it must be the name of an XML f"):
        voc(devkit, split="train")
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, split="train", on_error="skip")
    assert [record.image_id for record in data] == ["a", "b"]


def test_files_beside_their_images(tmp_path):
    save(tmp_path / "a.JPG", colour=(200, 200, 200))
    save(tmp_path / "b.v2.png")
    save(tmp_path / "moved.bmp", colour=(7, 7, 7))
    (tmp_path / "a.xml").write_text(xml(thing(), file="before/renaming.jpeg"))
    (tmp_path / "b.v2.XML").write_text(xml(thing(), file=""))
    (tmp_path / "c.xml").write_text(xml(thing(), file="moved"))
    (tmp_path / ".d.xml").write_text("hidden")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("b.v2")
    data = voc(tmp_path)
    assert [record.path.name for record in data] == ["a.JPG", "b.v2.png", "moved.bmp"]
    assert [record.image_id for record in data] == ["a", "b.v2", "c"]
    assert data[2].image[0, 0].tolist() == [7, 7, 7]
    assert [record.image_id for record in voc(tmp_path, split="val")] == ["b.v2"]


def test_filename_chooses_among_images_of_one_name(devkit):
    save(devkit / "JPEGImages" / "a.bmp", colour=(7, 7, 7))
    write(devkit, a=xml(thing(), file="a.bmp"))
    assert voc(devkit)[0].path.name == "a.bmp"
    write(devkit, a=xml(thing(), file=""))
    with pytest.raises(
        DatasetError, match=r"a\.xml': there must be one image 'a' .*a\.bmp and a\."
    ):
        voc(devkit)


def test_an_absolute_path_may_not_lead_out_of_the_folder_of_images(devkit, tmp_path):
    save(tmp_path / "outside.png")
    images = devkit / "JPEGImages"
    for name, file in (("a", images / "a.png"), ("c", images / "b.png")):
        write(devkit, **{name: xml(thing(), file=file)})
    assert [record.path.name for record in voc(devkit)] == ["a.png", "b.png"]
    for file in (tmp_path / "outside.png", f"{images}/../outside.png", f"{images}2/a.png"):
        write(devkit, a=xml(thing(), file=file))
        with pytest.raises(
            DatasetError,
            match=r"a\.xml': an image must be in '.*JPEGImages', and its path may not lead out of",
        ):
            voc(devkit)


def test_two_files_of_one_image_are_named(devkit):
    write(devkit, a=xml(thing()), b=xml(thing("cat"), file="b.png"))
    (devkit / "Annotations" / "a.XML").write_text(xml(thing("cow")))
    if len(list((devkit / "Annotations").iterdir())) == 2:
        pytest.skip("small letters and capitals are the same to this file system")
    with pytest.raises(
        DatasetError, match=r"a\.xml': an image must have one XML file. Received: also 'a\.XML'"
    ):
        voc(devkit)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, on_error="skip")
    assert [data.class_names[record.labels[0]] for record in data] == ["cow", "cat"]


def test_folders_as_they_are_called_since(tmp_path):
    for name in ("annotations", "images"):
        (tmp_path / name).mkdir()
    save(tmp_path / "images" / "a.png")
    (tmp_path / "annotations" / "a.xml").write_text(xml(thing()))
    assert voc(tmp_path)[0].boxes.tolist() == [[1, 2, 5, 6]]


@pytest.mark.parametrize("told", [(WIDTH, HEIGHT), (HEIGHT, WIDTH), (0, 0), ("", ""), None])
def test_turned_images(devkit, told):
    """EXIF 6: the stored image's left column is the upright one's first row, from the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    stored[1:4, 2:4] = 255
    Image.fromarray(stored).save(devkit / "JPEGImages" / "a.png", exif=exif)
    content = xml(thing("dog", (3, 2, 4, 4)), size=told or (0, 0))
    write(devkit, a=content if told else content.replace("size>", "sizes>"))
    in_stored, as_told = [HEIGHT - 4, 2, HEIGHT - 1, 4], [2, 1, 4, 4]
    of_stored = told == (WIDTH, HEIGHT)
    record = voc(devkit)[0]
    assert record.size == (WIDTH, HEIGHT)
    assert record.boxes.tolist() == [in_stored if of_stored else as_told]
    assert voc(devkit, frame="stored")[0].boxes.tolist() == [in_stored]
    assert voc(devkit, frame="upright")[0].boxes.tolist() == [as_told]
    x0, y0, x1, y1 = in_stored
    assert (record.image[y0:y1, x0:x1] == 255).all()
    assert (record.image == 255).sum() == 3 * 6


def test_an_image_of_another_size_is_named(devkit):
    write(devkit, a=xml(thing(), size=(5, 5)))
    with pytest.raises(DatasetError, match=r"image 'a': an image must be of the size .*height=5"):
        voc(devkit)[0].boxes  # noqa: B018


BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>\n'
    + xml(thing("&b;"))
)
OTHER_FILE = (
    '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'
    + xml(thing("&a;"))
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it must be a whole XML file"),
        (xml(thing())[:-20], "it must be a whole XML file"),
        ("<annotations></annotations>", "it must be an `annotation` of VOC. Rec.*'annotations'"),
        (BOMB, "without a document type and without entities"),
        (OTHER_FILE, "without a document type and without entities"),
        ("<!DOCTYPE annotation>" + xml(thing()), "without a document type and without entities"),
        (xml(thing("&dog;")), "it must be a whole XML file.*undefined entity"),
        (xml(thing("Größe")).encode("latin-1"), "it must be a whole XML file"),
        (xml(thing(), size=(-1, 8)), "must be integers of at least 0"),
        (xml(thing(), size=(2**30, 2**30)), "must be of fewer than 2\\*\\*31 pixels"),
        (xml(thing(), file="../a.png"), "an image must be in .*'../a.png'"),
        (
            xml(thing(), file="/etc/a.png"),
            "may not lead out of this folder. Received: '/etc/a.png'",
        ),
        (xml(thing(), file="C:\\x\\a.png"), "an image must be in "),
        (xml(thing(), file="..\\..\\a.png"), "an image must be in "),
    ],
)
def test_wrong_files_are_named_or_skipped(devkit, content, message):
    write(devkit, b=xml(thing("cat"), file="b.png"), c=xml(thing("cow"), file="a"))
    content = content if isinstance(content, bytes) else content.encode()
    (devkit / "Annotations" / "a.xml").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"^'[^']*a\.xml': .*{message}"):
        voc(devkit)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, on_error="skip")
    assert len(data.skipped) == 1
    assert [record.image_id for record in data] == ["b", "c"]
    assert [record.labels.tolist() for record in data] == [[7], [9]]


def test_missing_images_and_images_that_come_twice_are_named(devkit):
    write(devkit, c=xml(thing(), file="c.jpg"), d=xml(thing(), file="a.png"), a=xml(thing("cat")))
    with pytest.raises(DatasetError, match=r"c\.xml': there must be one image 'c\.jpg' .*: none"):
        voc(devkit)
    with pytest.warns(UserWarning, match="skipped are 2"):
        data = voc(devkit, on_error="skip")
    assert "d.xml': it must have an image of its own. Received: 'a.png'" in data.skipped[1]
    assert [record.image_id for record in data] == ["a"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("<object><bndbox/></object>", "a class must have a name"),
        (thing("  "), "a class must have a name"),
        ("<object><name>dog</name></object>", "it must have a `bndbox`"),
        ("<object><name>dog</name><bndbox/></object>", "a box must be xyxy, four numbers"),
        (thing(box=(1, 2, 3, "x")), "a box must be xyxy, .*'x'"),
        (thing(box=(1, 2, 3, "nan")), "a box must be xyxy, .*'nan'"),
        (thing(box=(1, 2, "inf", 3)), "a box must be xyxy, .*'inf'"),
        (thing(box=(1, 2, "1e300", 3)), "a box must be xyxy, .*'1e300'"),
        (thing(box=(4, 2, 3, 3)), "a box must be xyxy, .*its far corner not before the near"),
        (thing(box=(1, 4, 3, 3)), "a box must be xyxy, .*its far corner not before the near"),
        (thing(more="<difficult>maybe</difficult>"), "`difficult` must be 0 or 1. Rec.*'maybe'"),
    ],
)
def test_wrong_objects_are_named_or_skipped(devkit, wrong, message):
    write(devkit, a=xml(thing("cat"), wrong, thing("cow", (1.5, 1, 1.5, 1))), b=xml(file="b.png"))
    with pytest.raises(DatasetError, match=rf"^'.*a\.xml', object 1: {message}"):
        voc(devkit)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = voc(devkit, on_error="skip")
    assert len(data.skipped) == 1
    assert len(data) == 2
    assert data[0].labels.tolist() == [7, 9]
    assert data[0].boxes.tolist() == [[1, 2, 5, 6], [0.5, 0, 1.5, 1]]


def test_a_damaged_image_is_named_when_it_is_read(devkit):
    write(devkit, a=xml(thing()))
    (devkit / "JPEGImages" / "a.png").write_text("not a picture")
    record = voc(devkit)[0]
    for name in ("size", "image", "boxes"):
        with pytest.raises(DatasetError, match=r"image 'a': .*Received: '.*a\.png' \(cannot id"):
            getattr(record, name)


def test_wrong_arguments_are_named(devkit):
    write(devkit, a=xml(thing()))
    for wrong in (devkit / "nothing", 3.5):
        with pytest.raises(ValueError, match=r"`folder` must be the path of a folder that is"):
            voc(wrong)
    with pytest.raises(ValueError, match=r"`on_error` must be one of .*on_error='ignore'"):
        voc(devkit, on_error="ignore")
    with pytest.raises(ValueError, match=r"`frame` must be one of .*frame='raw'"):
        voc(devkit, frame="raw")


def test_a_missing_library_says_what_to_install(devkit, monkeypatch):
    write(devkit, a=xml(thing()))
    monkeypatch.setitem(sys.modules, "defusedxml", None)
    with pytest.raises(ImportError, match=r"defusedxml.*pip install keras-cvx\[datasets\]"):
        voc(devkit)


def test_changed_files_give_records_or_the_clear_error(devkit, survive):
    write(devkit, a=xml(thing(), thing("cat")), b=xml(thing("cow"), file="b.png"))
    (devkit / "SegmentationClass").mkdir()
    Image.new("P", (WIDTH, HEIGHT), 3).save(devkit / "SegmentationClass" / "a.png")
    (devkit / "ImageSets/Main/train.txt").write_text("a\nb\n")
    outcomes = survive(
        devkit, lambda folder, on_error: voc(folder, split="train", on_error=on_error)
    )
    assert all(outcomes[name] > 20 for name in ("read", "error", "skipped")), outcomes
