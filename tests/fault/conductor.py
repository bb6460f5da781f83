# SPDX-License-Identifier: Apache-2.0
"""A process that uses a database through Nova, as nova-conductor does."""

import time

from nova import conf
from nova import context as nova_context
from nova.db.main import api
from nova.db.main import models
from oslo_db import exception as db_exception
from osprofiler import opts as profiler_opts
import sqlalchemy as sa

from tests.fault import fleet

BEAT_S = 0.1


def create(url):
    """Make the tables of a cell's database."""
    engine = sa.create_engine(url)
    models.BASE.metadata.create_all(engine)
    engine.dispose()


def beat(number, ready, stop, url, worked, failed):
    """Report a service's state again and again, through outages.

    :param worked: semaphore that is released after each report.
    :param failed: semaphore that is released after each DBConnectionError.
    :returns: ``(beats, failures)``: the times of those that worked, and
        ``(begin, end)`` of those that raised DBConnectionError; by the
        monotonic clock in s.
    """
    conf.CONF([], project="nova", default_config_files=[])
    conf.CONF.set_override("connection", url, "database")
    # As Nova's services do where osprofiler is installed.
    profiler_opts.set_defaults(conf.CONF)
    api.configure(conf.CONF)
    context = nova_context.get_admin_context()
    service = api.service_create(context, {
        "host": "host%d" % number, "binary": "nova-conductor",
        "topic": "conductor", "report_count": 0})
    beats, failures = [], []
    ready.wait(fleet.PATIENCE_S)
    while not stop.is_set():
        begin = time.monotonic()
        try:
            found = api.service_get(context, service["id"])
            api.service_update(context, service["id"], {
                "report_count": found["report_count"] + 1})
            beats.append(time.monotonic())
            worked.release()
        except db_exception.DBConnectionError:
            failures.append((begin, time.monotonic()))
            failed.release()
        time.sleep(BEAT_S)
    return beats, failures
