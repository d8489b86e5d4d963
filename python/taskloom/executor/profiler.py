"""What the tasks of this process spend their time on.

One thread looks at their stacks a hundred times a second while tasks run, and sleeps while none do.
What it has seen is kept as trees of calls by function, a tree for each ten seconds, for an hour.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from taskloom.executor.tasks import RunningTask

INTERVAL_S = 0.01
"""Between two looks; Dask's default (`distributed.worker.profile.interval`)."""
CYCLE_S = 10.0
KEPT = 360
_IDLE_LOOKS = 100
"""Looks without a running task after which the thread sleeps until tasks come."""
_OWN = str(Path(__file__).parent)


class _Node:
    """A call, by its code: in how many looks it was there, and what it called."""

    __slots__ = ("calls", "count")

    def __init__(self) -> None:
        self.count = 0
        self.calls: dict[CodeType, _Node] = {}


class Profiler:
    """Samples the threads of running tasks.

    Parameters
    ----------
    running : dict
        Tasks by sequence number, each with its thread; others change it meanwhile.
    """

    def __init__(self, running: dict[int, tuple[RunningTask, int]]) -> None:
        self._running = running
        self._busy = threading.Event()
        self._lock = threading.Lock()
        self._since = time.time()
        self._now: dict[str, _Node] = {}
        self._past: deque[tuple[float, float, dict[str, _Node]]] = deque(maxlen=KEPT)

    def wake(self) -> None:
        """Tasks have come."""
        if not self._busy.is_set():
            self._busy.set()

    def watch(self) -> None:
        """Look, for as long as the process lives."""
        idle = 0
        while True:
            if idle == _IDLE_LOOKS:
                self._busy.wait()
                idle = 0
            time.sleep(INTERVAL_S)
            if self._running:
                idle = 0
                self._look()
            else:
                if idle == 0:
                    # Long before it may sleep: tasks that come from now on set it again.
                    self._busy.clear()
                idle += 1

    def _look(self) -> None:
        frames = frames_of_others()
        with self._lock:
            self._turn(time.time())
            for running, ident in list(self._running.values()):
                frame = frames.get(ident)
                codes = [] if frame is None or running.away else _codes(frame)
                if codes:
                    self._count(self._now, running.name, codes)

    def _turn(self, now: float) -> None:
        """Put the trees of a cycle that has ended with those of the past."""
        if now - self._since >= CYCLE_S:
            if self._now:
                self._past.append((self._since, now, self._now))
            self._since, self._now = now, {}

    def _count(self, trees: dict[str, _Node], name: str, codes: list[CodeType]) -> None:
        node = trees.get(name)
        if node is None:
            node = trees[name] = _Node()
        node.count += 1
        for code in codes:
            called = node.calls.get(code)
            if called is None:
                called = node.calls[code] = _Node()
            called.count += 1
            node = called

    def told(self, name: str | None, start: float | None, stop: float | None) -> bytes:
        """Return the tree of calls of one function's tasks, or of all, as JSON.

        Parameters
        ----------
        name : str, optional
            Of tasks' functions. Default: all.
        start, stop : float, optional
            Seconds since 1970; cycles that reach into this time are counted.
        """
        root = _node("root")
        with self._lock:
            now = time.time()
            self._turn(now)
            for begun, ended, trees in [*self._past, (self._since, now, self._now)]:
                if (start is None or ended >= start) and (stop is None or begun <= stop):
                    for one, tree in trees.items():
                        if name is None or one == name:
                            _add(root, tree)
        return json.dumps(root).encode()


def frames_of_others() -> dict[int, FrameType]:
    """Return the frame that each other thread is in.

    A thread's own frame holds what it has called this for: with that in the mapping, all these
    frames and what is in them would live until the next garbage collection.
    """
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    return frames


def _codes(frame: FrameType | None) -> list[CodeType]:
    """Return the calls of a task's own code, outermost first."""
    codes: list[CodeType] = []
    while frame is not None and not frame.f_code.co_filename.startswith(_OWN):
        codes.append(frame.f_code)
        frame = frame.f_back
    # Beside a coroutine its thread waits: that is no code of the task's.
    if frame is not None and frame.f_code.co_name == "_await":
        return []
    return codes[::-1]


def _node(identifier: str, code: CodeType | None = None) -> dict[str, Any]:
    description = {
        "name": identifier if code is None else code.co_name,
        "filename": "" if code is None else code.co_filename,
        "line_number": 0 if code is None else code.co_firstlineno,
    }
    return {"identifier": identifier, "description": description, "count": 0, "children": {}}


def _add(told: dict[str, Any], node: _Node) -> None:
    told["count"] += node.count
    for code, called in node.calls.items():
        identifier = f"{code.co_name};{code.co_filename};{code.co_firstlineno}"
        below = told["children"].get(identifier)
        if below is None:
            below = told["children"][identifier] = _node(identifier, code)
        _add(below, called)
