"""How far a training in phases has come, on disk so that it can be killed at any moment."""

import json
import os

import keras
import numpy as np


class Progress(keras.callbacks.Callback):
    """What each epoch has logged, and, in a folder, the weights after the last of them.

    Every file takes its place when it is whole. The weights of an epoch bear its number, and are
    written after its log: of whatever epoch there are weights, there is a log of it too.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.records = {}
        if directory is not None and (directory / "history.json").exists():
            self.records.update(json.loads((directory / "history.json").read_text()))

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: np.asarray(value).tolist() for name, value in (logs or {}).items()}
        self.records[epoch] = logs
        if self.directory is None:
            return
        write_whole(self.directory / "history.json", json.dumps(list(self.records.items())))
        earlier = self._epochs()
        self._save(self.model, f"epoch_{epoch + 1}")
        for number in set(earlier) - {epoch + 1}:
            earlier[number].unlink()

    def restored_end(self, model, phase):
        """Whether the phase has ended before; if so, the model has its weights."""
        if self.directory is None or not self._path(phase).exists():
            return False
        _load(model, self._path(phase))
        return True

    def restored_epoch(self, model, start, end):
        """How many epochs there are behind the model, which has the weights of the last of them."""
        epochs = {} if self.directory is None else self._epochs()
        done = max((number for number in epochs if start < number <= end), default=start)
        if done > start:
            _load(model, epochs[done])
        self.records = {epoch: logs for epoch, logs in self.records.items() if epoch < done}
        return done

    def keep_end(self, model, phase):
        """Keeps the weights with which a phase ends; those of its last epoch are needed no more."""
        if self.directory is not None:
            self._save(model, phase)
            for path in self._epochs().values():
                path.unlink()

    def _epochs(self):
        """Files of weights by the number of epochs behind them."""
        paths = self.directory.glob("epoch_*.weights.h5")
        return {int(path.name.split(".")[0].removeprefix("epoch_")): path for path in paths}

    def _path(self, name):
        return self.directory / f"{name}.weights.h5"

    def _save(self, model, name):
        model.save_weights(self._path("unfinished"))
        os.replace(self._path("unfinished"), self._path(name))


def _load(model, path):
    # Its variables must be there, or their values are left out.
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)


def write_whole(path, text):
    """Writes a text, so that at any moment there is the whole file or none."""
    unfinished = path.with_name("unfinished.json")
    unfinished.write_text(text)
    os.replace(unfinished, path)
