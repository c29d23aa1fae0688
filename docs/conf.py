"""The documentation site: the pages of this folder as they are, and the interface out of the docstrings.

``make docs`` builds it to build/docs and takes every warning for an error; ``make docs-links`` asks the other sites.
"""

from hpcsim import __version__

project = "hpcsim"
author = "the authors of hpcsim"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["images", "evidence", "tournaments"]
nitpicky = False

myst_heading_anchors = 4  # links such as plugins.md#twins lead to headings, as they do where the code is hosted
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"hpcsim {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
