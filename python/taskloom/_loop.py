"""The thread on which all links of this process live.

A client works in scripts, in a notebook whose main thread runs a loop of its own, and in threads,
because its links have a loop in a thread of their own: a cell that computes for an hour does not
keep messages from being read, and waiting for a result can be interrupted.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0


def loop() -> asyncio.AbstractEventLoop:
    """Return the loop, whose thread is started at the first call in a process."""
    global _loop, _pid
    with _lock:
        # A fork has the object but not its thread.
        if _loop is None or _pid != os.getpid():
            made = asyncio.new_event_loop()
            thread = threading.Thread(target=_run, args=(made,), name="taskloom", daemon=True)
            thread.start()
            _loop, _pid = made, os.getpid()
        return _loop


def _run(made: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(made)
    made.run_forever()


def is_loop_thread() -> bool:
    """Whether the caller is the thread of the loop, which must never wait for itself."""
    try:
        return asyncio.get_running_loop() is _loop
    except RuntimeError:
        return False


def start(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Run a coroutine on the loop; what it gives can be waited for by any thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


def wait_for(running: concurrent.futures.Future[T]) -> T:
    """Wait for a coroutine; Ctrl-C ends the wait and the coroutine, and nothing else."""
    if is_loop_thread():
        running.cancel()
        raise RuntimeError(
            "A synchronous call of a Taskloom client was made in a callback on the client's own "
            "loop, where it would wait for itself. Make the call in another thread, or connect "
            "with Client(asynchronous=True)."
        )
    try:
        return running.result()
    except BaseException:
        running.cancel()
        raise
