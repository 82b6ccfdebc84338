"""How the site is built; `make docs` does it, and says what each part of it is for."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import kernels  # noqa: E402

# The kernels that run the pages are processes of their own: all of this is in their environment.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# In the kernels figures belong to the page.
os.environ.pop("MPLBACKEND", None)
os.environ["PYTHONWARNINGS"] = "error::UserWarning"
os.environ["IPYTHONDIR"] = str(kernels.profile(HERE / "_build" / "ipython"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE / "figures")])

import matplotlib as mpl  # noqa: E402

mpl.use("agg")

import gallery  # noqa: E402
import inventories  # noqa: E402
import running  # noqa: E402

import keras_cvx  # noqa: E402

project = "keras-cvx"
author = "the keras-cvx authors"
project_copyright = author
version = release = keras_cvx.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # Ours, of docs/_ext.
    "api_pages",
    "drawings",
    "gallery",
    "linked_names",
    "mathml",
    "running",
]
exclude_patterns = [
    "_build",
    "_ext",
    "_templates",
    "_drawn",
    "figures",
    "gallery/*.ipynb",
    "sg_execution_times.rst",
    "**/sg_execution_times.rst",
]
nitpicky = True
# In the types of signatures; they have no page.
nitpick_ignore = [
    ("py:class", "keras_cvx.datasets.annotations.Objects"),
    ("py:class", "keras_cvx.plugins.registry.T"),
]
default_role = "literal"

html_theme = "furo"
html_title = "keras-cvx"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#a31515",
        "color-brand-content": "#a31515",
        "color-brand-visited": "#7a1f5c",
    },
    "dark_css_variables": {
        "color-brand-primary": "#ff8a75",
        "color-brand-content": "#ff8a75",
        "color-brand-visited": "#e39ad0",
    },
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

# Every Python block of a page is run; one that fails stops the build. What the frameworks write to
# stderr while they are imported is no part of a page; a `UserWarning` is an error instead.
nb_custom_formats = {".md": ["running.read_page", {}, False]}
nb_execution_mode = "force"
nb_execution_in_temp = True
# A page that fails is a warning, so that the build tells of all of them before it ends.
nb_execution_raise_on_error = False
# A page is to take a minute or two; a machine may be busy.
nb_execution_timeout = 900
nb_output_stderr = "remove"
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = sorted(running.MARKDOWN)
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
maximum_signature_line_length = 68
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Call arguments", "params_style"), ("Reference", "Reference")]

intersphinx_mapping = inventories.mapping(HERE / "_build" / "inventories")
sphinx_gallery_conf = gallery.configuration(HERE)
