"""The site: ``python -m sphinx -W docs skfem_ml_output/site``, with ``-t gallery`` all demos are executed.

Nothing is fetched: formulas become MathML (`_ext/mathml.py`), scikit-fem's names come from a stored inventory
(`_ext/inventory.py` writes it). Pages of the API, the demos and the benchmarks are written before each build into
folders that git ignores (`_ext/api.py`, `_ext/gallery.py`, `_ext/measured.py`).
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]

import gallery  # noqa: E402 (of docs/_ext)

import skfem_ml  # noqa: E402

project = "skfem_ml"
author = "the authors of skfem_ml"
release = skfem_ml.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "myst_parser",
    "measured",
    "api",
    "gallery",
    "sphinx_gallery.gen_gallery",
    "mathml",
]
exclude_patterns = ["_*", "pictures", "**/GALLERY_HEADER.rst", "README.md"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = False
numfig = False

html_theme = "pydata_sphinx_theme"
html_title = "skfem_ml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
}
html_sidebars = {"index": [], "getting_started": [], "which_method": []}

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["myst.header"]  # the pages of benchmarks begin at the level that their scripts write

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False

intersphinx_mapping = {"skfem": ("https://scikit-fem.readthedocs.io/en/latest/", str(HERE / "skfem.inv"))}
sphinx_gallery_conf = gallery.configuration(everything=tags.has("gallery"))  # noqa: F821 (Sphinx gives the tags)
