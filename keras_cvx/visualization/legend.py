"""A legend of swatches and names, laid out before the figure is made."""

import math
from typing import Any, NamedTuple

from keras_cvx.visualization.style import DOTS_PER_INCH, INK, POINTS, text_size

_SWATCH, _LINE, _SPACE, _GAP = 20, 28, 8, 26  # dots; the space is between a swatch and its name
_BETWEEN_GROUPS = 8
_LONGEST = 48  # characters of a name


class Entry(NamedTuple):
    """A swatch with its name.

    Attributes:
        name: String.
        colour: Three numbers from 0 to 255.
        stripes: Likewise, of stripes over it, or None.
    """

    name: str
    colour: Any
    stripes: Any = None


class Legend:
    """Groups of entries, each from a new line on.

    Entries stand in one line if there is room, or else in columns of equal width. Headings stand
    before the groups, which begin at the same place.

    Args:
        groups: Dict of lists of `Entry` by heading, which may be empty. Empty lists are left out.
        width: Dots that there are. A legend whose widest entry needs more has more.

    Attributes:
        width: Dots across, 0 of no entries.
        height: Dots down, likewise.
    """

    def __init__(self, groups, width):
        groups = {heading: group for heading, group in groups.items() if group}
        headings = max((_dots(heading) for heading in groups if heading), default=0)
        indent = headings + _GAP if headings else 0
        self._swatches: list[tuple] = []  # of an entry, and left and middle
        self._texts: list[tuple] = []  # likewise
        right = bottom = 0
        for heading, group in groups.items():
            bottom += _BETWEEN_GROUPS if bottom else 0
            names = [shortened(entry.name) for entry in group]
            wide = [_SWATCH + _SPACE + _dots(name) + _GAP for name in names]
            lefts = [sum(wide[:index]) for index in range(len(wide))]
            columns = len(group)
            if indent + sum(wide) - _GAP > width:
                # The last has no gap after it.
                columns = max((width - indent + _GAP) // max(wide), 1)
                lefts = [(index % columns) * max(wide) for index in range(len(wide))]
            if heading:
                self._texts.append((heading, 0, bottom + _LINE // 2))
            for index, (entry, name) in enumerate(zip(group, names, strict=True)):
                left, middle = indent + lefts[index], bottom + index // columns * _LINE + _LINE // 2
                self._swatches.append((entry, left, middle))
                self._texts.append((name, left + _SWATCH + _SPACE, middle))
                right = max(right, left + wide[index] - _GAP)
            bottom += -(-len(group) // columns) * _LINE
        self.width, self.height = right, bottom

    def draw(self, figure, left, bottom):
        """Adds it to a figure of its final size.

        Args:
            figure: Figure of `DOTS_PER_INCH`.
            left: Dots from the left side.
            bottom: Dots from the lower side.
        """
        from matplotlib.patches import Rectangle

        across, up = figure.get_size_inches() * DOTS_PER_INCH
        place = left / across, bottom / up, self.width / across, self.height / up
        axes = figure.add_axes(place, label="legend")
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for entry, x, y in self._swatches:
            axes.add_patch(
                Rectangle(
                    (x, y - _SWATCH / 2),
                    _SWATCH,
                    _SWATCH,
                    facecolor=[share / 255 for share in entry.colour],
                    edgecolor=[share / 255 for share in entry.stripes or entry.colour],
                    hatch="/////" if entry.stripes else None,
                    linewidth=0,
                )
            )
        for text, x, y in self._texts:
            axes.text(
                x, y, text, fontsize=POINTS, color=INK, va="center_baseline", parse_math=False
            )


def _dots(text):
    """Width of a text."""
    return math.ceil(text_size(text, POINTS)[0] * DOTS_PER_INCH)


def shortened(name):
    """A name that is too long for a legend, cut.

    Args:
        name: String.
    """
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1].rstrip() + "…"
