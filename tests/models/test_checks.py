"""Images that a detector cannot take are refused before Keras is called, and the mend is named."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers

from keras_cvx.layers import ResizeWithPad, TransposedConvDecoder
from keras_cvx.models import GridDetector, Localizer, Segmenter

X = np.zeros((2, 32, 48, 3), "uint8")
TRUTH = {"boxes": np.full((2, 1, 4), -1.0), "labels": np.full((2, 1), -1)}
RESIZE = r"`preprocessing=keras_cvx.layers.ResizeWithPad\(32, 48\)`"
RESIZED = r"pass through `keras_cvx.layers.ResizeWithPad\(32, 48\)`.*as `preprocessing`"


def make_detector(size=(32, 48), preprocessing=None):
    inputs = keras.Input((*size, 3))
    x = layers.Conv2D(4, 8, 8)(inputs)
    backbone = keras.Model(inputs, [x, layers.Conv2D(4, 2, 2)(x)])
    detector = GridDetector(backbone, 3, preprocessing=preprocessing)
    detector.compile(optimizer=keras.optimizers.SGD(0.0), metrics=None)
    return detector


@pytest.fixture(scope="module")
def plain():
    return make_detector()


@pytest.fixture(scope="module")
def letterboxing():
    return make_detector(preprocessing=ResizeWithPad(32, 48))


ONE, SEVERAL = r"Received: shape \(32, 48, 3\). Of one image, pass `x\[None\]`", "of length 2"
REFUSED = {
    "one image": (X[0], ONE),
    "list": (list(X), f"a list {SEVERAL}. Stack images .*np.stack.* {RESIZED}, which takes lists"),
    "tuple": ((X[0], X[1, :16]), f"a tuple {SEVERAL}"),
    "paths": (["p.png", pathlib.Path("q.png")], RESIZED),
    "path": ("p.png", f"Received: x='p.png'. Pass a list of paths .*{RESIZE}"),
    "array of paths": (np.array(["p.png", "q.png"]), f"an array of <U5. .*`list.x.`.*{RESIZE}"),
    "array of images": (np.array([X[0], X[1, 16:], None], object), "an array of object"),
    "size": (X[:, :16], rf"Received: shape \(2, 16, 48, 3\). .*{RESIZED}"),
    "channels first": (X.transpose(0, 3, 1, 2), r"Pass `np.transpose\(x, \(0, 2, 3, 1\)\)`"),
    "grey": (X[..., :1], r"Received: shape \(2, 32, 48, 1\).$"),
    "none": (X[:0], r"at least one image. Received: shape \(0, 32, 48, 3\)$"),
    "rank 5": (X[None], r"Received: shape \(1, 2, 32, 48, 3\).$"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(plain, case):
    x, message = REFUSED[case]
    message = rf"`x` must be images of shape \(B, 32, 48, 3\).*{message}"
    for call in (plain.predict, plain.predict_on_batch):
        with pytest.raises(ValueError, match=message):
            call(x)
    for call in (plain.fit, plain.evaluate):
        with pytest.raises(ValueError, match=message):
            call(x, TRUTH)
    with pytest.raises(ValueError, match=message):
        plain.fit(X, TRUTH, validation_data=(x, TRUTH))
    # Under JAX, a model that fails within Keras' `predict` is lost.
    assert plain.predict(X, verbose=0)["boxes"].shape[0] == 2


@pytest.mark.parametrize(
    "case", ["one image", "path", "array of paths", "channels first", "grey", "none"]
)
def test_refused_with_preprocessing(letterboxing, case):
    x, message = REFUSED[case]
    if case not in ("one image", "grey", "channels first", "none"):
        message = message.replace("32, 48", "height, width")
    with pytest.raises(ValueError, match=rf"shape \(B, H, W, 3\).*{message}"):
        letterboxing.predict(x)
    assert letterboxing.predict(X[:, :16], verbose=0)["boxes"].shape[0] == 2


@pytest.mark.parametrize("wrong", [X, X[0, 0], X[0, ..., :1]])
def test_elements_of_a_list(letterboxing, wrong):
    with pytest.raises(ValueError, match=r"`x\[1\]` must be one image \(H, W, 3\), or the path"):
        letterboxing.predict([X[0], wrong])
    with pytest.raises(ValueError, match=r"at least one image\. Received: an empty list"):
        letterboxing.predict([])


def test_sides_that_no_grid_covers():
    detector = make_detector((None, None))
    wrong = np.zeros((2, 32, 40, 3), "uint8")
    for call in (detector.predict, lambda x: detector.fit(x, TRUTH)):
        with pytest.raises(ValueError, match=r"multiple of 16.*width=40. Pad to 48"):
            call(wrong)
    assert detector.predict(X, verbose=0)["boxes"].shape[0] == 2


def test_size_once_traced():
    """TensorFlow then takes any size, and would train on it."""
    detector = make_detector()
    for images in (X, X[:1]):
        detector.fit(images, {k: v[: len(images)] for k, v in TRUTH.items()}, verbose=0)
    wrong = np.zeros((2, 64, 48, 3), "uint8")
    with pytest.raises(ValueError, match=RESIZED):
        detector.fit(wrong, TRUTH, verbose=0)
    with pytest.raises(ValueError, match=RESIZED):
        detector.evaluate(wrong, TRUTH, verbose=0)


@pytest.mark.parametrize("kind", ["tf.data", "PyDataset"])
def test_dataset_of_whole_samples(kind):
    sample = {"images": X, "bounding_boxes": TRUTH}

    class Samples(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return sample

    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        dataset, error = tf.data.Dataset.from_tensor_slices(sample).batch(2), ValueError
    else:
        # Keras wraps what is raised while it builds a model.
        dataset, error = Samples(), (ValueError, RuntimeError)
    detector = make_detector()
    message = r"keys \['bounding_boxes', 'images'\].*of a dataset, `dataset.map\(lambda sample:"
    with pytest.raises(error, match=message):
        detector.fit(dataset, verbose=0)
    if kind == "tf.data":
        with pytest.raises(error, match=message):
            detector.evaluate(dataset, verbose=0)
        pairs = dataset.map(lambda sample: (sample["images"], sample["bounding_boxes"]))
        assert np.isfinite(detector.fit(pairs, shuffle=False, verbose=0).history["loss"])


def test_boxes_of_one_object_an_image(plain):
    truth = {"boxes": np.ones((2, 4)), "labels": np.zeros(2)}
    with pytest.raises(ValueError, match=r"boxes \(2, 4\), labels \(2,\). .*`boxes\[:, None\]`"):
        plain.fit(X, truth)


def test_relative_boxes_are_no_pixels(plain):
    boxes = np.array([[[0, 0, 0.5, 1]], [[-1, -1, -1, -1]]])
    with pytest.raises(ValueError, match=r"`boxes` must be xyxy in pixels.*'rel_xyxy'"):
        plain.fit(X, {"boxes": boxes, "labels": np.array([[0], [-1]])})


@pytest.mark.parametrize(
    ("model", "wrong", "mend"),
    [
        (GridDetector, "stride", "Did you mean 'strides'?"),
        (Localizer, "bounding_box_fromat", "Did you mean 'bounding_box_format'?"),
        (Segmenter, "ignore_clas", "Did you mean 'ignore_class'?"),
        (Segmenter, "foo", ""),
    ],
)
def test_an_argument_that_nobody_takes(plain, model, wrong, mend):
    decoder = TransposedConvDecoder(3, strides=[8, 16])
    given = {"decoder": decoder, wrong: 1} if model is Segmenter else {wrong: 1}
    message = (
        f"`{model.__name__}\\(...\\)` must have .* \\['backbone', .*Received: \\['{wrong}'\\]. ?"
    )
    with pytest.raises(ValueError, match=message + re.escape(mend) + "$"):
        model(plain.backbone, 3, **given)


def test_an_argument_that_nobody_takes_of_a_subclass(plain):
    class Narrow(GridDetector):
        def __init__(self, *args, width=1, **kwargs):
            super().__init__(*args, **kwargs)
            self.width = width

    assert Narrow(plain.backbone, 3, width=2, name="narrow").width == 2
    with pytest.raises(ValueError, match=r"`Narrow\(...\)`.*'stride'\]. Did you mean 'strides'\?"):
        Narrow(plain.backbone, 3, stride=[8])
