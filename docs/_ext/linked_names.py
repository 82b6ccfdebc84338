"""A public name in code font is a link to its page, wherever it stands."""

import builtins
import re
import sys

from contents import MODULES, NAMES
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

NEIGHBOURS = (
    "keras",
    "tensorflow",
    "tf",
    "jax",
    "torch",
    "numpy",
    "np",
    "matplotlib",
    "supervision",
)


def _short_names():
    """Full names by what the prose calls them: `losses.GIoULoss`, and `GIoULoss` by itself."""
    found = {}
    for name in NAMES:
        if name == "keras_cvx.__version__":
            continue
        inner = name.removeprefix("keras_cvx.")
        found[name] = found[f"cvx.{inner}"] = name
        if "." in inner:
            found[inner] = name
        # A class is called by its own name alone; a function, which others may have too, is not.
        last = inner.rpartition(".")[2]
        if "." in inner and re.search("[A-Z].*[a-z]|[a-z].*[A-Z]", last):
            found[last] = name
    return found


SHORT_NAMES = _short_names()


class LinkedNames(SphinxTransform):
    """Wraps each such literal in a reference."""

    default_priority = 480

    def apply(self, **kwargs):
        own = self.env.docname.removeprefix("api/").replace("/", ".")
        for literal in list(self.document.findall(nodes.literal)):
            parent = literal.parent
            if isinstance(
                parent, (nodes.reference, nodes.title, addnodes.pending_xref, nodes.term)
            ):
                continue
            text = literal.astext()
            full = SHORT_NAMES.get(re.sub(r"\(.*\)$", "", text))
            if full is None or full == f"keras_cvx.{own}":
                continue
            reference = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="mod" if full in MODULES else "obj",
                reftarget=full,
                refexplicit=True,
                refdoc=self.env.docname,
                refwarn=True,
            )
            parent.replace(literal, reference)
            reference += literal


def _of_neighbours(app, env, node, contnode):
    """What a neighbour documents and its inventory, if there is one, lacks: no link, no warning."""
    target = node.get("reftarget", "")
    known = set(app.config.intersphinx_mapping)
    root = target.partition(".")[0]
    standard = root in sys.stdlib_module_names or hasattr(builtins, root)
    if "python" in known:
        standard = False
    if node.get("refdomain") == "py" and (root in NEIGHBOURS or standard):
        return contnode
    return None


def setup(app):
    app.add_transform(LinkedNames)
    app.connect("missing-reference", _of_neighbours, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
