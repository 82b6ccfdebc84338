import pickle

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError, csv

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 10, 8
TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"


@pytest.fixture
def read(tmp_path):
    """Function of a file's content and options: the data set, with the images a and b.v2."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.v2.jpg", "more/c.png"):
        Image.new("RGB", (WIDTH, HEIGHT), (1, 5, 9)).save(folder / name)

    def of(content, **options):
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "boxes.csv").write_bytes(content)
        return csv(tmp_path / "boxes.csv", folder, **options)

    return of


def objects(data):
    return [
        (record.image_id, record.labels.tolist(), record.boxes.tolist(), record.is_crowd.tolist())
        for record in data
    ]


def test_no_rows(read):
    data = read(TENSORFLOW)
    assert len(data) == 0
    assert data.class_names == ()
    assert read("\n" + TENSORFLOW + "\n\n", class_names=["x"]).class_names == ("x",)
    for nothing in ("", "\n \n", "\ufeff"):
        with pytest.raises(DatasetError, match=r"boxes\.csv' must have rows. Received: none"):
            read(nothing)


def test_tensorflow_object_detection(read):
    rows = "a.png,10,8,dog,1,2,5,6\nb.v2.jpg,10,8,cat,0,0,10,8\na.png,10,8,cat,1.5,2,1.5,6\n"
    data = pickle.loads(pickle.dumps(read(TENSORFLOW + rows)))  # noqa: S301
    assert data.class_names == ("cat", "dog")
    assert objects(data) == [
        ("a.png", [1, 0], [[1, 2, 5, 6], [1.5, 2, 1.5, 6]], [False, False]),
        ("b.v2.jpg", [0], [[0, 0, 10, 8]], [False]),
    ]
    assert [record.stated_size for record in data] == [(8, 10), (8, 10)]
    assert data[1].path.name == "b.v2.jpg"
    assert data[0].boxes.dtype == "float32"
    np.testing.assert_array_equal(data[0].image, np.full((HEIGHT, WIDTH, 3), [1, 5, 9]))
    assert data[0].areas.tolist() == [16, 0]


def test_boxes_are_where_they_are_painted(read, tmp_path):
    image = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    image[2:6, 1:5] = 255
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    for content in (
        TENSORFLOW + "a.png,,,dog,1,2,5,6",
        "a.png,1,2,5,6,dog",
        'image_id,bbox\na,"[1, 2, 4, 4]"',
        OPEN_IMAGES + "a,x,dog,1,0.1,0.5,0.25,0.75,0,0",
    ):
        record = read(content)[0]
        x0, y0, x1, y1 = record.boxes[0].astype(int)
        assert (record.image[y0:y1, x0:x1] == 255).all()
        assert (record.image == 255).sum() == 3 * (x1 - x0) * (y1 - y0)


def test_columns_come_in_any_case_and_order(read):
    data = read('YMax; XMIN ;"class";FileName;ymin;xmax;of no use\n6;1;dog;a.png;2;5;\n')
    assert objects(data) == [("a.png", [0], [[1, 2, 5, 6]], [False])]
    assert data[0].stated_size is None


def test_keras_retinanet(read, tmp_path):
    rows = f"a.png,1,2,5,6,dog\nmore/c.png,,,,,\n{tmp_path}/images/b.v2.jpg,0,0,10,8,cat\n"
    data = read(rows + "./a.png,3,3,4,4,cat\n")
    assert data.class_names == ("cat", "dog")
    assert [(labels, boxes) for _, labels, boxes, _ in objects(data)] == [
        ([1, 0], [[1, 2, 5, 6], [3, 3, 4, 4]]),
        ([], []),
        ([0], [[0, 0, 10, 8]]),
    ]
    assert [record.path.name for record in data] == ["a.png", "c.png", "b.v2.jpg"]
    assert len(read("a.png,,,,,\n")) == 1
    # Roboflow writes widths and heights there.
    with pytest.raises(DatasetError, match=r"line 1: a box must be xyxy"):
        read("a.png,5,5,2,2,dog")
    data = read("a.png,5,5,2,2,dog", bounding_box_format="xywh")
    assert data[0].boxes.tolist() == [[5, 5, 7, 7]]


def test_open_images(read):
    rows = (
        "b.v2,xclick,/m/01,1,0.1,0.5,0.25,0.75,0,1\nmore/c,xclick,/m/00,1,0,1,0,1,1,0\n"
        "b.v2,activemil,/m/00,1,0.5,0.5,0,1,-1,-1\n"
    )
    data = read(OPEN_IMAGES + rows)
    assert data.class_names == ("/m/00", "/m/01")
    assert objects(data) == [
        ("b.v2", [1, 0], [[1, 2, 5, 6], [5, 0, 5, 8]], [True, False]),
        ("more/c", [0], [[0, 0, 10, 8]], [False]),
    ]
    names = ["/m/01", "/m/00", "/m/02"]
    assert read(OPEN_IMAGES + rows, class_names=names)[0].labels.tolist() == [0, 1]


def test_global_wheat(read):
    rows = 'a,10,8,"[1.0, 2, 4, 4]",usask\nb.v2,10,8,,x\na,10,8,"[0, 0, 10, 8]",usask\n'
    data = read("image_id,width,height,bbox,source\n" + rows)
    assert data.class_names == ("object",)
    assert [(labels, boxes) for _, labels, boxes, _ in objects(data)] == [
        ([0, 0], [[1, 2, 5, 6], [0, 0, 10, 8]]),
        ([], []),
    ]
    rows = "image_id,bbox\na,1 2 4 4\n"
    assert read(rows, class_names=["wheat"]).class_names == ("wheat",)
    assert read(rows, bounding_box_format="center_xywh")[0].boxes.tolist() == [[-1, 0, 3, 4]]
    with pytest.raises(ValueError, match=r"`class_names` must be one name for a file without a c"):
        read(rows, class_names=["wheat", "rye"])


@pytest.mark.parametrize(
    ("bounding_box_format", "header", "row"),
    [
        ("xyxy", "x0,y0,x1,y1", "1,2,5,6"),
        ("yxyx", "x0,y0,x1,y1", "1,2,5,6"),
        ("xywh", "x0,y0,width,height", "1,2,4,4"),
        ("center_xywh", "x,y,width,height", "3,4,4,4"),
        ("center_yxhw", "x,y,width,height", "3,4,4,4"),
        ("rel_xyxy", "x0,y0,x1,y1", ".1,.25,.5,.75"),
        ("rel_xywh", "x0,y0,width,height", "1e-1,0.25,0.4,0.5"),
        ("rel_center_xywh", "x,y,width,height", "0.3,0.5,0.4,0.5"),
    ],
)
def test_any_other_columns(read, bounding_box_format, header, row):
    columns = {name: f"The {name.upper()}" for name in header.split(",")}
    columns |= {"image": "Photo", "label": "What", "is_crowd": "Many"}
    columns |= {"image_height": "H", "image_width": "W"}
    theirs = ",".join(f"the {name}" for name in header.split(","))
    content = f"w,h,{theirs},photo,x,many,what\n10,8,{row},a.png,,True,dog\n"
    data = read(content, columns=columns, bounding_box_format=bounding_box_format)
    [(image, labels, boxes, is_crowd)] = objects(data)
    assert (image, labels, is_crowd) == ("a.png", [0], [True])
    np.testing.assert_allclose(boxes, [[1, 2, 5, 6]], rtol=1e-6)
    assert data[0].stated_size == (8, 10)


def test_a_column_with_all_of_a_box(read):
    columns = {"image": "photo", "box": "where"}
    data = read(
        "photo,where\na,(0.25 0.1 0.75 0.5)\n", columns=columns, bounding_box_format="rel_yxyx"
    )
    np.testing.assert_allclose(data[0].boxes, [[1, 2, 5, 6]], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"image": "a"}}, "`bounding_box_format` must be told with `columns`"),
        ({"bounding_box_format": "voc"}, "`bounding_box_format` must be one of"),
        ({"bounding_box_format": "xywh"}, "`bounding_box_format` must be None or one of .*xyxy"),
        ({"columns": ["image"], "bounding_box_format": "xyxy"}, "`columns` must be a dict"),
        ({"columns": {"image": 1}, "bounding_box_format": "xyxy"}, "`columns` must be a dict"),
        (
            {"columns": {"image": "a", "box": "b", "lable": "c"}, "bounding_box_format": "xyxy"},
            "`columns` must have no other keys .*'lable'",
        ),
        (
            {"columns": {"image": "a", "x0": "b"}, "bounding_box_format": "xyxy"},
            "`columns` must have 'image', and 'x0', 'y0', 'x1', 'y1' or 'box'",
        ),
        (
            {"columns": {"box": "b"}, "bounding_box_format": "xyxy"},
            "`columns` must have 'image', and",
        ),
        (
            {
                "columns": {"image": "a", "box": "b", "image_width": "w"},
                "bounding_box_format": "xyxy",
            },
            "'image_height' and 'image_width' both or none",
        ),
        ({"class_names": "dog"}, "`class_names` must be a list of different strings"),
        ({"class_names": []}, "`class_names` must be a list of different strings"),
        ({"on_error": "ignore"}, "`on_error` must be one of .*on_error='ignore'"),
        ({"frame": "raw"}, "`frame` must be one of .*frame='raw'"),
    ],
)
def test_wrong_arguments_are_named(read, options, message):
    with pytest.raises(ValueError, match=message):
        read(TENSORFLOW + "a.png,10,8,dog,1,2,5,6", **options)


def test_wrong_paths_are_named(read, tmp_path):
    read(TENSORFLOW)
    with pytest.raises(ValueError, match=r"`annotations` must be the path of a CSV file"):
        csv(3.5, tmp_path)
    with pytest.raises(ValueError, match=r"`images` must be the path of a folder that is"):
        csv(tmp_path / "boxes.csv", tmp_path / "nothing")
    for wrong in (tmp_path / "no.csv", tmp_path):
        with pytest.raises(DatasetError, match=r"must be a file that can be read"):
            csv(wrong, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,x,y\na,1,2\n", r"known layout: filename, class, .*\['name', 'x', 'y'\].*`columns`"),
        ("a.png,1,2,5,6\n", "columns of a known layout"),
        ("a.png,1,2,5,six,dog\n", "columns of a known layout"),
        (",1,2,5,6,dog\n", "columns of a known layout"),
        ("\x89PNG\r\n\x1a\n\0\0\0", "columns of a known layout"),
        ("filename|class|xmin|ymin|xmax|ymax", "columns of a known layout"),
        (TENSORFLOW.replace("width", "xmax"), "each of the columns .* once.*'xmax' comes 2 times"),
    ],
)
def test_an_unknown_layout_is_named(read, content, message):
    for on_error in ("raise", "skip"):
        with pytest.raises(DatasetError, match=rf"^'.*boxes\.csv' must have .*{message}"):
            read(content, on_error=on_error)


def test_columns_that_are_not_there_are_named(read):
    columns = {"image": "photo", "box": "where", "label": "what"}
    with pytest.raises(DatasetError, match=r"each of the columns .*'what' comes 0 times"):
        read("photo,where\na,1\n", columns=columns, bounding_box_format="xyxy")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_how_files_are_written(read, delimiter, end, encoding):
    content = TENSORFLOW + '"a.png",10,8,"Große ""A""",1,2, 5,6\n\n'
    if delimiter != ",":
        content = content.replace(",", delimiter)
    data = read(content.replace("\n", end).encode(encoding))
    assert data.class_names == ('Große "A"',)
    assert objects(data) == [("a.png", [0], [[1, 2, 5, 6]], [False])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,10,8,cat,1,2,5", "it must have 8 columns, as the first has. Received: 7"),
        ("a.png,10,8,cat,1,2,5,6,7", "it must have 8 columns, as the first has. Received: 9"),
        ('a.png,10,8,"cat,1,2,5,6', "it must be a row of CSV"),
        ('a.png,10,8,"c"at,1,2,5,6', "it must be a row of CSV"),
        ("a.png,10,8," + "c" * 200_000 + ",1,2,5,6", "it must be a row of CSV"),
        ("a.png,10,8,,1,2,5,6", "a class must have a name"),
        ("a.png,10,8,cat,,,,", "a box must be xyxy, four numbers"),
        ("a.png,10,8,cat,1,2,5,", "a box must be xyxy, four numbers"),
        ("a.png,10,8,cat,1,2,5,nan", "a box must be xyxy, four numbers .*'nan'"),
        ("a.png,10,8,cat,1,2,inf,6", "a box must be xyxy, four numbers"),
        ("a.png,10,8,cat,1,2,1e300,6", "a box must be xyxy, four numbers"),
        ("a.png,10,8,cat,6,2,5,6", "a box must be xyxy, .*its far corner not before the near"),
        ("a.png,10,8,cat,one,2,5,6", "a box must be xyxy, four numbers"),
        ("a.png,10,7,cat,1,2,5,6", r"must be the same in all rows, \(8, 10\) .*\(7, 10\)"),
        ("a.png,10,-8,cat,1,2,5,6", "must be integers of at least 0"),
        ("a.png,10,x,cat,1,2,5,6", "must be integers of at least 0"),
        ("no.png,10,8,cat,1,2,5,6", "there must be one image 'no.png' in .* Received: none"),
        (",10,8,cat,1,2,5,6", "an image must be in "),
        ("../boxes.csv,10,8,cat,1,2,5,6", "an image must be in "),
        ("/etc/passwd,10,8,cat,1,2,5,6", "an image must be in "),
        ("more,10,8,cat,1,2,5,6", "there must be one image 'more'"),
        ("a\0.png,10,8,cat,1,2,5,6", "an image must be in "),
        ("x" * 5000 + ",10,8,cat,1,2,5,6", "there must be one image"),
        ("a.png,10,8,c\xe4t,1,2,5,6".encode("latin-1"), "it must be in UTF-8, or UTF-16 with"),
        ("a.png,10,8,ape,1,2,5,6", "a class must be one of .*Received: 'ape'"),
    ],
)
def test_wrong_rows_are_named_or_skipped(read, row, message):
    row = row if isinstance(row, bytes) else row.encode()
    content = f"{TENSORFLOW}a.png,10,8,dog,1,2,5,6\n".encode() + row
    content += b"\nb.v2.jpg,10,8,cat,1,2,5,6\na.png,10,8,cow,1,2,5,6\n"
    names = ["dog", "cat", "cow"]
    with pytest.raises(DatasetError, match=rf"(?s)^'[^']*boxes\.csv', line 3: .*{message}"):
        read(content, class_names=names)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = read(content, class_names=names, on_error="skip")
    assert len(data.skipped) == 1
    assert [record.image_id for record in data] == ["a.png", "b.v2.jpg"]
    assert [record.labels.tolist() for record in data] == [[0, 2], [1]]


def test_an_image_that_is_missing_is_told_once(read):
    rows = "x.png,1,2,5,6,dog\na.png,1,2,5,6,dog\nx.png,3,4,5,6,dog\n"
    with pytest.warns(UserWarning, match="skipped are 1: .*line 1"):
        data = read(rows, on_error="skip")
    assert [record.image_id for record in data] == ["a.png"]


def test_wrong_fractions_and_crowds_are_named(read):
    with pytest.raises(DatasetError, match="line 2: a box must be rel_xyxy, four fractions"):
        read(OPEN_IMAGES + "a,x,dog,1,1,5,2,6,0,0")
    with pytest.raises(DatasetError, match=r"line 2: a crowd must be told by 1, 0 or -1. .*'5'"):
        read(OPEN_IMAGES + "a,x,dog,1,0,1,0,1,0,5")


def test_images_of_one_name_must_be_told_with_their_suffix(read, tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(DatasetError, match=r"there must be one image 'a' .*a\.jpg and a\.png"):
        read(OPEN_IMAGES + "a,x,dog,1,0,1,0,1,0,0")
    assert read("a.jpg,1,2,5,6,dog")[0].path.name == "a.jpg"


@pytest.mark.parametrize("told", ["10,8", "8,10", ","])
def test_turned_images(read, tmp_path, told):
    """EXIF 6: the stored image's left column is the upright one's first row, from the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    stored[1:4, 2:4] = 255
    Image.fromarray(stored).save(tmp_path / "images" / "a.png", exif=exif)
    content = f"{TENSORFLOW}a.png,{told},dog,2,1,4,4\n"
    in_stored, as_told = [HEIGHT - 4, 2, HEIGHT - 1, 4], [2, 1, 4, 4]
    record = read(content)[0]
    assert record.size == (WIDTH, HEIGHT)
    assert record.boxes.tolist() == [in_stored if told == "10,8" else as_told]
    assert read(content, frame="stored")[0].boxes.tolist() == [in_stored]
    assert read(content, frame="upright")[0].boxes.tolist() == [as_told]
    x0, y0, x1, y1 = in_stored
    assert (record.image[y0:y1, x0:x1] == 255).all()
    assert (record.image == 255).sum() == 3 * 6
    row = "a,x,dog,1,0.2,0.4,0.125,0.5,0,0"
    boxes = read(OPEN_IMAGES + row, frame="stored")[0].boxes
    np.testing.assert_allclose(boxes, [in_stored], rtol=1e-6)


def test_a_damaged_image_is_named_when_it_is_read(read, tmp_path):
    record = read("a.png,1,2,5,6,dog")[0]
    (tmp_path / "images" / "a.png").write_text("not a picture")
    for name in ("size", "image", "boxes"):
        with pytest.raises(DatasetError, match=r"image 'a\.png': .*a\.png' \(cannot identify"):
            getattr(record, name)


@pytest.mark.parametrize(
    "content",
    [
        TENSORFLOW + "a.png,10,8,dog,1,2,5,6\nb.v2.jpg,10,8,cat,0,0,10,8\n",
        "a.png,1,2,5,6,dog\nmore/c.png,,,,,\nb.v2.jpg,0,0,10,8,cat\n",
        OPEN_IMAGES + "a,x,dog,1,0.1,0.5,0.25,0.75,0,1\nmore/c,x,cat,1,0,1,0,1,1,0\n",
        'image_id,width,height,bbox\na,10,8,"[1.0, 2, 4, 4]"\nb.v2,10,8,\n',
    ],
)
def test_changed_files_give_records_or_the_clear_error(read, tmp_path, survive, content):
    read(content)
    outcomes = survive(
        tmp_path,
        lambda folder, on_error: csv(folder / "boxes.csv", folder / "images", on_error=on_error),
        only="boxes.csv",
    )
    assert all(outcomes[name] > 20 for name in ("read", "error", "skipped")), outcomes
