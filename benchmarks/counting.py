# SPDX-License-Identifier: Apache-2.0
"""What a worker process counts and times, whatever it calls."""

import functools
import time

import pymysql

#: Commands sent to MariaDB; each is answered before the next one.
_mysql_commands = 0


def count_mysql_commands():
    """Count from now on what is sent to MariaDB, for ``mysql_commands``."""
    execute = pymysql.connections.Connection._execute_command

    @functools.wraps(execute)
    def counting(*args, **kwargs):
        global _mysql_commands
        _mysql_commands += 1
        return execute(*args, **kwargs)

    pymysql.connections.Connection._execute_command = counting


def mysql_commands():
    """Return the number of commands sent to MariaDB."""
    return _mysql_commands


def measure(ready, trips):
    """Run the functions and return what they took."""
    walls = []
    errors = {}
    trips_before = trips()
    cpu_before = time.process_time()
    for function in ready:
        before = time.perf_counter()
        try:
            function()
        except Exception as error:
            # Whatever it is: the report must show that there was one.
            errors[repr(error)[:300]] = errors.get(repr(error)[:300], 0) + 1
            continue
        walls.append(time.perf_counter() - before)
    cpu_s = time.process_time() - cpu_before
    done = [after - before for before, after in zip(trips_before, trips())]
    return {"wall_s": walls, "cpu_s": cpu_s, "errors": errors,
            **dict(zip(("trips", "commands", "bytes_in"), done))}
