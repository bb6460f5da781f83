# SPDX-License-Identifier: Apache-2.0
"""A cloud with a history: actions, deleted servers, shadow rows, few tokens.
"""

import datetime
import uuid

from nova.db.api import models as api_models
from nova.db.main import models as main_models

from benchmarks import cloud

PROJECTS = 200
HOSTS = 1000
ACTIONS = 10
#: One server in so many is deleted.
DELETED_SHARE = 20
#: One in so many has been archived: it has only shadow rows.
ARCHIVED_SHARE = 50
FEW = 20
START = datetime.datetime(2026, 1, 1)
#: Days in which the servers were made, one after the other.
DAYS = 30
#: After all servers were saved last.
LATER = datetime.datetime(2026, 6, 1)


class Cloud(cloud.Cloud):
    """Servers of 200 projects on 1,000 hosts."""

    def __init__(self, servers):
        super().__init__(servers)
        self.hosts = min(HOSTS, max(1, servers // 2))
        self.projects = PROJECTS

    def created(self, number):
        """Return the moment at which a server was made and saved."""
        return START + datetime.timedelta(
            seconds=DAYS * 86400 * number // self.servers)

    @staticmethod
    def is_deleted(number):
        """Tell whether a server is deleted."""
        return number % DELETED_SHARE == DELETED_SHARE - 1

    def live(self, number):
        """Return the number of a server near by that is not deleted."""
        return number - 1 if self.is_deleted(number) else number

    def shared_rows(self):
        """Return what belongs to no server: [(model, rows)]."""
        return [*super().shared_rows(), (main_models.TaskLog, [{
            "id": number + 1, "created_at": START, "updated_at": START,
            "task_name": "instance_usage_audit", "state": "DONE",
            "host": self.host(number), "message": "m",
            "period_beginning": START + datetime.timedelta(hours=number),
            "period_ending": START + datetime.timedelta(hours=number + 1)}
            for number in range(self.servers // 10)])]

    def server_rows(self, number):
        """Return the rows of one server: [(model, rows)]."""
        main, api = main_models, api_models
        found = super().server_rows(number)
        server = cloud.server_uuid(number)
        created = self.created(number)
        at_once = found[0][1][0]["created_at"]
        base = {"created_at": created, "instance_uuid": server}
        is_deleted = self.is_deleted(number)
        # All rows of a table have the same columns.
        for model, rows in found:
            if model in (main.Instance, main.InstanceSystemMetadata,
                         main.InstanceMetadata, main.BlockDeviceMapping,
                         main.InstanceInfoCache):
                for row in rows:
                    row.update(deleted=row["id"] if is_deleted else 0,
                               deleted_at=created if is_deleted else None)
            for row in rows:
                row.update({name: created for name, value in row.items()
                            if value == at_once})
                if model is main.InstanceAction:
                    row["updated_at"] = None
                elif model is main.InstanceActionEvent:
                    row.update(finish_time=None, result=None)
        found[0][1][0].update(
            terminated_at=created if is_deleted else None)
        if is_deleted:
            found[0][1][0].update(vm_state="deleted", host=None)
        actions, events = [], []
        for which in range(1, ACTIONS):
            key = self.servers * which + number + 1
            actions.append({
                "id": key, **base, "action": "reboot",
                "project_id": self.project(number),
                "user_id": self.user(number),
                "request_id": "req-%d-%d" % (number, which),
                "updated_at": created, "start_time": created})
            events.append({
                "id": self.servers * 2 + key, "created_at": created,
                "action_id": key, "event": "compute_reboot_instance",
                "start_time": created, "finish_time": created,
                "result": "Success", "host": self.host(number)})
        found += [
            (main.InstanceAction, actions),
            (main.InstanceActionEvent, events),
            (main.VirtualInterface, [{
                "id": number + 1, **base, "address": "a%d" % number,
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, server)),
                "network_id": 1}]),
            (main.InstanceFault, [{
                "id": number + 1, **base, "code": 500, "message": "fault",
                "host": self.host(number)}])]
        if number < FEW:
            found += [
                (main.ConsoleAuthToken, [{
                    "id": number + 1, **base, "expires": 1,
                    "token_hash": "token%d" % number, "console_type": "vnc",
                    "host": self.host(number), "port": 1,
                    "access_url_base": "http://"}]),
                (api.BuildRequest, [{
                    "id": number + 1, **base, "instance": "{}",
                    "project_id": self.project(number)}])]
        return found

    def archived(self):
        """Return the rows of shadow_instances: [dict as of an instance]."""
        found = []
        for number in range(self.servers // ARCHIVED_SHARE):
            key = self.servers + number + 1
            created = START - datetime.timedelta(seconds=number)
            found.append({
                "id": key, "uuid": cloud.server_uuid(key), "deleted": key,
                "created_at": created, "deleted_at": created,
                "project_id": self.project(number), "vm_state": "deleted"})
        return found
