"""What a client says to its scheduler, in order.

Any thread puts in tasks and messages; the loop's thread takes all that has come together. Tasks
submitted one by one become one graph message as long as they follow each other and share their
options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Message = dict[str, Any]

GRAPH_TASKS = 100_000
"""Tasks in one graph message (the wire allows more)."""
GRAPH_BYTES = 16 * 2**20


class Task(NamedTuple):
    """One task on its way out."""

    cid: int
    key: str
    fn: int
    args: bytes
    deps: list[int]
    options: Message
    fifo: float
    """Milliseconds within which submissions count as one."""
    parent: int
    """The running task that submits it, or 0."""


def graph_message(
    first: int,
    keys: list[str],
    fn: int | list[int],
    args: bytes,
    offsets: list[int],
    options: Message,
    fifo: float,
    parent: int = 0,
    deps: list[int] | None = None,
    rows: list[int] | None = None,
    wants: str | list[int] = "all",
    order: list[int] | None = None,
) -> Message:
    """Return an ``update-graph`` message."""
    message: Message = {
        "op": "update-graph",
        "first": first,
        "keys": keys,
        "fn": fn,
        "args": args,
        "argOffsets": offsets,
        "deps": deps or [],
        "depOffsets": rows if deps and rows else [],
        "options": options,
        "fifoTimeout": fifo,
        "wants": wants,
    }
    if parent:
        message["parent"] = parent
    if order is not None:
        message["order"] = order
    return message


class Outbox:
    """Holds what is to be said until the loop takes it.

    Parameters
    ----------
    wake : callable
        Called when something lies here; must be cheap and may be called by any thread.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._items: list[Task | Message] = []

    def put(self, item: Task | Message) -> None:
        """Put a task or message after all others."""
        self._items.append(item)
        self._wake()

    def take(self) -> list[Message]:
        """Take all, tasks as graphs."""
        items, self._items = self._items, []
        messages: list[Message] = []
        tasks: list[Task] = []
        size = 0
        for item in items:
            if isinstance(item, Task):
                if tasks and not (_follows(tasks[-1], item) and size < GRAPH_BYTES):
                    messages.append(_graph(tasks))
                    tasks, size = [], 0
                tasks.append(item)
                size += len(item.args)
                continue
            if tasks:
                messages.append(_graph(tasks))
                tasks, size = [], 0
            messages.append(item)
        if tasks:
            messages.append(_graph(tasks))
        return messages


def _follows(before: Task, task: Task) -> bool:
    return (
        task.cid == before.cid + 1
        and task.options == before.options
        and task.fifo == before.fifo
        and task.parent == before.parent
    )


def _graph(tasks: list[Task]) -> Message:
    first = tasks[0]
    fns = [task.fn for task in tasks]
    offsets, size = [0], 0
    deps: list[int] = []
    rows = [0]
    for task in tasks:
        size += len(task.args)
        offsets.append(size)
        deps.extend(task.deps)
        rows.append(len(deps))
    return graph_message(
        first.cid,
        [task.key for task in tasks],
        fns[0] if fns.count(fns[0]) == len(fns) else fns,
        b"".join([task.args for task in tasks]),
        offsets,
        first.options,
        first.fifo,
        first.parent,
        deps,
        rows,
    )
