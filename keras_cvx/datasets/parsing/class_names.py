"""The classes of a data set: those that are given, or those that are found in it."""

import numpy as np

from keras_cvx.datasets.faults import told


class Classes:
    """Numbers the names of classes as they come; which labels these are is known in the end.

    Args:
        class_names: Sequence of strings by label, which are all that may come; None for those that
            come, sorted.
        usual: Tuple of names by label, which are the classes if none is given and no other comes.
    """

    def __init__(self, class_names, usual=()):
        self._open, self._usual = class_names is None, usual
        names = [] if class_names is None else class_names
        right = isinstance(names, (list, tuple)) and all(isinstance(x, str) and x for x in names)
        if not right or len(set(names)) != len(names) or not (names or self._open):
            raise ValueError(
                "`class_names` must be a list of different strings, by label. "
                f"Received: class_names={told(class_names)}"
            )
        self._numbers = {name: number for number, name in enumerate(names)}

    def number(self, name):
        """The number of a class, which `labels` takes.

        Args:
            name: String.

        Raises:
            ValueError: If it is empty, or classes are given and it is none of them.
        """
        if not name:
            raise ValueError("a class must have a name. Received: none")
        if self._open:
            return self._numbers.setdefault(name, len(self._numbers))
        if name not in self._numbers:
            raise ValueError(
                f"a class must be one of {told(list(self._numbers))}. Received: {told(name)}"
            )
        return self._numbers[name]

    def note(self, names):
        """Takes note of classes that are found, if none are given.

        Args:
            names: Iterable of strings; empty ones are left aside.
        """
        for name in names if self._open else ():
            if name:
                self.number(name)

    @property
    def names(self):
        """Tuple of strings by label."""
        if not self._open:
            return tuple(self._numbers)
        # Of no objects, the usual ones too.
        usual = self._numbers.keys() <= set(self._usual)
        return self._usual if usual else tuple(sorted(self._numbers))

    def labels(self, numbers):
        """The labels of classes by their numbers.

        Args:
            numbers: Sequence of integers `(M,)`.

        Returns:
            int32 array `(M,)`.
        """
        places = {name: label for label, name in enumerate(self.names)}
        table = np.array([places[name] for name in self._numbers], "int32")
        return table[np.asarray(numbers, "int64")]
