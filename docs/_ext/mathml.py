"""Formulas as MathML, which browsers draw by themselves: pages need no script and no network."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

# Commands that docutils does not know; brackets grow by themselves in MathML.
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])")
logger = logging.getLogger(__name__)


def drawn(node: nodes.Element, block: bool) -> str:
    """A formula in MathML; one with a command that docutils does not know is told of, and stands as it was written."""
    try:
        return tex2mathml(SIZES.sub("", node.astext()), as_block=block)
    except MathError as error:
        logger.warning("%s in %s", error, node.astext(), location=node)
        return f"<code>{node.astext().replace('&', '&amp;').replace('<', '&lt;')}</code>"


def visit_math(self, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(drawn(node, block=False))
    raise nodes.SkipNode


def visit_displaymath(self, node: nodes.math_block) -> None:
    """Write a formula of its own, which scrolls where it is wider than the page."""
    self.body.append(f'<div class="math">{drawn(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
