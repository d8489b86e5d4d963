"""How the library, when a task uses it, finds the executor that runs the task.

An executor provides one `ExecutorContext` for its process; ``get_client``, ``get_worker``,
``secede`` and ``rejoin`` ask for it. Nothing of the executor or of the client is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class TaskWorker:
    """The worker that runs the task.

    Attributes
    ----------
    name, address : str
        Its name and where peers reach its values.
    nthreads : int
        Tasks that it runs at a time.
    memory_limit : int
        Bytes; 0 is no limit.
    """

    name: str
    address: str
    nthreads: int
    memory_limit: int = 0

    def _repr_html_(self) -> str:
        from taskloom._html import worker_html

        return worker_html(self)


class TaskContext(Protocol):
    """A running task, as its own code may act on it."""

    key: str
    tid: int

    def secede(self) -> None:
        """Leave its slot, for good unless it rejoins."""

    def rejoin(self) -> None:
        """Return when it has a slot again."""

    def waiting(self) -> AbstractContextManager[object]:
        """Give its slot to other tasks while the body of ``with`` runs."""


@dataclass(frozen=True)
class ExecutorContext:
    """What an executor tells the code of its tasks.

    Attributes
    ----------
    worker : TaskWorker
        Whose executor it is.
    scheduler : str
        Address of the worker's scheduler.
    token : str
        What lets a client in there.
    current : callable
        Gives the task whose code runs in the calling thread, or None between tasks.
    """

    worker: TaskWorker
    scheduler: str
    token: str
    current: Callable[[], TaskContext | None]


_context: ExecutorContext | None = None


def provide_executor(context: ExecutorContext | None) -> None:
    """Say that this process runs tasks (or does so no more)."""
    global _context
    _context = context


def executor_context() -> ExecutorContext | None:
    """Return the context, or None in a process that runs no tasks."""
    return _context


def current_task() -> TaskContext | None:
    """Return the task whose code runs in this thread, or None."""
    return None if _context is None else _context.current()
