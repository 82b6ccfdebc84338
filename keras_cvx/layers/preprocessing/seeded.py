"""What layers have in common that draw numbers: one seed, wherever they are called."""

import functools
import multiprocessing
import zlib

import keras
import numpy as np

from keras_cvx.ops import _arrays
from keras_cvx.ops.arguments import check_integers


class SeededLayer(keras.layers.Layer):
    """Draws uniform numbers from the seed, by the generator of those whose arrays it is given.

    The same seed gives the same numbers, in one of the three places where the layer is called: on
    tensors of the backend by a `keras.random.SeedGenerator`, which begins anew when it is loaded;
    on those of TensorFlow under another backend, in `tf.data`, by a generator of TensorFlow's; on
    NumPy arrays by one of NumPy's, of which each worker process of a loader has its own, by its
    name. Tensors of the backend in worker processes get the same numbers in each.

    Args:
        *args: For the class after this one.
        seed: Integer of at least 0; None draws one, which `keras.utils.set_random_seed` fixes.
        **kwargs: Likewise, or as for every Keras layer (`name`, `dtype`).
    """

    def __init__(self, *args, seed=None, **kwargs):
        super().__init__(*args, **kwargs)
        if seed is not None:
            check_integers(0, seed=seed)
        self.seed = seed
        self._drawn_seed = np.random.randint(1, 10**9) if seed is None else seed
        self._process = self._host_generator = None
        # The state of the backend's generator waits until a tensor of the backend comes.
        self.built = False

    def build(self, data_shape=None):
        self.seed_generator = keras.random.SeedGenerator(self._drawn_seed)
        self.built = True

    def uniform(self, like, shape):
        """New numbers, uniform in `[0, 1)`.

        Args:
            like: Array or tensor of the kind that the numbers shall be of.
            shape: Tuple of integers, or scalars of TensorFlow.

        Returns:
            Float32 array or tensor of that shape.
        """
        if _arrays.is_of_keras(like):
            return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        if _arrays.is_tensorflow(like):
            return self._tensorflow_generator.uniform(shape)
        return self._numpy_generator.random(shape, "float32")

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    @functools.cached_property
    def _tensorflow_generator(self):
        return _arrays.tensorflow_generator(self._drawn_seed)

    @property
    def _numpy_generator(self):
        # A worker inherits the generator of its parent, state included, with all its brothers.
        process = multiprocessing.current_process().name
        if self._process != process:
            self._process = process
            number = 0 if multiprocessing.parent_process() is None else zlib.crc32(process.encode())
            self._host_generator = np.random.default_rng([self._drawn_seed, number])
        return self._host_generator
