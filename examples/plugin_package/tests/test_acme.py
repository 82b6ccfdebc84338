import keras
import keras_cvx_acme as acme
import numpy as np
import pytest
from PIL import Image

from keras_cvx.datasets import DatasetError
from keras_cvx.ops import cell_centers
from keras_cvx.testing import check

RNG = np.random.default_rng(0)


def test_loss():
    boxes = RNG.uniform(0, 32, (2, 3, 4)).astype("float32")
    truth = boxes[::-1] + 1
    check(acme.LogarithmicBoxLoss, {"scale": 2.5}, (truth, boxes), invalid={"scale": [0.0]})


def test_coding():
    cells = keras.ops.convert_to_numpy(cell_centers(4, 6, 8))[None].repeat(2, axis=0)
    outputs = RNG.normal(size=(2, 24, 7)).astype("float32")
    boxes = np.float32([[[2, 3, 30, 20]], [[8, 8, 40, 30]]])
    inputs = outputs, cells[..., :2], cells[..., 2:], boxes, np.int32([[1], [-1]])
    check(acme.DistanceCoding, {"box_weight": 3.0}, inputs, invalid={"box_weight": [0.0]})


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
    (tmp_path / "boxes.txt").write_text("b.png 2 1 8 cat\n")
    with pytest.raises(DatasetError, match="line 1: a line must be"):
        acme.lines(tmp_path / "boxes.txt")
