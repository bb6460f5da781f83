# SPDX-License-Identifier: Apache-2.0
"""Quotas in a cell's database, where they were before the API database.

:source: nova.db.main.api, "quota_*"
"""

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs.db import quota_limits
from nova_kvs.db import rows
from nova_kvs.db import session

QUOTAS = rows.table(models.Quota)
USER_QUOTAS = rows.table(models.ProjectUserQuota)
CLASSES = rows.table(models.QuotaClass)
_DEFAULT = getattr(main_db_api, private.DEFAULT_QUOTA_NAME)
_scope = session.scope


@native.main_reader(require_context=True)
def quota_get(s, context, project_id, resource, user_id=None):
    """Retrieve a quota or raise if it does not exist."""
    equal = {"project_id": project_id, "resource": resource}
    if user_id:
        equal["user_id"] = user_id
    # Of deleted ones and the live one databases return the live one: they
    # find them in the unique key, which ends with "deleted".
    row = min(s.all(USER_QUOTAS if user_id else QUOTAS,
                    **equal, **_scope(context)),
              key=lambda found: found.deleted, default=None)
    if row is None:
        raise quota_limits.not_found(project_id, user_id)
    return row


@native.main_reader(require_context=True)
def quota_get_all_by_project_and_user(s, context, project_id, user_id):
    """Retrieve all quotas associated with a given project and user."""
    return quota_limits.limits(
        quota_limits.ask(
            s, context,
            session.find(USER_QUOTAS, project_id=project_id,
                         user_id=user_id, **_scope(context)),
            session.find(QUOTAS, project_id=project_id, deleted=0)),
        project_id=project_id, user_id=user_id)


@native.main_reader(require_context=True)
def quota_get_all_by_project(s, context, project_id):
    """Retrieve all quotas associated with a given project."""
    return quota_limits.limits(
        quota_limits.ask(s, context, session.find(
            QUOTAS, project_id=project_id, deleted=0)),
        project_id=project_id)


@native.main_reader(require_context=True)
def quota_get_all(s, context, project_id):
    """Retrieve all user quotas associated with a given project."""
    return s.all(USER_QUOTAS, project_id=project_id, **_scope(context))


@native.main_writer()
def quota_update(s, context, project_id, resource, limit, user_id=None):
    """Update a quota or raise if it does not exist."""
    quota_limits.forget()
    equal = {"project_id": project_id, "resource": resource}
    per_user = quota_limits.is_per_user(resource, user_id)
    if per_user:
        equal["user_id"] = user_id
    found = s.all(USER_QUOTAS if per_user else QUOTAS,
                  **equal, **_scope(context))
    if not s.update_all(found, {"hard_limit": limit}):
        raise quota_limits.not_found(
            project_id, user_id if per_user else None)


@native.main_reader(require_context=True)
def quota_class_get(s, context, class_name, resource):
    """Retrieve a quota class or raise if it does not exist."""
    row = s.first(CLASSES, class_name=class_name, resource=resource,
                  deleted=0)
    if row is None:
        raise exception.QuotaClassNotFound(class_name=class_name)
    return row


def _class_limits(s, class_name):
    return quota_limits.limits(
        s.all(CLASSES, class_name=class_name, deleted=0),
        class_name=class_name)


@native.main_reader()
def quota_class_get_default(s, context):
    """Retrieve all default quotas."""
    return _class_limits(s, _DEFAULT)


@native.main_reader(require_context=True)
def quota_class_get_all_by_name(s, context, class_name):
    """Retrieve all quotas associated with a given quota class."""
    return _class_limits(s, class_name)


@native.main_writer()
def quota_class_update(s, context, class_name, resource, limit):
    """Update a quota class or raise if it does not exist."""
    quota_limits.forget()
    found = s.all(CLASSES, class_name=class_name, resource=resource,
                  deleted=0)
    if not s.update_all(found, {"hard_limit": limit}):
        raise exception.QuotaClassNotFound(class_name=class_name)


@native.main_writer()
def quota_destroy_all_by_project_and_user(s, context, project_id, user_id):
    """Destroy all quotas associated with a given project and user."""
    quota_limits.forget()
    s.soft_delete(s.all(USER_QUOTAS, project_id=project_id,
                        user_id=user_id, deleted=0))


@native.main_writer()
def quota_destroy_all_by_project(s, context, project_id):
    """Destroy all quotas associated with a given project."""
    quota_limits.forget()
    for found in s.load(
            session.find(QUOTAS, project_id=project_id, deleted=0),
            session.find(USER_QUOTAS, project_id=project_id, deleted=0)):
        s.soft_delete(found)
