# SPDX-License-Identifier: Apache-2.0
"""The files of contrib/: run what can be run, and read the rest."""

import configparser
import contextlib
import json
import pathlib
import re
import shlex
from urllib import parse
from urllib import request

from nova.db.main import models as main_models
from oslo_config import cfg
import pytest
import yaml

from nova_kvs.cmd import main
from nova_kvs.db import native
from nova_kvs import metrics
from nova_kvs.record import database as record_database
from nova_kvs.store import url as store_url
from tests import base
from tests.cloud import processes
from tests.differential import clouds
from tests import fixtures

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
#: Settings of redis.conf that belong to a host.
_PLACES = ("bind", "port", "dir", "aclfile", "maxmemory")
#: Names of metrics that others than metrics.py make have another prefix.
_METRIC = re.compile(r"\bnova_kvs_\w+")


def settings():
    """Return name -> value of redis.conf."""
    lines = (CONTRIB / "redis/redis.conf").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines
                if line and not line.startswith("#"))


def users():
    """Return name -> rules of users.acl."""
    found = {}
    for line in (CONTRIB / "redis/users.acl").read_text().splitlines():
        word, name, *rules = line.split()
        assert word == "user"
        found[name] = rules
    return found


class _Cluster(fixtures.RedisClusterFixture):
    """A cluster with the settings and users of contrib/."""

    def __init__(self):
        super().__init__(3, 1, options={
            name: value for name, value in settings().items()
            if name not in _PLACES and not name.startswith("master")})

    def start(self):
        super().start()
        for node in self.nodes:
            client = self.client(node)
            for name, rules in users().items():
                if name != "default":
                    client.execute_command("ACL", "SETUSER", name, *rules)
            for name in ("masteruser", "masterauth"):
                client.execute_command(
                    "CONFIG", "SET", name, settings()[name])

    def forbidden(self):
        """Return what the servers have refused."""
        return [entry for node in self.nodes
                for entry in self.client(node).execute_command("ACL", "LOG")]

    def user_url(self, name, **query):
        return self.url(name, **query).replace("://", "://nova:secret@")


@pytest.fixture(scope="module")
def cluster():
    with _Cluster() as found:
        yield found


@pytest.mark.parametrize("read_from", ["master", "nearest", "memory"])
def test_the_users_commands_are_enough(cluster, read_from, capsys):
    name = base.database_name("contrib")
    url = cluster.user_url(name, read_from=read_from)
    cloud = clouds.ServerCell(url)

    def call(function, *args, **kwargs):
        return cloud.call("%s:%s" % (native.MAIN, function),
                          clouds.context(), *args, **kwargs)

    for number in range(3):
        uuid = "%08d-0000-4000-8000-000000000000" % number
        call("instance_create", {
            "uuid": uuid, "project_id": "p1", "host": "h1",
            "metadata": {"a": "b"}, "system_metadata": {"a": "b"}})
        call("instance_tag_set", uuid, ["t"])
        call("instance_update", uuid, {"vm_state": "active"})
        call("instance_get_by_uuid", uuid)
    call("instance_destroy", uuid)
    assert len(call("instance_get_all_by_host", "h1")) == 2
    cloud.main.grace_ms = 0
    archived, _, _ = call("archive_deleted_rows", max_rows=1000)
    assert archived["instances"] == 1
    assert call("purge_shadow_tables", None)
    cloud.main.housekeep()
    assert len(cloud.rows(main_models.BASE)["instances"]) == 2
    for command in ("check", "stats", "fsck"):
        status = main.main([command, url])
        assert status < 2, capsys.readouterr()
    assert main.main(["drop", url, "--yes", name]) == 0
    assert cluster.forbidden() == []


def test_the_user_may_do_nothing_else(cluster):
    client = cluster.client()
    for command in ("FLUSHALL", "KEYS *", "CONFIG SET maxmemory 1",
                    "ACL LIST", "EVAL x 0", "DEBUG SLEEP 0", "SHUTDOWN",
                    "GET other"):
        answer = client.execute_command(
            "ACL", "DRYRUN", "nova", *shlex.split(command))
        assert b"permission" in answer, command
    client.execute_command("ACL", "LOG", "RESET")


def test_every_command_of_the_user_is_used():
    """A command that the code does not name any more leaves the list."""
    package = CONTRIB.parent / "nova_kvs"
    code = "\n".join(path.read_text() for path in (
        *package.rglob("*.py"), *package.rglob("*.lua"))).upper()
    allowed = [rule[1:] for rule in users()["nova"] if rule.startswith("+")]
    # Of redis-py: when it connects.
    ours = set(allowed) - {"auth", "client|setname"}
    assert len(ours) > 40
    for command in ours:
        for word in command.upper().split("|"):
            assert re.search(r"\b%s\b" % word, code), command


def test_replicas_follow(cluster):
    for node in cluster.nodes:
        lines = cluster.client(node).execute_command(
            "INFO", "replication").decode()
        assert "master_link_status:down" not in lines


@pytest.mark.parametrize("path", sorted(
    (CONTRIB / "systemd").iterdir()), ids=lambda path: path.name)
def test_units(path, capsys):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    assert unit["Unit"]["Description"]
    command = unit.get("Service", "ExecStart", fallback="")
    program, *arguments = shlex.split(command) or [""]
    assert program in ("", "/usr/bin/nova-kvs", "/usr/bin/redis-server")
    if program == "/usr/bin/nova-kvs":
        # The options are there: its parser has nothing to say.
        from nova_kvs.cmd import main as command_line
        command_line.build_parser().parse_args(arguments)


def expressions():
    """Yield the expressions of the alert rules and the dashboard."""
    rules = yaml.safe_load((CONTRIB / "prometheus/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    board = json.loads((CONTRIB / "grafana/nova-kvs.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names of all metrics that a process writes."""
    writer = metrics.Writer(str(tmp_path_factory.mktemp("metrics")), 15.0)
    db = record_database.open_database(
        base.memory_url(), slow_log_threshold=1000)
    writer.databases.add(db)
    found = set()
    for metric in writer.collect():
        found |= {metric.name + suffix for suffix in {
            "counter": ("_total",), "gauge": ("",),
            "histogram": ("_bucket", "_sum", "_count")}[metric.type]}
    return found


def test_expressions_ask_for_what_there_is(names):
    count = 0
    for expression in expressions():
        used = set(_METRIC.findall(expression))
        assert used and used <= names, expression
        for start, end in ("()", "{}", "[]"):
            assert expression.count(start) == expression.count(end)
        count += 1
    assert count > 15


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """The address of a Prometheus with the alert rules."""
    home = tmp_path_factory.mktemp("prometheus")
    config = home / "prometheus.yml"
    config.write_text(yaml.safe_dump(
        {"rule_files": [str(CONTRIB / "prometheus/alerts.yml")]}))
    address = "127.0.0.1:%d" % processes.free_ports(1)[0]
    with processes.Group() as group:
        server = group.start(processes.Process("prometheus", [
            "prometheus", "--config.file=%s" % config,
            "--storage.tsdb.path=%s" % (home / "data"),
            "--web.listen-address=" + address], str(home)))

        def is_ready():
            with contextlib.suppress(OSError):
                return request.urlopen("http://%s/-/ready" % address)

        processes.wait_for(is_ready, "Prometheus is ready", 60, [server])
        yield address


def ask(address, path):
    with request.urlopen("http://%s/api/v1/%s" % (address, path)) as answer:
        return json.load(answer)["data"]


def test_prometheus_takes_the_rules(prometheus):
    processes.run(["promtool", "check", "rules",
                   str(CONTRIB / "prometheus/alerts.yml")], 60)
    rules = yaml.safe_load((CONTRIB / "prometheus/alerts.yml").read_text())
    assert [rule["name"] for group in ask(prometheus, "rules")["groups"]
            for rule in group["rules"]] == [
        rule["alert"] for group in rules["groups"]
        for rule in group["rules"]]


def test_prometheus_takes_every_expression(prometheus):
    for expression in expressions():
        # Grafana's own variable.
        text = expression.replace("$__rate_interval", "1m")
        # An expression that is wrong is HTTP status 400.
        ask(prometheus, "query?" + parse.urlencode({"query": text}))


def test_alert_rules_are_complete():
    rules = yaml.safe_load((CONTRIB / "prometheus/alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert set(rule) <= {
            "alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        by = re.search(r"by \(([\w, ]+)\)", rule["expr"])[1].split(", ")
        for name in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            assert name in by


def test_panels_are_beside_one_another():
    board = json.loads((CONTRIB / "grafana/nova-kvs.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"])
              for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(places)


@pytest.mark.parametrize("name", ["nova.conf", "placement.conf"])
def test_configuration_of_kolla(name):
    path = CONTRIB / "kolla-ansible" / name
    read = configparser.ConfigParser(interpolation=None)
    read.read(path)
    options = cfg.ConfigOpts()
    options([], default_config_files=[str(path)], default_config_dirs=[])
    for section in read.sections():
        for key, value in read[section].items():
            if key == "connection":
                store_url.parse_url(value).settings()
            elif section == "nova_kvs":
                assert key in store_url._OPTIONS


def test_variables_of_openstack_ansible():
    found = yaml.safe_load(
        (CONTRIB / "openstack-ansible/user_variables.yml").read_text())
    for overrides in (found["nova_nova_conf_overrides"],
                      found["placement_placement_conf_overrides"]):
        for section, values in overrides.items():
            for key, value in values.items():
                value = value.replace("{{ nova_kvs_password }}", "secret")
                if key == "connection":
                    store_url.parse_url(value).settings()
                else:
                    assert (section, key in store_url._OPTIONS) == (
                        "nova_kvs", True)


def test_jobs_of_zuul():
    found = yaml.safe_load((CONTRIB / "zuul/jobs.yaml").read_text())
    jobs = {item["job"]["name"]: item["job"]
            for item in found if "job" in item}
    project, = [item["project"] for item in found if "project" in item]
    for entry in project["check"]["jobs"]:
        name = entry if isinstance(entry, str) else next(iter(entry))
        assert name in jobs
    settings = (CONTRIB.parent / "devstack/settings").read_text()
    for job in jobs.values():
        for name in job.get("vars", {}).get("devstack_localrc", {}):
            assert not name.startswith("NOVA_KVS") or name in settings


def test_the_containerfile_names_what_there_is():
    text = (CONTRIB / "container/Containerfile").read_text()
    stages, names = 0, set()
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        assert word in ("FROM", "RUN", "COPY", "USER", "ENTRYPOINT", "CMD")
        if word == "FROM":
            stages += 1
            # Short names and moving tags are other images some day.
            assert re.fullmatch(
                r"docker\.io/library/[\w-]+:\d[\w.-]+( AS \w+)?", rest)
            names.update(rest.split(" AS ")[1:])
        elif word == "RUN":
            processes.run(["bash", "-n", "-c", rest], 60)
        elif word == "COPY" and rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in names
        elif word in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(one, str) for one in json.loads(rest))
    # What it takes to build is not in the image, and root does not run it.
    assert stages == 2
    assert text.index("\nUSER nova\n") < text.index("\nENTRYPOINT")
    words = re.findall(r"/src\[([\w,]+)\]", text)[0].split(",")
    project = (CONTRIB.parent / "pyproject.toml").read_text()
    for extra in words:
        assert re.search(r"^%s = \[" % extra, project, re.MULTILINE)
