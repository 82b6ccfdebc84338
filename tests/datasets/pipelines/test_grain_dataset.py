import sys

import numpy as np
import pytest

from keras_cvx.layers import ResizeWithPad

pytest.importorskip("grain")
LETTERBOX = ResizeWithPad(40, 40, bounding_box_format="xyxy")


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_an_epoch_goes_on_where_it_was_left(photographs, stop):
    options = {"batch_size": 2, "preprocess": LETTERBOX, "shuffle": True}
    whole = [images.sum() for images, _ in photographs.to_grain(**options)]
    assert len(set(map(int, whole))) > 2
    iterator = iter(photographs.to_grain(**options))
    begun = [next(iterator)[0].sum() for _ in range(stop)]
    state = iterator.get_state()
    fresh = iter(photographs.to_grain(**options))
    next(fresh)
    fresh.set_state(state)
    rest = [images.sum() for images, _ in fresh]
    np.testing.assert_array_equal([*begun, *rest], whole)


def test_a_missing_grain_names_the_extra(photographs, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"keras-cvx\[grain\]"):
        photographs.to_grain(2)
