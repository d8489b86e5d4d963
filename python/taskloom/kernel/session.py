"""One life of Deno behind the kernel: its process, its sockets, its link.

Messages go in through ``shell``, ``control`` and ``stdin``; what Deno says comes out through the
callbacks given to ``start``. The session knows nothing of Jupyter's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import zmq
import zmq.asyncio

from taskloom.kernel.deno import DenoProcess
from taskloom.kernel.link import Link
from taskloom.kernel.wire import InvalidMessageError, Message, Wire

START_SECONDS_MAX = 45.0
RETRY_SECONDS = 0.05

Handler = Callable[[Message], None]


class DenoStartError(RuntimeError):
    """Deno ended, or said nothing, before it was ready for a cell."""


class DenoSession:
    """A Deno that has run the start-up module and waits for cells."""

    def __init__(self, process: DenoProcess) -> None:
        self.process = process
        self.wire = Wire(process.info["key"])
        self.link = Link()
        self._context = zmq.asyncio.Context.instance()
        self._shell = self._connect(zmq.DEALER, "shell_port")
        self._control = self._connect(zmq.DEALER, "control_port")
        self._stdin = self._connect(zmq.DEALER, "stdin_port")
        self._iopub = self._connect(zmq.SUB, "iopub_port")
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False
        self._output_seen = asyncio.Event()
        self._startup_reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def _connect(self, kind: int, port: str) -> zmq.asyncio.Socket:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.set_hwm(0)
        # Deno is not listening yet when this connects: look again soon, not after 100 ms.
        socket.setsockopt(zmq.RECONNECT_IVL, 10)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(f"tcp://127.0.0.1:{self.process.info[port]}")
        return socket

    async def start(
        self, runtime: Path, env: dict[str, str], on_output: Handler, on_reply: Handler
    ) -> None:
        """Run the start-up module; returns when Deno is ready for the first cell.

        Raises
        ------
        DenoStartError
            If Deno ends before that, or the module cannot be loaded.
        """
        await self.link.listen(self.process.folder / "wrapper.sock")
        self._tasks = [
            asyncio.create_task(self._read(self._shell, self._on_shell(on_reply))),
            asyncio.create_task(self._read(self._stdin, on_reply)),
            asyncio.create_task(self._read(self._control, on_reply)),
            asyncio.create_task(self._read(self._iopub, self._on_iopub(on_output))),
        ]
        try:
            await asyncio.wait_for(self._handshake(runtime, env), START_SECONDS_MAX)
        except asyncio.TimeoutError:
            raise DenoStartError(
                f"Deno did not answer within {START_SECONDS_MAX:.0f} seconds of its start."
            ) from None
        self._started = True

    async def _handshake(self, runtime: Path, env: dict[str, str]) -> None:
        """Send the silent first cell, and make sure that Deno's output is heard."""
        module = json.dumps((runtime / "kernel.mjs").as_uri())
        socket = json.dumps(str(self.process.folder / "wrapper.sock"))
        code = f"{{ (await import({module})).start({socket}, {json.dumps(env)}); }}"
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "allow_stdin": False,
            "stop_on_error": False,
            "user_expressions": {},
        }
        self.send("shell", self.wire.message("execute_request", content))
        reply = await self._alive(self._startup_reply)
        if reply.content.get("status") != "ok":
            raise DenoStartError(
                f"Deno could not load {runtime / 'kernel.mjs'}: {reply.content.get('evalue')}"
            )
        await self._alive(self.link.connected)
        # A subscription takes effect some time after it was made; nothing may be lost later.
        while not self._output_seen.is_set():
            self.send("shell", self.wire.message("kernel_info_request", {}))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._output_seen.wait(), RETRY_SECONDS)

    async def _alive(self, future: asyncio.Future[Message] | asyncio.Future[None]) -> Message:
        """Wait for something of Deno's as long as it lives."""
        while not future.done():
            code = self.process.returncode()
            if code is not None:
                raise DenoStartError(f"Deno ended at its start ({describe_exit(code)}).")
            await asyncio.wait([future], timeout=RETRY_SECONDS)
        return future.result()  # type: ignore[return-value]

    def send(self, channel: str, message: Message) -> None:
        """Send to Deno's ``shell``, ``control`` or ``stdin``."""
        socket = {"shell": self._shell, "control": self._control, "stdin": self._stdin}[channel]
        message.idents = []
        # Done at once: the queue is not bounded, so there is nothing to wait for.
        socket.send_multipart(self.wire.frames(message))

    async def _read(self, socket: zmq.asyncio.Socket, handler: Handler) -> None:
        while True:
            frames = await socket.recv_multipart()
            # A damaged message of Deno's own is no reason to lose the notebook.
            with contextlib.suppress(InvalidMessageError):
                handler(self.wire.parse(frames))

    def _on_shell(self, on_reply: Handler) -> Handler:
        def handle(message: Message) -> None:
            if self._started:
                on_reply(message)
            elif message.type == "execute_reply" and not self._startup_reply.done():
                self._startup_reply.set_result(message)

        return handle

    def _on_iopub(self, on_output: Handler) -> Handler:
        def handle(message: Message) -> None:
            self._output_seen.set()
            if message.type == "taskloom_fence":
                self.link.resolve("fence", message.content["id"], message.content)
            elif self._started:
                on_output(message)

        return handle

    async def close(self) -> None:
        """End Deno and close everything that led to it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.link.close()
        for socket in (self._shell, self._control, self._stdin, self._iopub):
            socket.close()
        await asyncio.to_thread(self.process.close)


def describe_exit(code: int) -> str:
    """Say how a process ended: its exit code, or the signal and what it often means."""
    if code == -9:
        return "killed by signal 9; often the system is out of memory"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
