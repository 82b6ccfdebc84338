import multiprocessing

import numpy as np
import pytest
from keras import ops

from keras_cvx.layers.preprocessing.seeded import SeededLayer

ON_HOST = np.zeros(1)


def numbers(layer, count=8):
    return layer.uniform(ON_HOST, (count,)).tolist()


def in_worker(layer, results):
    results.put((multiprocessing.current_process().name, numbers(layer)))


def test_none_are_drawn(library):
    layer = SeededLayer(seed=1)
    layer.build()
    drawn = layer.uniform(library(ON_HOST), (0, 3))
    assert tuple(drawn.shape) == (0, 3)
    assert type(drawn) is type(library(np.zeros((0, 3), "float32")))


def test_a_seed_is_an_integer_or_none():
    for seed in (-1, 0.5, "1"):
        with pytest.raises(ValueError, match="`seed`"):
            SeededLayer(seed=seed)
    assert SeededLayer(seed=3).get_config()["seed"] == 3
    assert SeededLayer().get_config()["seed"] is None


def test_numbers_are_uniform(library, to_numpy):
    """Mean and variance of 4,000, within 5 deviations."""
    layer = SeededLayer(seed=1)
    layer.build()
    drawn = to_numpy(layer.uniform(library(ON_HOST), (4000,)))
    assert drawn.dtype == "float32"
    assert 0 <= drawn.min() <= drawn.max() < 1
    assert abs(drawn.mean() - 1 / 2) < 5 * (1 / 12 / 4000) ** 0.5
    assert abs(drawn.var() - 1 / 12) < 5 * (1 / 180 / 4000) ** 0.5


def test_the_state_waits_for_a_tensor():
    layer = SeededLayer(seed=1)
    numbers(layer)
    assert not layer.variables
    layer.build()
    first = layer.uniform(ops.zeros(1), (8,))
    [state] = layer.variables
    assert not np.array_equal(*map(ops.convert_to_numpy, (first, layer.uniform(first, (8,)))))
    assert ops.convert_to_numpy(state).any()


@pytest.mark.host
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="workers inherit nothing"
)
def test_each_worker_has_numbers_of_its_own():
    """They are told apart by their names, so that another run draws the same again."""
    layer = SeededLayer(seed=1)
    here = numbers(layer)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def drawn():
        found = {}
        for name in ("one", "two"):
            worker = context.Process(target=in_worker, args=(layer, results), name=name)
            worker.start()
            worker.join()
            found.update([results.get()])
        return found

    first, again = drawn(), drawn()
    assert first == again
    assert len({tuple(x) for x in (here, first["one"], first["two"])}) == 3
    assert numbers(layer) != first["one"]
