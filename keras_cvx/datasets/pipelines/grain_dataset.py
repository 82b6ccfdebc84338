"""Batches of a data set as a dataset of grain."""

import os

_MOST_THREADS = 16


def grain_dataset(batches):
    """The batches of one epoch, read by threads; each iterator is of the next epoch.

    Args:
        batches: `Batches`.

    Returns:
        A `grain.IterDataset`.

    Raises:
        ImportError: If grain is missing.
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            "`to_grain` needs grain. Install it with `pip install keras-cvx[grain]`."
        ) from error

    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    # As many batches are held as are being read.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)

    class Epochs(grain.IterDataset):
        """Batches that are not augmented yet, of epoch after epoch."""

        def __init__(self):
            super().__init__()
            self._next = 0

        def __iter__(self):
            self._next += 1
            return EpochIterator(self._next - 1)

    class EpochIterator(grain.DatasetIterator):
        """The batches of an epoch. Its state tells the epoch, and how far it is."""

        def __init__(self, epoch):
            super().__init__()
            self._begin(epoch)

        def _begin(self, epoch):
            self._epoch = epoch
            source = grain.MapDataset.source(_Epoch(batches, epoch))
            self._iterator = iter(source.to_iter_dataset(options))

        def __next__(self):
            return next(self._iterator)

        def get_state(self):
            return {"epoch": self._epoch, "batches": self._iterator.get_state()}

        def set_state(self, state):
            self._iterator.close()
            self._begin(state["epoch"])
            self._iterator.set_state(state["batches"])

        def close(self):
            self._iterator.close()
            super().close()

    # One after the other, whatever the threads do: a seeded layer draws the same numbers each time.
    return Epochs().map(batches.finished)


class _Epoch:
    """The batches of an epoch by index, for grain."""

    def __init__(self, batches, epoch):
        self._batches, self._epoch = batches, epoch

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches.prepared(self._epoch, index)
