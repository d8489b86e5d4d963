"""Jupyter's side of the kernel, and the rules by which messages pass.

Requests are handed to Deno one at a time. A cell's end (its reply, and ``status: idle``) is held
back until a fence behind all of its output has come through: Deno sends results on another way
than the end of the cell, and a client that stops reading at ``idle`` would lose them. An interrupt
is first passed to the waits inside the cell; a cell that computes is stopped by V8; one that does
neither is told to the user, and the next interrupt starts Deno anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

from taskloom.kernel.deno import DenoProcess
from taskloom.kernel.link import LinkClosedError
from taskloom.kernel.session import DenoSession, DenoStartError, describe_exit
from taskloom.kernel.wire import InvalidMessageError, Message, Wire

START_ATTEMPTS_MAX = 2
FENCE_SECONDS_MAX = 10.0
GENTLE_SECONDS = 0.4
STUBBORN_SECONDS = 2.0
WATCH_SECONDS = 0.5

INTERRUPTED = {
    "ename": "KeyboardInterrupt",
    "evalue": "The cell was interrupted.",
    "traceback": ["KeyboardInterrupt: The cell was interrupted."],
}

NO_REASON = "The cell could not be run; Deno gave no reason."


@dataclass(eq=False)
class Request:
    """A request of the shell channel that Deno works on."""

    message: Message
    replied: asyncio.Future[Message]
    idle: asyncio.Future[Message]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    interrupts: int = 0
    error_shown: bool = False

    @property
    def is_cell(self) -> bool:
        """Whether this is a cell, rather than a completion or the like."""
        return self.message.type == "execute_request"


class KernelEndedError(RuntimeError):
    """Deno has ended on its own; the kernel ends with it."""


class Bridge:
    """The kernel as Jupyter sees it.

    Parameters
    ----------
    connection : dict
        The connection file that Jupyter wrote.
    process : DenoProcess
        The first Deno; it may still be starting.
    spawn : callable
        Starts another one.
    runtime : pathlib.Path
        The folder of the compiled runtime.
    env : dict
        Variables to set inside Deno.
    """

    def __init__(
        self,
        connection: dict[str, Any],
        process: DenoProcess,
        spawn: Callable[[], DenoProcess],
        runtime: Path,
        env: dict[str, str],
    ) -> None:
        self._wire = Wire(connection["key"], connection.get("signature_scheme", "hmac-sha256"))
        self._spawn = spawn
        self._runtime = runtime
        self._env = env
        self._process = process
        context = zmq.asyncio.Context.instance()
        self._shell = bind(context, zmq.ROUTER, connection, "shell_port")
        self._control = bind(context, zmq.ROUTER, connection, "control_port")
        self._stdin = bind(context, zmq.ROUTER, connection, "stdin_port")
        self._iopub = bind(context, zmq.PUB, connection, "iopub_port")
        self._heartbeat = bind(context, zmq.REP, connection, "hb_port")
        self._session: DenoSession | None = None
        self._starting: DenoSession | None = None
        self._ready = asyncio.Event()
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._current: Request | None = None
        self._last_cell: Message | None = None
        self._control_requests: dict[str, Message] = {}
        self._count = 0
        self._shutdown = asyncio.Event()

    async def run(self) -> None:
        """Serve until a shutdown request, or until Deno ends."""
        jobs = [
            self._work(),
            self._receive(self._shell, self._queue.put_nowait),
            self._receive(self._control, self._on_control),
            self._receive(self._stdin, self._on_input_reply),
            self._echo(),
            self._watch(),
            self._shutdown.wait(),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        session = self._session or self._starting
        if session is not None:
            await session.close()
        self._process.close()
        for socket in (self._shell, self._control, self._stdin, self._iopub, self._heartbeat):
            # Time for the last words, such as the answer to a shutdown.
            socket.close(linger=500)

    # Deno's life

    async def _start(self) -> None:
        """Make Deno ready; once more with other ports if it fails, as these may be taken."""
        for attempt in range(START_ATTEMPTS_MAX):
            session = DenoSession(self._process)
            self._starting = session
            try:
                await session.start(self._runtime, self._env, self._on_output, self._on_reply)
            except DenoStartError:
                await session.close()
                if attempt + 1 == START_ATTEMPTS_MAX:
                    raise
                self._process = self._spawn()
            else:
                self._session = session
                self._ready.set()
                return

    async def _restart(self) -> None:
        """Give up this Deno, and with it all variables, for a new one."""
        session, self._session = self._session, None
        self._ready.clear()
        if session is not None:
            await session.close()
        self._process = self._spawn()
        self._count = 0
        await self._start()

    async def _watch(self) -> None:
        """End with Deno, so that the lab notices and offers a new kernel."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            code = self._process.returncode()
            if self._session is None or code is None or self._shutdown.is_set():
                continue
            reason = describe_exit(code)
            if self._current is not None and self._current.is_cell:
                text = f"The TypeScript kernel (Deno) has ended: {reason}."
                self._fail(self._current.message, "KernelDied", text)
            raise KernelEndedError(reason)

    # From Jupyter

    async def _receive(
        self, socket: zmq.asyncio.Socket, handler: Callable[[Message], None]
    ) -> None:
        while True:
            frames = await socket.recv_multipart()
            # Not signed with this kernel's key: nobody that it answers to.
            with contextlib.suppress(InvalidMessageError):
                handler(self._wire.parse(frames))

    async def _echo(self) -> None:
        while True:
            await self._heartbeat.send_multipart(await self._heartbeat.recv_multipart())

    async def _work(self) -> None:
        """Hand one request after the other to Deno."""
        await self._start()
        while True:
            message = await self._queue.get()
            loop = asyncio.get_running_loop()
            request = Request(message, loop.create_future(), loop.create_future())
            self._current = request
            try:
                if request.is_cell:
                    await self._run_cell(request)
                else:
                    await self._run_other(request)
            finally:
                request.ended.set()
                self._current = None

    async def _run_other(self, request: Request) -> None:
        """Pass on a completion, an information request and the like."""
        session = await self._live()
        session.send("shell", _copy(request.message))
        idle = await request.idle
        if request.message.type.endswith("_request"):
            # On another socket than the status, so perhaps a moment later; and where Deno's
            # completion fails it answers not at all.
            await asyncio.wait([request.replied], timeout=1.0)
            if request.replied.done():
                self._reply(request.message, request.replied.result())
            else:
                self._reply(request.message, self._no_answer(request.message))
        self._publish(idle)

    def _no_answer(self, message: Message) -> Message:
        content: dict[str, Any] = {"status": "error", "ename": "NoReply", "evalue": "no answer"}
        if message.type == "complete_request":
            position = message.content.get("cursor_pos", 0)
            content = {"status": "ok", "matches": [], "metadata": {}}
            content |= {"cursor_start": position, "cursor_end": position}
        reply = message.type.replace("_request", "_reply")
        return self._wire.message(reply, content, message)

    async def _run_cell(self, request: Request) -> None:
        """Run a cell; its end is told after all that it has sent."""
        message, session = request.message, await self._live()
        content = message.content
        self._last_cell = message
        if content.get("store_history", True) and not content.get("silent", False):
            self._count += 1
        cell = {"cellId": message.metadata.get("cellId"), "executionCount": self._count}
        code = content.get("code", "")
        with contextlib.suppress(LinkClosedError):
            ready = await session.link.ask("cell", "ready", cell=cell, code=code)
            passed = _copy(message)
            if ready["code"] is not None:
                passed.content = {**content, "code": ready["code"]}
            session.send("shell", passed)
        reply, idle = await asyncio.gather(request.replied, request.idle)
        with contextlib.suppress(LinkClosedError, asyncio.TimeoutError):
            # A task of the user's that hogs the loop afterwards must not keep the cell open.
            await asyncio.wait_for(session.link.ask("fence", "fence"), FENCE_SECONDS_MAX)
        content = reply.content
        failed = content.get("status") == "error"
        if failed and not request.error_shown:
            error = dict(INTERRUPTED) if request.interrupts else await self._explain(session, code)
            content.update(error)
            self._publish(self._wire.message("error", error, message))
        content["execution_count"] = self._count
        self._reply(message, reply)
        self._publish(idle)
        if failed and message.content.get("stop_on_error", True):
            self._abort_queued()

    async def _explain(self, session: DenoSession, code: str) -> dict[str, Any]:
        """Say why a cell failed about which Deno has said nothing."""
        text = None
        with contextlib.suppress(LinkClosedError, asyncio.TimeoutError):
            asked = session.link.ask("explain", "explained", code=code)
            text = (await asyncio.wait_for(asked, FENCE_SECONDS_MAX))["text"]
        if text is None:
            return {"ename": "Error", "evalue": NO_REASON, "traceback": [f"Error: {NO_REASON}"]}
        lines = f"SyntaxError: {text}".rstrip().split("\n")
        return {"ename": "SyntaxError", "evalue": text.split("\n")[0], "traceback": lines}

    def _abort_queued(self) -> None:
        """Let the cells that wait behind a failed one not run, as every kernel does."""
        kept = []
        while not self._queue.empty():
            message = self._queue.get_nowait()
            if message.type != "execute_request":
                kept.append(message)
                continue
            self._status("busy", message)
            content = {"status": "aborted", "execution_count": self._count}
            self._reply(message, self._wire.message("execute_reply", content, message))
            self._status("idle", message)
        for message in kept:
            self._queue.put_nowait(message)

    def _on_control(self, message: Message) -> None:
        if message.type == "interrupt_request":
            task = asyncio.ensure_future(self._interrupt(message))
            self._background(task)
        elif message.type == "shutdown_request":
            content = {"status": "ok", "restart": message.content.get("restart", False)}
            reply = self._wire.message("shutdown_reply", content, message)
            self._control.send_multipart(self._wire.frames(reply))
            self._publish(self._wire.message("shutdown_reply", content, message))
            self._shutdown.set()
        elif message.type == "kernel_info_request" and self._session is not None:
            self._control_requests[message.id] = message
            self._session.send("control", _copy(message))

    def _on_input_reply(self, message: Message) -> None:
        if self._session is not None:
            self._session.send("stdin", _copy(message))

    # Interrupts

    async def _interrupt(self, message: Message) -> None:
        reply = self._wire.message("interrupt_reply", {"status": "ok"}, message)
        self._control.send_multipart(self._wire.frames(reply))
        request, session = self._current, self._session
        if request is None or not request.is_cell or session is None:
            return
        request.interrupts += 1
        try:
            await asyncio.wait_for(session.link.ask("interrupt", "interrupted"), GENTLE_SECONDS)
        except asyncio.TimeoutError:
            # Nothing reads the link: JavaScript is running, and V8 can stop it.
            if not request.ended.is_set():
                session.send("control", session.wire.message("interrupt_request", {}))
        except LinkClosedError:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(request.ended.wait(), STUBBORN_SECONDS)
        if request.ended.is_set():
            return
        if request.interrupts == 1:
            self._stream(
                request.message,
                "The cell has not ended yet. Interrupt once more to stop it at the price of all "
                "variables: Deno is then started anew.\n",
            )
        elif self._session is session:
            await self._give_up(request)

    async def _give_up(self, request: Request) -> None:
        self._session_lost(request)
        await self._restart()

    def _session_lost(self, request: Request) -> None:
        """End the cell in the name of a Deno that is about to go."""
        text = "The cell was stopped. Deno was started anew, so all variables are gone."
        error = {"ename": "KeyboardInterrupt", "evalue": text, "traceback": [text]}
        request.error_shown = True
        self._publish(self._wire.message("error", dict(error), request.message))
        reply = {"status": "error", "execution_count": self._count, **error}
        answer = self._wire.message("execute_reply", reply, request.message)
        idle = self._wire.message("status", {"execution_state": "idle"}, request.message)
        for future, message in ((request.replied, answer), (request.idle, idle)):
            if not future.done():
                future.set_result(message)

    # From Deno

    def _on_reply(self, message: Message) -> None:
        """Handle what Deno says on its shell, control and stdin sockets."""
        request = self._current
        if message.type == "input_request" and request is not None:
            message.idents = request.message.idents
            self._stdin.send_multipart(self._wire.frames(message))
        elif message.parent_id in self._control_requests:
            message.idents = self._control_requests.pop(message.parent_id).idents
            self._control.send_multipart(self._wire.frames(message))
        elif request is not None and message.parent_id == request.message.id:
            if not message.type.endswith("_reply"):
                self._publish(message)
            elif not request.replied.done():
                request.replied.set_result(message)

    def _on_output(self, message: Message) -> None:
        """Pass on what Deno publishes; hold the end of the request back."""
        request = self._current
        ours = request is not None and message.parent_id == request.message.id
        state = message.content.get("execution_state") if message.type == "status" else None
        if request is not None and ours:
            if state == "idle":
                if not request.idle.done():
                    request.idle.set_result(message)
                return
            if message.type == "execute_input":
                message.content["code"] = request.message.content.get("code", "")
            if message.type == "error":
                request.error_shown = True
            if "execution_count" in message.content:
                message.content["execution_count"] = self._count
        elif state is not None:
            return
        self._publish(message)

    # To Jupyter

    async def _live(self) -> DenoSession:
        """Return the running Deno, after the restart if there is one going on."""
        await self._ready.wait()
        if self._session is None:
            raise DenoStartError("Deno is not running.")
        return self._session

    def _publish(self, message: Message) -> None:
        message.idents = [message.type.encode()]
        self._iopub.send_multipart(self._wire.frames(message))

    def _reply(self, request: Message, reply: Message) -> None:
        reply.idents = request.idents
        self._shell.send_multipart(self._wire.frames(reply))

    def _status(self, state: str, parent: Message) -> None:
        self._publish(self._wire.message("status", {"execution_state": state}, parent))

    def _stream(self, parent: Message, text: str) -> None:
        self._publish(self._wire.message("stream", {"name": "stderr", "text": text}, parent))

    def _fail(self, message: Message, name: str, text: str) -> None:
        """End a cell with an error of the kernel's own."""
        error = {"ename": name, "evalue": text, "traceback": [text]}
        self._publish(self._wire.message("error", dict(error), message))
        reply = {"status": "error", "execution_count": self._count, **error}
        self._reply(message, self._wire.message("execute_reply", reply, message))
        self._status("idle", message)

    def _background(self, task: asyncio.Task[None]) -> None:
        """Keep a task from being collected while it runs."""
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


_tasks: set[asyncio.Task[None]] = set()


def _copy(message: Message) -> Message:
    """Return the message without the way it came by."""
    return Message(
        message.header, message.parent, message.metadata, message.content, [], message.buffers
    )


def bind(
    context: zmq.asyncio.Context, kind: int, connection: dict[str, Any], port: str
) -> zmq.asyncio.Socket:
    """Open one of the sockets that the connection file names."""
    socket = context.socket(kind)
    socket.linger = 1000
    # The queue to a slow front end is bounded by nothing but memory, as in other kernels.
    socket.set_hwm(0)
    if kind == zmq.ROUTER:
        socket.router_handover = 1
    separator = "-" if connection.get("transport") == "ipc" else ":"
    address = f"{connection['ip']}{separator}{connection[port]}"
    if connection.get("transport") == "ipc":
        os.umask(0o077)
    socket.bind(f"{connection.get('transport', 'tcp')}://{address}")
    return socket
