# SPDX-License-Identifier: Apache-2.0
"""Flavors, their extra specs and the projects that may use them.

:source: nova.objects.flavor
"""

from nova import conf
from nova.db.api import models
from nova.db import utils as db_utils
from nova import exception
from oslo_db import exception as db_exc

from nova_kvs import cache
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

CONF = conf.CONF
FLAVORS = rows.table(models.Flavors)
SPECS = rows.table(models.FlavorExtraSpecs)
PROJECTS = rows.table(models.FlavorProjects)
_MODULE = "nova.objects.flavor:"
_ONE = _MODULE + "Flavor."

# Flavor's id by (column, value), as last seen; only used to prefetch.
_ids = cache.Cache(cache.PREFETCHED)


def _with_specs(values, specs):
    """Return a flavor as Nova's _dict_with_extra_specs does.

    :param values: its own dict of columns.
    :param specs: Records.
    """
    values["extra_specs"] = {
        record.values.get("key"): record.values.get("value")
        for record in specs}
    return values


def _get(s, context, **equal):
    """Return one flavor as a dict, or None: one batch if its id is known."""
    prefetch_key, = equal.items()
    expected = equal.get("id") or _ids.get(prefetch_key)
    batch = [session.Find(FLAVORS, equal)]
    if expected is not None:
        batch.extend(_related(expected))
    flavors, *related = s.records(*batch)
    if not flavors:
        return None
    values = FLAVORS.values(flavors[0])
    if values["id"] != expected:
        related = _learn(s, prefetch_key, values["id"])
    specs, projects = related
    if not context.is_admin and not values["is_public"] and not any(
            record.values.get("project_id") == context.project_id
            for record in projects):
        return None
    return _with_specs(values, specs)


def _learn(s, prefetch_key, flavor_id):
    """Return the records of ``_related``, and remember a flavor's id.

    Flavors are few and asked for all the time: with the first one a process
    learns the ids of all.
    """
    batch = _related(flavor_id)
    if not _ids:
        batch += (session.find(FLAVORS),)
    specs, projects, *others = s.records(*batch)
    for flavors in others:
        for record in flavors[:cache.PREFETCHED // 4]:
            for name in ("flavorid", "name"):
                _ids[name, record.values.get(name)] = record.values["id"]
    _ids.trim()
    _ids[prefetch_key] = flavor_id
    return specs, projects


def _related(flavor_id):
    return (session.find(SPECS, flavor_id=flavor_id),
            session.find(PROJECTS, flavor_id=flavor_id))


@native.api_reader(_ONE + "_flavor_get_from_db", require_context=True)
def _flavor_get_from_db(s, context, id):
    found = _get(s, context, id=id)
    if found is None:
        raise exception.FlavorNotFound(flavor_id=id)
    return found


@native.api_reader(_ONE + "_flavor_get_by_name_from_db",
                   require_context=True)
def _flavor_get_by_name_from_db(s, context, name):
    found = _get(s, context, name=name)
    if found is None:
        raise exception.FlavorNotFoundByName(flavor_name=name)
    return found


@native.api_reader(_ONE + "_flavor_get_by_flavor_id_from_db",
                   require_context=True)
def _flavor_get_by_flavor_id_from_db(s, context, flavor_id):
    found = _get(s, context, flavorid=flavor_id)
    if found is None:
        raise exception.FlavorNotFound(flavor_id=flavor_id)
    return found


@native.api_reader(_MODULE + "_get_projects_from_db")
def _get_projects_from_db(s, context, flavorid):
    flavor = s.first(FLAVORS, flavorid=flavorid)
    if flavor is None:
        raise exception.FlavorNotFound(flavor_id=flavorid)
    # SQL answers from the unique key, so in its order. The order of the ids is
    # that of a set, in which Nova adds them.
    return sorted(
        row.project_id for row in s.all(PROJECTS, flavor_id=flavor.id))


@native.api_writer(_MODULE + "_flavor_add_project")
def _flavor_add_project(s, context, flavor_id, project_id):
    s.insert(PROJECTS, {"flavor_id": flavor_id, "project_id": project_id})
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.FlavorAccessExists(flavor_id=flavor_id,
                                           project_id=project_id)


@native.api_writer(_MODULE + "_flavor_del_project")
def _flavor_del_project(s, context, flavor_id, project_id):
    if not s.delete(s.all(PROJECTS, flavor_id=flavor_id,
                          project_id=project_id)):
        raise exception.FlavorAccessNotFound(flavor_id=flavor_id,
                                             project_id=project_id)


@native.api_writer(_MODULE + "_flavor_extra_specs_add")
def _flavor_extra_specs_add(s, context, flavor_id, specs, max_retries=10):
    found = s.all(SPECS, flavor_id=flavor_id,
                  key=session.In(tuple(specs)))
    for row in found:
        s.update(row, {"value": specs[row.key]})
    known = {row.key for row in found}
    for key, value in specs.items():
        if key not in known:
            s.insert(SPECS, {"key": key, "value": value,
                             "flavor_id": flavor_id})
    s.commit_what_was_missing()
    return specs


@native.api_writer(_MODULE + "_flavor_extra_specs_del")
def _flavor_extra_specs_del(s, context, flavor_id, key):
    if not s.delete(s.all(SPECS, flavor_id=flavor_id, key=key)):
        raise exception.FlavorExtraSpecsNotFound(
            extra_specs_key=key, flavor_id=flavor_id)


@native.api_writer(_MODULE + "_flavor_create")
def _flavor_create(s, context, values):
    columns = {name: value for name, value in values.items()
               if name not in ("extra_specs", "projects")}
    flavor = s.insert(FLAVORS, columns)
    specs = [s.insert(SPECS, {"key": key, "value": value,
                              "flavor_id": flavor.id})
             for key, value in (values.get("extra_specs") or {}).items()]
    projects = [s.insert(PROJECTS, {"project_id": project,
                                    "flavor_id": flavor.id})
                for project in set(values.get("projects") or ())]
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        # Of two keys that are taken, say the one that SQLite says.
        if session.Session(s.database).count(FLAVORS, name=flavor.name):
            raise exception.FlavorExists(name=values["name"])
        raise exception.FlavorIdExists(flavor_id=values["flavorid"])
    result = dict(vars(flavor))
    result["extra_specs"] = {row.key: row.value for row in specs}
    result["projects"] = projects
    return result


@native.api_writer(_MODULE + "_flavor_destroy")
def _flavor_destroy(s, context, flavor_id=None, flavorid=None):
    equal = {"id": flavor_id} if flavor_id is not None else {
        "flavorid": flavorid}
    flavor = s.first(FLAVORS, **equal)
    if flavor is None:
        raise exception.FlavorNotFound(flavor_id=(flavor_id or flavorid))
    for found in s.load(*_related(flavor.id)):
        s.delete(found)
    s.delete([flavor])
    # The ORM looks for the rows that hang off what it deletes.
    vars(flavor).update(extra_specs=[], projects=[])
    return flavor


def _filter(context, filters):
    """Return (equalities, tests) of a list of flavors.

    Tests take the stored values and the set of projects with access.
    """
    equal = {}
    tests = []
    if not context.is_admin:
        tests.append(lambda stored, projects: stored.get("is_public") == 1
                     or context.project_id in projects)
    for name, column in (("min_memory_mb", "memory_mb"),
                         ("min_root_gb", "root_gb")):
        if name in filters:
            tests.append(
                lambda stored, _projects, column=column, least=filters[name]:
                stored.get(column) is not None and stored[column] >= least)
    if "disabled" in filters:
        equal["disabled"] = filters["disabled"]
    # Nova filters by name since it shares this function, in 33.
    if "name" in filters and hasattr(db_utils, "get_regexp_ops"):
        safe, operator = matching.regexp_ops(CONF.database.connection)
        makers = {"LIKE": matching.like, "REGEXP": matching.matches}
        if operator not in makers:
            raise native.Fallback()
        named = makers[operator](safe(filters["name"]))
        tests.append(lambda stored, _projects: named(stored.get("name")))
    public = filters.get("is_public")
    if public is not None:
        if public and context.project_id is not None:
            tests.append(lambda stored, projects: stored.get(
                "is_public") == 1 or context.project_id in projects)
        else:
            equal["is_public"] = public
    return equal, tests


@native.api_reader(_MODULE + "_flavor_get_all_from_db")
def _flavor_get_all_from_db(s, context, inactive, filters, sort_key,
                            sort_dir, limit, marker):
    filters = filters or {}
    if not all(isinstance(filters.get(name, 0), int)
               for name in ("min_memory_mb", "min_root_gb")) or (
                   sort_dir not in ("asc", "desc")):
        raise native.Fallback()
    if sort_key not in FLAVORS.template:
        raise native.Fallback()
    equal, tests = _filter(context, filters)
    all_flavors, specs, projects = s.records(
        session.find(FLAVORS), session.find(SPECS), session.find(PROJECTS))
    by_flavor = {}
    for record in projects:
        by_flavor.setdefault(record.values["flavor_id"], set()).add(
            record.values["project_id"])
    bound = s.bind_equal(session.Find(FLAVORS, equal))
    records = session.matching(all_flavors, bound, None)
    for test in tests:
        records = [
            record for record in records
            if test(record.values, by_flavor.get(record.values["id"], ()))]
    keys, directions = [sort_key, "id"], [sort_dir, sort_dir]
    if marker is not None:
        marked = [record for record in all_flavors
                  if record.values["flavorid"] == marker
                  and (context.is_admin or record.values.get("is_public")
                       or context.project_id in by_flavor.get(
                           record.values["id"], ()))]
        if not marked:
            raise exception.MarkerNotFound(marker=marker)
        after = matching.after_marker(marked[0].values, keys, directions)
        records = [record for record in records if after(record.values)]
    matching.sort(records, keys, directions)
    specs_of = {}
    for record in specs:
        specs_of.setdefault(record.values["flavor_id"], []).append(record)
    return [_with_specs(FLAVORS.values(record),
                        specs_of.get(record.values["id"], ()))
            for record in matching.limited(records, limit)]
