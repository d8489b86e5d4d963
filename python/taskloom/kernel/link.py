"""The unix socket between the wrapper and the start-up module inside Deno.

One JSON object a line. Over it the wrapper announces a cell, asks for a fence behind a cell's
output, and passes an interrupt on; ``src/kernel/startup.ts`` is the other end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 64 * 1024 * 1024
"""A cell travels as one line; this bounds what the wrapper would hold of it."""


class LinkClosedError(ConnectionError):
    """Deno's end of the socket is gone."""


class Link:
    """Requests to the start-up module, answered by number."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[tuple[str, int], asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def listen(self, path: Path) -> None:
        """Wait for Deno on a socket file, which lies in a private folder."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_BYTES_MAX)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message["op"] == "hello":
                    self.connected.set_result(None)
                else:
                    self.resolve(message["op"], message["id"], message)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.close()

    def resolve(self, op: str, number: int, message: dict[str, Any]) -> None:
        """Hand an answer to whoever waits for it; fences come by another way than the rest."""
        waiting = self._waiting.pop((op, number), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def ask(self, op: str, answer: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises
        ------
        LinkClosedError
            If Deno is gone.
        """
        if self._writer is None or self._writer.is_closing():
            raise LinkClosedError("Deno has closed its link to the wrapper")
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[(answer, number)] = future
        line = json.dumps({"op": op, "id": number, **fields}, ensure_ascii=False) + "\n"
        # Not drained: a kernel in a busy loop reads nothing, and must stay interruptible.
        self._writer.write(line.encode())
        try:
            return await future
        finally:
            self._waiting.pop((answer, number), None)

    def close(self) -> None:
        """Close the socket; whoever waits for an answer gets a ``LinkClosedError``."""
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LinkClosedError("Deno has gone"))
        self._waiting.clear()
