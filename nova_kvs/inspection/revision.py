# SPDX-License-Identifier: Apache-2.0
"""Tells which service's schema a database has, and in which revision."""

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
    Kind("Cinder database", "volume_attachment", "cinder",
         "db/migrations", "cinder-manage db sync"),
    Kind("Glance database", "image_locations", "glance",
         "db/sqlalchemy/alembic_migrations", "glance-manage db_sync"),
    Kind("Keystone database", "nonlocal_user", "keystone",
         "common/sql/migrations", "keystone-manage db_sync"),
    Kind("Neutron database", "ml2_port_bindings", "neutron",
         "db/migration/alembic_migrations",
         "neutron-db-manage upgrade heads"),
)


def kind_of(tables):
    """Return the Kind of a database, or None.

    :param tables: names of its tables.
    """
    return next((kind for kind in KINDS if kind.table in tables), None)


def text_of(versions):
    """Return a text of what alembic's table holds, None if it is empty.

    Keystone and Neutron have a row for each of two branches.

    :param versions: iterable of revisions.
    """
    return " ".join(sorted(version for version in versions if version)) or (
        None)


def head(kind):
    """Return the revision that the installed package makes.

    The migrations are read, not imported: Nova's load all of Nova.

    :returns: as ``text_of``; None if the package is not installed.
    """
    found = importlib.util.find_spec(kind.package)
    if found is None or not found.submodule_search_locations:
        return None
    versions = pathlib.Path(
        found.submodule_search_locations[0], kind.migrations, "versions")
    made, followed = set(), set()
    for path in versions.rglob("*.py"):
        values = _assignments(path)
        if "revision" in values:
            made.add(values["revision"])
            # The table names no revision that another one depends on.
            for name in ("down_revision", "depends_on"):
                earlier = values.get(name)
                followed.update(
                    earlier if isinstance(earlier, tuple) else (earlier,))
    return text_of(made - followed)


def _assignments(path):
    """Return the constants that a module assigns to names."""
    values = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            continue
        for target in node.targets:
            if isinstance(target, ast.Name):
                values[target.id] = value
    return values
