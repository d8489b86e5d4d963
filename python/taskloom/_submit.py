"""The part of the client that submits: what is called, with what, and under which keys."""

from __future__ import annotations

import hashlib
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from taskloom import _pack
from taskloom._context import current_task
from taskloom._errors import CancelledError, ConfigError
from taskloom._future import Future, _Origin, futures_of
from taskloom._ledger import NO_OPTIONS
from taskloom._outbox import GRAPH_BYTES, GRAPH_TASKS, Task, graph_message
from taskloom._settings import seconds

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._session import Session

Message = dict[str, Any]

SALT = secrets.token_hex(4)
"""Makes keys of this process unlike those of others."""


class Submission:
    """See the module."""

    _session: Session
    _next_key: int
    _carries: Callable[[], bool]
    _carry: Callable[[bytes], bytes]
    _itself: Callable[[], Client]

    def submit(
        self,
        func: Callable,
        *args: Any,
        key: str | None = None,
        workers: str | Iterable[str] | None = None,
        resources: dict[str, float] | None = None,
        retries: int | None = None,
        priority: float = 0,
        fifo_timeout: float | str = "100 ms",
        allow_other_workers: bool = False,
        actor: bool = False,
        actors: bool = False,
        pure: bool = False,
        task_timeout: float | str | None = None,
        **kwargs: Any,
    ) -> Future:
        """Run ``func(*args, **kwargs)`` on a worker.

        Futures anywhere in the arguments become dependencies: the function gets their results.

        Parameters
        ----------
        func : callable
            A coroutine function runs on a loop of the executor.
        *args
            Positional arguments of the function.
        key : str, optional
            Name of the task. Default: the function's name and a number.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        resources : dict, optional
            Amounts of worker resources that it holds while it runs.
        retries : int, optional
            How often it is tried again when it raises. Default 0.
        priority : float, default 0
            Larger runs first.
        fifo_timeout : float or str, default "100 ms"
            Seconds within which submissions count as one for the order of execution.
        allow_other_workers : bool, default False
            Take ``workers`` as a wish.
        actor, actors : bool, default False
            Accepted for Dask's sake: there are no actors, and True raises ConfigError.
        pure : bool, default False
            The same function with the same arguments is the same task.
        task_timeout : float or str, optional
            Seconds of running after which it is killed. Default: no limit.
        **kwargs
            Keyword arguments of the function.

        Returns
        -------
        Future
            At once; the task runs meanwhile.

        Raises
        ------
        ConfigError
            An option cannot be used, or a future among the arguments is another client's.
        CancelledError
            A future among the arguments was cancelled, or its cluster is gone.
        SerializationError
            The function or an argument cannot be shipped.
        CommClosedError
            The client is not connected any more.
        """
        no_actors(actor, actors)
        session = self._session
        session.must_be_open()
        function = self._function(func)
        packed, deps = _pack.pack_args(args, kwargs, self._dependency)
        options = task_options(
            workers, resources, retries, priority, allow_other_workers, task_timeout
        )
        if key is None:
            key = (
                self._pure_key(function, packed, deps)
                if pure
                else f"{function.name}-{SALT}-{self._count()}"
            )
        parent = parent_task()
        fifo = (seconds(fifo_timeout) or 0) * 1000
        with session.lock:
            cid = session.numbers(1)
            fn = session.function_number(function)
            session.say(Task(cid, str(key), fn, packed, deps, options, fifo, parent))
        future: Future = Future(str(key), self._itself(), cid, _Origin(function.name, time.time()))
        notice(self._itself(), [future])
        return future

    def map(
        self,
        func: Callable,
        *iterables: Iterable,
        key: str | Iterable[str] | None = None,
        workers: str | Iterable[str] | None = None,
        retries: int | None = None,
        resources: dict[str, float] | None = None,
        priority: float = 0,
        allow_other_workers: bool = False,
        fifo_timeout: float | str = "100 ms",
        actor: bool = False,
        actors: bool = False,
        pure: bool = False,
        batch_size: int | None = None,
        task_timeout: float | str | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run ``func`` once for each item (and for the items of further iterables beside it).

        Parameters
        ----------
        func : callable
            What to run.
        *iterables : iterable
            Its arguments, until the shortest ends. Futures become dependencies.
        key : str or iterable of str, optional
            What names of tasks begin with, or all names. Default: the function's name and a number.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        retries : int, optional
            How often a task is tried again when it raises. Default 0.
        resources : dict, optional
            Amounts of worker resources that each task holds while it runs.
        priority : float, default 0
            Larger runs first.
        allow_other_workers : bool, default False
            Take ``workers`` as a wish.
        fifo_timeout : float or str, default "100 ms"
            Seconds within which submissions count as one for the order of execution.
        actor, actors : bool, default False
            Accepted for Dask's sake: there are no actors, and True raises ConfigError.
        pure : bool, default False
            The same function with the same arguments is the same task.
        batch_size : int, optional
            Accepted, changes nothing: a map is one message however long it is.
        task_timeout : float or str, optional
            Seconds of running after which a task is killed. Default: no limit.
        **kwargs
            Keyword arguments of the function: the same for all calls, sent once.

        Returns
        -------
        list of Future
            In the order of the items.

        Raises
        ------
        ConfigError
            An option cannot be used, there are not as many keys as calls, or a future among the
            arguments is another client's.
        CancelledError
            A future among the arguments was cancelled, or its cluster is gone.
        SerializationError
            The function or an argument cannot be shipped.
        CommClosedError
            The client is not connected any more.
        """
        no_actors(actor, actors)
        session = self._session
        session.must_be_open()
        columns: list[Sequence[Any]] = [
            one if isinstance(one, list | range) else list(one) for one in iterables
        ]
        count = min((len(column) for column in columns), default=0)
        if count == 0:
            return []
        if kwargs and not futures_of(kwargs):
            func, kwargs = partial(func, **kwargs), {}
        function = self._function(func)
        columns = [column if len(column) == count else column[:count] for column in columns]
        args, offsets, deps, rows = self._pack_columns(columns, kwargs, count)
        keys = self._map_keys(function, key, count, pure, args, offsets, deps, rows)
        options = task_options(
            workers, resources, retries, priority, allow_other_workers, task_timeout
        )
        fifo = (seconds(fifo_timeout) or 0) * 1000
        parent = parent_task()
        with session.lock:
            first = session.numbers(count)
            fn = session.function_number(function)
            for at, end in _chunks(offsets, count):
                part = args if end - at == count else args[offsets[at] : offsets[end]]
                base, before = offsets[at], rows[at] if rows else 0
                session.say(
                    graph_message(
                        first + at,
                        keys if end - at == count else keys[at:end],
                        fn,
                        part,
                        offsets if end - at == count else [x - base for x in offsets[at : end + 1]],
                        options,
                        fifo,
                        parent,
                        deps[before : rows[end]] if rows else None,
                        [x - before for x in rows[at : end + 1]] if rows else None,
                    )
                )
        origin = _Origin(function.name, time.time())
        client = self._itself()
        futures: list[Future] = [
            Future(key, client, cid, origin) for cid, key in enumerate(keys, first)
        ]
        notice(client, futures)
        return futures

    def _pack_columns(
        self, columns: list[Sequence[Any]], kwargs: dict, count: int
    ) -> tuple[bytes, list[int], list[int], list[int]]:
        """Return arguments, where each begins, dependencies, and where those of each begin."""
        if len(columns) == 1 and not kwargs:
            plain = _pack.pack_plain_column(columns[0])
            if plain is not None:
                return *plain, [], []
        parts: list[bytes] = []
        offsets, deps, rows, size = [0], [], [0], 0
        dependency = self._dependency
        for row in zip(*columns, strict=True):
            packed, needs = _pack.pack_args(row, kwargs, dependency)
            parts.append(packed)
            size += len(packed)
            offsets.append(size)
            deps.extend(needs)
            rows.append(len(deps))
        return b"".join(parts), offsets, deps, rows if deps else []

    def _map_keys(
        self,
        function: _pack.Function,
        key: str | Iterable[str] | None,
        count: int,
        pure: bool,
        args: bytes,
        offsets: list[int],
        deps: list[int],
        rows: list[int],
    ) -> list[str]:
        if key is not None and not isinstance(key, str):
            keys = [str(one) for one in key]
            if len(keys) != count:
                raise ConfigError(f"{len(keys)} keys were given for {count} calls.")
            return keys
        if pure and key is None:
            return [
                self._pure_key(
                    function,
                    args[offsets[at] : offsets[at + 1]],
                    deps[rows[at] : rows[at + 1]] if rows else [],
                )
                for at in range(count)
            ]
        prefix = key or f"{function.name}-{SALT}m{self._count()}"
        return [f"{prefix}-{at}" for at in range(count)]

    def _pure_key(self, function: _pack.Function, packed: bytes, deps: list[int]) -> str:
        digest = hashlib.sha256(function.hash.encode())
        digest.update(packed)
        for dep in deps:
            digest.update(b"%d" % dep)
        return f"{function.name}-{digest.hexdigest()[:32]}"

    def _count(self) -> int:
        self._next_key += 1
        return self._next_key

    def _function(self, func: Callable) -> _pack.Function:
        if not callable(func):
            raise TypeError(f"The first argument must be a function, not {type(func).__name__}.")
        return self._session.functions.get(func, self._carry if self._carries() else None)

    def _dependency(self, value: object) -> int | None:
        """Return the number of an argument that is a future; None for any other."""
        if type(value) is not Future:
            return None
        if value._client is not self:
            raise ConfigError(
                f"Future {value.key} belongs to another client. Bring its result here first."
            )
        outcome = self._session.outcomes.of(value._cid)
        if outcome.status in ("cancelled", "lost"):
            raise CancelledError(value.key, f"{outcome.reason}; it cannot be an argument any more")
        return value._cid

    def _desire(self, keys: list[str], again: str | None = None) -> int:
        """Want keys that exist already; return the number of the first."""
        session = self._session
        session.must_be_open()
        with session.lock:
            first = session.numbers(len(keys))
            cids = list(range(first, first + len(keys)))
            message: Message = {"op": "client-desires-keys", "cids": cids, "keys": keys}
            session.say({**message, "again": again} if again else message)
        return first

    def _futures_of_keys(self, keys: list[str]) -> list[Future]:
        first = self._desire(keys)
        now = time.time()
        return [
            Future(key, self._itself(), cid, _Origin(key.rpartition("-")[0] or key, now))
            for cid, key in enumerate(keys, first)
        ]


def _chunks(offsets: list[int], count: int) -> Iterator[tuple[int, int]]:
    """Cut a long map into messages."""
    at = 0
    while at < count:
        end = min(count, at + GRAPH_TASKS)
        while end - at > 1 and offsets[end] - offsets[at] > GRAPH_BYTES:
            end = (at + end + 1) // 2
        yield at, end
        at = end


def worker_names(workers: str | Iterable[str] | None) -> list[str] | None:
    """Return workers as the wire has them; None: any."""
    if workers is None:
        return None
    return [workers] if isinstance(workers, str) else [str(one) for one in workers]


def task_options(
    workers: str | Iterable[str] | None,
    resources: dict[str, float] | None,
    retries: int | None,
    priority: float,
    allow_other_workers: bool,
    timeout: float | str | None,
) -> Message:
    """Return what all tasks of a call share, as the wire has it."""
    if not (workers or resources or retries or priority or timeout):
        return NO_OPTIONS
    if retries is not None and (not isinstance(retries, int) or retries < 0):
        raise ConfigError(f"retries must be a whole number from 0, not {retries}.")
    return {
        "priority": priority,
        "retries": retries or 0,
        "timeout": seconds(timeout) or 0,
        "workers": worker_names(workers),
        "allowOtherWorkers": allow_other_workers,
        "resources": dict(resources) if resources else None,
    }


def parent_task() -> int:
    """Return the number of the task that submits; 0 outside of tasks."""
    task = current_task()
    return 0 if task is None else task.tid


def no_actors(*wishes: object) -> None:
    """Say what to do instead of ``actor=True`` or ``actors=True``."""
    if any(wishes):
        raise ConfigError("Taskloom has no actors. Keep state in the values that tasks return.")


def notice(client: Client, futures: list[Future]) -> None:
    """Tell the notebook, where there is one, that a cell has submitted work."""
    ipython = sys.modules.get("IPython")
    if ipython is not None:
        from taskloom._cell import noticed

        noticed(client, futures)
