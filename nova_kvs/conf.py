# SPDX-License-Identifier: Apache-2.0
"""Every option of nova-kvs: group [nova_kvs] of the service's file.

All but users and passwords can also be given in the query of
one database's URL, which wins: ``kvs+redis://host/name?tls=true``.
"""

from oslo_config import cfg

GROUP = "nova_kvs"
CONF = cfg.CONF

_GROUP = cfg.OptGroup(
    GROUP, title="nova-kvs",
    help="Databases that Nova and Placement keep in a key/value store: those "
         "whose connection URL begins with kvs+. All options but users and "
         "passwords can also stand in the query of one URL, which wins. The "
         "defaults of the advanced ones fit most clouds.")
_SINCE = "2026.2"
#: Longest time that one operation may be repeated, in seconds. The outcome of
#: a transaction, by which a commit that is sent again is known, lives for a
#: minute.
LONGEST_WAIT_S = 30.0

#: Options that are secret or have another place in a URL.
NOT_IN_QUERY = frozenset([
    "username", "password", "sentinel_username", "sentinel_password"])

OPTS = [
    cfg.StrOpt(
        "username",
        deprecated_name="user",
        help="Redis ACL user, where the connection URL names none. Without "
             "a user, the password is that of Redis's default user."),
    cfg.StrOpt(
        "password",
        secret=True,
        help="Password of the Redis user, where the connection URL has none."),
    cfg.StrOpt(
        "sentinel_username",
        deprecated_name="sentinel_user",
        help="ACL user of the sentinels, for kvs+sentinel:// URLs."),
    cfg.StrOpt(
        "sentinel_password",
        secret=True,
        help="Password of the sentinels, for kvs+sentinel:// URLs, where "
             "they have one."),
    cfg.BoolOpt(
        "tls",
        default=False,
        help="Talk TLS to every server of the store."),
    cfg.StrOpt(
        "tls_ca_file",
        help="File of the certificate authorities (PEM) that may sign the "
             "servers' certificates. Without it, those that the system "
             "trusts."),
    cfg.StrOpt(
        "tls_cert_file",
        help="File of the client's certificate (PEM), for servers that ask "
             "for one (Redis: tls-auth-clients)."),
    cfg.StrOpt(
        "tls_key_file",
        help="File of the private key (PEM) that belongs to tls_cert_file."),
    cfg.BoolOpt(
        "tls_check_hostname",
        default=True,
        help="Refuse a server whose certificate does not carry the name or "
             "address that it was reached under. In a cluster that is the "
             "name or address its nodes announce."),
    cfg.FloatOpt(
        "connect_timeout",
        advanced=True,
        default=2.0,
        min=0.01,
        help="Longest time, in seconds, to open one connection."),
    cfg.FloatOpt(
        "socket_timeout",
        advanced=True,
        default=4.0,
        min=0.01,
        help="Longest time, in seconds, to wait for one server's answer "
             "before its connection is given up."),
    cfg.FloatOpt(
        "request_timeout",
        advanced=True,
        default=8.0,
        min=0.01,
        max=LONGEST_WAIT_S,
        help="Longest time, in seconds, that one operation is repeated while "
             "no server answers. If others answer than the one it needs, a "
             "failover may be going on, and it is repeated for twice this "
             "time, up to 30 seconds. Then the caller gets a database "
             "connection error. Twice this time should be longer than the "
             "cluster needs to promote a replica."),
    cfg.IntOpt(
        "pool_size",
        advanced=True,
        default=10,
        min=1,
        help="Idle connections that a process keeps to each server. More "
             "are opened when more operations run at once."),
    cfg.StrOpt(
        "read_from",
        default="master",
        choices=[
            ("master", "Reads see every commit that was reported before."),
            ("nearest", "Where a replica answers at least twice as fast as "
                        "its master, it gets the reads of functions that "
                        "write nothing. They may be behind, by the time "
                        "that replication takes, what other processes have "
                        "committed, never what their own has written or "
                        "read before."),
            ("memory", "What a process has read before answers the reads of "
                       "functions that write nothing, as long as the store "
                       "has not told it of a change (client-side caching, "
                       "watches). That may be behind by the time that the "
                       "news takes, and by a second where the network has "
                       "failed."),
            ("replica", "Every read that is not part of a commit goes to a "
                        "replica, and may be behind what the process itself "
                        "has written: meant for the URL of [database] "
                        "slave_connection.")],
        help="What answers reads. What a transaction that writes has read of "
             "replicas or from memory is compared with the masters before "
             "its commit. The Redis user needs the command ROLE for "
             "'nearest', HELLO and CLIENT TRACKING for 'memory'."),
    cfg.IntOpt(
        "commit_replicas",
        default=0,
        min=0,
        help="Number of replicas of each server concerned that must "
             "acknowledge a commit before it is reported as done. With 0, a "
             "failover can lose commits of the last moments, since Redis "
             "replicates asynchronously."),
    cfg.FloatOpt(
        "commit_replicas_timeout",
        advanced=True,
        default=1.0,
        min=0.001,
        help="Longest time, in seconds, to wait for commit_replicas. When "
             "fewer answered in time the commit is reported as not "
             "determined."),
    cfg.BoolOpt(
        "reapply_lost_commits",
        advanced=True,
        default=False,
        help="Apply commits again that a failover has lost, as each process "
             "finds out about its own, if what they changed is still as they "
             "found it. Others may have seen, or reacted to, the loss "
             "meanwhile. Processes remember the values of their latest "
             "commits then, up to 4 MiB."),
    cfg.FloatOpt(
        "transaction_lifetime",
        advanced=True,
        default=10.0,
        min=1.0,
        help="Time, in seconds, after which a transaction that spans "
             "several partitions counts as abandoned and others roll it "
             "back. Must be the same in every service."),
    cfg.BoolOpt(
        "foreign_keys",
        default=False,
        help="Enforce foreign keys, as services expect that rely on their "
             "database for it (Keystone, Neutron). Nova and Placement do "
             "not, so it is best said in the query of the other's URL."),
    cfg.StrOpt(
        "db_api",
        advanced=True,
        default="kvs",
        help="Implementation of Nova's and Placement's database functions "
             "to put in front of their own, by its name in the entry points "
             "of 'nova.db.api'. 'none' leaves every function to SQLAlchemy; "
             "in the query of a URL, those that use its database."),
    cfg.BoolOpt(
        "trust_unknown_releases",
        advanced=True,
        default=False,
        help="Put native functions also in front of those functions of Nova "
             "and Placement that are not the ones of a release that "
             "nova-kvs knows, if their parameters are the same. By default "
             "these run on the dialect, which is slower and always right. "
             "In the query of a URL it counts from the first connection of "
             "a process on."),
    cfg.StrOpt(
        "metrics_directory",
        help="Directory for files with the counters of each process (round "
             "trips, commits, conflicts, full scans ...), in Prometheus's "
             "text format, for the textfile collector of a node_exporter. "
             "The services must be able to write to it. Without it, none. "
             "Needs prometheus_client (nova-kvs[prometheus])."),
    cfg.FloatOpt(
        "metrics_interval",
        advanced=True,
        default=15.0,
        min=0.1,
        help="Time, in seconds, between two writes of a process's file in "
             "metrics_directory."),
    cfg.FloatOpt(
        "slow_log_threshold",
        default=0.0,
        min=0.0,
        help="Calls of Nova's and Placement's database functions, and SQL "
             "statements, that take this time, in seconds, or longer are "
             "logged as a warning, with what they read and how (no values "
             "but those that stand in a statement's text). With 0, none."),
    # Of earlier releases.
    cfg.BoolOpt(
        "read_from_replicas",
        default=False,
        deprecated_for_removal=True,
        deprecated_since=_SINCE,
        deprecated_reason="read_from = replica says the same.",
        help="The same as read_from = replica."),
    cfg.FloatOpt(
        "hint_grace",
        min=2.0,
        deprecated_for_removal=True,
        deprecated_since=_SINCE,
        deprecated_reason="It follows from transaction_lifetime and "
                          "request_timeout.",
        help="Time, in seconds, that entries of a global index outlive the "
             "value they were made for. By default six times "
             "transaction_lifetime, and not below transaction_lifetime and "
             "six times request_timeout together. Must be longer than "
             "transaction_lifetime."),
    cfg.IntOpt(
        "id_block_size",
        min=1,
        deprecated_for_removal=True,
        deprecated_since=_SINCE,
        deprecated_reason="Blocks of ids grow as they are used.",
        help="Number of ids of a table that a process takes from the store "
             "at first."),
]


def register_opts(conf):
    """Register the group on a configuration object."""
    conf.register_group(_GROUP)
    conf.register_opts(OPTS, group=_GROUP)


def list_opts():
    """Return the options for oslo-config-generator."""
    return [(_GROUP, OPTS)]


register_opts(CONF)
