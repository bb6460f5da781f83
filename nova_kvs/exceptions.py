# SPDX-License-Identifier: Apache-2.0
"""The one internal error tree, named by what the caller must do next.

Message texts are static, so that each fault is one greppable string; what
varies is in keyword attributes, which ``str()`` appends. An attribute never
holds a password or a row's values other than those of a violated key.
"""


class KVSError(Exception):
    """Base of every error that nova-kvs raises itself."""

    message = "nova-kvs failed"

    def __init__(self, message=None, **details):
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)
        super().__init__(message or self.message)

    def __str__(self):
        text = super().__str__()
        if self.details:
            text += " (%s)" % ", ".join(
                "%s=%s" % item for item in self.details.items())
        return text


class ConfigurationError(KVSError):
    """A URL or an option is wrong: correct it and start again."""

    message = "the nova-kvs configuration is not usable"


class ConflictError(KVSError):
    """Nothing was applied: rerun the whole transaction."""

    message = "another transaction changed a record first"


class FloorError(ConflictError):
    """The version of an insert was used before: repeat above ``floor``."""

    message = "the version of an inserted record was used before"


class HeldUpError(ConflictError):
    """A transaction took so long that others may have tidied up after it.

    :ivar now_ms: the time of the primary partition's server, if that tells
        that a second attempt is worth it: perhaps only the time at which the
        transaction began was taken from a wrong clock. Else None.
    """

    message = "the transaction was held up for too long"

    def __init__(self, now_ms=None, **details):
        self.now_ms = now_ms
        super().__init__(**details)


class SpeculationFailedError(ConflictError):
    """A transaction assumed what is not stored: rerun it.

    :ivar read: what the transaction has not asked.
    :ivar reply: how the store answers it; None if it did not tell.
    """

    message = "what a process remembered was not proved to be current"

    def __init__(self, read=None, reply=None, **details):
        # Not in the details, which are logged.
        self.read = read
        self.reply = reply
        super().__init__(**details)


class ReplicaLaggedError(ConflictError):
    """Nothing was applied: read again, the process knows more now."""

    message = (
        "what was read of a replica or from memory is not what the master has")


class SerializationError(ConflictError):
    """Nothing was applied: rerun the whole SERIALIZABLE transaction."""

    message = "another transaction changed what a transaction had read"


class UndeterminedError(KVSError):
    """The commit's reply was lost: read its outcome, never rerun blindly.

    :ivar store_answers: whether the store answers again, so that it can be
        asked for the outcome.
    :ivar is_forgotten: whether the store does not know the outcome any more.
    """

    store_answers = False
    is_forgotten = False
    message = "the outcome of a transaction could not be determined"


class UnreplicatedError(UndeterminedError):
    """The commit is applied; that a failover keeps it is not sure."""

    message = ("the commit is applied, but fewer than commit_replicas "
               "replicas acknowledged it in time")


class StoreUnavailableError(KVSError):
    """Nothing was applied and the store does not answer: report."""

    message = "the key/value store does not answer"


class StoreReplyError(KVSError):
    """The store refused a command: report, an operator must act.

    :ivar nothing_applied: whether it is certain that nothing of the batch
        was applied, or will be.
    """

    nothing_applied = False
    message = "the key/value store refused a command"


class TooLargeError(StoreReplyError):
    """The store takes no commit of this size: commit less at once."""

    message = "the commit is larger than etcd takes"


class DuplicateKeyError(KVSError):
    """A unique key is taken.

    :ivar table: the table's name.
    :ivar columns: tuple of the key's column names.
    :ivar values: tuple of the key's values.
    """

    message = "a record with this unique key exists"


class ForeignKeyError(KVSError):
    """A row refers to one that is not there, or is referred to.

    :ivar table: the table that refers.
    :ivar constraint: the foreign key's name.
    :ivar key: its columns, joined by commas.
    :ivar key_table: the table that it refers to.
    """

    message = "a row refers to one that is not there, or is referred to"


class UnsupportedStatementError(KVSError):
    """The dialect cannot run this statement: rewrite it or add support."""

    message = "the statement is not supported"


class FormatVersionError(KVSError):
    """The stored format is newer than this code: upgrade nova-kvs."""

    message = "the database was written by a newer nova-kvs"


class IncompleteImportError(KVSError):
    """The database holds a part of its rows: complete the import."""

    message = ("an import into the database is not complete: run the same "
               "nova-kvs import or restore again")


class CorruptRecordError(KVSError):
    """A stored value does not decode: stop and call the operator."""

    message = "a stored value does not decode"
