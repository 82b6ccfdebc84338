import functools

import keras
import numpy as np
import pytest
from keras import ops


@pytest.fixture(scope="session")
def to_numpy():
    """Function from an array or a tensor of any library to NumPy's."""
    return lambda x: ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)


@pytest.fixture(scope="session")
def painted():
    """Function that paints blocks, each of a colour of its own, into the images of a sample.

    The label of a block is its number k, from 1 on in the whole batch, its colour (k, 7 k mod 256,
    the number of the image), and its mask k. None covers another, and padded rows stand among the
    others.
    """

    def paint(count, size, rows=4, seed=0):
        rng = np.random.default_rng(seed)
        images = np.zeros((count, *size, 3), "uint8")
        images[..., 2] = np.arange(count)[:, None, None]
        masks = np.zeros((count, *size), "int32")
        boxes = np.full((count, rows, 4), -1, "float32")
        labels = np.full((count, rows), -1, "int32")
        for k, (i, j) in enumerate(np.ndindex(count, rows), start=1):
            y0, x0 = (rng.integers(0, side) for side in size)
            y1, x1 = (rng.integers(low, side) + 1 for low, side in zip((y0, x0), size, strict=True))
            if masks[i, y0:y1, x0:x1].any() or rng.random() < 0.2:
                continue
            images[i, y0:y1, x0:x1, :2], masks[i, y0:y1, x0:x1] = (k, 7 * k % 256), k
            boxes[i, j], labels[i, j] = (x0, y0, x1, y1), k
        return {
            "images": images,
            "bounding_boxes": {"boxes": boxes, "labels": labels},
            "segmentation_masks": masks,
        }

    return paint


@pytest.fixture(scope="session")
def compiled_with_state():
    """Compiles a layer or a model by XLA, to a function of a sample that advances its generator."""

    def of(layer, **options):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.function(lambda tensors: layer(tensors, **options), jit_compile=True)
        if keras.backend.backend() != "jax":
            pytest.skip("torch has no XLA here")
        import jax

        if not layer.built:
            layer.build()
        pure = jax.jit(lambda *x: layer.stateless_call(*x, **options))

        def advancing(tensors):
            state = [v.value for v in layer.non_trainable_variables]
            result, state = pure([], state, tensors)
            for variable, value in zip(layer.non_trainable_variables, state, strict=True):
                variable.assign(value)
            return result

        return advancing

    return of


@pytest.fixture(scope="session")
def with_state(compiled_with_state):
    """The same on JAX, which else compiles each operation by itself; others call it as it is."""
    return compiled_with_state if keras.backend.backend() == "jax" else functools.partial


@pytest.fixture
def with_numbers(library, compiled):
    """Function that lets a layer draw given numbers, in the library whose arrays it is given.

    What it returns is called as the layer; on tensors of the backend it is compiled by XLA.
    """

    def fix(layer, numbers):
        layer.uniform = lambda like, shape: library(np.float32(numbers))
        if library is not ops.convert_to_tensor:
            return layer
        layer.build()
        return compiled(layer)

    return fix
