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
        Seconds to connect in. Default in a task: 60, for a scheduler that is started again.
    resolve_address : bool
        Accepted for Dask's sake, changes nothing.

    Returns
    -------
    Client
        Open.
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
    """In a task: return the worker that runs it."""
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
    """In a task: leave its slot to other tasks and go on beside them."""
    _running("secede").secede()


def rejoin() -> None:
    """In a task that has seceded: wait until it has a slot again."""
    _running("rejoin").rejoin()


@contextlib.contextmanager
def worker_client(
    timeout: float | str | None = None, separate_thread: bool = True
) -> Iterator[Client]:
    """In a task: a client for a ``with`` block.

    Parameters
    ----------
    timeout : float or str, optional
        Seconds to connect in.
    separate_thread : bool
        Leave the slot to other tasks within the block.

    Yields
    ------
    Client
        Of the task's cluster.
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
