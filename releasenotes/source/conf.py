# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration of the release notes."""

project = "nova-kvs Release Notes"
copyright = "OpenStack contributors"

extensions = ["openstackdocstheme", "reno.sphinxext"]
html_theme = "openstackdocs"
openstackdocs_repo_name = ""
openstackdocs_use_storyboard = False
openstackdocs_auto_name = False
