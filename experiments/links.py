# SPDX-License-Identifier: Apache-2.0
"""The program that is the links between sites: TCP proxies with a delay.

Reads one order a line (JSON) and answers each with a line::

    {"listen": [host, port], "server": [host, port], "source": host,
     "link": [from, to]}
    {"cut": site}        nothing goes to the site or comes from it
    {"heal": site}
    {"delay_s": number}  how long all is on its way from now on
    {"stats": true}      figures of each link since the last such order

What is sent while a link is cut arrives after it is healed, as TCP would
have it; only the ends' own time-outs shorten that.
"""

import asyncio
import collections
import json
import sys

_CHUNK_BYTES = 65536


class Link:
    """One direction in which connections are opened between two sites."""

    def __init__(self):
        self.up = asyncio.Event()
        self.up.set()
        self.connections = self.round_trips = self.bytes = 0

    def take(self):
        """Return the figures and begin anew."""
        figures = {"connections": self.connections,
                   "round_trips": self.round_trips, "bytes": self.bytes}
        self.connections = self.round_trips = self.bytes = 0
        return figures


class Connection:
    """One connection across a link.

    A round trip is counted when the side that opened it sends after the
    other has: so one with several requests at once counts once.
    """

    def __init__(self, links, link):
        self._links = links
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._is_answered = True

    async def carry(self, reader, writer, is_request, begin_s):
        """Pass on what one side sends, later, until it ends."""
        queue = asyncio.Queue()
        sender = self._loop.create_task(self._send(queue, writer))
        try:
            while True:
                data = await reader.read(_CHUNK_BYTES)
                self._count(data, is_request)
                due_s = max(self._loop.time(), begin_s) + self._links.delay_s
                queue.put_nowait((due_s, data))
                if not data:
                    break
            await sender
        finally:
            sender.cancel()

    def _count(self, data, is_request):
        self._link.bytes += len(data)
        if is_request and data and self._is_answered:
            self._link.round_trips += 1
        self._is_answered = not is_request

    async def _send(self, queue, writer):
        while True:
            due_s, data = await queue.get()
            wait_s = due_s - self._loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            await self._link.up.wait()
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()


class Links:
    """All links between sites.

    :ivar delay_s: how long every byte is on its way.
    """

    def __init__(self):
        self.delay_s = 0.0
        self._links = collections.defaultdict(Link)

    async def listen(self, listen, server, source, link):
        """Pass on connections to a server on another site."""
        async def serve(reader, writer):
            try:
                await self._serve(
                    self._links[tuple(link)], server, source, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass  # one end is gone, or the program ends
            finally:
                writer.close()
        await asyncio.start_server(serve, *listen, backlog=512)

    async def _serve(self, link, server, source, reader, writer):
        link.connections += 1
        # TCP's handshake is a round trip before the first byte.
        begin_s = asyncio.get_running_loop().time() + 2 * self.delay_s
        await link.up.wait()
        to_reader, to_writer = await asyncio.open_connection(
            *server, local_addr=(source, 0))
        connection = Connection(self, link)
        try:
            await asyncio.gather(
                connection.carry(reader, to_writer, True, begin_s),
                connection.carry(to_reader, writer, False, begin_s))
        finally:
            to_writer.close()

    def set_up(self, site, is_up):
        """Heal or cut all links of a site."""
        for ends, link in self._links.items():
            if site in ends:
                (link.up.set if is_up else link.up.clear)()

    def stats(self):
        """Return the figures of all links since they were asked for."""
        return {"%d-%d" % ends: link.take()
                for ends, link in sorted(self._links.items())}

    async def obey(self, order):
        """Carry out an order; return the answer."""
        if "listen" in order:
            self._links[tuple(order["link"])]
            await self.listen(**order)
        elif "cut" in order:
            self.set_up(order["cut"], False)
        elif "heal" in order:
            self.set_up(order["heal"], True)
        elif "delay_s" in order:
            self.delay_s = order["delay_s"]
        elif "stats" in order:
            return self.stats()
        return {}


async def _main():
    links = Links()
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        print(json.dumps(await links.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
