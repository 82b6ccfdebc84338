"""Batches of a data set as a `keras.utils.PyDataset`."""

import concurrent.futures
import contextlib
import threading

import keras


class BatchesPyDataset(keras.utils.PyDataset):
    """The batches of one epoch; Keras says when the next begins.

    The workers are its own, and Keras is told of none: where an epoch is left, as JAX and torch
    leave the one in which they look at a batch, Keras' workers give the next epoch what they made
    for that one, so that records come twice and others never. These know which batch is asked for.

    Args:
        batches: `Batches`.
        workers, use_multiprocessing, max_queue_size: As for every `PyDataset`.
    """

    def __init__(self, batches, *, workers, use_multiprocessing, max_queue_size):
        super().__init__()
        self._batches = batches
        self._epoch = 0
        self._ends = False
        self._count = workers if workers > 1 or use_multiprocessing else 0
        self._processes = use_multiprocessing
        self._most_ahead = max_queue_size
        self._pool = None
        self._coming: dict = {}
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        if self._count:
            batch = self._asked(index).result()
        else:
            batch = self._batches.batch(self._epoch, index)
        self._ends = index == len(self) - 1
        return batch

    def on_epoch_end(self):
        # Keras calls it too where it has but looked at a batch.
        if self._ends:
            with self._lock:
                self._epoch += 1
                self._ends = False
                self._coming.clear()

    def _asked(self, index):
        """The future of a batch; workers begin with those that follow it."""
        # An iterator that was left may still be asking.
        with self._lock:
            if self._pool is None:
                self._pool = self._begun()
            make = _batch if self._processes else self._batches.batch
            end = min(index + 1 + self._most_ahead, len(self))
            wanted = range(index, max(end, index + 1))
            for place in set(self._coming) - set(wanted):
                self._coming.pop(place).cancel()
            for place in wanted:
                if place not in self._coming:
                    self._coming[place] = self._pool.submit(make, self._epoch, place)
            return self._coming.pop(index)

    def _begun(self):
        """The workers, once there is something to do."""
        if not self._processes:
            return concurrent.futures.ThreadPoolExecutor(self._count)
        return concurrent.futures.ProcessPoolExecutor(
            self._count, initializer=_keep, initargs=(self._batches,)
        )


# In the process of a worker, the `Batches` that it makes.
_KEPT: list = []


def _keep(batches):
    """Prepares the process of a worker."""
    _KEPT[:] = [batches]
    with contextlib.suppress(ImportError):
        import cv2

        # The others have the cores, and threads of its own that wait for so little cost half as
        # much again as the work.
        cv2.setNumThreads(1)


def _batch(epoch, index):
    return _KEPT[0].batch(epoch, index)
