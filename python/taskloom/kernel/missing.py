"""A kernel that only says what is missing, and how to install it.

Without it a notebook would show "kernel died" and nothing else; the reason would stand in the
lab's terminal, where few look.
"""

from __future__ import annotations

import asyncio
from typing import Any

import zmq
import zmq.asyncio

from taskloom._version import __version__
from taskloom.kernel.bridge import bind
from taskloom.kernel.wire import InvalidMessageError, Message, Wire

BIND_ATTEMPTS_MAX = 50
BIND_RETRY_SECONDS = 0.1


async def explain(connection: dict[str, Any], text: str) -> None:
    """Answer every cell with an error that says ``text``, until a shutdown request."""
    wire = Wire(connection["key"], connection.get("signature_scheme", "hmac-sha256"))
    context = zmq.asyncio.Context.instance()
    shell = await _bind_again(context, zmq.ROUTER, connection, "shell_port")
    control = await _bind_again(context, zmq.ROUTER, connection, "control_port")
    iopub = await _bind_again(context, zmq.PUB, connection, "iopub_port")
    heartbeat = await _bind_again(context, zmq.REP, connection, "hb_port")

    async def serve(socket: zmq.asyncio.Socket) -> None:
        while True:
            try:
                message = wire.parse(await socket.recv_multipart())
            except InvalidMessageError:
                continue
            for kind, content in _outputs(message, text):
                out = wire.message(kind, content, message)
                out.idents = [kind.encode()]
                await iopub.send_multipart(wire.frames(out))
            answer = message.type.replace("_request", "_reply")
            reply = wire.message(answer, _content(message, text), message)
            await socket.send_multipart(wire.frames(reply))
            idle = wire.message("status", {"execution_state": "idle"}, message)
            await iopub.send_multipart(wire.frames(idle))
            if message.type == "shutdown_request":
                return

    async def echo() -> None:
        while True:
            await heartbeat.send_multipart(await heartbeat.recv_multipart())

    tasks = [asyncio.ensure_future(job) for job in (serve(shell), serve(control), echo())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _bind_again(
    context: zmq.asyncio.Context, kind: int, connection: dict[str, Any], port: str
) -> zmq.asyncio.Socket:
    """Bind, also where a kernel that failed has closed the very socket a moment ago."""
    for _ in range(BIND_ATTEMPTS_MAX):
        try:
            return bind(context, kind, connection, port)
        except zmq.ZMQError:
            await asyncio.sleep(BIND_RETRY_SECONDS)
    return bind(context, kind, connection, port)


def _error(text: str) -> dict[str, Any]:
    return {"ename": "KernelNotAvailable", "evalue": text, "traceback": [text]}


def _outputs(message: Message, text: str) -> list[tuple[str, dict[str, Any]]]:
    outputs: list[tuple[str, dict[str, Any]]] = [("status", {"execution_state": "busy"})]
    if message.type == "execute_request":
        outputs.append(("error", _error(text)))
    return outputs


def _content(message: Message, text: str) -> dict[str, Any]:
    if message.type == "kernel_info_request":
        return {
            "status": "ok",
            "protocol_version": "5.3",
            "implementation": "taskloom",
            "implementation_version": __version__,
            "language_info": {
                "name": "typescript",
                "version": "",
                "mimetype": "text/x.typescript",
                "file_extension": ".ts",
            },
            "banner": text,
            "help_links": [],
        }
    if message.type == "execute_request":
        return {"status": "error", "execution_count": 0, **_error(text)}
    return {"status": "ok", "restart": message.content.get("restart", False)}
