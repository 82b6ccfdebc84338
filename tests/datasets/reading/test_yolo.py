import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError, yolo
from keras_cvx.datasets.parsing.yolo_files import splits_of

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 16, 8
NAMES = "names: [car, bus]\n"
BOX = "1 0.5 0.5 0.25 0.5\n"
OUTLINE = "0 0.25 0 0.75 0 0.75 0.5 0.25 0.5\n"


def save(path, size=(WIDTH, HEIGHT), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (1, 5, 9)).save(path, **options)


def write(folder, **labels):
    """Images a and b in `images/train`, with the labels that are given."""
    for name in ("a", "b"):
        save(folder / "images" / "train" / f"{name}.png")
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    for name, text in labels.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / "labels" / "train" / f"{name}.txt").write_bytes(content)
    (folder / "data.yaml").write_text(f"train: images/train\n{NAMES}")
    return folder / "data.yaml"


def test_images_without_objects(tmp_path):
    data = yolo(write(tmp_path, a="", b="\n  \n\n"))
    assert len(data) == 2
    assert data.class_names == ("car", "bus")
    assert [record.boxes.shape for record in data] == [(0, 4)] * 2
    assert not data[0].mask.any()
    np.testing.assert_array_equal(data[0].image, np.full((HEIGHT, WIDTH, 3), [1, 5, 9]))


def test_an_image_without_labels_is_background_but_not_all_are(tmp_path):
    path = write(tmp_path, b=BOX)
    data = yolo(path)
    assert [len(record.labels) for record in data] == [0, 1]
    (tmp_path / "labels" / "train" / "b.txt").unlink()
    with pytest.warns(UserWarning, match=r"2 images of .*'train', have no .*labels/train/a\.txt'"):
        assert len(yolo(path)) == 2


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"`split` must be one that .* has: none. .*split='train'"):
        yolo(tmp_path)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=r"must have images. Received: 1: .*/images$"):
        yolo(tmp_path)


def test_boxes_are_where_they_are_painted(tmp_path):
    path = write(tmp_path, a="1 0.375 0.25 0.5 0.25\r\n0 0.5 0.5 1 1")
    image = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    # The centre at (6, 2), 8 wide and 2 high.
    image[1:3, 2:10] = 255
    Image.fromarray(image).save(tmp_path / "images" / "train" / "a.png")
    record = yolo(path)[0]
    x0, y0, x1, y1 = record.boxes[0].astype(int)
    assert (record.image[y0:y1, x0:x1] == 255).all()
    assert (record.image == 255).sum() == 3 * (x1 - x0) * (y1 - y0)
    assert record.boxes.tolist() == [[2, 1, 10, 3], [0, 0, WIDTH, HEIGHT]]
    assert record.boxes.dtype == "float32"
    assert record.labels.tolist() == [1, 0]


def test_outlines_give_masks_and_boxes(tmp_path):
    data = pickle.loads(pickle.dumps(yolo(write(tmp_path, a=OUTLINE + BOX, b=OUTLINE))))  # noqa: S301
    assert data[0].boxes.tolist() == [[4, 0, 12, 4], [6, 2, 10, 6]]
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[:4, 4:12] = 1
    np.testing.assert_array_equal(data[1].mask, expected)
    with pytest.raises(DatasetError, match=r"image 'images/train/a\.png'.*with a box alone"):
        data[0].mask  # noqa: B018


def test_an_outline_that_is_too_long_for_its_image_is_named(tmp_path):
    save(tmp_path / "images" / "train" / "c.png", (2, 2))
    path = write(tmp_path, c="0 " + "0 0 1 1 " * 1000, b=OUTLINE)
    record = yolo(path)[2]
    with pytest.raises(
        DatasetError, match=r"image '.*c\.png': .*longer than the outlines of all p"
    ):
        record.mask  # noqa: B018


@pytest.mark.parametrize("frame", ["auto", "upright", "stored"])
def test_turned_images(tmp_path, frame):
    """EXIF 6: the stored image's left column is the upright one's first row, from the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((8, 10, 3), "uint8")
    stored[1:4, 2:4] = 255
    # Of the stored image, 10 wide and 8 high.
    outline = "0 0.2 0.125 0.4 0.125 0.4 0.5 0.2 0.5"
    path = write(tmp_path, a="1 0.3 0.3125 0.2 0.375", b=outline)
    for name in "ab":
        Image.fromarray(stored).save(tmp_path / "images" / "train" / f"{name}.png", exif=exif)
    data = yolo(path, frame=frame)
    assert data[0].size == (10, 8)
    white = data[0].image[..., 0] == 255
    rows, columns = np.nonzero(white)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert expected == [4, 2, 7, 4]
    if frame != "stored":
        # The same fractions of the upright image.
        expected, white = [1.6, 1.25, 3.2, 5], None
    for record in data:
        np.testing.assert_allclose(record.boxes, [expected], rtol=1e-6)
    if white is not None:
        np.testing.assert_array_equal(data[1].mask, white)


def test_names_by_label(tmp_path):
    for names in (
        "names: [b, a, '1', 2]\nnc: 4\n",
        "names: {3: 2, 0: b, 1: a, '2': 1}\n",
        "# Größe\nnc: 4\nnames:\n  0: b\n  1: a\n  2: '1'\n  3: '2'\n",
    ):
        path = write(tmp_path, a="3 0.5 0.5 1 1")
        path.write_text(f"train: images/train\n{names}", "utf-8")
        data = yolo(path)
        assert data.class_names == ("b", "a", "1", "2")
        assert data[0].labels.tolist() == [3]
    path.write_text("train: images/train\nnc: 12")
    assert yolo(path).class_names == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (b"train: &a images/train\nnames: [*a]", "must be plain YAML, without aliases.* an alias"),
        (b"!!python/object/apply:os.system ['ls']", "must be plain YAML, without aliases"),
        (b"train: images/train\nnames: [a, a]", "'names': it must be a list of different names"),
        (b"train: no/such\nnames: [a]", "'train': it must be a folder of images or a .txt"),
        (b"val: images/train\ntest:\nnames: [a]", "has: val. Received: split='train'"),
    ],
)
def test_a_wrong_data_yaml_is_named(tmp_path, settings, message):
    path = write(tmp_path, a=BOX)
    path.write_bytes(settings)
    for on_error in ("raise", "skip"):
        with pytest.raises(DatasetError, match=rf"data\.yaml'.*{message}"):
            yolo(path, on_error=on_error)


def test_where_splits_are(tmp_path):
    root = tmp_path / "data"
    write(root, a=BOX)
    for split in ("train", "valid"):
        save(root / split / "images" / "c.jpg")
        save(tmp_path / "other" / "images" / split / "deep" / f"{split}.png")
    (root / "valid" / "labels").mkdir()
    (root / "valid" / "labels" / "c.txt").write_text(BOX)
    (tmp_path / "other" / "labels" / "train" / "deep").mkdir(parents=True)
    (tmp_path / "other" / "labels" / "train" / "deep" / "train.txt").write_text(OUTLINE)
    (root / "list.txt").write_text(
        "\ufeff./images/train/b.png\n\nimages/train/a.png\nimages\\..\\images\\train\\..\\..\\"
        f"train/images/c.jpg\n{root}/valid/images/c.jpg\n",
        "utf-8",
    )
    path = tmp_path / "data.yaml"

    def read(settings, split="train"):
        path.write_text(f"{settings}\n{NAMES}")
        data = yolo(path, split=split)
        return [(record.image_id, record.labels.tolist()) for record in data]

    both = [("images/train/a.png", [1]), ("images/train/b.png", [])]
    assert read("path: data\ntrain: images/train") == both
    assert read(f"path: {root}\ntrain: {root}/images/train") == both
    # Whatever Roboflow means by the first two dots.
    roboflow = [("valid/images/c.jpg", [1])]
    assert read("path: data\ntrain: x\nval: ../valid/images", "val") == roboflow
    deep = f"{tmp_path}/other/images/train/deep/train.png"
    assert read("path: data\ntrain: [images/train, ../other/images/train]") == [*both, (deep, [0])]
    # Written on Windows.
    assert read("path: data\ntrain: images\\train") == both
    assert read("path: .\\data\nval: ..\\valid\\images", "val") == roboflow
    assert read("path: data\ntrain: list.txt") == [
        both[1], both[0], ("train/images/c.jpg", []), ("valid/images/c.jpg", [1]),
    ]  # fmt: skip
    assert splits_of(path) == ["train"]
    path.write_text(f"val: data/images/train\ntest: []\nlicense: MIT\n{NAMES}")
    assert splits_of(path) == ["val"]


def test_folders_without_data_yaml(tmp_path):
    save(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("3 0.5 0.5 1 1")
    data = yolo(tmp_path)
    assert data.class_names == ("0", "1", "2", "3")
    assert data[0].labels.tolist() == [3]
    assert splits_of(tmp_path) == ["train"]
    with pytest.raises(ValueError, match=r"has: train. Received: split='val'"):
        yolo(tmp_path, split="val")
    (tmp_path / "labels" / "classes.txt").write_text("a\nb\n\nc\r\nd\n")
    assert yolo(tmp_path).class_names == ("a", "b", "c", "d")
    (tmp_path / "classes.txt").write_text("a\na\n")
    with pytest.raises(DatasetError, match=r"classes\.txt' must have different names"):
        yolo(tmp_path)
    (tmp_path / "classes.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DatasetError, match=r"classes\.txt' must be text in UTF-8"):
        yolo(tmp_path)


def test_splits_of_folders(tmp_path):
    write(tmp_path, a="0 0.5 0.5 1 1")
    save(tmp_path / "test" / "images" / "c.png")
    save(tmp_path / "images" / ".ipynb_checkpoints" / "a.png")
    (tmp_path / "test" / "labels").mkdir()
    (tmp_path / "test" / "labels" / "c.txt").write_text("1 0.5 0.5 1 1")
    assert yolo(tmp_path).class_names == ("car", "bus")
    (tmp_path / "data.yaml").unlink()
    assert splits_of(tmp_path) == ["test", "train"]
    assert [record.path.name for record in yolo(tmp_path)] == ["a.png", "b.png"]
    assert yolo(tmp_path, split="test")[0].labels.tolist() == [1]


def test_labels_beside_images(tmp_path):
    save(tmp_path / "all" / "a.png")
    (tmp_path / "all" / "a.txt").write_text(BOX)
    (tmp_path / "all" / "notes.txt").write_text("of anything")
    (tmp_path / "data.yaml").write_text(f"train: all\n{NAMES}")
    assert yolo(tmp_path)[0].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.5 0.5", "a class must be an integer from 0 to 1. Received: '2'"),
        ("-1 0.5 0.5 0.5 0.5", "a class must be an integer"),
        ("1.5 0.5 0.5 0.5 0.5", "a class must be an integer from 0 to 1. Received: '1.5'"),
        ("2.0 0.5 0.5 0.5 0.5", "a class must be an integer from 0 to 1. Received: '2.0'"),
        ("0_1 0.5 0.5 0.5 0.5", "a class must be an integer from 0 to 1. Received: '0_1'"),
        ("nan 0.5 0.5 0.5 0.5", "a class must be an integer"),
        ("car 0.5 0.5 0.5 0.5", "a class must be an integer"),
        ("9" * 5000 + " 0.5 0.5 0.5 0.5", "a class must be an integer"),
        ("١ 0.5 0.5 0.5 0.5", "a class must be an integer"),
        ("1", "4 numbers of a box, or 6 and more.* Received: 0"),
        ("1 0.5 0.5 0.5", "4 numbers of a box, or 6 and more.* Received: 3"),
        ("1 0.5 0.5 0.5 0.5 0.5", "4 numbers of a box, or 6 and more.* Received: 5"),
        ("1" + " 0.5" * 7, "4 numbers of a box, or 6 and more.* Received: 7"),
        ("1 0.5 0.5 0.5 nan", "a box must be rel_center_xywh, four fractions .*'nan'"),
        ("1 0.5 0.5 0.5 inf", "a box must be rel_center_xywh, four fractions"),
        ("1 0.5 0.5 0.5 1.02", "a box must be rel_center_xywh, four fractions"),
        ("1 0.5 -0.02 0.5 1", "a box must be rel_center_xywh, four fractions"),
        ("1 0.5 0.5 0.5 -0.001", "a box must be rel_center_xywh, .*far corner"),
        ("1 8 4 2 2", "a box must be rel_center_xywh, four fractions"),
        ("1 0,5 0,5 0,5 0,5", "a box must be rel_center_xywh, four fractions"),
        ("1 a b c d", "a box must be rel_center_xywh, four fractions"),
        ("1 0 0 1 1 nan 1", "points must be fractions from 0 to 1"),
        ("1 0 0 1 1 1.5 1", "points must be fractions from 0 to 1"),
        (b"1 0.5 0.5 0.5 0.\xff", "a box must be rel_center_xywh, four fractions"),
    ],
)
def test_wrong_lines_are_named_or_skipped(tmp_path, line, message):
    line = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, a=b"0 0.5 0.5 1 1\n\n" + line + b"\n" + OUTLINE.encode(), b=BOX)
    with pytest.raises(DatasetError, match=rf"^'.*labels/train/a\.txt', line 3: .*{message}"):
        yolo(path)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = yolo(path, on_error="skip")
    assert [record.labels.tolist() for record in data] == [[0, 0], [1]]
    assert data[0].boxes.tolist() == [[0, 0, WIDTH, HEIGHT], [4, 0, 12, 4]]


def test_classes_that_are_written_as_decimals(tmp_path):
    """As Ultralytics takes them, and NumPy writes them."""
    box = "0.5 0.5 0.25 0.5\n"
    lines = [f"{label} {box}" for label in ("1.0", "0.000000", "1.000000000000000000e+00", "01")]
    assert yolo(write(tmp_path, a="".join(lines)))[0].labels.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        # Six decimals; six digits, as `%g` writes them; halves; all digits that there are.
        ("0.478911 0.039271 0.717383 1.000000 0.25 0.003457", "int32"),
        ("0.0478911 0.00392717 0.717383 1 0.25 0.000345678", "int32"),
        ("0.609375 0.515625 0.7 1.01 -0.01 0.00078125", "int32"),
        ("0.1 0.2 0.3333333333333333 0.4 0.5 0.6", "float64"),
    ],
)
def test_outlines_are_kept_as_integers_where_that_is_exact(tmp_path, numbers, dtype):
    data = yolo(write(tmp_path, a=f"0 {numbers}\n"))
    regions = data.annotations.objects.regions
    assert regions.points.dtype == dtype
    # Bit by bit.
    [outline] = regions.polygons(0)
    assert outline.ravel().tolist() == list(map(float, numbers.split()))


def test_rounded_fractions_and_a_byte_order_mark_are_fine(tmp_path):
    path = write(
        tmp_path, a=b"\xef\xbb\xbf1 0.5 0.5 1.0000001 1.01\n0 -0.0000001 0 1 0 1 1 0 1.005"
    )
    boxes = yolo(path)[0].boxes
    np.testing.assert_allclose(boxes, [[0, -0.04, 16, 8.04], [0, 0, 16, 8.04]], atol=1e-5)


def test_labels_without_images_are_named_or_skipped(tmp_path):
    path = write(tmp_path, a=BOX, c=BOX, classes="car")
    with pytest.raises(DatasetError, match=r"labels/train/c\.txt' must have an image of the same"):
        yolo(path)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = yolo(path, on_error="skip")
    assert [record.labels.tolist() for record in data] == [[1], []]


def test_labels_that_cannot_be_read_are_named_and_leave_no_background(tmp_path):
    path = write(tmp_path, b=BOX)
    (tmp_path / "labels" / "train" / "a.txt").mkdir()
    with pytest.raises(DatasetError, match=r"a\.txt' must be a file that can be read"):
        yolo(path)
    with pytest.warns(UserWarning, match="skipped are 1"):
        data = yolo(path, on_error="skip")
    assert [record.path.name for record in data] == ["b.png"]


def test_classes_without_names_are_not_without_number(tmp_path):
    path = write(tmp_path, a="10000 0.5 0.5 1 1")
    path.unlink()
    with pytest.raises(DatasetError, match=r"a class must be an integer from 0 to 9999"):
        yolo(tmp_path)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path):
    path = write(tmp_path, a=BOX)
    (tmp_path / "images" / "train" / "a.png").write_text("not a picture")
    record = yolo(path)[0]
    for name in ("size", "image", "boxes"):
        with pytest.raises(DatasetError, match=r"Received: '.*a\.png' \(cannot identify"):
            getattr(record, name)


def test_wrong_arguments_are_named(tmp_path):
    path = write(tmp_path, a=BOX)
    for wrong in (tmp_path / "no.yaml", 3.5):
        with pytest.raises(
            ValueError, match=r"`data` must be the path of a data\.yaml, or of a fo"
        ):
            yolo(wrong)
    for wrong in (3, None, "..", "names"):
        with pytest.raises(ValueError, match="`split` must be one that"):
            yolo(path, split=wrong)
    with pytest.raises(ValueError, match=r"`on_error` must be one of .*on_error='ignore'"):
        yolo(path, on_error="ignore")
    with pytest.raises(ValueError, match=r"`frame` must be one of .*frame='raw'"):
        yolo(path, frame="raw")


def test_a_missing_library_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path, a=BOX)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"PyYAML.*pip install keras-cvx\[datasets\]"):
        yolo(path)


def test_changed_files_give_records_or_the_clear_error(tmp_path, survive):
    path = write(tmp_path, a=OUTLINE + BOX, b=OUTLINE + OUTLINE)
    (tmp_path / "list.txt").write_text("images/train/a.png\n./images/train/b.png\n")
    path.write_text(f"path: .\ntrain: list.txt\nnc: 2\n{NAMES}")
    outcomes = survive(
        tmp_path,
        lambda folder, on_error: yolo(folder / "data.yaml", on_error=on_error),
        free=["data.yaml"],
    )
    assert all(outcomes[name] > 20 for name in ("read", "error", "skipped")), outcomes
