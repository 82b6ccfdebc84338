import threading

import pytest

from keras_cvx.datasets._kept import kept

pytestmark = pytest.mark.host


class Meeting:
    def __init__(self, barrier):
        self.barrier, self.count = barrier, 0

    @kept
    def place(self):
        """Where they meet."""
        self.count += 1
        return self.barrier.wait(timeout=10)


def test_two_threads_compute_at_once():
    barrier = threading.Barrier(2)
    meetings = [Meeting(barrier) for _ in range(2)]
    threads = [threading.Thread(target=getattr, args=(one, "place")) for one in meetings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Both came, and neither waits for another now.
    assert sorted(one.place for one in meetings) == [0, 1]
    assert [one.count for one in meetings] == [1, 1]


def test_the_class_shows_what_it_is():
    assert Meeting.place.__doc__ == "Where they meet."
