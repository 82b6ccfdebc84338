import keras
import numpy as np
import pytest
from keras import layers

from keras_cvx.datasets import Dataset, DatasetError
from keras_cvx.datasets.annotations import Annotations
from keras_cvx.layers import ResizeWithPad

LETTERBOX = ResizeWithPad(40, 40, bounding_box_format="xyxy")


# Of Python from 3.12 on, and of JAX: what is forked touches no framework.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("processes", [False, True])
def test_workers_change_nothing(photographs, processes):
    inputs = keras.Input((40, 40, 3))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Rescaling(1.0)(inputs)))

    def means(**workers):
        pipeline = photographs.to_pydataset(2, preprocess=LETTERBOX, shuffle=True, **workers)
        found = []
        for _ in range(2):
            found.append(model.predict(pipeline, verbose=0)[:, 0])
            pipeline.on_epoch_end()
        return found

    first, second = means()
    assert first.std() > 0
    np.testing.assert_allclose(np.sort(first), np.sort(second), rtol=1e-6)
    assert np.abs(first - second).max() > 0
    for alone, several in zip(
        (first, second), means(workers=2, use_multiprocessing=processes), strict=True
    ):
        np.testing.assert_array_equal(alone, several)


class Seen(keras.metrics.Metric):
    """How often a model was given each record, by the brightness of its image."""

    def __init__(self, count):
        super().__init__(name="seen")
        self.counts = self.add_weight(shape=(count,), initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        places = keras.ops.cast(keras.ops.round(y_pred), "int32")
        found = keras.ops.one_hot(places[:, 0, 0, 0], self.counts.shape[0])
        self.counts.assign_add(keras.ops.sum(found, axis=0))

    def result(self):
        return keras.ops.min(self.counts)


def brightnesses(count):
    """A data set of images, each as bright as its place."""
    images = [np.full((2, 2, 3), place, "uint8") for place in range(count)]
    masks = [np.zeros((2, 2), "uint8")] * count
    return Dataset(Annotations("brightnesses", images, (), masks=masks))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize(
    "workers",
    [{"workers": 0}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True}],
    ids=["none", "threads", "processes"],
)
def test_every_epoch_of_fit_has_each_record_once(workers):
    """JAX and torch look at a batch first, of an epoch that is then left."""
    count, counts = 24, []
    inputs = keras.Input((2, 2, 3))
    outputs = layers.Rescaling(1.0)(inputs) + layers.Conv2D(3, 1, kernel_initializer="zeros")(
        inputs
    )
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.0), loss=lambda _, y: keras.ops.mean(y), metrics=[Seen(count)]
    )
    each = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: counts.append(logs["seen"])
    )
    pipeline = brightnesses(count).to_pydataset(2, shuffle=True, max_queue_size=4, **workers)
    model.fit(pipeline, epochs=2, verbose=0, callbacks=[each])
    # 24 images in all, and of none fewer than one.
    assert counts == [1, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_ends_with_its_last_batch(workers):
    pipeline = brightnesses(8).to_pydataset(1, shuffle=True, workers=workers)

    def places(batches):
        return [int(images[0, 0, 0, 0]) for images, _ in batches]

    orders = [np.random.default_rng((0, epoch)).permutation(8).tolist() for epoch in range(2)]
    left = iter(pipeline)
    assert places([next(left)]) == orders[0][:1]
    pipeline.on_epoch_end()
    # Anew, while the iterator that was left still asks.
    fresh = iter(pipeline)
    assert places([next(fresh), next(left), next(fresh)]) == [*orders[0][:1], *orders[0][1:2] * 2]
    assert places(fresh) == orders[0][2:]
    pipeline.on_epoch_end()
    assert places(pipeline) == orders[1]


def test_a_worker_reads_again_what_failed(tmp_path):
    path = tmp_path / "a.png"
    images = [path, np.zeros((2, 2, 3), "uint8")]
    masks = [np.zeros((2, 2), "uint8")] * 2
    data = Dataset(Annotations("folder", images, (), masks=masks))
    pipeline = data.to_pydataset(1, workers=2)
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"a\.png"):
            pipeline[0]
    assert pipeline[1][0].shape == (1, 2, 2, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_there_is_no_batch_beyond_the_last(photographs, workers):
    pipeline = photographs.to_pydataset(4, preprocess=LETTERBOX, workers=workers)
    assert len(pipeline) == 2
    with pytest.raises(IndexError, match=r"There are 2 batches. Received: index=2"):
        pipeline[2]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("processes", [False, True])
def test_only_processes_have_opencv_in_one_thread(processes):
    """Of the user's own process its settings are left alone."""
    cv2 = pytest.importorskip("cv2")

    def threads(sample):
        return {**sample, "images": np.full((1, 1, 3), cv2.getNumThreads(), "uint8")}

    before = cv2.getNumThreads()
    options = {"workers": 2, "use_multiprocessing": processes, "preprocess": threads}
    pipeline = brightnesses(2).to_pydataset(1, **options)
    found = [int(images.max()) for images, _ in pipeline]
    assert found == [1 if processes else before] * 2
    assert cv2.getNumThreads() == before
