"""Batches of a data set as a `keras.utils.PyDataset`."""

import keras


class BatchesPyDataset(keras.utils.PyDataset):
    """The batches of one epoch; Keras says when the next begins.

    Args:
        batches: `Batches`.
        **kwargs: As for every `PyDataset`.
    """

    def __init__(self, batches, **kwargs):
        super().__init__(**kwargs)
        self._batches = batches
        self._epoch = 0

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches.batch(self._epoch, index)

    def on_epoch_end(self):
        # Keras has stopped its workers by now; those of the next epoch are told of it.
        self._epoch += 1
