"""Tasks as an executor knows them, and the slots that those take turns in which run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

current_task: ContextVar[RunningTask | None] = ContextVar("taskloom_task", default=None)
"""Whose code runs: of this thread, or of this coroutine."""


class Host(Protocol):
    """What a running task asks of its executor."""

    def leave(self, task: RunningTask) -> None:
        """The task goes on without a slot."""

    def come_back(self, task: RunningTask) -> None:
        """Wait for a slot."""

    def come_back_if_free(self, task: RunningTask) -> None:
        """Take a slot if there is one."""


class Task:
    """A task as the worker has handed it over."""

    __slots__ = ("announce", "args", "fn", "inputs", "key", "name", "run_id", "seq", "tid")

    def __init__(
        self,
        seq: int,
        tid: int,
        run_id: int,
        key: str,
        fn: int,
        name: str,
        args: bytes | memoryview,
        inputs: list[Any] | None,
        announce: bool,
    ) -> None:
        self.seq = seq
        self.tid = tid
        self.run_id = run_id
        self.key = key
        self.fn = fn
        self.name = name
        self.args = args
        self.inputs = inputs
        self.announce = announce


class RunningTask:
    """A task whose code has begun; what ``taskloom.secede`` and its like act on."""

    __slots__ = (
        "_executor",
        "_implicit",
        "_waits",
        "away",
        "cell",
        "key",
        "name",
        "seq",
        "start",
        "tid",
    )

    def __init__(self, executor: Host, task: Task, cell: int) -> None:
        self._executor = executor
        self.key = task.key
        # Of its function, as progress bars show it.
        self.name = task.name
        self.tid = task.tid
        self.seq = task.seq
        self.cell = cell
        self.start = time.perf_counter()
        self.away = False
        self._implicit = False
        self._waits = 0

    def secede(self) -> None:
        """Leave the slot, for good unless it rejoins."""
        self._implicit = False
        self._executor.leave(self)

    def rejoin(self) -> None:
        """Return when it has a slot again."""
        self._executor.come_back(self)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give the slot to other tasks meanwhile; take it again if it is free then."""
        self._waits += 1
        if self._waits == 1 and not self.away:
            self._implicit = True
            self._executor.leave(self)
        try:
            yield
        finally:
            self._waits -= 1
            if self._waits == 0 and self._implicit:
                self._implicit = False
                self._executor.come_back_if_free(self)


class Slots:
    """Turns of threads: who returns goes first, then who takes the next task."""

    def __init__(self, count: int) -> None:
        self.condition = threading.Condition()
        self.free = list(range(1, count + 1))
        self.returning = 0
        # Threads that wait for a slot in order to take tasks.
        self.spare = 0

    def take(self) -> int:
        """Wait for a slot, after all who return."""
        with self.condition:
            self.spare += 1
            while not self.free or self.returning > 0:
                self.condition.wait()
            self.spare -= 1
            return self.free.pop()

    def take_back(self) -> int:
        """Wait for a slot, before others."""
        with self.condition:
            self.returning += 1
            self.condition.notify_all()
            while not self.free:
                self.condition.wait()
            self.returning -= 1
            return self.free.pop()

    def take_if_free(self) -> int:
        """Give a slot, or 0."""
        with self.condition:
            return self.free.pop() if self.free else 0

    def give(self, slot: int) -> None:
        """Let others have it."""
        with self.condition:
            self.free.append(slot)
            self.condition.notify_all()
