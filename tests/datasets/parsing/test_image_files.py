import pytest
from PIL import Image

from keras_cvx.datasets.parsing.image_files import ImageFolder, image_names, name_below

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png"),
        ("./x/../a.png", "a.png"),
        ("x\\a.png", "x/a.png"),
        ("x//a.png", "x/a.png"),
        ("..a.png", "..a.png"),
        ("", None),
        (".", None),
        ("x/", None),
        ("..", None),
        ("../a.png", None),
        ("x/../../a.png", None),
        ("..\\a.png", None),
        ("/a.png", None),
        ("C:\\a.png", None),
        ("c:a.png", None),
        ("a\0.png", None),
    ],
)
def test_names_below_a_folder(tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, str(tmp_path), "", ".", "x/.."):
        assert name_below(folder, name) == expected


def test_names_that_are_absolute_or_start_elsewhere(tmp_path):
    folder = tmp_path / "data"
    assert name_below(folder, f"{folder}/x/a.png") == "x/a.png"
    assert name_below(folder, f"{folder}") is None
    # One of a name that only begins like the folder's.
    assert name_below(folder, f"{tmp_path}/data2/a.png") is None
    assert name_below(folder, "../x/a.png", folder / "lists") == "x/a.png"
    assert name_below(folder, "../../a.png", folder / "lists") is None
    assert name_below("/", "a/b.png") == "a/b.png"


def test_images_are_found_with_and_without_suffix(tmp_path):
    (tmp_path / "x").mkdir()
    assert image_names(tmp_path) == []
    for name in ("b.JPG", "a.v1.png", "a.png", "x/c.png", ".hidden.png"):
        Image.new("L", (2, 2)).save(tmp_path / name)
    (tmp_path / "d.png").mkdir()
    (tmp_path / "a.txt").write_text("no image")
    assert image_names(tmp_path) == ["a.png", "a.v1.png", "b.JPG"]
    images = ImageFolder(tmp_path)
    found = {name: images.find(name) for name in ("a", "a.v1", "a.v1.png", "b", "x/c", "./x/c.png")}
    assert list(found.values()) == ["a.png", "a.v1.png", "a.v1.png", "b.JPG", "x/c.png", "x/c.png"]
    assert images.with_stem("nowhere/c") == []
    for wrong in ("A", "c", "x", "d", "d.png", "../a.png", ""):
        with pytest.raises(ValueError, match=r"image.* in '.*Received: "):
            images.find(wrong)
