# SPDX-License-Identifier: Apache-2.0
"""Keeps the bytes of what is removed because it does not decode."""

import json
import os

from nova_kvs import exceptions


class Quarantine:
    """A file of JSON lines that only its owner can read.

    It is made when there is something to keep: rows can hold secrets.
    """

    def __init__(self, path):
        self._path = path

    def add(self, found):
        """Append what a dict describes, and see it on the disk.

        :raises nova_kvs.exceptions.ConfigurationError: if that fails.
        """
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "w") as stream:
                json.dump(found, stream, sort_keys=True)
                stream.write("\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise exceptions.ConfigurationError(
                "the quarantine file cannot be written, so nothing was "
                "removed: choose one with --quarantine",
                file=self._path, cause=error.strerror) from error
