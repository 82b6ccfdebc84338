import keras
import numpy as np
import pytest
from keras import ops

from keras_cvx import geometry
from keras_cvx.layers import ResizeWithPad, RestoreDetections
from keras_cvx.ops import convert

SIZES = np.float32([[50, 100], [64, 32], [20, 20]])
TARGET = (48, 64)
RECORD = geometry.resize_with_pad(SIZES, TARGET)


def of_originals(rng, rows=4):
    """Boxes in the images of `SIZES`, the last row of each padded."""
    corners = np.sort(rng.uniform(0, 1, (3, rows, 2, 2)), axis=-2).reshape(3, rows, 4)
    boxes = np.float32(corners) * SIZES[:, None, [1, 0, 1, 0]]
    labels = np.tile(np.arange(rows, dtype="int32"), (3, 1))
    labels[:, -1] = -1
    return np.where(labels[..., None] < 0, np.float32(-1), boxes), labels


def test_no_rows():
    empty = {"boxes": np.zeros((3, 0, 4), "float32"), "labels": np.zeros((3, 0), "int32")}
    assert RestoreDetections()(empty, RECORD)["boxes"].shape == (3, 0, 4)


@pytest.mark.parametrize("bounding_box_format", ["xyxy", "rel_yxyx", "center_xywh"])
def test_there_and_back(bounding_box_format):
    boxes, labels = of_originals(np.random.default_rng(0))
    height, width = TARGET
    moved = convert(
        geometry.transform_boxes(boxes, RECORD), "xyxy", bounding_box_format,
        height=height, width=width,
    )  # fmt: skip
    confidence = np.linspace(0, 1, labels.size).reshape(labels.shape)
    detections = {"boxes": moved, "labels": labels, "confidence": confidence}
    expected = convert(boxes, "xyxy", bounding_box_format, height=SIZES[:, :1], width=SIZES[:, 1:])
    expected[labels < 0] = -1
    layer = RestoreDetections(bounding_box_format)
    on_tensors = layer(
        keras.tree.map_structure(ops.convert_to_tensor, detections),
        keras.tree.map_structure(ops.convert_to_tensor, RECORD),
    )
    for found in (layer(detections, RECORD), on_tensors):
        np.testing.assert_allclose(ops.convert_to_numpy(found["boxes"]), expected, atol=1e-4)
        np.testing.assert_array_equal(ops.convert_to_numpy(found["labels"]), labels)
        np.testing.assert_allclose(ops.convert_to_numpy(found["confidence"]), confidence)


@pytest.mark.usefixtures("no_tensors")
def test_numpy_arrays_meet_no_tensor_of_the_backend():
    boxes, labels = of_originals(np.random.default_rng(0))
    found = RestoreDetections("rel_xywh")({"boxes": boxes, "labels": labels}, RECORD)
    assert {type(x) for x in found.values()} == {np.ndarray}


def test_clipped_to_each_image():
    boxes = np.float32([[[-9, -9, 99, 99]]] * 3)
    found = RestoreDetections()({"boxes": boxes, "labels": np.zeros((3, 1), "int32")}, RECORD)
    np.testing.assert_array_equal(
        found["boxes"][:, 0], [[0, 0, width, height] for height, width in SIZES]
    )


def test_last_layer_of_a_model():
    """From images to boxes, which here are the whole of each letterboxed image."""
    images = keras.Input((30, 60, 3))
    sample = ResizeWithPad(*TARGET)({"images": images})

    class WholeImage(keras.layers.Layer):
        def call(self, x):
            one = ops.ones_like(x[:, :1, 0, 0])
            whole = ops.convert_to_tensor([[[0.0, 8.0, 64.0, 40.0]]])
            return {"boxes": one[..., None] * whole, "labels": ops.cast(0 * one, "int32")}

    model = keras.Model(
        images, RestoreDetections()(WholeImage()(sample["images"]), sample["geometry"])
    )
    found = model.predict(np.zeros((2, 30, 60, 3)), verbose=0)
    np.testing.assert_allclose(found["boxes"], [[[0, 0, 60, 30]]] * 2, atol=1e-4)


def test_bad_input():
    with pytest.raises(ValueError, match="`bounding_box_format` must be one of"):
        RestoreDetections("corners")
    detections = {"boxes": np.zeros((2, 1, 4)), "labels": np.zeros((2, 1))}
    with pytest.raises(ValueError, match="`geometry` must hold one record"):
        RestoreDetections()(detections, RECORD)
