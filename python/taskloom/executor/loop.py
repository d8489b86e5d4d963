"""What runs in a Python executor: takes tasks, calls the user's functions, tells what came of them.

The main thread reads what the worker says; tasks run in threads of their own, one for each slot, so
that tasks that have not begun can be taken back while another runs. What has ended is told in
batches. Coroutines run on one event loop beside them; a task whose coroutine waits keeps its slot.
"""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import pickle
import struct
import sys
import threading
import time
import traceback
import types
from collections import deque
from collections.abc import Sequence
from typing import Any

import taskloom._context as context
from taskloom._errors import Reschedule, WorkerMemoryError
from taskloom._keys import key_prefix
from taskloom.executor.failure import (
    own_failure,
    result_failure,
    start_failure,
    users_failure,
)
from taskloom.executor.link import Link
from taskloom.executor.output import Forward
from taskloom.executor.profiler import Profiler, frames_of_others
from taskloom.executor.results import Results
from taskloom.executor.sizes import size_of
from taskloom.executor.tasks import RunningTask, Slots, Task, current_task
from taskloom.executor.values import Outbox, Sent, Values, mapped, travels, written
from taskloom.serialize import deserialize, nbytes_of, pack, serialize, unpack

# Results of fewer bytes are sent along at once, and decoded again when needed.
_LIVE_BYTES = 64 * 1024
_COPY_BYTES = 1024
# Arguments of a whole batch up to so many bytes are copied once.
_COPIED_BYTES = 2**20
_NONE = [b"\xc0"]
_SMALL = frozenset({type(None), bool, int, float})
_CELL = struct.Struct("<I")
_SAMPLE_S = 0.01
_PICKLE_OF_ONE = b"\xd7\x02\x00\x01"


class Executor:
    """One executor process.

    Parameters
    ----------
    link : Link
        To the worker.
    setup : dict
        The worker's first message.
    """

    def __init__(self, link: Link, setup: dict[str, Any]) -> None:
        self._link = link
        self._setup = setup
        self._is_fork = False
        self._memory_limit: int = setup["memoryLimit"]
        self._keeps: bool = setup["keepsLive"]
        self._values = Values(setup["liveBytes"])
        self._outbox = Outbox(setup["folders"], setup["keepBytes"])
        self._blobs: dict[int, tuple[str, bytes]] = {}
        self._functions: dict[int, Any] = {}
        self._queue: deque[Task] = deque()
        self._slots = Slots(setup["threads"])
        self._running: dict[int, tuple[RunningTask, int]] = {}
        self._results = Results(link, self._values)
        self._profiler = Profiler(self._running)
        self._cells = _cells(setup["cells"])
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_lock = threading.Lock()
        self._outputs: list[Forward] = []
        self._take_output()

    # ---------------------------------------------------------------- the worker's messages

    def run(self) -> None:
        """Serve until the worker ends or says so."""
        for _ in range(self._setup["threads"]):
            self._thread(self._take_tasks, "taskloom-task")
        self._thread(self._results.tell_in_time, "taskloom-results")
        self._thread(self._profiler.watch, "taskloom-profile")
        while True:
            message = self._link.receive()
            if message is None or message[0]["op"] == "close":
                return
            head, frames = message
            try:
                self._heard(head, frames)
            except Exception:
                text = f"The executor could not do {head['op']}:\n{traceback.format_exc()}"
                self._say("", "error", text)

    def _heard(self, head: dict[str, Any], frames: list[memoryview]) -> None:
        op = head["op"]
        if op == "tasks":
            self._accept(head, frames)
        elif op == "drop":
            self._values.drop(head["tids"])
            for fn in head["fns"]:
                self._blobs.pop(fn, None)
                self._functions.pop(fn, None)
        elif op == "context":
            self._introduce(head)
        elif op == "recall":
            self._link.send(
                {"op": "recalled", "id": head["id"], "seqs": self._recall(head["seqs"])}
            )
        elif op == "fetch":
            self._fetch(head["id"], head["tids"], head["drops"])
        elif op == "collect-garbage":
            self._values.clear()
            self._outbox.clear()
            gc.collect()
        elif op == "stacks":
            self._link.send({"op": "stacks", "id": head["id"], "stacks": self._stacks()})
        elif op == "profile":
            tree = self._profiler.told(head["name"], head["start"], head["stop"])
            self._link.send({"op": "profile", "id": head["id"]}, [tree])
        elif op == "run":
            self._thread(lambda: self._run_beside(head, frames), "taskloom-run")

    def _accept(self, head: dict[str, Any], frames: list[memoryview]) -> None:
        """Queue tasks with their inputs, which later drops cannot take away."""
        at = 0
        for fn, name in zip(head["fns"], head["names"], strict=True):
            self._blobs[fn] = (name, bytes(frames[at]))
            at += 1
        sent: dict[int, Sent] = {}
        for tid, family, files in zip(head["sent"], head["families"], head["files"], strict=True):
            parts: list[memoryview] = []
            for path in files:
                if path is None:
                    parts.append(frames[at])
                    at += 1
                else:
                    parts.append(mapped(path))
            value = Sent(family, parts, sum(part.nbytes for part in parts))
            sent[tid] = value
            self._values.copy(tid, value, value.nbytes)
        args: Any = frames[at]
        if len(args) < _COPIED_BYTES:
            # Pieces of bytes are cheaper to make and compare than those of a view.
            args = bytes(args)
        # A function may be dropped while tasks of it stand here that nobody wants any more.
        names = {fn: self._blobs.get(fn, ("",))[0] for fn in set(head["of"])}
        lacking: list[int] = []
        tasks: list[Task] = []
        rows = zip(
            head["seqs"],
            head["tids"],
            head["runIds"],
            head["keys"],
            head["of"],
            head["deps"],
            head["announce"],
            head["ends"],
            strict=True,
        )
        start = 0
        for seq, tid, run_id, key, fn, deps, announce, end in rows:
            part = args[start:end]
            start = end
            inputs = None if deps is None else self._inputs(deps, sent)
            if deps is not None and inputs is None:
                lacking.append(seq)
                continue
            name = names[fn] or key_prefix(key)
            tasks.append(Task(seq, tid, run_id, key, fn, name, part, inputs, announce))
        if lacking:
            self._link.send({"op": "lacking", "seqs": lacking})
        was_empty = not self._queue
        self._queue.extend(tasks)
        self._profiler.wake()
        if was_empty or self._slots.free:
            with self._slots.condition:
                self._slots.condition.notify_all()

    def _inputs(self, deps: Sequence[int], sent: dict[int, Sent]) -> list[Any] | None:
        """Give the inputs, or None when one of them is not here."""
        inputs: list[Any] = []
        for tid in deps:
            value: Any = sent.get(tid)
            if value is None:
                here, value = self._values.get(tid)
                if not here:
                    return None
            inputs.append(value)
        return inputs

    def _recall(self, seqs: Sequence[int]) -> list[int]:
        """Take tasks that have not begun out of the queue; those that were."""
        wanted = set(seqs)
        taken = []
        for task in list(self._queue):
            if task.seq in wanted:
                try:
                    self._queue.remove(task)
                except ValueError:
                    continue
                taken.append(task.seq)
        return taken

    def _fetch(self, request: int, tids: list[int], drops: list[bool]) -> None:
        """Serialise live values for those who need them elsewhere."""
        rows: list[tuple[str, int, list[Any], str]] = []
        frames: list[Any] = []
        values: dict[int, Any] = {}
        for tid in tids:
            try:
                value = self._values.owned(tid)
                family, own = written(value)
            except Exception as error:
                rows.append(("", 0, [], f"{type(error).__name__}: {error}"))
                continue
            values[tid] = value
            sent, files = self._outbox.put(own)
            rows.append((family, len(sent), files, ""))
            frames.extend(sent)
        self._link.send({"op": "fetched", "id": request, "rows": rows}, frames)
        for tid, drop in zip(tids, drops, strict=True):
            if tid in values and drop:
                self._values.drop([tid])
            elif tid in values:
                self._values.copy(tid, values[tid], size_of(values[tid]))

    # ---------------------------------------------------------------- tasks

    def _thread(self, target: Any, name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _take_tasks(self) -> None:
        slots = self._slots
        slot = slots.take()
        while True:
            if slots.returning:
                slots.give(slot)
                slot = slots.take()
            try:
                task = self._queue.popleft()
            except IndexError:
                self._results.flush()
                # What the last task was given does not wait for the next one.
                task = running = None  # type: ignore[assignment]
                with slots.condition:
                    if not self._queue and not slots.returning:
                        slots.condition.wait()
                continue
            running = RunningTask(self, task, slot)
            self._execute(task, running)
            if running.away:
                self._results.flush()
                return
            slot = running.cell

    def _execute(self, task: Task, running: RunningTask) -> None:
        self._begin(task, running)
        began = time.time() * 1000.0
        try:
            fn, args, kwargs = self._prepare(task)
        except BaseException as error:
            self._failed(task, began, running, start_failure(task.key, error))
            return self._end(running)
        try:
            value = fn(*args, **kwargs)
            if type(value) is types.CoroutineType:
                value = self._await(value)
        except Reschedule:
            if self._is_fork:
                os._exit(0)
            self._results.flush()
            self._link.send({"op": "reschedule", "seq": task.seq})
        except BaseException as error:
            if self._is_fork:
                os._exit(1)
            # It names what its frames hold, which would live as long as it does.
            failure = users_failure(error)
            self._failed(task, began, running, failure)
        else:
            if self._is_fork:
                # A fork of the user's that has come back here: it is no executor.
                os._exit(0)
            self._succeeded(task, began, running, value)
        self._end(running)

    def _begin(self, task: Task, running: RunningTask) -> None:
        _CELL.pack_into(self._cells, 4 * running.cell, task.seq)
        self._running[task.seq] = (running, threading.get_ident())
        current_task.set(running)
        if task.announce:
            self._link.send({"op": "began", "seq": task.seq})

    def _end(self, running: RunningTask) -> None:
        for output in self._outputs:
            if output.is_open:
                output.end_line()
        current_task.set(None)
        self._running.pop(running.seq, None)
        if not running.away:
            _CELL.pack_into(self._cells, 4 * running.cell, 0)

    def _prepare(self, task: Task) -> tuple[Any, Any, Any]:
        fn = self._functions.get(task.fn)
        if fn is None:
            fn = self._functions[task.fn] = pickle.loads(self._blobs[task.fn][1])
        packed = task.args
        if task.inputs is None and packed[:4] == _PICKLE_OF_ONE:
            args, kwargs = pickle.loads(packed[8:])
            return fn, args, kwargs
        family, frames = unpack(packed)
        inputs = task.inputs or []
        if family == "pickle":
            args, kwargs = deserialize(family, frames, lambda number: _value(inputs[number]))
        else:
            # Arguments that another language wrote: a list of plain data.
            args, kwargs = deserialize(family, frames), {}
        return fn, args, kwargs

    def _await(self, coroutine: Any) -> Any:
        if self._loop is None:
            with self._loop_lock:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    self._thread(loop.run_forever, "taskloom-loop")
                    self._loop = loop
        self._results.flush()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    # ---------------------------------------------------------------- what came of it

    def _succeeded(self, task: Task, began: float, running: RunningTask, value: Any) -> None:
        duration = (time.perf_counter() - running.start) * 1000.0
        kind = type(value)
        try:
            if kind in _SMALL:
                family, frames = ("plain", _NONE) if value is None else serialize(value)
                nbytes = len(frames[0])
                return self._ended(task, began, duration, kind.__name__, family, frames, nbytes, 0)
            nbytes = size_of(value)
            limit = self._memory_limit
            if limit and nbytes > limit:
                raise WorkerMemoryError(task.key, _too_large(task.key, nbytes, limit))
            if self._keeps and nbytes >= _LIVE_BYTES and task.tid >= 0 and travels(value):
                self._values.own(task.tid, value)
                self._ended(task, began, duration, kind.__name__, "", [], nbytes, 2)
                return None
            family, frames = serialize(value)
            size = nbytes_of(frames)
            if limit and size > limit:
                raise WorkerMemoryError(task.key, _too_large(task.key, size, limit))
            live = nbytes >= _COPY_BYTES and task.tid >= 0
            live = live and self._values.copy(task.tid, value, nbytes)
            self._ended(task, began, duration, kind.__name__, family, frames, size, int(live))
        except WorkerMemoryError as error:
            self._failed(task, began, running, own_failure("WORKER_MEMORY", error))
        except MemoryError as error:
            self._failed(task, began, running, users_failure(error))
        except BaseException as error:
            self._failed(task, began, running, result_failure(task.key, error))
        return None

    def _ended(
        self,
        task: Task,
        began: float,
        duration: float,
        kind: str,
        family: str,
        frames: list[Any],
        nbytes: int,
        live: int,
    ) -> None:
        files: list[Any] | None = None
        if nbytes >= 2**20 and frames:
            frames, files = self._outbox.put(frames)
        row = (task.seq, began, duration, nbytes, kind, family, len(frames), live, files)
        self._results.add(row, frames, nbytes)

    def _failed(
        self, task: Task, began: float, running: RunningTask, failure: dict[str, Any]
    ) -> None:
        duration = (time.perf_counter() - running.start) * 1000.0
        row = (task.seq, began, duration, 0, "", "", -1, 0, None)
        self._results.add(row, failure=failure)

    # ---------------------------------------------------------------- leaving the slot

    def leave(self, task: RunningTask) -> None:
        """The task goes on without a slot."""
        if task.away:
            return
        task.away = True
        self._results.flush()
        duration = (time.perf_counter() - task.start) * 1000.0
        self._link.send({"op": "seceded", "seq": task.seq, "duration": duration})
        _CELL.pack_into(self._cells, 4 * task.cell, 0)
        if self._slots.spare == 0:
            self._thread(self._take_tasks, "taskloom-task")
        self._slots.give(task.cell)

    def come_back(self, task: RunningTask) -> None:
        """Wait for a slot."""
        if task.away:
            self._hold(task, self._slots.take_back())

    def come_back_if_free(self, task: RunningTask) -> None:
        """Take a slot if there is one."""
        if task.away and self._slots.free:
            slot = self._slots.take_if_free()
            if slot:
                self._hold(task, slot)

    def _hold(self, task: RunningTask, slot: int) -> None:
        task.cell = slot
        task.away = False
        _CELL.pack_into(self._cells, 4 * slot, task.seq)
        self._link.send({"op": "rejoined", "seq": task.seq})

    # ---------------------------------------------------------------- beside the tasks

    def _run_beside(self, head: dict[str, Any], frames: list[memoryview]) -> None:
        """Call one function that is no task, and answer with its result."""
        answer: dict[str, Any] = {"op": "ran", "id": head["id"], "failure": None}
        try:
            fn = pickle.loads(frames[0])
            args, kwargs = deserialize(*unpack(frames[1]))
        except BaseException as error:
            self._link.send({**answer, "failure": start_failure("run", error)})
            return
        try:
            value = fn(*args, **kwargs)
            if type(value) is types.CoroutineType:
                value = self._await(value)
            packed = pack(*serialize(value))
        except BaseException as error:
            self._link.send({**answer, "failure": users_failure(error)})
            return
        self._link.send(answer, [packed])

    def _stacks(self) -> list[tuple[int, list[str]]]:
        """Give what each running task does now, innermost call first."""
        frames = frames_of_others()
        own = os.path.dirname(__file__)  # noqa: PTH120
        stacks = []
        for seq, (_, ident) in list(self._running.items()):
            frame = frames.get(ident)
            if frame is None:
                continue
            lines = [
                f"{one.name} ({one.filename}:{one.lineno})"
                for one in reversed(traceback.extract_stack(frame))
            ]
            end = next((i for i, line in enumerate(lines) if own in line), len(lines))
            lines = [line for line in lines[:end] if "/threading.py:" not in line]
            stacks.append((seq, lines))
        return stacks

    def _introduce(self, head: dict[str, Any]) -> None:
        """Let the library find this executor when a task uses it."""
        told, scheduler = head["worker"], head["scheduler"]
        worker = context.TaskWorker(
            told["name"], told["address"], told["nthreads"], told["memoryLimit"]
        )
        context.provide_executor(
            context.ExecutorContext(
                worker, scheduler["address"], scheduler["token"], current_task.get
            )
        )

    def _take_output(self) -> None:
        """Make what is printed the worker's log."""
        os.register_at_fork(after_in_child=self._forked)
        sys.stdout = Forward(self._say, _current_key, "info", 1)
        sys.stderr = Forward(self._say, _current_key, "error", 2)
        self._outputs = [sys.stdout, sys.stderr]

    def _say(self, key: str, level: str, text: str) -> None:
        self._link.send({"op": "log", "key": key, "level": level, "text": text})

    def _forked(self) -> None:
        """In a fork of the user's: the worker is its parent's, not its own."""
        self._is_fork = True
        self._link.abandon()
        self._cells = bytearray(len(self._cells))
        self._results.forked()
        self._outbox.forked()
        self._loop_lock = threading.Lock()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        context.provide_executor(None)


def _current_key() -> str:
    running = current_task.get()
    return "" if running is None else running.key


def _value(given: Any) -> Any:
    return given.get() if type(given) is Sent else given


def _cells(path: str) -> Any:
    """Map the file in which the worker reads what ran when this process has died."""
    try:
        with open(path, "r+b") as file:  # noqa: PTH123
            return mmap.mmap(file.fileno(), 0)
    except (OSError, ValueError):
        return bytearray(4096)


def _too_large(key: str, nbytes: int, limit: int) -> str:
    return (
        f"Task {key}: its result is {nbytes / 2**20:.1f} MiB, the worker's limit "
        f"{limit / 2**20:.1f} MiB. Return less, split the task, or give the workers more memory "
        "(memoryLimit)."
    )
