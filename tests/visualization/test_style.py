import numpy as np
import pytest

from keras_cvx.metrics import SegmentationIoU
from keras_cvx.visualization import class_iou, confusion_matrix, precision_recall
from keras_cvx.visualization.style import all_names, name_of, text_size, widest

PLOTS = [
    (precision_recall, ([0.0, 1.0], [[1.0, 0.5], [0.5, 0.5]])),
    (confusion_matrix, ([[3, 1], [0, 2]],)),
    (class_iou, ([0.5, 0.25],)),
]


def test_no_names():
    assert all_names(None, 0) == []
    assert all_names(None, 2) == ["0", "1"]
    assert widest([], 8) == 0.0


def test_names():
    assert all_names({1: "cat"}, 3) == ["0", "cat", "2"]
    assert all_names(np.array(["cat", "dog"]), 2) == ["cat", "dog"]
    assert name_of(["cat"], 3) == "3"


def test_text_size_is_in_inches_and_reads_no_formula():
    once, twice = (text_size(text, 8)[0] for text in ("mmmm", "mmmmmmmm"))
    assert twice == pytest.approx(2 * once, rel=0.05)
    assert text_size("mmmm", 16)[0] == pytest.approx(2 * once)
    assert text_size("$x_{y}$", 8)[0] > 1.3 * text_size("xy", 8)[0]
    assert text_size(r"$\nothing$", 8)[1] == text_size("", 8)[1]


@pytest.mark.parametrize(("plot", "arguments"), PLOTS)
@pytest.mark.parametrize("names", [["cat"], ["a", "b", "c"], []])
def test_names_that_do_not_fit_are_refused(plot, arguments, names):
    with pytest.raises(ValueError, match=r"`class_names` must have a name for each of the 2.*Rec"):
        plot(*arguments, class_names=names)


@pytest.mark.parametrize(("plot", "arguments"), PLOTS)
def test_pyplot_knows_nothing_of_it(plot, arguments):
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    plot(*arguments)
    assert plt.get_fignums() == before


@pytest.mark.parametrize(("plot", "arguments"), PLOTS)
def test_missing_matplotlib_names_the_extra(plot, arguments, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=rf"`{plot.__name__}` needs.*keras-cvx\[vision\]"):
        plot(*arguments)


@pytest.mark.parametrize("given", [{"iou": [0.5]}, SegmentationIoU(2), [[1.0], [1.0, 2.0]]])
def test_what_is_no_array_of_numbers(given):
    with pytest.raises(ValueError, match=r"`iou` must be an array of numbers\..*`metric\.per_"):
        class_iou(given)
    with pytest.raises(ValueError, match=r"`counts` must be an array of .*`metric\.confusion_matr"):
        confusion_matrix(given)
