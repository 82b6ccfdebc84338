"""Figures that are drawn by code while the site is built.

`docs/figures/NAME.py` has a function `draw()` that returns a matplotlib figure, made by real calls
of the package; its docstring is the caption, and `OBJECTS` lists the public names on whose pages it
stands. The directive `drawn` puts it on any page. Each figure is drawn twice, in ink for light and
for dark pages.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path

import contents
from contents import DRAWN, SOURCES, caption, sources
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)
INKS = {"light": ("#202428", "#c4c9ce"), "dark": ("#e6e8ea", "#565b61")}


def style(ink, pale):
    """Matplotlib's settings for one of the themes."""
    return {
        **dict.fromkeys(
            ["text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"], ink
        ),
        "axes.edgecolor": pale, "grid.color": pale, "grid.linewidth": 0.6, "legend.frameon": False,
        "axes.facecolor": "none", "figure.facecolor": "none", "savefig.facecolor": "none",
        "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
        "axes.titlesize": 10, "axes.titleweight": "regular", "axes.labelsize": 9,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
        "figure.constrained_layout.use": True, "svg.fonttype": "path", "svg.hashsalt": "keras-cvx",
        "axes.prop_cycle": _cycle(),
    }  # fmt: skip


def _cycle():
    from matplotlib import cycler

    return cycler(color=["#3f90da", "#e76300", "#832db6", "#bd1f01", "#a96b59", "#717581"])


def draw(name, extension="svg"):
    """Draws a figure for both themes.

    Args:
        name: Name of the figure.
        extension: `"svg"`, or another that matplotlib can write.
    """
    import keras
    import matplotlib as mpl

    if str(SOURCES) not in sys.path:
        sys.path.insert(0, str(SOURCES))
    spec = importlib.util.spec_from_file_location(f"drawn_{name}", sources()[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    DRAWN.mkdir(exist_ok=True)
    for theme, inks in INKS.items():
        keras.utils.set_random_seed(0)
        with mpl.rc_context(style(*inks)):
            figure = module.draw()
            # Without the date the file is the same each time.
            metadata = {"Date": None} if extension == "svg" else None
            figure.savefig(
                DRAWN / f"{name}-{theme}.{extension}",
                dpi=110,
                metadata=metadata,
                bbox_inches="tight",
                pad_inches=0.04,
            )


def _draw_what_is_old(app):
    package = max(p.stat().st_mtime for p in (contents.DOCS.parent / "keras_cvx").rglob("*.py"))
    tools = max((SOURCES / "drawing.py").stat().st_mtime, Path(__file__).stat().st_mtime)
    for name, path in sources().items():
        result = DRAWN / f"{name}-dark.svg"
        newest = max(path.stat().st_mtime, package, tools)
        if result.exists() and result.stat().st_mtime > newest:
            continue
        started = time.perf_counter()
        draw(name)
        LOGGER.info("drawn: %s (%.1f s)", name, time.perf_counter() - started)


class Drawn(SphinxDirective):
    """`drawn` with the figure's name; its content, if there is one, replaces the caption."""

    required_arguments = 1
    has_content = True

    def run(self):
        [name] = self.arguments
        if name not in sources():
            raise self.error(f"There is no docs/figures/{name}.py")
        self.env.note_dependency(os.fspath(sources()[name]))
        words = " ".join(self.content) or caption(name)
        # The caption describes it, and is read out as well.
        alternative = f"Figure: {name.replace('_', ' ')}"
        figure = nodes.figure(classes=["drawn"])
        for theme in INKS:
            figure += nodes.image(
                uri=f"/_drawn/{name}-{theme}.svg", alt=alternative, classes=[f"only-{theme}"]
            )
        text = nodes.caption()
        inline, messages = self.parse_inline(words)
        text += inline
        figure += text
        return [figure, *messages]


def setup(app):
    app.connect("builder-inited", _draw_what_is_old, priority=400)
    app.add_directive("drawn", Drawn)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    # python docs/_ext/drawings.py NAME … draws figures as PNG, to be looked at.
    for chosen in sys.argv[1:] or sources():
        draw(chosen, "png")
