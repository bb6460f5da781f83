# SPDX-License-Identifier: Apache-2.0
"""The actions on a server and their events.

:source: nova.db.main.api, "action_*" and "actions_get"
"""

import datetime

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception

from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import pages
from nova_kvs.db import rows
from nova_kvs.db import session

ACTIONS = rows.table(models.InstanceAction)
EVENTS = rows.table(models.InstanceActionEvent)
_scope = session.scope
_NEWEST = ["created_at", "id"], ["desc", "desc"]


def _newest(found):
    if not found:
        return None
    return max(found, key=lambda row: (
        row.created_at or datetime.datetime.min, row.id))


def _by_request(s, context, instance_uuid, request_id):
    """Return a request's action, or None."""
    return _newest(s.all(ACTIONS, instance_uuid=instance_uuid,
                         request_id=request_id, **_scope(context)))


def _records(s, find, limit, after=None):
    """Return records of a find, the newest first."""
    records = pages.page(s, find, limit, after, *_NEWEST)
    if records is None:
        records = s.records(find)[0]
    matching.sort(records, *_NEWEST)
    return matching.limited(records, limit)


def _for_event(s, context, values):
    """Return (action, whether the event updates it).

    :raises nova.exception.InstanceActionNotFound:
    """
    action = _by_request(s, context, values["instance_uuid"],
                         values["request_id"])
    update = True
    if action is None and not context.project_id:
        # nova-compute started again and acts under a request of its own.
        action, = s.rows(ACTIONS, _records(s, session.find(
            ACTIONS, instance_uuid=values["instance_uuid"],
            **_scope(context)), 1)) or (None,)
        update = False
    if action is None:
        raise exception.InstanceActionNotFound(
            request_id=values["request_id"],
            instance_uuid=values["instance_uuid"])
    return action, update


@native.main_writer()
def action_start(s, context, values):
    """Start an action for an instance."""
    main_db_api.convert_objects_related_datetimes(
        values, "start_time", "updated_at")
    return s.insert(ACTIONS, values)


@native.main_writer()
def action_finish(s, context, values):
    """Finish an action for an instance."""
    main_db_api.convert_objects_related_datetimes(
        values, "start_time", "finish_time", "updated_at")
    if not ACTIONS.template.keys() >= values.keys():
        raise native.Fallback()
    found = s.all(ACTIONS, instance_uuid=values["instance_uuid"],
                  request_id=values["request_id"], **_scope(context))
    if len(found) != 1:
        raise exception.InstanceActionNotFound(
            request_id=values["request_id"],
            instance_uuid=values["instance_uuid"])
    s.update_all(found, values)
    return found[0]


@native.main_reader()
def actions_get(s, context, instance_uuid, limit=None, marker=None,
                filters=None):
    """Get all instance actions for the provided instance and filters."""
    if limit == 0:
        return []
    tests = list(matching.changes_tests(ACTIONS, filters))
    after = None
    if marker is not None:
        marked = _records(s, session.find(
            ACTIONS, instance_uuid=instance_uuid, request_id=marker,
            **_scope(context)), None)
        if not marked:
            raise exception.MarkerNotFound(marker=None)
        after = marked[0].values
        tests.append(matching.after_marker(after, *_NEWEST))
    return [ACTIONS.row(record) for record in _records(s, session.find(
        ACTIONS, lambda values: all([test(values) for test in tests]),
        instance_uuid=instance_uuid, **_scope(context)), limit, after)]


@native.main_reader()
def action_get_by_request_id(s, context, instance_uuid, request_id):
    """Get the action by request_id and given instance."""
    return _by_request(s, context, instance_uuid, request_id)


@native.main_writer()
def action_event_start(s, context, values):
    """Start an event on an instance action."""
    main_db_api.convert_objects_related_datetimes(values, "start_time")
    action, update = _for_event(s, context, values)
    values["action_id"] = action.id
    event = s.insert(EVENTS, values)
    if update:
        s.update(action, {"updated_at": values["start_time"]})
    return event


@native.main_writer()
def action_event_finish(s, context, values):
    """Finish an event on an instance action."""
    main_db_api.convert_objects_related_datetimes(
        values, "start_time", "finish_time")
    action, update = _for_event(s, context, values)
    event = s.first(EVENTS, action_id=action.id, event=values["event"],
                    **_scope(context))
    if event is None:
        raise exception.InstanceActionEventNotFound(
            action_id=action.id, event=values["event"])
    s.update(event, values)
    changes = {}
    if values["result"].lower() == "error":
        changes["message"] = "Error"
    if update:
        changes["updated_at"] = values["finish_time"]
    s.update(action, changes)
    return event


@native.main_reader()
def action_events_get(s, context, action_id):
    """Get the events by action id."""
    records = s.records(session.find(
        EVENTS, action_id=action_id, **_scope(context)))[0]
    matching.sort(records, *_NEWEST)
    return [EVENTS.row(record) for record in records]


@native.main_reader()
def action_event_get_by_id(s, context, action_id, event_id):
    """Get an event by its id and its action's."""
    return s.first(EVENTS, action_id=action_id, id=event_id,
                   **_scope(context))
