"""What the kernel of each page begins with: figures are shown, sharp and with room around them."""

STARTUP = """
from IPython import get_ipython

shell = get_ipython()
shell.run_line_magic("config", "InlineBackend.figure_formats = {'png'}")
shell.run_line_magic("config", "InlineBackend.print_figure_kwargs = {'bbox_inches': None}")
shell.run_line_magic("matplotlib", "inline")
del shell
"""


def profile(folder):
    """Writes IPython's folder, which holds this and nothing of the user's.

    Args:
        folder: Path.

    Returns:
        The same path.
    """
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00_figures.py").write_text(STARTUP, "utf-8")
    return folder
