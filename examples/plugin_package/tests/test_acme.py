import keras
import keras_cvx_acme as acme
import numpy as np
import pytest
from PIL import Image

from keras_cvx import codings
from keras_cvx.datasets import DatasetError
from keras_cvx.ops import cell_centers
from keras_cvx.testing import check

RNG = np.random.default_rng(0)


def test_loss():
    boxes = RNG.uniform(0, 32, (2, 3, 4)).astype("float32")
    truth = boxes[::-1] + 1
    check(acme.LogarithmicBoxLoss, {"scale": 2.5}, (truth, boxes), invalid={"scale": [0.0]})


def grid(channels):
    """Random predictions in 4 × 6 cells of two images, and an object in one of them."""
    cells = keras.ops.convert_to_numpy(cell_centers(4, 6, 8))[None].repeat(2, axis=0)
    outputs = RNG.normal(size=(2, 24, channels)).astype("float32")
    boxes = np.float32([[[2, 3, 30, 20]], [[8, 8, 40, 30]]])
    return outputs, cells[..., :2], cells[..., 2:], boxes, np.int32([[1], [-1]])


def test_coding():
    check(acme.DistanceCoding, {"box_weight": 3.0}, grid(7), invalid={"box_weight": [0.0]})


def test_assigner():
    cells = cell_centers(4, 6, 8)[None]
    boxes, present = np.float32([[[0, 0, 32, 32], [8, 8, 24, 24]]]), np.bool_([[True, True]])
    assigned, targets = acme.CenterSampling(1.0)(
        None, None, keras.ops.convert_to_tensor(boxes), present, cells[..., :2], cells[..., 2:]
    )
    # Both have their centre at a corner of four cells, which the smaller takes.
    assert np.argwhere(keras.ops.convert_to_numpy(assigned)[0]).tolist() == [
        [1, 7], [1, 8], [1, 13], [1, 14]
    ]  # fmt: skip
    assert keras.ops.convert_to_numpy(targets)[0].nonzero()[0].tolist() == [7, 8, 13, 14]
    with pytest.raises(ValueError, match="`radius` must be positive"):
        acme.CenterSampling(0.0)


def test_assigner_in_a_coding():
    arguments = {"bins": 4, "assigner": acme.CenterSampling(2.5)}
    check(codings.AnchorFreeCoding, arguments, grid(19), skip=["arguments"])


def test_metric():
    truth = {"labels": np.int32([[0, 1, -1], [0, -1, -1]])}
    found = {"confidence": np.float32([[0.9, 0.2, -1, -1], [0.8, 0.7, 0.6, 0.3]])}
    check(
        acme.CountError, {"min_confidence": 0.25}, (truth, found), invalid={"min_confidence": [2]}
    )
    metric = acme.CountError(0.25)
    metric.update_state(truth, found)
    assert metric.result() == 2  # one of two found, and four of one


def test_head():
    maps = [RNG.normal(size=(2, 4, 6, 5)), RNG.normal(size=(2, 3, 3, 7))]
    arguments = {"num_classes": 3, "strides": [8, 16], "filters": 4}
    check(acme.SharedHead, arguments, (maps,), invalid={"filters": [0]})


def test_backbone():
    keras.utils.set_random_seed(0)
    backbone = acme.grayscale(model="MobileNet", weights=None, input_shape=(32, 32, 1), alpha=0.25)
    grey = RNG.uniform(0, 255, (2, 32, 32, 1)).astype("float32")
    in_colour = backbone.layers[-1]
    np.testing.assert_allclose(
        backbone.predict(grey, verbose=0),
        in_colour.predict(grey.repeat(3, axis=-1), verbose=0),
        rtol=1e-5,
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="`input_shape` must have one channel"):
        acme.grayscale(input_shape=(32, 32, 3))


def test_decoder():
    maps, images = RNG.normal(size=(2, 4, 6, 5)), RNG.uniform(0, 255, (2, 32, 48, 3))
    check(acme.OneMapDecoder, {"num_classes": 7}, ([maps], images), differentiable=(True, False))


def test_reader(tmp_path):
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (20, 10), colour).save(tmp_path / name)
    (tmp_path / "boxes.txt").write_text("b.png 2 1 8 6 cat\na.png 0 0 4 4 ant\nb.png 1 1 3 3 ant\n")
    data = acme.lines(tmp_path / "boxes.txt")
    assert data.class_names == ("ant", "cat")
    assert [record.path.name for record in data] == ["b.png", "a.png"]
    assert data[0].boxes.tolist() == [[2, 1, 8, 6], [1, 1, 3, 3]]
    assert data[0].labels.tolist() == [1, 0]
    assert data.check(progress=False).ok
    (tmp_path / "boxes.txt").write_text("b.png 2 1 8 cat\na.png 0 0 4 4 ant\n")
    with pytest.raises(DatasetError, match="line 1: a line must be"):
        acme.lines(tmp_path / "boxes.txt")
    data = acme.lines(tmp_path / "boxes.txt", on_error="skip")
    assert data.class_names == ("ant",)
    assert "line 1: a line must be" in data.skipped[0]


def test_visualizer():
    images = np.zeros((1, 20, 30, 3), "uint8")
    images[0, 4:12, 6:10] = 255, 0, 0
    images[0, 2:5, 20:29] = 0, 0, 255
    boxes = np.float32([[[20, 2, 29, 5], [-1, -1, -1, -1], [6, 4, 10, 12]]])
    truth = {"boxes": boxes, "labels": np.int32([[1, -1, 0]])}
    red, blue = acme.close_ups(images, truth, class_names=["poppy", "iris"]).axes
    for axes, name, colour in ((red, "poppy", [255, 0, 0]), (blue, "iris", [0, 0, 255])):
        assert axes.get_title() == name
        assert (axes.images[0].get_array() == colour).all()
    with pytest.raises(ValueError, match="`truth` must be boxes and labels"):
        acme.close_ups(images, images[..., 0], class_names=["poppy"])
