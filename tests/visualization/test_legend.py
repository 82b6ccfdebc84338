import pytest
from matplotlib.figure import Figure

from keras_cvx.visualization.legend import Entry, Legend, shortened
from keras_cvx.visualization.style import DOTS_PER_INCH

COLOUR = (250, 5, 128)


def drawn(legend):
    size = (legend.width + 40) / DOTS_PER_INCH, (legend.height + 40) / DOTS_PER_INCH
    figure = Figure(size, dpi=DOTS_PER_INCH)
    legend.draw(figure, 20, 20)
    return figure


@pytest.mark.parametrize("groups", [{}, {"": []}, {"Classes": [], "Errors": []}])
def test_no_entries(groups):
    legend = Legend(groups, 500)
    assert (legend.width, legend.height) == (0, 0)


def test_a_line_of_entries(check_layout):
    legend = Legend({"": [Entry("cat", COLOUR), Entry("dog", (0, 0, 0), (255, 255, 255))]}, 500)
    figure = drawn(legend)
    check_layout(figure)
    [axes] = figure.axes
    cat, dog = axes.patches
    assert cat.get_y() == dog.get_y()
    assert cat.get_facecolor()[:3] == pytest.approx([250 / 255, 5 / 255, 128 / 255])
    assert not cat.get_hatch()
    assert dog.get_hatch()
    assert dog.get_edgecolor()[:3] == (1, 1, 1)
    for patch, text, name in zip(axes.patches, axes.texts, ("cat", "dog"), strict=True):
        assert text.get_text() == name
        assert patch.get_x() + patch.get_width() < text.get_position()[0]


@pytest.mark.parametrize(
    ("width", "count"), [(10, 1), (10, 3), (300, 20), (700, 3), (700, 20), (3000, 20)]
)
@pytest.mark.parametrize("heading", ["", "Classes"])
def test_entries_fit_and_are_beside_their_names(class_names, check_layout, width, count, heading):
    entries = [Entry(name, COLOUR) for name in class_names(count)]
    legend = Legend({heading: entries, "Errors": entries[:1]}, width)
    figure = drawn(legend)
    check_layout(figure)
    [axes] = figure.axes
    texts = [text for text in axes.texts if text.get_text() not in ("", "Classes", "Errors")]
    assert [text.get_text() for text in texts] == [
        shortened(entry.name) for entry in [*entries, entries[0]]
    ]
    for patch, text in zip(axes.patches, texts, strict=True):
        x, y = text.get_position()
        assert patch.get_y() + patch.get_height() / 2 == y
        assert 0 < x - patch.get_x() - patch.get_width() < 10
    # Wider than asked only where one entry is.
    narrowest = Legend({heading: entries, "Errors": entries[:1]}, 0)
    assert len({patch.get_x() for patch in drawn(narrowest).axes[0].patches}) == 1
    assert legend.width <= max(width, narrowest.width)


def test_headings_stand_before_their_groups(check_layout):
    entries = [Entry(f"{i}", COLOUR) for i in range(30)]
    figure = drawn(Legend({"Classes": entries, "Errors": entries[:2]}, 300))
    check_layout(figure)
    [axes] = figure.axes
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["Classes"][0] == places["Errors"][0] == 0
    firsts = [axes.patches[0], axes.patches[30]]
    assert firsts[0].get_x() == firsts[1].get_x() > 60
    for heading, first in zip(("Classes", "Errors"), firsts, strict=True):
        assert places[heading][1] == first.get_y() + first.get_height() / 2
    assert places["Errors"][1] > places["29"][1]


def test_long_names_are_cut():
    assert shortened("a" * 48) == "a" * 48
    assert shortened("a" * 46 + " bcd") == "a" * 46 + "…"
