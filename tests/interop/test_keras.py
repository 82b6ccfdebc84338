"""Plain Keras around our parts: its augmentation, pictures, kinds of models, callbacks, tuner."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_cvx as cvx

SIZE, CLASSES = 32, 10

pytestmark = [
    # PyTorch's tensors and NumPy 2, inside Keras.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def scenes():
    return cvx.datasets.digit_scenes(6, size=SIZE, seed=0)


def backbone():
    x = inputs = keras.Input((SIZE, SIZE, 3))
    for _ in range(3):
        x = layers.Conv2D(4, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, x)


def detector(rate=0.01):
    model = cvx.models.GridDetector(backbone(), CLASSES, strides=[8], bounding_box_format="xyxy")
    model.compile(keras.optimizers.SGD(rate))
    return model


def segmenter(rate=0.01):
    decoder = cvx.layers.TransposedConvDecoder(CLASSES + 1, strides=[4, 8], fusion="sum")
    model = cvx.models.Segmenter(backbone(), CLASSES + 1, decoder=decoder)
    model.compile(keras.optimizers.SGD(rate))
    return model


def localizer(rate=0.01):
    model = cvx.models.Localizer(backbone(), CLASSES, bounding_box_format="xyxy")
    model.compile(keras.optimizers.SGD(rate))
    return model


def targets(model, scenes):
    if isinstance(model, cvx.models.GridDetector):
        return scenes["bounding_boxes"]
    if isinstance(model, cvx.models.Segmenter):
        return scenes["segmentation_masks"]
    boxes = scenes["bounding_boxes"]
    return {"boxes": boxes["boxes"][:, 0], "labels": boxes["labels"][:, 0]}


TASKS = [detector, segmenter, localizer]
MONITORED = {detector: "val_AP", segmenter: "val_mean_iou", localizer: "val_loss"}


def fit(model, scenes, callbacks=(), epochs=1):
    y = targets(model, scenes)
    return model.fit(
        scenes["images"],
        y,
        validation_data=(scenes["images"], y),
        epochs=epochs,
        batch_size=3,
        callbacks=list(callbacks),
        verbose=0,
    )


def bright_corners(image):
    """The corners of what is bright, as a box."""
    y, x = np.nonzero(np.asarray(image)[..., 0] > 127)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.fixture
def painted():
    """Samples of one rectangle each, of class 2, with its mask."""
    images = np.zeros((2, SIZE, SIZE, 3), "uint8")
    boxes = np.float32([[[2, 4, 14, 20]], [[16, 8, 30, 24]]])
    for image, (box,) in zip(images, boxes.astype(int), strict=True):
        image[box[1] : box[3], box[0] : box[2]] = 255
    return {
        "images": images,
        "bounding_boxes": {"boxes": boxes, "labels": np.full((2, 1), 2)},
        "segmentation_masks": (images[..., :1] > 0).astype("uint8") * 2,
    }


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.RandomFlip("horizontal_and_vertical", seed=0, bounding_box_format="xyxy"),
        lambda: layers.RandomTranslation(0.1, 0.1, seed=0, bounding_box_format="xyxy"),
        lambda: layers.CenterCrop(28, 30, bounding_box_format="xyxy"),
    ],
    ids=["flip", "translation", "center crop"],
)
def test_augmentation_of_keras_before_a_letterbox(painted, layer):
    """One sample goes through both unchanged in form, and its box stays around its pixels."""
    letterbox = cvx.layers.ResizeWithPad(48, 40, bounding_box_format="xyxy")
    pipeline = layers.Pipeline([layer(), letterbox])
    found = pipeline(keras.tree.map_structure(ops.convert_to_tensor, painted), training=True)
    assert tuple(found["images"].shape) == (2, 48, 40, 3)
    for i in range(2):
        image = ops.convert_to_numpy(found["images"][i])
        mask = ops.convert_to_numpy(found["segmentation_masks"][i])
        (box,) = ops.convert_to_numpy(found["bounding_boxes"]["boxes"][i])
        np.testing.assert_allclose(box, bright_corners(image), atol=1.5)
        np.testing.assert_allclose(box, bright_corners((mask == 2) * 255), atol=1.5)


def test_drawing_of_keras(painted):
    """Every box is drawn where the pixels are."""
    drawn = keras.visualization.draw_bounding_boxes(
        painted["images"], painted["bounding_boxes"], "xyxy", color=(255, 0, 0), line_thickness=1
    )
    red = (drawn[..., 0] > 200) & (drawn[..., 1] < 50)
    for i, (box,) in enumerate(painted["bounding_boxes"]["boxes"]):
        y, x = np.nonzero(red[i])
        np.testing.assert_allclose([x.min(), y.min(), x.max(), y.max()], box, atol=1)
    masked = keras.visualization.draw_segmentation_masks(
        painted["images"],
        painted["segmentation_masks"],
        num_classes=3,
        color_mapping={0: (0, 0, 0), 1: (0, 0, 0), 2: (0, 0, 255)},
    )
    inside = painted["segmentation_masks"][..., 0] > 0
    assert (masked[inside][:, 2] > masked[inside][:, 0]).all()
    np.testing.assert_array_equal(masked[~inside], painted["images"][~inside])


def test_kinds_of_models(scenes):
    """A sequential, a functional and a subclassed model of the same parts agree."""
    letterbox = cvx.layers.ResizeWithPad(SIZE, SIZE, bounding_box_format="xyxy")
    segments = segmenter()

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.letterbox, self.segments = letterbox, segments

        def call(self, images):
            return self.segments(self.letterbox(images))

    inputs = keras.Input((24, 40, 3))
    images = scenes["images"][:, :24].repeat(2, axis=2)[:, :, :40].astype("float32")
    models = [
        keras.Sequential([letterbox, segments]),
        keras.Model(inputs, segments(letterbox(inputs))),
        Subclassed(),
    ]
    first, *others = [ops.convert_to_numpy(model(images)) for model in models]
    assert first.std() > 0
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-6)


def test_trees(scenes):
    """Samples and detections are trees of Keras."""
    found = detector().predict(scenes["images"], verbose=0)
    paths = keras.tree.flatten_with_path({"found": found, "truth": scenes["bounding_boxes"]})
    assert {path for path, _ in paths} >= {("found", "boxes"), ("truth", "labels")}
    first = keras.tree.map_structure(lambda x: x[:1], found)
    np.testing.assert_array_equal(first["boxes"][0], found["boxes"][0])


@pytest.mark.parametrize("make", TASKS)
def test_callbacks(make, scenes, tmp_path):
    keras.utils.set_random_seed(0)
    model = make()
    path = tmp_path / "best.keras"
    monitor = MONITORED[make]
    mode = "min" if monitor == "val_loss" else "max"
    history = fit(
        model,
        scenes,
        [
            keras.callbacks.ModelCheckpoint(path, monitor=monitor, mode=mode, save_best_only=True),
            keras.callbacks.EarlyStopping(monitor, mode=mode, patience=5),
        ],
        epochs=2,
    ).history
    best = {"min": min, "max": max}[mode](history[monitor])
    loaded = cvx.plugins.load_model(path)
    again = loaded.evaluate(
        scenes["images"], targets(model, scenes), batch_size=3, return_dict=True, verbose=0
    )
    assert again[monitor.removeprefix("val_")] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("make", TASKS)
def test_backup_and_restore(make, scenes, tmp_path):
    """Interrupted in its second epoch, the training goes on to the same weights."""

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def begin():
        keras.utils.set_random_seed(0)
        return make()

    y = targets(begin(), scenes)
    options = {"epochs": 2, "batch_size": 6, "shuffle": False, "verbose": 0}
    whole, cut, resumed = begin(), begin(), begin()
    whole.fit(scenes["images"], y, **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        cut.fit(scenes["images"], y, callbacks=[backup, Interrupt()], **options)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    history = resumed.fit(scenes["images"], y, callbacks=[backup], **options)
    assert len(history.history["loss"]) == 1
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("make", TASKS)
def test_averaged_weights(make, scenes):
    """`SwapEMAWeights` validates with the averages of the weights."""
    model = make()
    model.compile(keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.5))
    history = fit(model, scenes, [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]).history
    # Keras leaves the averages in the model, with which it has validated.
    again = model.evaluate(
        scenes["images"], targets(model, scenes), batch_size=3, return_dict=True, verbose=0
    )
    assert again["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert history["val_loss"] != history["loss"]


def test_tensorboard(scenes, tmp_path):
    # Whose summaries Keras writes.
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    fit(detector(), scenes, [keras.callbacks.TensorBoard(tmp_path, write_graph=False)])
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out.tfevents.*"))
    assert b"epoch_AP" in events


@pytest.mark.parametrize("make", TASKS)
def test_graphs(make):
    pytest.importorskip("pydot")
    model = make()
    names = {node.get_label() for node in keras.utils.model_to_dot(model).get_nodes()}
    assert len(names) > 3
    assert any(model.layers[-1].name in str(name) for name in names)


def test_tuner(scenes, tmp_path):
    """Arguments of ours are what is searched."""
    keras_tuner = pytest.importorskip("keras_tuner")

    def build(hp):
        model = cvx.models.GridDetector(
            backbone(),
            CLASSES,
            strides=[8],
            bounding_box_format="xyxy",
            coding=hp.Choice("coding", ["yolov1", "anchor_free"]),
        )
        model.compile(keras.optimizers.SGD(0.01))
        return model

    tuner = keras_tuner.GridSearch(
        build,
        objective=keras_tuner.Objective("val_loss", "min"),
        directory=tmp_path,
        project_name="search",
    )
    data = scenes["images"], scenes["bounding_boxes"]
    tuner.search(*data, validation_data=data, epochs=1, verbose=0)
    values = {trial.hyperparameters.get("coding") for trial in tuner.oracle.trials.values()}
    assert values == {"yolov1", "anchor_free"}
    assert tuner.get_best_hyperparameters()[0].get("coding") in values
