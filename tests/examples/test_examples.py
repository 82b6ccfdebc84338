"""The examples run, in a short form, and do what they say."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_detect_digits(tmp_path, capsys):
    from PIL import Image

    arguments = ["--scenes", "64", "--test-scenes", "8", "--epochs", "1"]
    scores = load("detect_digits").main([*arguments, "--output", str(tmp_path)])
    assert set(scores) == {"loss", "AP", "AP50", "AP75"}
    assert np.isfinite(scores["loss"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detections.png", "digits.keras"]
    with Image.open(tmp_path / "detections.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn
    assert f"The picture is {tmp_path / 'detections.png'}" in capsys.readouterr().out


def test_segment_digits(tmp_path, capsys):
    from PIL import Image

    arguments = ["--scenes", "64", "--test-scenes", "8", "--epochs", "1"]
    scores = load("segment_digits").main([*arguments, "--output", str(tmp_path)])
    assert set(scores) == {"mean_iou", "frequency_weighted_iou", "mean_dice", "pixel_accuracy"}
    assert 0.05 < scores["mean_iou"] <= 1.0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["segmentation.keras", "segmentation.png"]
    with Image.open(tmp_path / "segmentation.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn
    printed = capsys.readouterr().out
    assert printed.count("IoU") == 12
    assert "An image of (128, 256) pixels has a mask of (128, 256)." in printed


def test_compose_with_plain_keras():
    losses, scores = load("compose_with_plain_keras").main(["--scenes", "96", "--epochs", "3"])
    assert losses[-1] < losses[0]
    assert set(scores) == {"AP", "AP50", "AP75"}


def test_letterbox(tmp_path, capsys):
    from PIL import Image

    error = load("letterbox").main(["--output", str(tmp_path)])
    assert error < 1e-3
    with Image.open(tmp_path / "letterbox.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn
    printed = capsys.readouterr().out
    assert f"off by {error:.1e} pixels" in printed
    assert f"The picture is {tmp_path / 'letterbox.png'}" in printed


def test_letterbox_draws_its_boxes_on_their_digits():
    from matplotlib.figure import Figure

    example = load("letterbox")
    sample = example.photograph()
    results = example.transformed(sample)
    truth = sample["bounding_boxes"]
    there = truth["labels"] >= 0
    assert there.sum() > 2
    back = example.restored(results["ResizeWithPad"])
    np.testing.assert_allclose(back[there], truth["boxes"][there], rtol=0, atol=1e-3)

    for name, shown in {"photograph": sample, **results}.items():
        axes = Figure().add_subplot()
        example.draw(axes, shown, back if name == "photograph" else None)
        drawn = [patch.get_bbox().extents for patch in axes.patches]
        boxes, labels = (shown["bounding_boxes"][key] for key in ("boxes", "labels"))
        expected = [*boxes[labels >= 0], *(back[there] if name == "photograph" else [])]
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-3)
        height, width = shown["segmentation_masks"].shape
        assert all(image.get_extent() == [0, width, height, 0] for image in axes.images)
        assert_boxes_hold_their_ink(shown["segmentation_masks"], boxes, labels)


def assert_boxes_hold_their_ink(mask, boxes, labels):
    """Of each class that is there once: a box ends where its pixels do, unless both are cut."""
    height, width = mask.shape
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    whole = 0
    for label in classes[counts == 1]:
        [box] = boxes[labels == label]
        rows, columns = np.nonzero(mask == label + 1)
        first, last = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        assert (first >= box[:2] - 0.501).all()
        assert (last <= box[2:] + 0.501).all()
        if (box[:2] > 0).all() and (box[2:] < [width, height]).all():
            whole += 1
            assert (first <= box[:2] + 0.501).all()
            assert (last >= box[2:] - 0.501).all()
    assert whole > 0


def test_evaluate_detections(tmp_path, capsys):
    from PIL import Image
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    main = load("evaluate_detections").main
    first = main(["--output", str(tmp_path / "first")])
    files = [str(tmp_path / "first" / name) for name in ("ground_truth.json", "detections.json")]
    capsys.readouterr()
    assert main([*files, "--output", str(tmp_path / "second")]) == first
    printed = capsys.readouterr().out.splitlines()
    names = "precision_recall.png", "precision_recall_by_iou.png"
    pictures = [tmp_path / "second" / name for name in names]
    assert printed[12:] == [f"A picture is {picture}." for picture in pictures]
    for picture in pictures:
        with Image.open(picture) as image:
            assert np.asarray(image.convert("L")).std() > 20  # something is drawn

    ground = COCO(files[0])
    evaluation = COCOeval(ground, ground.loadRes(files[1]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    capsys.readouterr()
    evaluation.summarize()
    assert printed[:12] == capsys.readouterr().out.splitlines()
    assert list(first.values()) == pytest.approx(evaluation.stats.tolist(), abs=1e-9)
    assert min(first.values()) > 0.1


@pytest.mark.parametrize("key", ["area", "score"])
def test_evaluate_detections_takes_no_zero_for_what_is_missing(tmp_path, key):
    row = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 8, 8]}
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [{**row, "area": 64, "iscrowd": 0}],
    }
    found = [{**row, "score": 0.5}]
    (truth["annotations"] if key == "area" else found)[0].pop(key)
    files = [tmp_path / "truth.json", tmp_path / "found.json"]
    for file, content in zip(files, (truth, found), strict=True):
        file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(KeyError, match=key):
        load("evaluate_detections").read(*files)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_id", 9, r"list every image_id; it lacks \[9\]"),
        ("category_id", 8, r"list every category_id; it lacks \[8\]"),
        (None, None, "first file must be of ground truth"),
    ],
)
def test_evaluate_detections_of_other_files(tmp_path, key, value, message):
    row = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
    truth = {"images": [{"id": 1}], "categories": [{"id": 7, "name": "cat"}], "annotations": [row]}
    found = [{**row, "score": 0.5} | ({key: value} if key else {})]
    files = [tmp_path / "truth.json", tmp_path / "found.json"]
    for file, content in zip(files if key else reversed(files), (truth, found), strict=True):
        file.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=message):
        load("evaluate_detections").read(*files)


def test_evaluate_detections_wants_both_files_or_none(tmp_path):
    with pytest.raises(SystemExit):
        load("evaluate_detections").main(["truth.json", "--output", str(tmp_path)])


def test_localize_digit(tmp_path, capsys):
    from PIL import Image

    arguments = ["--scenes", "32", "--test-scenes", "60", "--epochs", "1"]
    scores = load("localize_digit").main([*arguments, "--output", str(tmp_path)])
    assert list(scores) == ["localizer", "tutorial's way"]
    printed = capsys.readouterr().out
    for name, values in scores.items():
        assert np.isfinite(values["loss"])
        assert f"{name}: class accuracy {values['labels_accuracy']:.3f}" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["localized.png", "localizer.keras"]
    with Image.open(tmp_path / "localized.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn


def test_localize_digit_has_its_boxes_around_the_digits():
    """The scenes are windows of the larger ones, in which their boxes are."""
    import keras_cvx

    example = load("localize_digit")
    images, truth = example.scenes_with_one_digit(40, "train")
    large = keras_cvx.datasets.digit_scenes(40, split="train", size=128, max_objects=1)
    labels, boxes = (large["bounding_boxes"][key][:, 0] for key in ("labels", "boxes"))
    np.testing.assert_array_equal(truth["labels"], labels)
    there = labels >= 0
    assert (truth["boxes"][there] >= 0).all()
    assert (truth["boxes"][there] <= 64).all()
    for image, box, whole, place in zip(
        images[there], truth["boxes"][there], large["images"][there], boxes[there], strict=True
    ):
        cut, expected = (
            picture[int(y0) : int(y1), int(x0) : int(x1)]
            for picture, (x0, y0, x1, y1) in ((image, box), (whole, place))
        )
        np.testing.assert_array_equal(cut, expected)


def test_sliding_window(tmp_path, capsys):
    from PIL import Image

    # Both ways are compared inside; the figures are those of a classifier that has learnt little.
    arguments = ["--crops", "1500", "--epochs", "3", "--scenes", "1", "--scales", "0.7", "0.45"]
    result = load("sliding_window").main([*arguments, "--output", str(tmp_path)])
    assert 0 <= result["found"] <= 1
    with Image.open(tmp_path / "sliding_window.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn
    printed = capsys.readouterr().out
    assert f"The picture of the first is {tmp_path / 'sliding_window.png'}" in printed
    assert f"{15 * result['found']:.0f} of 15 digits found" in printed


def test_sliding_window_chooses_the_threshold_with_most_right_boxes():
    example = load("sliding_window")
    boxes = np.float32([[0, 0, 9, 9], [20, 20, 30, 30]])

    class Detector:
        # The first scene's first box is of another class, and its third of no digit.
        answers = iter([([4, 6, 7], [0.7, 0.985, 0.85]), ([5, 6, 7], [0.999, 0.97, 0.4])])

        def predict(self, image, verbose):
            labels, confidence = next(self.answers)
            return {
                "boxes": np.concatenate([boxes, [[50, 50, 60, 60]]])[None],
                "labels": np.array([labels]),
                "confidence": np.array([confidence]),
                "num_detections": np.array([3]),
            }

    scenes = [(np.zeros((64, 64, 3)), boxes, np.array([5, 6]))] * 2
    assert example.best_threshold(Detector(), scenes) == 0.9


def test_sliding_window_draws_its_digits_in_their_boxes():
    example = load("sliding_window")
    image, boxes, labels = example.scene(np.arange(100))
    assert image.shape == (427, 640, 3)
    assert set(labels) <= set(range(10))
    rows, columns = np.nonzero((image != example.TEMPLE).any(-1))
    inside = np.zeros(len(rows), bool)
    for x0, y0, x1, y1 in boxes:
        here = (rows >= y0 - 1) & (rows < y1 + 1) & (columns >= x0 - 1) & (columns < x1 + 1)
        # Its height is 20 / 28 of the window's, and it is in the middle.
        middle = (rows[here].min() + rows[here].max() + 1) / 2
        assert abs(middle - (y0 + y1) / 2) < 0.12 * (y1 - y0)
        inside |= here
    assert inside.all()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_tested(path):
    assert f"def test_{path.stem}(" in Path(__file__).read_text(encoding="utf-8")


def test_transfer_learning_without_flowers(monkeypatch, capsys):
    """Whatever the machine has, nothing is downloaded here: the same code learns digits."""
    pytest.importorskip("tensorflow")  # whose data sets the example reads
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    arguments = ["--pretraining-epochs", "1", "--top-epochs", "1", "--epochs", "6"]
    top, tuned, tested = load("transfer_learning_flowers").main(arguments)
    assert tuned > top
    assert tested > 0.3
    printed = capsys.readouterr().out
    assert "No flowers, or no Xception, can be had here (ModuleNotFoundError" in printed
    assert f"Validation accuracy {top:.3f} with the top alone" in printed


def test_transfer_learning_flowers(monkeypatch):
    """With stand-ins for what is downloaded: photographs of several sizes, and a small Xception."""
    tf = pytest.importorskip("tensorflow")
    from keras import layers

    rng = np.random.default_rng(0)
    low, high = (
        tf.data.Dataset.from_tensor_slices(
            (rng.integers(0, 256, (6, height, 30, 3)).astype("uint8"), np.arange(6) % 5)
        )
        for height in (20, 40)
    )

    def read(name, split, as_supervised, with_info):
        assert (name, as_supervised, with_info) == ("tf_flowers", True, True)
        assert split == ["train[:10%]", "train[10%:25%]", "train[25%:]"]
        names = SimpleNamespace(names=["dandelion", "daisy", "tulips", "sunflowers", "roses"])
        return [low.concatenate(high)] * 3, SimpleNamespace(features={"label": names})

    def backbone(name, *, weights, input_shape):
        assert (name, weights, input_shape) == ("Xception", "imagenet", (224, 224, 3))
        inputs = keras.Input(input_shape)
        x = layers.AveragePooling2D(32, name="block1")(layers.Rescaling(1 / 255)(inputs))
        return keras.Model(inputs, layers.Conv2D(8, 3, name="block13_sepconv1")(x))

    example = load("transfer_learning_flowers")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", SimpleNamespace(load=read))
    monkeypatch.setattr(example.cvx.backbones, "get", backbone, raising=False)
    scores = example.main(["--top-epochs", "1", "--epochs", "1"])
    assert all(0 <= score <= 1 for score in scores)
    assert example.load_task(0).names[1] == "daisy"


def test_train_on_your_own_data(tmp_path, capsys):
    arguments = ["--images", "40", "--epochs", "1", "--size", "64", "--output", str(tmp_path)]
    scores = load("train_on_your_own_data").main(arguments)
    assert 0.0 <= scores["AP"] <= 1.0
    printed = capsys.readouterr().out
    assert "40 images, " in printed
    assert "on 8 photographs" in printed
    assert len(list((tmp_path / "own_data").glob("*.jpg"))) == 40
    assert (tmp_path / "own_data.png").stat().st_size > 10_000
