# SPDX-License-Identifier: Apache-2.0
"""Statistics for Prometheus, as its text files (node_exporter) want them."""

from nova_kvs import exceptions


def text(results):
    """Return Statistics in Prometheus's text format.

    :param results: list of nova_kvs.inspection.statistics.Statistics.
    :raises nova_kvs.exceptions.ConfigurationError: if prometheus_client is
        not installed.
    """
    try:
        import prometheus_client
    except ImportError as error:
        raise exceptions.ConfigurationError(
            "--prometheus needs prometheus_client: install "
            "nova-kvs[prometheus]") from error
    registry = prometheus_client.CollectorRegistry()
    for name, what, labels, values in _metrics(results):
        gauge = prometheus_client.Gauge(
            "nova_kvs_" + name, what, ("database", *labels),
            registry=registry)
        for where, value in values:
            gauge.labels(*where).set(value)
    return prometheus_client.generate_latest(registry).decode()


def _metrics(results):
    """Yield name, description, labels and [(labels' values, value)]."""
    for name, what, label, sizes in (
            ("records", "records of a table", "table", "tables"),
            ("keys", "keys on a server", "server", "servers")):
        each = [((found.database, key), size) for found in results
                for key, size in getattr(found, sizes).items()]
        yield "%s_%s" % (label, name), what.capitalize(), (label,), [
            (where, size.count) for where, size in each]
        yield "%s_bytes" % label, "Bytes of the " + what, (label,), [
            (where, size.size_bytes) for where, size in each]
    for name, what, value in (
            ("index_entries", "Index entries and unique keys",
             lambda found: found.indexes.count),
            ("index_bytes", "Bytes of index entries, unique keys",
             lambda found: found.indexes.size_bytes),
            ("balance", "Bytes on the fullest server over the mean",
             lambda found: found.balance),
            ("committed_recently", "Transactions committed in the last "
             "minute", lambda found: found.committed),
            ("refused_recently", "Commits refused in the last minute",
             lambda found: found.refused),
            ("intents", "Intents of transactions at work",
             lambda found: found.intents),
            ("housekeeping_queued", "Items of the housekeeping queue",
             lambda found: found.queued),
            ("housekeeping_overdue", "Items due for more than a minute",
             lambda found: found.overdue)):
        yield name, what, (), [
            ((found.database,), value(found)) for found in results]
