"""How the kernel of each page is set up: figures are shown whole, without pyplot too, and of
TensorFlow's logger only errors are.
"""

SETTINGS = """
c = get_config()
c.IPKernelApp.matplotlib = "inline"
c.InlineBackend.figure_formats = {"png"}
c.InlineBackend.print_figure_kwargs = {"bbox_inches": None}
"""

# A filter, for TensorFlow sets the level itself.
QUIET = """
import logging

logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)
"""


def profile(folder):
    """Writes IPython's folder, which holds this and nothing of the user's.

    Args:
        folder: Path.

    Returns:
        The same path.
    """
    place = folder / "profile_default"
    (place / "startup").mkdir(parents=True, exist_ok=True)
    (place / "startup" / "quiet.py").write_text(QUIET, "utf-8")
    (place / "ipython_kernel_config.py").write_text(SETTINGS, "utf-8")
    return folder
