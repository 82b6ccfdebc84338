import keras
import numpy as np
import pytest
from keras import layers

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


def test_there_is_no_batch_beyond_the_last(photographs):
    pipeline = photographs.to_pydataset(4, preprocess=LETTERBOX)
    assert len(pipeline) == 2
    with pytest.raises(IndexError, match=r"There are 2 batches. Received: index=2"):
        pipeline[2]
