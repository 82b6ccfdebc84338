import pickle
import struct
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_cvx.datasets import DatasetError, masks
from keras_cvx.layers import ResizeWithPad

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")
IDS = np.arange(24, dtype="uint8").reshape(4, 6)


@pytest.fixture
def folders(tmp_path):
    """Two empty folders."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "images", tmp_path / "masks"


def save(folders, name="a", image=IMAGE, mask=IDS, suffix=".png"):
    Image.fromarray(image).save(folders[0] / f"{name}.png")
    Image.fromarray(mask).save(folders[1] / f"{name}{suffix}")


def test_no_files(folders):
    data = masks([], [])
    assert len(data) == 0
    assert list(data) == []
    with pytest.raises(ValueError, match=r"`images` must be a folder with image files.*has none"):
        masks(*folders)


def test_a_sample(folders):
    save(folders)
    data = masks(*folders)
    assert len(data) == 1
    sample = data[0].sample()
    assert sorted(sample) == ["images", "segmentation_masks"]
    np.testing.assert_array_equal(sample["images"], IMAGE)
    np.testing.assert_array_equal(sample["segmentation_masks"], IDS)
    assert [x.dtype for x in sample.values()] == ["uint8", "uint8"]


def test_names_pair_and_order(folders):
    for value, name in enumerate(["b", "a.left", "c", "a"]):
        save(folders, name, mask=np.full((4, 6), value, "uint8"), suffix=".tif")
    for other in (".hidden.png", "notes.txt", "Thumbs.db"):
        (folders[0] / other).write_text("no image")
    (folders[1] / "more.png").mkdir()
    data = masks(str(folders[0]), folders[1])
    paths = [record.path for record in data]
    assert [path.name for path in paths] == ["a.png", "a.left.png", "b.png", "c.png"]
    assert [record.image_id for record in data] == ["a", "a.left", "b", "c"]
    assert [record.mask[0, 0] for record in data] == [3, 1, 0, 2]
    again = masks(paths[::-1], map(str, sorted(folders[1].glob("*.tif"))))
    assert [record.path for record in again] == paths
    assert [record.mask[0, 0] for record in again] == [3, 1, 0, 2]


def test_it_is_a_sequence(folders):
    for value, name in enumerate("abc"):
        save(folders, name, mask=np.full((4, 6), value, "uint8"))
    data = masks(*folders, ids={0: 5, 1: 6, 2: 7})
    for part in (data[1:], pickle.loads(pickle.dumps(data[1:]))):  # noqa: S301
        assert [record.image_id for record in part] == ["b", "c"]
        assert part[-1].mask[0, 0] == 7
    assert [record.image_id for record in data[::-2]] == ["c", "a"]
    assert [record.image_id for record in data[[2, 0]]] == ["c", "a"]
    assert data[np.int64(1)].mask[0, 0] == 6
    assert len(data[3:]) == len(data[[]]) == 0
    for index in (3, -4):
        with pytest.raises(IndexError):
            data[index]
    with pytest.raises(TypeError):
        data["a"]


def test_ids_become_labels(folders):
    save(folders, mask=np.array([[0, 7, 255], [8, 7, 0]], "uint8"), image=IMAGE[:2, :3])
    labels = masks(*folders, ids={0: 0, 7: 1, 8: 2, 255: 255})[0].mask
    assert labels.tolist() == [[0, 1, 255], [2, 1, 0]]
    assert labels.dtype == "uint8"
    wide = masks(*folders, ids={0: 0, 7: 1000, 8: 2, 255: 255})[0].mask
    assert wide.tolist() == [[0, 1000, 255], [2, 1000, 0]]
    assert wide.dtype == "int32"


def test_an_id_without_a_label_is_named(folders):
    save(folders, mask=np.array([[0, 7, 255], [9, 7, 0]], "uint8"), image=IMAGE[:2, :3])
    with pytest.raises(ValueError, match=r"a\.png' with 2 others: 7 \(2 pixels\), 255 \(1 pixels"):
        masks(*folders, ids={0: 0, 9: 1})[0].sample()


def turned(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(IMAGE)
    if path.suffix == ".png":
        picture.save(path, exif=exif)
    else:
        picture.save(path, exif=exif, quality=100, subsampling=0)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_images_are_upright(folders, orientation, turns, suffix):
    upright = np.rot90(IDS, turns)
    Image.fromarray(np.ascontiguousarray(upright)).save(folders[1] / "a.png")
    turned(folders[0] / f"a{suffix}", orientation)
    sample = masks(*folders)[0].sample()
    np.testing.assert_array_equal(sample["segmentation_masks"], upright)
    loss = 0 if suffix != ".jpg" else 40
    expected = np.rot90(IMAGE, turns)
    np.testing.assert_allclose(sample["images"].astype(int), expected, atol=loss or 0.5, rtol=0)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_mask_of_the_stored_image_is_turned_with_it(folders, orientation, turns, suffix):
    Image.fromarray(IDS).save(folders[1] / "a.png")
    turned(folders[0] / f"a{suffix}", orientation)
    upright = np.rot90(IDS, turns)
    np.testing.assert_array_equal(masks(*folders, frame="stored")[0].mask, upright)
    # A half turn is not to be seen by the size.
    told = IDS if orientation == 3 else upright
    np.testing.assert_array_equal(masks(*folders)[0].mask, told)
    if orientation != 3:
        with pytest.raises(DatasetError, match=r"height=6 and width=4, .*height=4 and width=6\."):
            masks(*folders, frame="upright")


def test_an_orientation_behind_the_pixels_is_seen_with_them(folders):
    save(folders)
    turned(folders[0] / "a.png", 6)
    content = (folders[0] / "a.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + struct.unpack(">I", content[start : start + 4])[0]
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (folders[0] / "a.png").write_bytes(moved)
    with pytest.raises(DatasetError, match=r"a\.png' of \(4, 6\) by its header, \(6, 4\) by its"):
        masks(*folders)[0].sample()


def test_what_lacks_its_partner_is_named(folders):
    save(folders)
    Image.fromarray(IMAGE).save(folders[0] / "b.png")
    with pytest.raises(DatasetError, match=r"images/b\.png' must have a mask of the same name"):
        masks(*folders)
    (folders[0] / "b.png").unlink()
    Image.fromarray(IDS).save(folders[1] / "z.png")
    with pytest.raises(DatasetError, match=r"masks/z\.png' must have an image of the same name"):
        masks(*folders)


def test_what_is_skipped_is_listed_and_nothing_else_is_lost(folders):
    save(folders)
    save(folders, "b", mask=IDS[:3])
    save(folders, "c", mask=IMAGE)
    Image.fromarray(IMAGE).save(folders[0] / "d.png")
    Image.fromarray(IDS).save(folders[1] / "e.png")
    save(folders, "f", mask=IDS[::-1])
    with pytest.warns(UserWarning, match=r"skipped are 4: .*d\.png.*e\.png"):
        data = masks(*folders, on_error="skip")
    assert [record.image_id for record in data] == ["a", "f"]
    np.testing.assert_array_equal(data[1].mask, IDS[::-1])
    assert len(data.skipped) == 4
    for name, message in zip("debc", data.skipped, strict=True):
        assert f"{name}.png" in message


def test_other_sizes_are_named(folders):
    save(folders)
    save(folders, "b", mask=IDS[:3])
    with pytest.raises(DatasetError, match=r"b\.png' of height=4.*b\.png' of height=3 and width=6"):
        masks(*folders)


def test_names_that_come_twice_are_named(folders):
    save(folders)
    Image.fromarray(IDS).save(folders[1] / "a.bmp")
    with pytest.raises(ValueError, match=r"`masks` must .*same name for 1: .*a.bmp and .*a.png$"):
        masks(*folders)
    both = [folders[0] / "a.png", folders[1] / "a.png"]
    with pytest.raises(ValueError, match=r"`images` must .*same name for 1: "):
        masks(both, both[:1])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_coloured_masks_are_refused(folders, mode):
    save(folders)
    save(folders, "b")
    colours = Image.fromarray(IMAGE).convert(mode)
    colours.save(folders[1] / "b.png", "TIFF" if mode == "F" else "PNG")
    with pytest.raises(ValueError, match=rf"b\.png' has the mode '{mode}'.*Turn each colour"):
        masks(*folders)


def test_masks_with_loss_are_refused(folders):
    save(folders, suffix=".jpg")
    with pytest.raises(ValueError, match=r"a\.jpg' is JPEG, which may change ids. Save masks as P"):
        masks(*folders)


@pytest.mark.parametrize("kind", [0, 1])
def test_files_that_are_no_images_are_named(folders, kind):
    save(folders)
    path = folders[kind] / "a.png"
    path.write_text("not a picture at all")
    with pytest.raises(ValueError, match=r"Received: '.*a\.png' \(cannot identify"):
        masks(*folders)
    data = [[folders[0] / "a.png"], [folders[1] / "a.png"]]
    path.unlink()
    with pytest.raises(ValueError, match=r"Received: '.*a\.png' \(.*No such file"):
        masks(*data)


@pytest.mark.parametrize("kind", [0, 1])
def test_truncated_files_are_named(folders, kind):
    save(folders)
    path = folders[kind] / "a.png"
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"IDAT") + 8])
    data = masks(*folders)
    with pytest.raises(ValueError, match=r"Received: '.*a\.png' \("):
        data[0].sample()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 1), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_files_give_a_sample_or_the_clear_error(folders, kind, changes):
    save(folders)
    path = folders[kind] / "a.png"
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        sample = masks(*folders)[0].sample()
    except ValueError as error:
        assert "a.png" in str(error)  # noqa: PT017
    else:
        assert sample["images"].shape[:2] == sample["segmentation_masks"].shape


def test_wrong_folders_are_named(folders):
    save(folders)
    for wrong in (3, None, folders[0] / "a.png", "no/such/folder"):
        with pytest.raises(ValueError, match=r"`images` must be a folder or a list of paths. Rec"):
            masks(wrong, folders[1])
        with pytest.raises(ValueError, match=r"`masks` must be a folder or a list of paths. Rec"):
            masks(folders[0], wrong)


def test_images_are_read_only_when_asked_for(folders, monkeypatch):
    save(folders)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert len(masks(*folders)) == 1


def test_the_way_to_fit(folders):
    """Masks lie under their images, whatever the sizes: red pixels have the label 4."""
    for name, shape in (("a", (9, 30)), ("b", (40, 17))):
        mask = np.zeros(shape, "uint8")
        mask[shape[0] // 3 :, : shape[1] // 2] = 4
        save(
            folders,
            name,
            image=np.where(mask[..., None] > 0, [255, 0, 0], 9).astype("uint8"),
            mask=mask,
        )
    letterbox = ResizeWithPad(32, 32, interpolation="nearest")
    samples = [letterbox(record.sample()) for record in masks(*folders)]
    x = np.stack([sample["images"] for sample in samples])
    y = np.stack([sample["segmentation_masks"] for sample in samples])
    np.testing.assert_array_equal(y == 4, x[..., 0] == 255)
    np.testing.assert_array_equal(y == 255, x.sum(-1) == 0)
    assert (y == 4).any((1, 2)).all()
    assert y.dtype == "uint8"


def test_missing_pillow_names_the_extra(folders, monkeypatch):
    save(folders)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[datasets\]"):
        masks(*folders)


@pytest.mark.parametrize("in_one_folder", [False, True])
def test_names_of_masks_with_a_suffix(folders, in_one_folder):
    images, where = folders
    where = images if in_one_folder else where
    for value, name in enumerate("abc"):
        Image.fromarray(IMAGE).save(images / f"{name}.jpg")
        Image.fromarray(np.full((4, 6), value, "uint8")).save(where / f"{name}_mask.png")
    if not in_one_folder:
        Image.fromarray(IDS).save(where / "a_edges.png")
    data = masks(images, where, mask_suffix="_mask")
    assert [record.image_id for record in data] == ["a", "b", "c"]
    assert [record.path.name for record in data] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [record.mask[0, 0] for record in data] == [0, 1, 2]


def test_a_suffix_that_was_forgotten_is_named(folders):
    Image.fromarray(IMAGE).save(folders[0] / "a.jpg")
    Image.fromarray(IDS).save(folders[1] / "a_gt.png")
    with pytest.raises(DatasetError, match=r"a\.jpg' must have a mask .*mask_suffix='_gt'"):
        masks(*folders)
    (folders[0] / "a.jpg").unlink()
    Image.fromarray(IMAGE).save(folders[0] / "b.jpg")
    Image.fromarray(IDS).save(folders[1] / "b.png")
    with pytest.raises(DatasetError, match=r"a_gt\.png' must have an image .*Received: none$"):
        masks(*folders)
    with pytest.raises(ValueError, match="`mask_suffix` must be a string"):
        masks(*folders, mask_suffix=None)


def test_changed_files_give_records_or_the_clear_error(folders, survive):
    save(folders)
    Image.fromarray(IMAGE).save(folders[0] / "b.jpg")
    Image.fromarray(IDS).save(folders[1] / "b.tif")
    outcomes = survive(
        folders[0].parent,
        lambda folder, on_error: masks(folder / "images", folder / "masks", on_error=on_error),
    )
    assert all(outcomes[name] > 20 for name in ("read", "error", "skipped")), outcomes
