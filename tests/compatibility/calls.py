# SPDX-License-Identifier: Apache-2.0
"""Runs a few calls of Nova's in each case, each in a child of its own.

``python -m tests.compatibility.calls [CASE...]`` prints one JSON document a
line. Forks, so that Nova is imported once.
"""

import json
import logging
import os
import sys
import traceback

UUID = "00000001-0000-4000-8000-000000000000"


class _Log(logging.Handler):
    """Keeps the warnings of nova-kvs."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        if record.name.startswith("nova_kvs."):
            self.lines.append(record.getMessage())


def schemas():
    """Return name -> statements that make a database's tables."""
    from nova.db.api import models as api_models
    from nova.db.main import models as main_models
    import sqlalchemy
    found = {}
    for name, base in (("main", main_models.BASE), ("api", api_models.BASE)):
        engine = sqlalchemy.create_engine("sqlite://")
        base.metadata.create_all(engine)
        with engine.connect() as connection:
            found[name] = connection.execute(sqlalchemy.text(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
            )).scalars().all()
    return found


def call(schemas):
    """Ask a cell's and the API database a few things; return the answers."""
    from nova import context as nova_context
    from nova.db.api import api as api_db_api
    from nova.db.main import api as main_db_api
    from nova import objects
    from nova.objects import instance_group

    from nova_kvs.record import database
    objects.register_all()
    for manager, name in ((main_db_api.context_manager, "main"),
                          (api_db_api.context_manager, "api")):
        url = "kvs+memory:///" + name
        transaction = database.open_database(url).begin()
        transaction.set_schema(schemas[name])
        transaction.commit()
        manager.configure(connection=url)
        manager.writer.get_engine()
    context = nova_context.RequestContext("u1", "p1", is_admin=True)
    main_db_api.service_create(context, {
        "host": "h1", "binary": "nova-compute", "topic": "compute",
        "report_count": 0})
    main_db_api.instance_create(context, {
        "uuid": UUID, "project_id": "p1", "user_id": "u1", "host": "h1",
        "metadata": {"a": "b"}, "display_name": "web1"})
    main_db_api.instance_update(context, UUID, {
        "vm_state": "active", "expected_task_state": None})
    main_db_api.block_device_mapping_create(context, {
        "instance_uuid": UUID, "source_type": "image", "device_name": "vda",
        "destination_type": "local"}, legacy=False)
    main_db_api.quota_create(context, "p1", "cores", 5)
    objects.InstanceMapping(
        context, instance_uuid=UUID, project_id="p1", user_id="u1").create()
    group = instance_group.InstanceGroup
    group._create_in_db(
        context, {"uuid": UUID, "project_id": "p1", "user_id": "u1",
                  "name": "g"}, members=[UUID], policy="affinity", rules={})
    row = main_db_api.instance_get_by_uuid(context, UUID)
    listed = main_db_api.instance_get_all_by_filters_sort(
        context, {"display_name": "w.b"}, limit=10,
        sort_keys=["created_at"], sort_dirs=["desc"])
    found = [
        row.vm_state, [one["uuid"] for one in listed],
        [one.host for one in main_db_api.service_get_all(context)],
        [one.device_name for one in
         main_db_api.block_device_mapping_get_all_by_instance(context, UUID)],
        main_db_api.quota_get(context, "p1", "cores").hard_limit,
        objects.InstanceMapping.get_by_instance_uuid(
            context, UUID).project_id,
        objects.InstanceGroup.get_by_uuid(context, UUID).members,
        main_db_api.instance_metadata_get(context, UUID),
        list(objects.ComputeNodeList.get_all_by_uuids(context, [UUID])),
    ]
    group._destroy_in_db(context, UUID)
    main_db_api.instance_destroy(context, UUID)
    return [*found, len(main_db_api.instance_get_all(context))]


ANSWERS = ["active", [UUID], ["h1"], ["vda"], 5, "p1", [UUID], {"a": "b"}, [],
           0]


def _run(case, schemas):
    from tests.compatibility import cases
    log = _Log()
    logging.getLogger().addHandler(log)
    try:
        if case:
            cases.apply(case)
        answers = call(schemas)
        from nova_kvs.db import native
        replaced = sum(hasattr(function, "nova_original")
                       for function in native.REGISTRY.values())
        return {"case": case, "answers": answers, "warnings": log.lines,
                "native": replaced}
    except BaseException:
        return {"case": case, "error": traceback.format_exc(),
                "warnings": log.lines}


def main(chosen):
    """Run the cases, one after the other."""
    import nova.conf
    from nova.db.api import api  # noqa: F401
    from nova.db.main import api as main_api  # noqa: F401
    import nova.objects
    import sqlalchemy.orm

    from nova_kvs.store.redis import memory  # noqa: F401
    from tests.compatibility import cases
    nova.objects.register_all()
    nova.conf.CONF([], project="nova", default_config_files=[])
    nova.conf.CONF.set_override(
        "connection", "kvs+memory:///main", "database")
    sqlalchemy.orm.configure_mappers()
    made = schemas()
    for case in chosen or ["", *cases.names()]:
        child = os.fork()
        if not child:
            print(json.dumps(_run(case, made)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
