import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_cvx.layers import ResizeWithCropOrPad, ResizeWithPad, SegmentationDecoding


def logits_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 3, shape).astype("float32")


def as_numpy(x):
    return keras.tree.map_structure(ops.convert_to_numpy, x)


def softmax(logits):
    powers = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_empty_batch():
    found = as_numpy(SegmentationDecoding()(logits_of(0, 4, 5, 3)))
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "masks": ((0, 4, 5), "int32"), "confidence": ((0, 4, 5), "float32"),
    }  # fmt: skip


def test_is_the_most_probable_class():
    logits = logits_of(2, 4, 5, 3)
    found = as_numpy(SegmentationDecoding()(logits))
    np.testing.assert_array_equal(found["masks"], softmax(logits).argmax(-1))
    np.testing.assert_allclose(found["confidence"], softmax(logits).max(-1), atol=1e-6)


def test_another_classification():
    class Least(keras.layers.Layer):
        def call(self, logits):
            confidence = ops.min(logits, axis=-1)
            return {"masks": ops.argmin(logits, axis=-1), "confidence": confidence}

    logits, letterbox = logits_of(2, 4, 4, 3), ResizeWithPad(4, 4)
    found = as_numpy(SegmentationDecoding(classification=Least())(logits))
    np.testing.assert_array_equal(found["masks"], logits.argmin(-1))
    decoding = SegmentationDecoding(letterbox, Least())
    for array in (logits[0], ops.convert_to_tensor(logits[0])):
        found = as_numpy(decoding.at_size(array, (4, 4)))
        np.testing.assert_array_equal(found["masks"], logits[0].argmin(-1))
        np.testing.assert_allclose(found["confidence"], logits[0].min(-1), atol=1e-6)
    assert isinstance(decoding.at_size(logits[0], (4, 4))["masks"], np.ndarray)
    again = SegmentationDecoding(letterbox, SegmentationDecoding(name="plain"))
    again = SegmentationDecoding.from_config(again.get_config())
    assert again.classification.name == "plain"


@pytest.mark.parametrize(
    "wrong", [keras.layers.Identity(), keras.layers.Lambda(lambda x: {"a": x})]
)
def test_a_classification_that_gives_something_else(wrong):
    with pytest.raises(ValueError, match=r"`classification` must give a dictionary of 'masks' and"):
        SegmentationDecoding(classification=wrong)(logits_of(2, 4, 4, 3))


def test_logits_beyond_the_exponential():
    logits = np.float32([[[[1000.0, 0.0], [-1000.0, -1000.0]]]])
    found = as_numpy(SegmentationDecoding()(logits))
    np.testing.assert_array_equal(found["masks"], [[[0, 0]]])
    np.testing.assert_allclose(found["confidence"], [[[1.0, 0.5]]])


def test_nan_is_no_class():
    logits = logits_of(1, 2, 2, 3)
    logits[0, 1, 0, 2] = np.nan
    found = as_numpy(SegmentationDecoding()(logits))
    assert found["masks"][0, 1, 0] == -1
    assert np.isnan(found["confidence"]).sum() == 1
    assert (found["masks"] >= 0).sum() == 3


def restored_by_hand(logits, layer, size):
    """Bilinear interpolation within the content, pixel by pixel, as the geometry says."""
    record = {name: np.asarray(x, "float64") for name, x in layer.record(size).items()}
    scale = record["content_size"] / record["source_size"]
    result = np.empty((*size, logits.shape[-1]))
    for row in range(size[0]):
        for column in range(size[1]):
            place = (np.array([row, column]) + 0.5) * scale - 0.5
            place = np.clip(place, 0, record["content_size"] - 1)
            low = np.floor(place).astype(int)
            high = np.minimum(low + 1, record["content_size"].astype(int) - 1)
            share = place - low
            (y0, x0), (y1, x1) = ((corner + record["offset"]).astype(int) for corner in (low, high))
            above = logits[y0, x0] * (1 - share[1]) + logits[y0, x1] * share[1]
            below = logits[y1, x0] * (1 - share[1]) + logits[y1, x1] * share[1]
            result[row, column] = above * (1 - share[0]) + below * share[0]
    return result


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(["center", "bottom_right"]))
def test_goes_back_through_the_letterbox(height, width, pad_position):
    layer = ResizeWithPad(9, 12, pad_position=pad_position)
    logits = logits_of(9, 12, 3, seed=height)
    expected = softmax(restored_by_hand(logits, layer, (height, width)).astype("float32"))
    decoding = SegmentationDecoding(layer)
    on_host = decoding.at_size(logits, (height, width))
    in_graph = as_numpy(decoding(logits[None], images=np.zeros((1, height, width, 3))))
    for found in (on_host, keras.tree.map_structure(lambda x: x[0], in_graph)):
        np.testing.assert_allclose(found["confidence"], expected.max(-1), atol=1e-4)
        # Where two classes are equally probable but for rounding, either is right.
        clear = np.sort(expected, -1)[..., -1] - np.sort(expected, -1)[..., -2] > 1e-4
        np.testing.assert_array_equal(found["masks"][clear], expected.argmax(-1)[clear])


@pytest.mark.parametrize("size", [(8, 6), (3, 6), (3, 2)])
def test_what_was_cut_off_has_no_class(size):
    layer = ResizeWithCropOrPad(4, 4)
    logits = logits_of(4, 4, 3)
    found = SegmentationDecoding(layer).at_size(logits, size)
    top, left = (int(x) for x in layer.record(size)["offset"])
    for row, column in np.ndindex(*size):
        y, x = row + top, column + left
        if 0 <= y < 4 and 0 <= x < 4:
            assert found["masks"][row, column] == logits[y, x].argmax()
            share = softmax(logits[y, x]).max()
            assert found["confidence"][row, column] == pytest.approx(share, abs=1e-6)
        else:
            assert (found["masks"][row, column], found["confidence"][row, column]) == (-1, 0)


def test_sizes_that_are_known_only_when_it_runs():
    images = keras.Input((None, None, 3))
    letterbox = ResizeWithPad(8, 8)
    logits = letterbox(images)[..., :2]
    model = keras.Model(images, SegmentationDecoding(letterbox)(logits, images=images))
    for size in ((5, 9), (16, 12)):
        image = logits_of(1, *size, 3)
        found = model.predict(image, verbose=0)
        moved = letterbox(image)[0, ..., :2]
        expected = SegmentationDecoding(letterbox).at_size(moved, size)
        np.testing.assert_allclose(found["confidence"][0], expected["confidence"], atol=1e-4)


@pytest.mark.parametrize("preprocessing", [keras.layers.Resizing(8, 8), "letterbox", ResizeWithPad])
def test_bad_preprocessing(preprocessing):
    with pytest.raises(ValueError, match="`preprocessing` must be None, or a layer"):
        SegmentationDecoding(preprocessing)


def test_logits_of_another_size_or_without_images():
    decoding = SegmentationDecoding(ResizeWithPad(8, 8))
    with pytest.raises(ValueError, match=r"`logits` must be of the size of `preprocessing`"):
        decoding(logits_of(1, 8, 9, 2), images=np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match="images None"):
        decoding(logits_of(1, 8, 8, 2))
