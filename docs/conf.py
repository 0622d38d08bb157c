"""How Sphinx builds these pages: `make docs` writes them to docs/_build/html."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import nashlens  # noqa: E402

project = "nashlens"
author = "the nashlens contributors"
release = nashlens.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "nashlens"
html_static_path: list[str] = []
nitpicky = False

# Anchors of headings, as GitHub makes them, so that links work in both places.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# Prompts and comments are not copied.
copybutton_prompt_text = r">>> |\.\.\. ?|\$ "
copybutton_prompt_is_regexp = True
