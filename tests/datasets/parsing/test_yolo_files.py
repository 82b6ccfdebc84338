import os

import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.faults import Faults
from keras_cvx.datasets.parsing.yolo_files import label_path, splits_of, text_lines, yolo_files

pytestmark = pytest.mark.host


def save(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 4)).save(path)


def names_of(data, split="train", on_error="raise"):
    faults = Faults(on_error)
    files = yolo_files(data, split, faults)
    return [os.path.relpath(image, files.root) for image in files.images], faults.messages


def test_no_images(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match=r"must have images. Received: 1: .*images"):
        names_of(tmp_path)
    assert splits_of(tmp_path) == ["train"]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/a/images/1.jpg", "/a/labels/1.txt"),
        ("/a/images/train/1.2.JPG", "/a/labels/train/1.2.txt"),
        ("/images/a/images/deep/1.jpg", "/images/a/labels/deep/1.txt"),
        ("/a/train/1.jpg", "/a/train/1.txt"),
        ("/a/my_images/1.jpg", "/a/my_images/1.txt"),
        ("/a/images.jpg", "/a/images.txt"),
    ],
)
def test_where_labels_are(image, label):
    assert label_path(image) == label


def test_folders_are_searched_in_order_and_hidden_files_are_not(tmp_path):
    images = tmp_path / "images"
    save(images / "b.JPG", images / "a.png", images / "deep" / "c.png", images / ".a.png",
         images / ".cache" / "d.png")  # fmt: skip
    (images / "notes.md").write_text("of anything")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [car]\n")
    assert names_of(tmp_path) == (["images/a.png", "images/b.JPG", "images/deep/c.png"], [])
    # The folder and the file in it are the same data.
    assert names_of(tmp_path / "data.yaml") == names_of(str(tmp_path))


def test_faults_of_lists_are_kept_one_by_one(tmp_path):
    save(tmp_path / "a" / "1.png", tmp_path / "a" / "2.png", tmp_path.parent / "outside.png")
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [car]\n")
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfa\\2.png\r\n\r\n./a/2.png\r\n../outside.png\r\na/1.png\r\nD:\\3.png\r\n"
    )
    names, messages = names_of(tmp_path, on_error="skip")
    assert names == ["a/2.png", "a/1.png"]
    lines = [message.split("line ")[1][0] for message in messages]
    assert lines == ["3", "4", "6"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/train/no.png", "which is not there"),
        ("../outside.png", "which is not there"),
        ("images/../../outside.png", "which is not there"),
        ("..\\outside.png", "which is not there"),
        ("/etc/passwd", "which is not there"),
        ("images/train", "which is not there"),
        ("C:\\a.png", "which is not there"),
        ("a\0.png", "which is not there"),
        ("a" * 5000, "which is not there"),
        ("data.yaml", "which is no image"),
        ("images/train/a.png", "an image must be told once"),
    ],
)
def test_wrong_lines_of_lists_are_named_or_skipped(tmp_path, line, message):
    root, names = tmp_path / "data", ["images/train/a.png", "images/train/b.png"]
    save(tmp_path / "outside.png", *(root / name for name in names))
    (root / "data.yaml").write_text("train: list.txt\nnames: [car]\n")
    (root / "list.txt").write_text(f"{names[0]}\n{line}\n{names[1]}\n")
    with pytest.raises(DatasetError, match=rf"list\.txt', line 2: .*{message}"):
        names_of(root)
    found, messages = names_of(root, on_error="skip")
    assert found == names
    assert len(messages) == 1


@pytest.mark.parametrize("wrong", [3, None, "no/such/folder", "a\0b"])
def test_no_path(wrong):
    with pytest.raises(ValueError, match=r"`data` must be the path of a data.yaml, or of a folder"):
        splits_of(wrong)


def test_text_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf a \r\n\r\nb")
    assert text_lines(path) == ["a", "", "b"]
    path.write_bytes(b"\xff")
    for wrong in (path, tmp_path):
        with pytest.raises(DatasetError, match="must be text in UTF-8"):
            text_lines(wrong)
