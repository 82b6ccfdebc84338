import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_cvx.layers import ClassNames
from keras_cvx.models import decode_predictions

NAMES = ["cat", "dog", "cow", "emu"]


def classifier():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, activation="softmax")(inputs)
    return keras.Model(inputs, ClassNames(NAMES)(x))


def test_no_images():
    assert decode_predictions(np.zeros((0, 4)), NAMES) == []


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=4)),
       st.integers(1, 6))  # fmt: skip
def test_sorted_by_score_then_label(rows, top):
    decoded = decode_predictions(np.reshape(rows, (-1, 4)), NAMES, top)
    for row, found in zip(rows, decoded, strict=True):
        order = sorted(range(4), key=lambda label: (-row[label], label))[:top]
        assert found == [(label, NAMES[label], row[label]) for label in order]


def test_as_keras_decodes(monkeypatch):
    """Without its download, the index of ImageNet's classes is our own."""
    from keras.applications import imagenet_utils

    index = {str(i): (f"n{i}", f"name {i}") for i in range(1000)}
    module = imagenet_utils.decode_predictions.__globals__
    monkeypatch.setitem(module, "CLASS_INDEX", index)
    scores = np.random.default_rng(0).permutation(2000).reshape(2, 1000) / 2000
    expected = imagenet_utils.decode_predictions(scores, top=7)
    got = decode_predictions(scores, [f"name {i}" for i in range(1000)], top=7)
    assert [[(f"n{i}", name, score) for i, name, score in row] for row in got] == expected


def test_names_from_a_saved_model(tmp_path):
    model = classifier()
    model.save(tmp_path / "named.keras")
    loaded = keras.saving.load_model(tmp_path / "named.keras")
    x = np.random.default_rng(0).normal(size=(3, 4))
    scores = model.predict(x, verbose=0)
    decoded = decode_predictions(loaded.predict(x, verbose=0), loaded, top=2)
    for row, found in zip(scores, decoded, strict=True):
        assert found[0] == (int(row.argmax()), NAMES[row.argmax()], pytest.approx(row.max()))


def test_names_from_a_model_within():
    """As one has it that augments its images, or is otherwise made of models."""
    model = keras.Sequential([keras.Input((4,)), classifier()])
    [[best]] = decode_predictions([[0.0, 0.25, 0.5, 0.0]], model, top=1)
    assert best == (2, "cow", 0.5)


@pytest.mark.parametrize(
    ("predictions", "names", "top", "message"),
    [
        (np.zeros((2, 3)), NAMES, 5, r"`predictions` must be \(B, 4\).*shape \(2, 3\)"),
        (np.zeros(4), NAMES, 5, r"`predictions` must be \(B, 4\).*shape \(4,\)"),
        (np.zeros((2, 4)), "abcd", 5, "`names` must be a list of strings, or a classifier"),
        (np.zeros((2, 4)), None, 5, "`names` must be a list of strings, or a classifier.*None"),
        (np.zeros((2, 4)), {"cat", "dog"}, 5, "`names` must be a list of strings"),
        (np.zeros((2, 4)), [0, 1, 2, 3], 5, "`names` must be a list of strings"),
        (np.zeros((2, 4)), keras.Sequential([classifier(), ClassNames(NAMES)], name="twice"), 5,
         "model 'twice', which has 2"),
        (np.zeros((2, 4)), NAMES, 0, "`top` must be an integer of at least 1"),
        (np.zeros((2, 4)), keras.Sequential([keras.Input((4,))], name="bare"), 5,
         "`names` must be a list of strings, or a model with .*model 'bare', which has 0"),
    ],
)  # fmt: skip
def test_bad_arguments(predictions, names, top, message):
    with pytest.raises(ValueError, match=message):
        decode_predictions(predictions, names, top)
