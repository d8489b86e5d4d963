"""The control link: a WebSocket of msgpack batches, with questions and answers on it.

Used on the loop's thread only. A link ends once; who is on it hears of it with a close code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from taskloom._errors import AuthenticationError, CommClosedError, TimeoutError
from taskloom._same_host import connect_on_this_host

Message = dict[str, Any]

PROTOCOL = 1
"""Version of the wire protocol."""
FRAME_BYTES = 64 * 2**20
_BATCH_BYTES = 8 * 2**20
_KEEP_ALIVE = 15.0
_SILENT_TURNS = 4
"""Turns of `_KEEP_ALIVE` without an answer to a ping after which a scheduler counts as gone."""

NORMAL, BAD_VERSION, HANDSHAKE_TIMEOUT, UNRESPONSIVE = 1000, 4002, 4005, 4007
BROKEN = frozenset({1006, HANDSHAKE_TIMEOUT, UNRESPONSIVE})
"""Closes after which the scheduler may be there again, or another in its place."""


class Link:
    """One WebSocket to a scheduler.

    Parameters
    ----------
    address, token : str
        Where it is, and what lets one in.
    on_messages : callable
        Gets each batch.
    on_close : callable
        Gets code and reason, once.
    """

    def __init__(
        self,
        address: str,
        token: str,
        on_messages: Callable[[list[Message]], None],
        on_close: Callable[[int, str], None],
    ) -> None:
        self._address, self._token = address, token
        self._on_messages, self._on_close = on_messages, on_close
        self._socket: ClientConnection | None = None
        self._frames: list[bytes] = []
        self._more = asyncio.Event()
        self._sent = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._lost: tuple[int, str] | None = None

    async def open(self, timeout: float) -> None:
        """Dial. Raises AuthenticationError, TimeoutError or CommClosedError."""
        address = self._address
        try:
            self._socket = await connect(
                "ws" + address.removeprefix("http") + "/client",
                additional_headers={"Authorization": f"Bearer {self._token}"},
                compression=None,
                max_size=FRAME_BYTES,
                max_queue=None,
                ping_interval=None,
                open_timeout=timeout,
                close_timeout=2,
                proxy=None,
                sock=connect_on_this_host(address),
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                raise AuthenticationError(address) from None
            raise _unreachable(address, f"status {status}") from error
        except asyncio.TimeoutError as error:
            raise TimeoutError(
                f"{address} did not answer within {timeout:g} s. Is the address right, and is the "
                "cluster's host reachable from here?"
            ) from error
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise _unreachable(address, str(error)) from error
        run = asyncio.get_running_loop().create_task
        self._tasks = [run(self._read()), run(self._write()), run(self._keep_alive())]

    def send(self, messages: list[Message]) -> None:
        """Send messages, in frames of bounded size."""
        batch: list[bytes] = []
        size = 0
        for message in messages:
            packed = msgpack.packb(message)
            if batch and size + len(packed) > _BATCH_BYTES:
                self._frames.append(_frame(batch))
                batch, size = [], 0
            batch.append(packed)
            size += len(packed)
        if batch:
            self._frames.append(_frame(batch))
        self._sent.clear()
        self._more.set()

    async def drain(self) -> None:
        """Return when all has been handed to the system."""
        if self._frames and self._lost is None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._sent.wait(), 10)

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye. ``on_close`` is called with this code."""
        self._lost = self._lost or (code, reason)
        if self._socket is not None:
            await self._socket.close(code, reason[:100])

    async def _read(self) -> None:
        socket = self._socket
        assert socket is not None
        code, reason = 1006, ""
        try:
            async for frame in socket:
                self._on_messages(msgpack.unpackb(frame, strict_map_key=False))
            code, reason = socket.close_code or NORMAL, socket.close_reason or ""
        except ConnectionClosed as error:
            if error.rcvd is not None:
                code, reason = error.rcvd.code, error.rcvd.reason
        finally:
            for task in self._tasks[1:]:
                task.cancel()
            self._sent.set()
            self._lost = self._lost or (code, reason)
            self._on_close(*self._lost)

    async def _write(self) -> None:
        socket = self._socket
        assert socket is not None
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._more.wait()
                self._more.clear()
                while self._frames:
                    await socket.send(self._frames[0])
                    del self._frames[0]
                self._sent.set()

    async def _keep_alive(self) -> None:
        socket = self._socket
        assert socket is not None
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(_KEEP_ALIVE)
                pong = asyncio.ensure_future(await socket.ping())
                # Turns of this loop, not time: a process that did not run has not waited.
                for _ in range(_SILENT_TURNS):
                    await asyncio.wait([pong], timeout=_KEEP_ALIVE)
                    if pong.done():
                        break
                else:
                    seconds = _KEEP_ALIVE * _SILENT_TURNS
                    self._lost = (UNRESPONSIVE, f"{self._address} said nothing for {seconds:g} s")
                    socket.transport.abort()
                    return


def _frame(batch: list[bytes]) -> bytes:
    return msgpack.Packer().pack_array_header(len(batch)) + b"".join(batch)


def _unreachable(address: str, why: str) -> CommClosedError:
    return CommClosedError(
        f"Cannot connect to {address}: {why}. If the cluster has ended, start another; "
        "taskloom cluster ls shows those that run."
    )


class Requester:
    """Questions to the scheduler and their answers."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def ask(self, method: str, params: object) -> tuple[Message, asyncio.Future[Any]]:
        """Return the message to send, and what will have the answer."""
        self._next += 1
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = waiting
        return {"op": "request", "id": self._next, "method": method, "params": params}, waiting

    def answer(self, message: Message) -> None:
        """Take in an answer."""
        waiting = self._waiting.pop(message["id"], None)
        if waiting is None or waiting.done():
            return
        error = message.get("error")
        if error is None:
            waiting.set_result(message.get("result"))
        else:
            waiting.set_exception(_error_of(error))

    def fail(self, why: str) -> None:
        """No answer comes any more."""
        waiting, self._waiting = list(self._waiting.values()), {}
        for one in waiting:
            if not one.done():
                one.set_exception(CommClosedError(why))


def _error_of(error: Message) -> Exception:
    from taskloom import _errors

    code, message = str(error.get("code", "")), str(error.get("message", ""))
    for kind in (_errors.ConfigError, _errors.TimeoutError, _errors.VersionMismatchError):
        if kind.code == code:
            return kind(message)
    return _errors.TaskloomError(message, code=code)
