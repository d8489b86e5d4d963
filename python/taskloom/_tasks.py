"""What a task may ask for: a client of its own cluster, its worker, and to leave its slot."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskloom._context import (
    ExecutorContext,
    TaskContext,
    TaskWorker,
    current_task,
    executor_context,
)
from taskloom._errors import CommClosedError, ConfigError, TimeoutError
from taskloom._settings import seconds

if TYPE_CHECKING:
    from taskloom._client import Client

_lock = threading.Lock()
_own: Client | None = None
# Seconds that a worker, too, dials a scheduler that is gone.
_PATIENCE = 60.0


def get_client(
    address: str | None = None, timeout: float | str | None = None, resolve_address: bool = True
) -> Client:
    """Return a client: in a task that of its cluster, elsewhere the current one.

    While a task waits for futures of this client, other tasks have its slot.

    Parameters
    ----------
    address : str, optional
        Connect there instead, unless that is where the client is connected already.
    timeout : float or str, optional
        Seconds to connect in. Default in a task: 60, for a scheduler that is started again;
        elsewhere 10.
    resolve_address : bool, default True
        Accepted, changes nothing.

    Returns
    -------
    Client
        In a task all tasks of the process share it.

    Raises
    ------
    ConfigError
        There is no client, outside of tasks and without an address.
    CommClosedError
        Nothing answers at the address.
    TimeoutError
        The scheduler did not answer in time.
    """
    from taskloom._client import Client

    global _own
    context = executor_context()
    if context is not None and address in (None, context.scheduler):
        with _lock:
            if _own is None or _own.status != "running":
                _own = _connect(context, seconds(timeout))
            return _own
    current = Client._newest()
    if current is not None and address in (None, current.address):
        return current
    if address is not None:
        return Client(address, timeout=timeout or 10)
    raise ConfigError("There is no client yet. Connect first: client = Client().")


def _connect(context: ExecutorContext, limit: float | None) -> Client:
    """Connect a task; a scheduler that is just being started again is waited for."""
    from taskloom._client import Client

    until = time.monotonic() + (limit or _PATIENCE)
    while True:
        left = until - time.monotonic()
        try:
            return Client(
                context.scheduler,
                token=context.token,
                name=f"tasks of {context.worker.name}",
                timeout=max(1.0, left),
                set_as_default=False,
            )
        except (CommClosedError, TimeoutError):
            if limit is not None or left < 0:
                raise
            time.sleep(0.5)


def get_worker() -> TaskWorker:
    """In a task: return the worker that runs it.

    Returns
    -------
    TaskWorker
        Its ``name``, ``address``, ``nthreads`` and ``memory_limit`` (bytes; 0: no limit).

    Raises
    ------
    ConfigError
        The code runs in no task.
    """
    context = executor_context()
    if context is None:
        raise ConfigError("get_worker() works in a task only.")
    return context.worker


def _running(what: str) -> TaskContext:
    task = current_task()
    if task is None:
        raise ConfigError(f"{what}() works in a running task only, in the thread that runs it.")
    return task


def secede() -> None:
    """In a task: leave its slot to other tasks and go on beside them.

    Raises
    ------
    ConfigError
        The thread runs no task.
    """
    _running("secede").secede()


def rejoin() -> None:
    """In a task that has seceded: wait until it has a slot again.

    Raises
    ------
    ConfigError
        The thread runs no task.
    """
    _running("rejoin").rejoin()


@contextlib.contextmanager
def worker_client(
    timeout: float | str | None = None, separate_thread: bool = True
) -> Iterator[Client]:
    """In a task: a client for a ``with`` block.

    Parameters
    ----------
    timeout : float or str, optional
        Seconds to connect in. Default: 60.
    separate_thread : bool, default True
        Leave the slot to other tasks within the block.

    Yields
    ------
    Client
        That of `get_client`.

    Raises
    ------
    ConfigError
        There is no client, outside of tasks.
    """
    client = get_client(timeout=timeout)
    if separate_thread and current_task() is not None:
        secede()
        try:
            yield client
        finally:
            rejoin()
    else:
        yield client
