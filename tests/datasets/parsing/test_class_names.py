import numpy as np
import pytest

from keras_cvx.datasets.parsing.class_names import Classes

pytestmark = pytest.mark.host


def labelled(classes, *names):
    """The labels of names that come in this order."""
    return classes.labels([classes.number(name) for name in names]).tolist()


def test_nothing_is_found():
    assert Classes(None).names == ()
    assert Classes(None, ("cat", "dog")).names == ("cat", "dog")
    assert Classes(["dog", "cat"]).names == ("dog", "cat")
    labels = Classes(None).labels([])
    assert labels.dtype == np.int32
    assert labels.shape == (0,)


def test_names_that_are_found_are_sorted():
    classes = Classes(None)
    assert labelled(classes, "dog", "cat", "dog", "ant") == [2, 1, 2, 0]
    assert classes.names == ("ant", "cat", "dog")


def test_the_usual_names_are_those_unless_another_comes():
    usual = ("dog", "cat", "ant")
    assert labelled(Classes(None, usual), "ant", "dog") == [2, 0]
    classes = Classes(None, usual)
    assert labelled(classes, "ant", "dog", "bee") == [0, 2, 1]
    assert classes.names == ("ant", "bee", "dog")


def test_names_that_are_noted_are_classes_without_objects():
    classes = Classes(None)
    classes.note(["zebra", "", "ant"])
    assert labelled(classes, "cat") == [1]
    assert classes.names == ("ant", "cat", "zebra")
    # Of given ones, nothing is noted: what is wrong is told where it is read.
    given = Classes(["cat"])
    given.note(["dog"])
    assert given.names == ("cat",)


def test_given_names_are_all():
    classes = Classes(("dog", "cat"))
    assert labelled(classes, "cat", "dog") == [1, 0]
    with pytest.raises(ValueError, match=r"must be one of \['dog', 'cat'\]. Received: 'bee'"):
        classes.number("bee")
    for some in (classes, Classes(None)):
        with pytest.raises(ValueError, match="a class must have a name"):
            some.number("")


@pytest.mark.parametrize("wrong", [[], "cat", ["cat", "cat"], ["cat", ""], [1, 2], {"cat": 0}, 3])
def test_what_are_no_names(wrong):
    with pytest.raises(ValueError, match=r"`class_names` must be a list of different strings"):
        Classes(wrong)
