# SPDX-License-Identifier: Apache-2.0
"""Quota limits in the API database.

:source: nova.objects.quotas
"""

import time
import weakref

from nova.db.api import models
from nova.db.main import api as main_db_api
from nova import exception
from oslo_db import exception as db_exc

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

QUOTAS = rows.table(models.Quota)
USER_QUOTAS = rows.table(models.ProjectUserQuota)
CLASSES = rows.table(models.QuotaClass)
_QUOTAS = "nova.objects.quotas:Quotas."
#: A check is over by then; later in a request limits are read again.
_CHECK_S = 1.0

# Context of a request -> {what was asked: (Rows, when they were read)}.
_checks = weakref.WeakKeyDictionary()


def ask(s, context, first, *others):
    """Return the Rows of a find, and read others along that come next.

    A check of quotas asks for the limits of a user, of the project and the
    default ones, twice: a round trip each, though they hardly ever change.
    Here the first question of a request is the only one. As it was asked
    within the request, what it brought is not older than the request.

    :param first: Find whose Rows are wanted.
    :param others: Finds that are likely to be asked for. Without them, it
        is read alone if it was not read along.
    """
    known = _checks.get(context, {})
    rows, read_at = known.get(_asked(s, first), (None, 0))
    now = time.monotonic()
    if rows is not None and now - read_at < _CHECK_S:
        return rows
    found = s.load(first, *others)
    if others:
        _checks[context] = {**known, **{
            _asked(s, one): (rows, now)
            for one, rows in zip((first, *others), found)}}
    return found[0]


def _asked(s, find):
    return s.database, find.table.name, tuple(sorted(find.equal.items()))


def forget():
    """Forget what checks have read: limits are about to change."""
    _checks.clear()


def limits(found, **result):
    """Return quota rows as Nova's dict of resource to limit."""
    for row in found:
        result[row.resource] = row.hard_limit
    return result


def not_found(project_id, user_id):
    """Return the error that a missing quota makes."""
    if user_id:
        return exception.ProjectUserQuotaNotFound(project_id=project_id,
                                                  user_id=user_id)
    return exception.ProjectQuotaNotFound(project_id=project_id)


def is_per_user(resource, user_id):
    """Return whether a limit belongs to a user within a project."""
    return user_id and (
        resource not in main_db_api.quota_get_per_project_resources())


@native.api_reader(_QUOTAS + "_get_from_db")
def _get_from_db(s, context, project_id, resource, user_id=None):
    equal = {"project_id": project_id, "resource": resource}
    if user_id:
        equal["user_id"] = user_id
    row = s.first(USER_QUOTAS if user_id else QUOTAS, **equal)
    if row is None:
        raise not_found(project_id, user_id)
    return row


@native.api_reader(_QUOTAS + "_get_all_from_db")
def _get_all_from_db(s, context, project_id):
    return s.all(USER_QUOTAS, project_id=project_id)


@native.api_reader(_QUOTAS + "_get_all_from_db_by_project")
def _get_all_from_db_by_project(s, context, project_id):
    return limits(
        ask(s, context, session.find(QUOTAS, project_id=project_id)),
        project_id=project_id)


@native.api_reader(_QUOTAS + "_get_all_from_db_by_project_and_user")
def _get_all_from_db_by_project_and_user(s, context, project_id, user_id):
    return limits(
        ask(s, context,
            session.find(USER_QUOTAS, project_id=project_id,
                         user_id=user_id),
            session.find(QUOTAS, project_id=project_id),
            session.find(CLASSES)),
        project_id=project_id, user_id=user_id)


@native.api_writer(_QUOTAS + "_destroy_all_in_db_by_project")
def _destroy_all_in_db_by_project(s, context, project_id):
    forget()
    found = s.load(session.find(QUOTAS, project_id=project_id),
                   session.find(USER_QUOTAS, project_id=project_id))
    if not sum(s.delete(some) for some in found):
        raise exception.ProjectQuotaNotFound(project_id=project_id)


@native.api_writer(_QUOTAS + "_destroy_all_in_db_by_project_and_user")
def _destroy_all_in_db_by_project_and_user(s, context, project_id, user_id):
    forget()
    if not s.delete(s.all(USER_QUOTAS, project_id=project_id,
                          user_id=user_id)):
        raise exception.ProjectUserQuotaNotFound(project_id=project_id,
                                                 user_id=user_id)


@native.api_reader(_QUOTAS + "_get_class_from_db")
def _get_class_from_db(s, context, class_name, resource):
    row = s.first(CLASSES, class_name=class_name, resource=resource)
    if row is None:
        raise exception.QuotaClassNotFound(class_name=class_name)
    return row


@native.api_reader(_QUOTAS + "_get_all_class_from_db_by_name")
def _get_all_class_from_db_by_name(s, context, class_name):
    # There is one class, or a few: to read them all, of which the process
    # remembers what they were, is faster than to look into the index.
    return limits([row for row in ask(s, context, session.find(CLASSES))
                   if row.class_name == class_name],
                  class_name=class_name)


@native.api_writer(_QUOTAS + "_create_limit_in_db")
def _create_limit_in_db(s, context, project_id, resource, limit,
                        user_id=None):
    forget()
    values = {"project_id": project_id, "resource": resource,
              "hard_limit": limit}
    if is_per_user(resource, user_id):
        row = s.insert(USER_QUOTAS, {**values, "user_id": user_id})
    else:
        row = s.insert(QUOTAS, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.QuotaExists(project_id=project_id,
                                    resource=resource)
    return row


@native.api_writer(_QUOTAS + "_update_limit_in_db")
def _update_limit_in_db(s, context, project_id, resource, limit,
                        user_id=None):
    forget()
    equal = {"project_id": project_id, "resource": resource}
    per_user = is_per_user(resource, user_id)
    if per_user:
        equal["user_id"] = user_id
    found = s.all(USER_QUOTAS if per_user else QUOTAS, **equal)
    if not s.update_all(found, {"hard_limit": limit}):
        raise not_found(project_id, user_id if per_user else None)


@native.api_writer(_QUOTAS + "_create_class_in_db")
def _create_class_in_db(s, context, class_name, resource, limit):
    forget()
    if s.count(CLASSES, class_name=class_name, resource=resource):
        raise exception.QuotaClassExists(class_name=class_name,
                                         resource=resource)
    return s.insert(CLASSES, {"class_name": class_name,
                              "resource": resource, "hard_limit": limit})


@native.api_writer(_QUOTAS + "_update_class_in_db")
def _update_class_in_db(s, context, class_name, resource, limit):
    forget()
    found = s.all(CLASSES, class_name=class_name, resource=resource)
    if not s.update_all(found, {"hard_limit": limit}):
        raise exception.QuotaClassNotFound(class_name=class_name)
