"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def _inline(visitor, node):
    visitor.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(visitor, node):
    visitor.body.append(
        f'<div class="math" tabindex="0">{tex2mathml(node.astext(), as_block=True)}</div>'
    )
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
