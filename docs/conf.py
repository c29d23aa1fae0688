"""The documentation site: the pages of this folder as they are, and the interface out of the docstrings.

``make docs`` builds it to build/docs and takes every warning for an error; ``make docs-links`` asks the other sites.
"""

import re

from sphinx.application import Sphinx

# Loaded before Sphinx reads their docstrings: it would load them with TYPE_CHECKING true, which pydantic cannot bear.
import hpcsim.env
import hpcsim.plugin
import hpcsim.replay
import hpcsim.testing

project = "hpcsim"
author = "the authors of hpcsim"
version = release = hpcsim.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["evidence", "images", "tournaments"]

myst_heading_anchors = 4  # so that plugins.md#twins leads to a heading here as it does where the code is hosted

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

highlight_language = "text"  # of blocks that name none: commands and their output

html_theme = "furo"
html_title = f"hpcsim {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}


def _as_lists(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Underlined sections as lists: ``name : text`` and the lines that are indented below it are one point."""
    within = False
    for i, line in enumerate(lines):
        if line and set("".join(lines[i + 1 : i + 2])) == {"-"}:
            lines[i : i + 2], within = [f"**{line}**", ""], True
        elif within and line:
            name, colon, text = line.partition(" : ")
            lines[i] = f"- **{name}**: {text}" if colon and name[0] != " " else f"  {line.strip()}"
        elif i and lines[i - 1][:2] in ("- ", "  "):
            within = False


def _titled(app: Sphinx, name: str, source: list[str]) -> None:
    """Have links that are named after the file of a page, for readers of the files, named by its title on the site."""
    source[0] = re.sub(r"\[([\w-]+\.md)\]\((\1(?:#[\w-]+)?)\)", r"[](\2)", source[0])


def _skipped(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    """Leave out fields of named tuples, of which Python tells the number only, and tests: testing.md has these."""
    nothing = (getattr(thing, "__doc__", None) or "").startswith("Alias for field number")
    return True if nothing or name.startswith("test_") else None


def setup(app: Sphinx) -> None:
    """Have Sphinx ask the three functions above."""
    app.connect("source-read", _titled)
    app.connect("autodoc-process-docstring", _as_lists)
    app.connect("autodoc-skip-member", _skipped)
