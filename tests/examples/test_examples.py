"""The examples run, in a short form, and do what they say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
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


def test_evaluate_detections_wants_both_files_or_none(tmp_path):
    with pytest.raises(SystemExit):
        load("evaluate_detections").main(["truth.json", "--output", str(tmp_path)])


def test_sliding_window(tmp_path, capsys):
    from PIL import Image

    # Both ways are compared inside; the figures are those of a classifier that has learnt little.
    arguments = ["--crops", "1500", "--epochs", "3", "--scales", "0.7", "0.45"]
    result = load("sliding_window").main([*arguments, "--output", str(tmp_path)])
    assert result["ratio"] > 1
    assert 0 <= result["found"] <= 1
    with Image.open(tmp_path / "sliding_window.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20  # something is drawn
    assert f"The picture is {tmp_path / 'sliding_window.png'}" in capsys.readouterr().out


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
