# SPDX-License-Identifier: Apache-2.0
"""Tells which revision of Nova's or Placement's schema a database has."""

import ast
import importlib.util
import pathlib
import typing


class Kind(typing.NamedTuple):
    """A schema that migrations make."""

    text: str
    #: A table that only this one has.
    table: str
    package: str
    #: Directory of the migrations in the package.
    migrations: str
    command: str


#: The API database also has tables of old Placement releases.
KINDS = (
    Kind("Nova API database", "cell_mappings", "nova",
         "db/api/migrations", "nova-manage api_db sync"),
    Kind("Nova cell database", "instances", "nova",
         "db/main/migrations", "nova-manage db sync"),
    Kind("Placement database", "resource_providers", "placement",
         "db/sqlalchemy/alembic", "placement-manage db sync"),
)


def kind_of(tables):
    """Return the Kind of a database, or None.

    :param tables: names of its tables.
    """
    return next((kind for kind in KINDS if kind.table in tables), None)


def head(kind):
    """Return the revision that the installed package makes.

    The migrations are read, not imported: Nova's load all of Nova.

    :returns: None if the package is not installed.
    """
    found = importlib.util.find_spec(kind.package)
    if found is None or not found.submodule_search_locations:
        return None
    versions = pathlib.Path(
        found.submodule_search_locations[0], kind.migrations, "versions")
    revisions = {}
    for path in versions.glob("*.py"):
        values = _assignments(path)
        if "revision" in values:
            revisions[values["revision"]] = values.get("down_revision")
    heads = set(revisions) - set(revisions.values())
    return heads.pop() if len(heads) == 1 else None


def _assignments(path):
    """Return the constants that a module assigns to names."""
    values = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(
                node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    values[target.id] = node.value.value
    return values
