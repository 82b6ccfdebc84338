import pytest

from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.parsing.data_yaml import MOST_CLASSES, data_yaml

pytestmark = pytest.mark.host


@pytest.fixture
def read(tmp_path):
    """Function of a `data.yaml`'s text, in whose folder `train/images` and a list lie."""
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "list.txt").write_text("train/images/a.png")

    def make(content):
        path = tmp_path / "data.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return data_yaml(path)

    return make


def test_no_names_and_no_splits(read):
    settings = read("names: []")
    assert settings.class_names == ()
    assert settings.splits == {}
    with pytest.raises(DatasetError, match=r"data\.yaml' has: none. Received: split='train'"):
        settings.places("train")


def test_what_roboflow_writes(read, tmp_path):
    settings = read(
        b"\xef\xbb\xbftrain: ../train/images\r\nval: ../valid/images\r\ntest: list.txt\r\n\r\n"
        b"nc: 2\r\nnames: ['car', 'bus']\r\n\r\nroboflow:\r\n  version: 1\r\n"
    )
    assert settings.class_names == ("car", "bus")
    assert list(settings.splits) == ["train", "val", "test"]
    assert settings.places("train") == [str(tmp_path / "train" / "images")]
    assert settings.places("test") == [str(tmp_path / "list.txt")]
    with pytest.raises(DatasetError, match=r"'val': it must be a folder of images or a .txt file"):
        settings.places("val")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: {0: car, 1: bus}", ("car", "bus")),
        ("names: {1: bus, 0: car}", ("car", "bus")),
        ("names: {'0': car, '1': bus}", ("car", "bus")),
        ("names: [7, 8]", ("7", "8")),
        ("names: ['no', '1.5']", ("no", "1.5")),
        ("nc: 3", ("0", "1", "2")),
        ("nc: 1\nnames: [木]", ("木",)),
    ],
)
def test_names(read, text, names):
    assert read(text).class_names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [car, no]", r"'names': it must be a list of different names, .*into quotes"),
        ("names: [car, car]", r"'names': it must be a list of different names"),
        ("names: {0: car, 2: bus}", r"'names': it must be a list .*by the numbers from 0 on"),
        ("names: car", r"'names': it must be a list"),
        ("train: x", r"'names': it must be a list.*Received: None"),
        ("nc: 3\nnames: [car]", r"'nc': it must be the number of `names`, 1. Received: 3"),
        (f"nc: {MOST_CLASSES + 1}", r"'nc': it must be the number of classes. Received: 10001"),
        ("nc: -1", r"'nc': it must be the number of classes. Received: -1"),
        ("nc: true", r"'nc': it must be the number of classes. Received: True"),
        ("names: [a]\ntrain: 5", r"'train': it must be a path or a list of paths. Received: 5"),
        ("names: [a]\npath: 5", r"'path': it must be a folder that is there.*Received: 5"),
        ("names: [a]\npath: no", r"'path': it must be a folder that is there.*Received: False"),
        ("names: [a]\nkpt_shape: [17, 3]", r"must be of boxes or polygons.*'kpt_shape'"),
        ("- names", r"must have keys such as `train` and `names`"),
        ("", r"must have keys such as `train` and `names`. Received: None"),
        ("names: [a", r"must be plain YAML, without aliases"),
        ("a: &a [*a]", r"must be plain YAML, without aliases"),
        ("a: " + "[" * 5000, r"must be plain YAML, without aliases"),
        ("a: !!python/object/apply:os.getcwd []", r"must be plain YAML, without aliases"),
        (b"names: [\xff]", r"must be plain YAML, without aliases"),
        ("names: 2024-99-99", r"must be plain YAML, without aliases"),
        ("nc: " + "9" * 5000, r"must be plain YAML, without aliases"),
        ("names: []\nnc: 2", r"'nc': it must be the number of `names`, 0. Received: 2"),
        ("names: [a]\ntrain: [[a]]", r"'train': it must be a path or a list of paths"),
    ],
)
def test_what_is_wrong_is_named(read, text, message):
    with pytest.raises(DatasetError, match=rf"data\.yaml'.*{message}"):
        read(text)


@pytest.mark.parametrize("place", ["a\\b", '"a\\0"', "data.yaml", "no/such", "../trains"])
def test_where_nothing_is(read, place):
    settings = read(f"names: [a]\ntrain: {place}")
    with pytest.raises(DatasetError, match=r"'train': it must be a folder of images or a .txt fil"):
        settings.places("train")
