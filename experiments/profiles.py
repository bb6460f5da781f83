# SPDX-License-Identifier: Apache-2.0
"""A profile of a cloud: CPU by role and layer, and the waits of one request.

First many servers are booted, for the processor time. Then, with nothing
else going on, one is booted, listed and deleted, for the waits.
"""

import json
import os
import time

from experiments import load
from experiments import run as runs
from experiments import traces
from experiments import waterfall

#: Tries of each request, of which the last is shown: the first ones make
#: connections and learn.
_TRIES = 3
_QUIET_S = 1.5


def run(arguments, command):
    """Measure, and write tables and pictures to a directory.

    :param arguments: of the command line. :param command: its words.
    """
    os.makedirs(arguments.output, exist_ok=True)
    with runs.home_directory(arguments.keep) as home:
        noted = runs.noted_directory(home)
        with runs.running(arguments, home, noted) as (cloud, network, store):
            figures, lines = _measure(
                arguments, cloud, network, store, noted)
    figures = {"command": "python -m experiments " + command, **figures}
    with open(os.path.join(arguments.output, "profile.json"), "w") as stream:
        json.dump(figures, stream, indent=1)
        stream.write("\n")
    text = "\n".join(lines) + "\n"
    with open(os.path.join(arguments.output, "profile.txt"), "w") as stream:
        stream.write(text)
    print(text)


def _measure(arguments, cloud, network, store, noted):
    role_of = traces.role_finder(cloud.services)
    runs.say("booting %d servers" % arguments.servers)
    cpu = runs.cpu_seconds(cloud, network, store)
    begin = time.monotonic()
    boots = load.boot(cloud, arguments.servers, arguments.concurrency,
                      arguments.timeout_s)
    end = time.monotonic()
    cpu = runs.difference(runs.cpu_seconds(cloud, network, store), cpu)
    shares = traces.Traces(noted, role_of).shares(begin, end)
    lines = ["%d of %d servers ACTIVE after %.1f s" % (
        len(boots.active), arguments.servers, boots.seconds), "",
        *traces.layers_table(shares, cpu), ""]
    figures = {"servers": arguments.servers, "active": len(boots.active),
               "seconds": boots.seconds, "cpu_s": cpu, "shares": shares,
               "requests": {}}
    if arguments.delay_ms[0]:
        network.set_delay(arguments.delay_ms[0])
        time.sleep(runs.SETTLE_S)
    for name, (method, path, ask) in _requests(cloud).items():
        runs.say("one %s" % name)
        for _turn in range(_TRIES):
            time.sleep(_QUIET_S)
            network.take_stats()
            begin = time.monotonic()
            ask()
            links = network.take_stats()
        time.sleep(_QUIET_S)
        events = traces.Traces(noted, role_of).of_request(
            begin, method, path)
        found = figures["requests"][name] = traces.summary(events)
        found["trips_between_sites"] = sum(
            link["round_trips"] for link in links.values())
        lines += ["One %s: %s" % (name, json.dumps(found)), "",
                  *traces.request_table(events), ""]
        with open(os.path.join(
                arguments.output, "%s.svg" % name), "w") as stream:
            stream.write(waterfall.picture(
                "One %s: %d trips, %d in sequence, %.0f ms" % (
                    name, found["trips"], found["trips_in_sequence"],
                    found["ms"]), events))
    return figures, lines


def _requests(cloud):
    """Return name -> (method, part of the path, function that asks)."""
    made = []

    def boot():
        made.extend(cloud.boot(1, "profile"))
        cloud.wait_status(made[-1:], "ACTIVE", 60)

    def show_all():
        cloud.client.request("GET", "/servers/detail?limit=50")

    def delete():
        server = made.pop()
        cloud.client.delete(server)
        cloud.wait_gone([server], 60)

    return {"boot": ("POST", "/servers", boot),
            "list": ("GET", "/servers/detail", show_all),
            "delete": ("DELETE", "/servers/", delete)}
