"""Sphinx configuration: `make docs`."""

project = "Muniment"
author = "The Muniment authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Muniment"
myst_heading_anchors = 3
# Pages also link into the repository, which is not part of the site.
suppress_warnings = ["myst.xref_missing"]
