# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "ext"))

project = "nova-kvs"
copyright = "OpenStack contributors"
author = "OpenStack contributors"

# Most blocks are what is typed, or files, and not Python.
highlight_language = "none"
extensions = [
    "commands",
    "openstackdocstheme",
    "oslo_config.sphinxext",
]

exclude_patterns = []
html_theme = "openstackdocs"
html_static_path = ["_static"]
# The theme would ask git for a repository on OpenStack's servers.
openstackdocs_repo_name = ""
openstackdocs_use_storyboard = False
openstackdocs_auto_name = False

man_pages = [
    ("cli/index", "nova-kvs", "work with Nova's state in Redis", [author], 1),
    ("cli/nova-kvs-status", "nova-kvs-status",
     "tell whether Nova's state in Redis is fit for an upgrade", [author], 1),
]
