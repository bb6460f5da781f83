# SPDX-License-Identifier: Apache-2.0
"""Small resources: EC2 ids, S3 images, task log, volume usage.

:source: nova.db.main.api, "ec2_*", "s3_image_*", "task_log_*", "vol_*"
"""

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_log import log as logging
from oslo_utils import timeutils

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

LOG = logging.getLogger(__name__)
ID_MAPPINGS = rows.table(models.InstanceIdMapping)
IMAGES = rows.table(models.S3Image)
TASKS = rows.table(models.TaskLog)
USAGES = rows.table(models.VolumeUsage)


# EC2 ids --------------------------------------------------------------------

@native.main_writer(require_context=True)
def ec2_instance_create(s, context, instance_uuid, id=None):
    """Create the EC2 ID to instance UUID mapping on demand."""
    return s.insert(ID_MAPPINGS, {"uuid": instance_uuid, "id": id})


@native.main_reader(require_context=True)
def ec2_instance_get_by_uuid(s, context, instance_uuid):
    """Get the EC2 ID of an instance."""
    row = s.first(ID_MAPPINGS, uuid=instance_uuid)
    if row is None:
        raise exception.InstanceNotFound(instance_id=instance_uuid)
    return row


@native.main_reader(require_context=True)
def ec2_instance_get_by_id(s, context, instance_id):
    """Get the mapping of an EC2 ID."""
    row = s.first(ID_MAPPINGS, id=instance_id)
    if row is None:
        raise exception.InstanceNotFound(instance_id=instance_id)
    return row


# S3 images ------------------------------------------------------------------

@native.main_reader()
def s3_image_get(s, context, image_id):
    """Find local s3 image represented by the provided id."""
    row = s.first(IMAGES, id=image_id)
    if row is None:
        raise exception.ImageNotFound(image_id=image_id)
    return row


@native.main_reader()
def s3_image_get_by_uuid(s, context, image_uuid):
    """Find local s3 image represented by the provided uuid."""
    row = s.first(IMAGES, uuid=image_uuid)
    if row is None:
        raise exception.ImageNotFound(image_id=image_uuid)
    return row


@native.main_writer()
def s3_image_create(s, context, image_uuid):
    """Create local s3 image represented by provided uuid."""
    return s.insert(IMAGES, {"uuid": image_uuid})


# Task log -------------------------------------------------------------------

def _tasks(s, context, task_name, period_beginning, period_ending,
           host=None, state=None):
    equal = main_db_api.convert_objects_related_datetimes(
        {"period_beginning": period_beginning,
         "period_ending": period_ending},
        "period_beginning", "period_ending")
    if host is not None:
        equal["host"] = host
    if state is not None:
        equal["state"] = state
    return s.all(TASKS, task_name=task_name, **equal,
                 **session.scope(context))


@native.main_reader()
def task_log_get(s, context, task_name, period_beginning, period_ending,
                 host, state=None):
    """Get a task of a host and period."""
    found = _tasks(s, context, task_name, period_beginning, period_ending,
                   host, state)
    return found[0] if found else None


@native.main_reader()
def task_log_get_all(s, context, task_name, period_beginning, period_ending,
                     host=None, state=None):
    """Get the tasks of a period."""
    return _tasks(s, context, task_name, period_beginning, period_ending,
                  host, state)


@native.main_writer()
def task_log_begin_task(
    s, context, task_name, period_beginning, period_ending, host,
    task_items=None, message=None,
):
    """Mark a task as started for a given host/time period."""
    values = main_db_api.convert_objects_related_datetimes(
        {"period_beginning": period_beginning,
         "period_ending": period_ending},
        "period_beginning", "period_ending")
    values.update(task_name=task_name, host=host, state="RUNNING")
    if message:
        values["message"] = message
    if task_items:
        values["task_items"] = task_items
    s.insert(TASKS, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.TaskAlreadyRunning(task_name=task_name, host=host)


@native.main_writer()
def task_log_end_task(
    s, context, task_name, period_beginning, period_ending, host, errors,
    message=None,
):
    """Mark a task as complete for a given host/time period."""
    values = {"state": "DONE", "errors": errors}
    if message:
        values["message"] = message
    found = _tasks(s, context, task_name, period_beginning, period_ending,
                   host)
    if not s.update_all(found, values):
        raise exception.TaskNotRunning(task_name=task_name, host=host)


# Volume usage ---------------------------------------------------------------

@native.main_reader(require_context=True)
def vol_get_usage_by_time(s, context, begin):
    """Return volumes usage that have been updated after a specified time."""
    bound = USAGES.bind_processors["tot_last_refreshed"](begin)

    def test(stored):
        return any(stored.get(name) is None or stored[name] > bound
                   for name in ("tot_last_refreshed",
                                "curr_last_refreshed"))

    return s.all(USAGES, test)


_COUNTERS = ("reads", "read_bytes", "writes", "write_bytes")


@native.main_writer(require_context=True)
def vol_usage_update(
    s, context, id, rd_req, rd_bytes, wr_req, wr_bytes,
    instance_id, project_id, user_id, availability_zone,
    update_totals=False,
):
    """Update cached volume usage for a volume, or create it."""
    refreshed = timeutils.utcnow()
    now = dict(zip(_COUNTERS, (rd_req, rd_bytes, wr_req, wr_bytes)))
    values = {"instance_uuid": instance_id, "project_id": project_id,
              "user_id": user_id, "availability_zone": availability_zone}
    kind = "tot" if update_totals else "curr"
    values[kind + "_last_refreshed"] = refreshed
    usage = s.first(USAGES, volume_id=id)
    if usage is None:
        values.update({"%s_%s" % (kind, name): value
                       for name, value in now.items()})
        return s.insert(USAGES, {"volume_id": id, **values})
    current = {name: usage["curr_" + name] for name in _COUNTERS}
    restarted = any(now[name] < current[name] for name in _COUNTERS)
    if restarted:
        LOG.info("Volume(%s) has lower stats then what is in the database. "
                 "Instance must have been rebooted or crashed. Updating "
                 "totals.", id)
    for name in _COUNTERS:
        total = usage["tot_" + name]
        if update_totals:
            total += now[name]
            values["curr_" + name] = 0
        else:
            values["curr_" + name] = now[name]
        if restarted:
            total += current[name]
        if update_totals or restarted:
            values["tot_" + name] = total
    s.update(usage, values)
    return usage
