import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


@pytest.fixture
def render():
    """Function `figure -> (pixels, renderer)`."""

    def of(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3], canvas.get_renderer()

    return of


@pytest.fixture
def check_layout(render):
    """Function of a figure: no text is cut, and no two cover one another."""

    def of(figure):
        _, renderer = render(figure)
        width, height = figure.get_size_inches() * figure.dpi
        texts = [
            (text.get_text(), text.get_window_extent(renderer))
            for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip()
        ]
        assert texts
        for index, (words, extent) in enumerate(texts):
            assert extent.x0 >= 0 and extent.y0 >= 0, words  # noqa: PT018
            assert extent.x1 <= width and extent.y1 <= height, words  # noqa: PT018
            for others, other in texts[:index]:
                assert not extent.padded(-1.5).overlaps(other.padded(-1.5)), (words, others)

    return of


@pytest.fixture
def class_names():
    """Function of a number of classes: names, some of them long, one with dollars."""

    def of(count):
        names = [f"class {i}" for i in range(count)]
        names[-1] = "a kind of many words, $5_each$, that needs room"
        names[0] = "traffic light"
        return names

    return of
