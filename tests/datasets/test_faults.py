import warnings

import pytest

from keras_cvx.datasets import DatasetError
from keras_cvx.datasets.faults import Faults, checked_folder, checked_path, listed, told

pytestmark = pytest.mark.host


def test_no_faults_no_warning():
    for on_error in ("raise", "skip"):
        faults = Faults(on_error)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            faults.warn()
        assert faults.messages == []


def test_the_first_is_raised():
    faults = Faults("raise")
    with pytest.raises(DatasetError, match=r"^a\.txt, line 3: wrong$"):
        faults.add("a.txt, line 3: wrong")
    assert faults.messages == []


def test_all_are_kept_where_they_are_skipped():
    faults = Faults("skip")
    for number in range(7):
        faults.add(f"fault {number}")
    assert faults.messages == [f"fault {number}" for number in range(7)]

    def read():
        faults.warn()

    with pytest.warns(
        UserWarning, match=r"skipped are 7: fault 0, fault 1, .*fault 4, \.\.\.\. All are in `skip"
    ) as caught:
        read()
    # It is told where the reader is called, below this function.
    assert caught[0].filename == __file__
    assert caught[0].lineno > read.__code__.co_firstlineno + 1


@pytest.mark.parametrize("wrong", ["ignore", None, True])
def test_other_ways_to_go_on(wrong):
    with pytest.raises(ValueError, match=r"`on_error` must be one of .*'raise', 'skip'"):
        Faults(wrong)


def test_paths(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("")
    # Of a file only that it is a path: whether it can be read is seen when it is.
    assert checked_path("annotations", str(tmp_path / "no.json"), "a file").name == "no.json"
    assert checked_folder("images", str(tmp_path)) == tmp_path
    with pytest.raises(ValueError, match=r"`annotations` must be the path of a file. Rec.*: \[1\]"):
        checked_path("annotations", [1], "a file")
    for wrong in (file, tmp_path / "no", None, 3):
        with pytest.raises(ValueError, match=r"`images` must be the path of a folder that is. Rec"):
            checked_folder("images", wrong)


def test_lists():
    assert listed(["a"]) == "1: a"
    assert listed([1, 2, 3], most=2) == "3: 1, 2, ..."
    assert listed([1, 2], most=2) == "2: 1, 2"


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, list(range(10**5)), {str(key): key for key in range(10**5)}, b"x" * 10**6],
)
def test_long_values_are_told_in_short(value):
    assert len(told(value)) < 120
    assert "..." in told(value)


def test_deep_values_are_told_in_short():
    deep: list = []
    for _ in range(10**4):
        deep = [deep]
    assert len(told(deep)) < 120


def test_values_are_told_as_they_stand():
    assert told(["a", 1.5, None]) == "['a', 1.5, None]"
