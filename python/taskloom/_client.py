"""The client: submits functions to a cluster and follows the results."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pickle
import secrets
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgpack

from taskloom import _default, _loop, _pack, serialize
from taskloom._connection import active_cluster, find_cluster, list_connection_files
from taskloom._context import current_task
from taskloom._errors import CancelledError, ConfigError, TaskloomError, VersionWarning
from taskloom._future import Future, _Origin, futures_of
from taskloom._inspect import Inspection
from taskloom._installs import Install
from taskloom._outbox import GRAPH_BYTES, GRAPH_TASKS, Task, graph_message
from taskloom._session import Session, Waiter
from taskloom._settings import seconds

Message = dict[str, Any]

_SALT = secrets.token_hex(4)
"""Makes keys of this process unlike those of others."""

_clients: list[weakref.ref[Client]] = []
_current = threading.local()


class Client(Inspection):
    """Connects to a cluster and submits work to it.

    Parameters
    ----------
    address : str or cluster, optional
        A cluster object, the name or id of a cluster, or ``http://host:port``. Default: the
        cluster of ``TASKLOOM_SCHEDULER``, else the active one (chosen in the sidebar), else a
        local one that is made for this client and ends with it.
    timeout : float or str
        Seconds to connect in.
    set_as_default : bool
        Be the one that `get_client` and Dask's collections use.
    scheduler_file : str, optional
        A connection file instead of an address.
    asynchronous : bool
        Calls give awaitables: ``client = await Client(asynchronous=True)``.
    name : str, optional
        Shown in the scheduler's log.
    token : str, optional
        Of the cluster; default: its connection file's, or ``TASKLOOM_TOKEN``.
    weight : float, optional
        Part of the workers that it gets while other clients have work, too. Default 1.
    reconnect_timeout : float or str
        Seconds for which a scheduler that is lost is dialled again; 0: not at all.
    on_warning : callable, optional
        Hears ``{code, text, cids, count}`` of what has not failed yet; default:
        ``warnings.warn``.
    **kwargs
        Options of `LocalCluster` (``n_workers=2``): it is made whatever runs already.

    Examples
    --------
    >>> from taskloom import Client
    >>> client = Client()
    >>> client.submit(sum, [1, 2, 3]).result()
    6
    """

    def __init__(
        self,
        address: Any = None,
        loop: object = None,
        timeout: float | str = 10,
        set_as_default: bool = True,
        scheduler_file: str | os.PathLike | None = None,
        security: object = None,
        asynchronous: bool = False,
        name: str | None = None,
        *,
        token: str | None = None,
        weight: float | None = None,
        reconnect_timeout: float | str = 60,
        on_warning: Callable[[Message], None] | None = None,
        **kwargs: Any,
    ) -> None:
        if weight is not None and not 0 < weight <= 1000:
            raise ConfigError(f"weight must be above 0 and at most 1000, not {weight}.")
        if scheduler_file is not None:
            address = _read_scheduler_file(Path(scheduler_file))
        self.asynchronous = asynchronous
        self._own_cluster: Any = None
        self._where = (address, token, kwargs)
        self._set_as_default = set_as_default
        self._options: Message = {
            "name": name or f"{_process_name()}-{os.getpid()}",
            "timeout": seconds(timeout),
            "reconnect": seconds(reconnect_timeout),
            "weight": weight,
            "on_warning": on_warning or self._show_warning,
        }
        self._uploads: list[tuple[str, bytes]] = []
        self._installs: list[Install] = []
        self._next_key = 0
        self.cluster: Any = None
        self._is_dasks = False
        self._session: Session
        if not asynchronous:
            self._begin()
            _loop.wait_for(self._session.start(self._session.open()))
            self._opened()

    # -------------------------------------------------------------------- life

    def _begin(self) -> None:
        address, token, kwargs = self._where
        where, self._own_cluster = _locate(address, token, kwargs)
        self.cluster = self._own_cluster or (address if hasattr(address, "token") else None)
        self._session = Session(where["address"], where["token"], **self._options)
        finished = getattr(self.cluster, "_on_finished", None)
        if finished is not None:
            # Its owner knows at once that it will not come back.
            finished(self._session.cluster_ended)

    def _opened(self) -> None:
        if self._session.warning:
            warnings.warn(self._session.warning, VersionWarning, stacklevel=3)
        if self._set_as_default:
            _clients.append(weakref.ref(self))
            _default.begin_use()
            self._is_dasks = True

    async def _connect(self) -> Client:
        if not hasattr(self, "_session"):
            await asyncio.get_running_loop().run_in_executor(None, self._begin)
            await asyncio.wrap_future(self._session.start(self._session.open()))
            self._opened()
        return self

    def __await__(self) -> Any:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        return await self._connect()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self, timeout: float | str | None = None) -> Any:
        """Leave the cluster, which forgets this client's futures; end it if it is the client's."""
        with contextlib.suppress(ValueError):
            _clients.remove(weakref.ref(self))
        self._leave_dask()
        if self.asynchronous:
            return self._aclose()
        _loop.wait_for(self._session.start(self._session.close()))
        if self._own_cluster is not None:
            self._own_cluster.close()
        return None

    def _leave_dask(self) -> None:
        if self._is_dasks:
            self._is_dasks = False
            _default.end_use()

    async def _aclose(self) -> None:
        if not hasattr(self, "_session"):
            return
        await asyncio.wrap_future(self._session.start(self._session.close()))
        if self._own_cluster is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._own_cluster.close)

    def shutdown(self) -> Any:
        """End the cluster with all its processes, and this client."""
        self._leave_dask()

        async def end() -> None:
            with contextlib.suppress(TaskloomError):
                await self._session.request("close", {"reason": "shut down by a client"})
            await self._session.close()

        return self._sync(end())

    @property
    def status(self) -> str:
        """``running``, ``connecting`` or ``closed``."""
        if not hasattr(self, "_session"):
            return "connecting"
        if self._session.ended is not None:
            return "closed"
        return "running" if self._session._welcomed else "connecting"

    @property
    def id(self) -> str:
        """By which the scheduler knows it."""
        return self._session.id

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return self._session.address

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._session.cluster["name"]

    @property
    def dashboard_link(self) -> str:
        """The address of the cluster's own dashboard, which asks for the token."""
        return f"{self._session.address}/"

    @classmethod
    def _newest(cls) -> Client | None:
        stack = getattr(_current, "stack", None)
        if stack:
            return stack[-1]
        for known in reversed(_clients):
            client = known()
            if client is not None and client.status != "closed":
                return client
        return None

    @classmethod
    def current(cls, allow_global: bool = True) -> Client:
        """Return the client of the innermost `as_current`, else the newest default one."""
        client = cls._newest() if allow_global else (getattr(_current, "stack", None) or [None])[-1]
        if client is None:
            raise ValueError("There is no client yet. Connect first: client = Client().")
        return client

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        """Be the current client of this thread, and Dask's there, within a ``with`` block."""
        stack = _current.__dict__.setdefault("stack", [])
        stack.append(self)
        _default.begin_use()
        try:
            yield
        finally:
            _default.end_use()
            stack.remove(self)

    def _show_warning(self, message: Message) -> None:
        count = message["count"]
        text = message["text"] + (f" ({count} tasks)" if count > 1 else "")
        warnings.warn(f"taskloom: {text}", UserWarning, stacklevel=2)

    # -------------------------------------------------------------------- both ways of calling

    def _sync(
        self,
        coroutine: Coroutine[Any, Any, Any],
        change: Callable[[Any], Any] | None = None,
        for_tasks: bool = False,
    ) -> Any:
        """Run on the loop's thread: wait, or give an awaitable when asynchronous."""
        if self.asynchronous:
            return self._awaitable(coroutine, change)
        found = self._session.sync(coroutine, for_tasks)
        return found if change is None else change(found)

    async def _awaitable(
        self, coroutine: Coroutine[Any, Any, Any], change: Callable[[Any], Any] | None = None
    ) -> Any:
        found = await asyncio.wrap_future(self._session.start(coroutine))
        return found if change is None else change(found)

    def _request(
        self, method: str, params: object, change: Callable[[Any], Any] | None = None
    ) -> Any:
        return self._sync(self._session.request(method, params), change)

    # -------------------------------------------------------------------- submitting

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
        key : str, optional
            Name of the task. Default: the function's name and a number.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        resources : dict, optional
            Amounts of worker resources that it holds while it runs.
        retries : int, optional
            How often it is tried again when it raises.
        priority : float
            Larger runs first.
        fifo_timeout : float or str
            Time within which submissions count as one for the order of execution.
        allow_other_workers : bool
            Take ``workers`` as a wish.
        pure : bool
            The same function with the same arguments is the same task.
        task_timeout : float or str, optional
            Time after which it is killed.

        Returns
        -------
        Future
        """
        _no_actors(actor)
        session = self._session
        session.must_be_open()
        function = self._function(func)
        packed, deps = _pack.pack_args(args, kwargs, self._dependency)
        options = _options(workers, resources, retries, priority, allow_other_workers, task_timeout)
        if key is None:
            key = (
                self._pure_key(function, packed, deps)
                if pure
                else f"{function.name}-{_SALT}-{self._count()}"
            )
        parent = _parent()
        fifo = (seconds(fifo_timeout) or 0) * 1000
        with session.lock:
            cid = session.numbers(1)
            fn = session.function_number(function)
            session.say(Task(cid, str(key), fn, packed, deps, options, fifo, parent))
        future: Future = Future(str(key), self, cid, _Origin(function.name, time.time()))
        _notice(self, [future])
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
            What names of tasks begin with, or all names.
        batch_size : int, optional
            Taken for compatibility; a map is one message however long it is.
        **kwargs
            The same for all calls, sent once. The other options are those of `submit`.

        Returns
        -------
        list of Future
            In the order of the items.
        """
        _no_actors(actor)
        session = self._session
        session.must_be_open()
        columns = [one if type(one) in (list, range) else list(one) for one in iterables]
        count = min(map(len, columns), default=0)
        if count == 0:
            return []
        if kwargs and not futures_of(kwargs):
            func, kwargs = partial(func, **kwargs), {}
        function = self._function(func)
        columns = [column if len(column) == count else column[:count] for column in columns]
        args, offsets, deps, rows = self._pack_columns(columns, kwargs, count)
        keys = self._map_keys(function, key, count, pure, args, offsets, deps, rows)
        options = _options(workers, resources, retries, priority, allow_other_workers, task_timeout)
        fifo = (seconds(fifo_timeout) or 0) * 1000
        parent = _parent()
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
        futures = [Future(key, self, cid, origin) for cid, key in enumerate(keys, first)]
        _notice(self, futures)
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
        prefix = key or f"{function.name}-{_SALT}m{self._count()}"
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
        outcome = self._session.outcome(value._cid)
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
            Future(key, self, cid, _Origin(key.rpartition("-")[0] or key, now))
            for cid, key in enumerate(keys, first)
        ]

    # -------------------------------------------------------------------- results

    async def _settled(
        self, futures: Sequence[Future], timeout: float | str | None, first: bool = False
    ) -> None:
        total = {future._cid for future in futures}

        def enough(waiter: Waiter) -> bool:
            return not waiter.pending or (first and len(waiter.pending) < len(total))

        await self._session.wait(total, enough, seconds(timeout))

    async def _gather_coroutine(
        self, futures: list[Future], errors: str, timeout: float | str | None
    ) -> list[Any]:
        keys = {future._cid: future.key for future in futures}
        found = await self._session.gather(keys, errors, seconds(timeout))
        if not self.asynchronous:
            return [found.get(future._cid) for future in futures]
        return [_read(found.get(future._cid)) for future in futures]

    def _gather_one(self, future: Future, timeout: float | str | None) -> Any:
        outcome = future._outcome
        if outcome.inline is not None and not self.asynchronous:
            return _read(outcome.inline)
        return self._sync(
            self._gather_coroutine([future], "raise", timeout),
            lambda found: found[0] if self.asynchronous else _read(found[0]),
            for_tasks=True,
        )

    def gather(
        self,
        futures: Any,
        errors: str = "raise",
        direct: bool | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Bring results here.

        Parameters
        ----------
        futures : Future or nested lists, tuples, sets and dicts of futures
            Of what. Iterators are read to a list.
        errors : {'raise', 'skip'}
            ``skip`` leaves failed ones out.

        Returns
        -------
        object
            The same structure with results in place of futures.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is raise or skip, not {errors!r}.")
        if hasattr(futures, "__next__"):
            futures = list(futures)
        flat = type(futures) is list and set(map(type, futures)) <= {Future}
        wanted = futures if flat else futures_of(futures)

        def rebuild(found: list[Any]) -> Any:
            if flat:
                if self.asynchronous:
                    return [one for one in found if one is not _MISSING]
                return [_read(one) for one in found if one is not None]
            values = found if self.asynchronous else [_read(one) for one in found]
            return _put(futures, dict(zip(wanted, values, strict=True)))

        return self._sync(self._gather_coroutine(wanted, errors, None), rebuild, for_tasks=True)

    def scatter(
        self,
        data: Any,
        workers: str | Iterable[str] | None = None,
        broadcast: bool = False,
        direct: bool | None = None,
        hash: bool = True,
        timeout: float | str | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Put values on workers.

        Parameters
        ----------
        data : object
            One value; or a list, tuple, set or dict of values.
        workers : str or iterable of str, optional
            Only on these.
        broadcast : bool
            Every worker gets a copy, passed on from worker to worker.

        Returns
        -------
        Future or the same collection of futures
        """
        from taskloom._scatter import scatter

        return self._sync(scatter(self, data, _names(workers), broadcast))

    # -------------------------------------------------------------------- giving up, trying again

    def cancel(
        self,
        futures: Any,
        asynchronous: bool | None = None,
        force: bool = False,
        reason: str | None = None,
        msg: str | None = None,
    ) -> Any:
        """Give futures up, with all that depends on them.

        Parameters
        ----------
        futures : Future, key, or structure of them
            Tasks that this client has no future for are named by their keys, and then need
            ``force``, for somebody else wants them.
        force : bool
            Others' too, and running tasks are killed.
        reason, msg : str, optional
            What others are told.
        """
        keys = [one for one in _leaves(futures) if isinstance(one, str)]
        cids = [future._cid for future in futures_of(futures) if future._cid > 0]
        text = ": ".join(part for part in (reason, msg) if part) or "its user cancelled it"

        async def cancel() -> None:
            from taskloom._session import Outcome

            session = self._session
            session.must_be_open()
            session._flush()
            for cid in cids:
                if session.outcome(cid).status in ("pending", "finished"):
                    session.outcomes[cid] = Outcome("cancelled", reason=text)
            session.changed(cids)
            message = {"op": "cancel-keys", "cids": cids, "keys": keys}
            session.say({**message, "force": force, "reason": text})

        return self._sync(cancel())

    def retry(self, futures: Any, asynchronous: bool | None = None) -> Any:
        """Run failed tasks again, with the failed tasks that they stand on."""
        cids = [future._cid for future in futures_of(futures) if future._cid > 0]

        async def retry() -> None:
            from taskloom._session import PENDING

            session = self._session
            session.must_be_open()
            session._flush()
            for cid in cids:
                if session.outcome(cid).status == "error":
                    session.outcomes[cid] = PENDING
            session.say({"op": "retry-keys", "cids": cids})

        return self._sync(retry())

    # -------------------------------------------------------------------- Dask's collections

    def get(self, dsk: Any, keys: Any, sync: bool = True, **kwargs: Any) -> Any:
        """Compute keys of a Dask graph, as Dask's schedulers do.

        Parameters
        ----------
        dsk : graph
            What Dask gives a scheduler.
        keys : key or nested lists of keys
            Wanted results.
        sync : bool
            Give results rather than futures.
        """
        from taskloom._collections import get

        return get(self, dsk, keys, sync=sync, **kwargs)

    def compute(self, collections: Any, sync: bool = False, **kwargs: Any) -> Any:
        """Compute Dask collections; futures of their results, or with ``sync`` the results.

        Parameters
        ----------
        collections : collection, or list of them
            Together they are one graph: what they share is computed once.
        sync : bool
            Wait and give results.
        **kwargs
            ``optimize_graph``, ``traverse``, and options of `submit` for all tasks.
        """
        from taskloom._collections import compute

        return compute(self, collections, sync=sync, **kwargs)

    def persist(self, collections: Any, **kwargs: Any) -> Any:
        """Compute Dask collections and keep them on the cluster, as collections of futures.

        Parameters
        ----------
        collections : collection, or list of them
            Together they are one graph.
        **kwargs
            ``optimize_graph``, and options of `submit` for all tasks.

        Returns
        -------
        collection, or list of them
            At once; the tasks run meanwhile.
        """
        from taskloom._collections import persist

        return persist(self, collections, **kwargs)

    @staticmethod
    def futures_of(futures: Any) -> list[Future]:
        """Return the futures in a structure or collection."""
        return futures_of(futures)

    def normalize_collection(self, collection: Any) -> Any:
        """Return a Dask collection as it is: its keys get a mark when it is computed."""
        return collection

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):
            return "<Client: not connected>"
        session = self._session
        ended = "" if session.ended is None else f", ended: {session.ended}"
        return f"<Client: {session.cluster['name']!r}, {session.address}{ended}>"

    def _repr_html_(self) -> str:
        from taskloom._html import client_html

        return client_html(self)


def default_client(c: Client | None = None) -> Client:
    """Return the client given, else the current one."""
    return c or Client.current()


_MISSING = object()
_ONE_PLAIN = serialize.pack("plain", [b""])[:4]
_ONE_PICKLE = serialize.pack("pickle", [b""])[:4]


def _read(found: Any) -> Any:
    """Read a value as `Session.gather` brings it."""
    if found is None:
        return _MISSING
    if type(found) is not bytes:
        return serialize.deserialize(*found)
    # One frame of plain data or a pickle: most small results.
    start = found[:4]
    if start == _ONE_PLAIN:
        return msgpack.unpackb(memoryview(found)[8:], strict_map_key=False)
    if start == _ONE_PICKLE:
        return pickle.loads(memoryview(found)[8:])
    return serialize.deserialize(*serialize.unpack(found))


def _put(structure: Any, values: dict[Future, Any]) -> Any:
    """Return a structure with results in place of futures; what was left out is missing."""
    if isinstance(structure, Future):
        return values[structure]
    if isinstance(structure, dict):
        items = ((key, _put(value, values)) for key, value in structure.items())
        return {key: value for key, value in items if value is not _MISSING}
    if type(structure) in (list, tuple, set, frozenset):
        items = (_put(value, values) for value in structure)
        return type(structure)(value for value in items if value is not _MISSING)
    return structure


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, list | tuple | set | frozenset):
        return [leaf for one in structure for leaf in _leaves(one)]
    if isinstance(structure, dict):
        return _leaves(list(structure.values()))
    return [structure]


def _chunks(offsets: list[int], count: int) -> Iterator[tuple[int, int]]:
    """Cut a long map into messages."""
    at = 0
    while at < count:
        end = min(count, at + GRAPH_TASKS)
        while end - at > 1 and offsets[end] - offsets[at] > GRAPH_BYTES:
            end = (at + end + 1) // 2
        yield at, end
        at = end


def _names(workers: str | Iterable[str] | None) -> list[str] | None:
    if workers is None:
        return None
    return [workers] if isinstance(workers, str) else [str(one) for one in workers]


_PLAIN_OPTIONS: Message = {
    "priority": 0,
    "retries": 0,
    "timeout": 0,
    "workers": None,
    "allowOtherWorkers": False,
    "resources": None,
}


def _options(
    workers: str | Iterable[str] | None,
    resources: dict[str, float] | None,
    retries: int | None,
    priority: float,
    allow_other_workers: bool,
    timeout: float | str | None,
) -> Message:
    """Return what all tasks of a call share, as the wire has it."""
    if not (workers or resources or retries or priority or timeout):
        return _PLAIN_OPTIONS
    if retries is not None and (not isinstance(retries, int) or retries < 0):
        raise ConfigError(f"retries must be a whole number from 0, not {retries}.")
    return {
        "priority": priority,
        "retries": retries or 0,
        "timeout": seconds(timeout) or 0,
        "workers": _names(workers),
        "allowOtherWorkers": allow_other_workers,
        "resources": dict(resources) if resources else None,
    }


def _parent() -> int:
    task = current_task()
    return 0 if task is None else task.tid


def _no_actors(actor: bool) -> None:
    if actor:
        raise ConfigError("Taskloom has no actors. Keep state in the values that tasks return.")


def _notice(client: Client, futures: list[Future]) -> None:
    """Tell the notebook, where there is one, that a cell has submitted work."""
    ipython = sys.modules.get("IPython")
    if ipython is not None:
        from taskloom._cell import noticed

        noticed(client, futures)


def _process_name() -> str:
    script = Path(sys.argv[0] if sys.argv else "").name
    return (
        "notebook"
        if "ipykernel" in script or "JPY_SESSION_NAME" in os.environ
        else (script or "python")
    )


def _read_scheduler_file(path: Path) -> str:
    from taskloom._connection import read_connection_file

    file = read_connection_file(path)
    if file is None:
        raise ConfigError(f"{path} is no connection file of a running cluster.")
    return file["id"] if file in list_connection_files() else file["address"]


def _locate(target: Any, token: str | None, kwargs: Message) -> tuple[Message, Any]:
    """Return address and token, and the cluster that was made for this client, or None."""
    if target is not None and not isinstance(target, str):
        return {"address": target.scheduler_address, "token": target.token}, None
    if kwargs:
        from taskloom._cluster import LocalCluster

        if target is not None:
            names = ", ".join(kwargs)
            raise ConfigError(f"{names}: options of a LocalCluster, but {target} was named.")
        cluster = LocalCluster(**kwargs)
        return {"address": cluster.scheduler_address, "token": cluster.token}, cluster
    named = target or os.environ.get("TASKLOOM_SCHEDULER", "")
    if named:
        return _by_name(named, token), None
    active = active_cluster()
    if active is not None:
        return active, None
    from taskloom._cluster import LocalCluster

    cluster = LocalCluster()
    return {"address": cluster.scheduler_address, "token": cluster.token}, cluster


def _by_name(target: str, token: str | None) -> Message:
    """A name needs a connection file; an address needs one only for its token."""
    if "://" not in target:
        return find_cluster(target)
    address = target.rstrip("/")
    if token is None:
        known = [file for file in list_connection_files() if file["address"] == address]
        token = known[0]["token"] if known else os.environ.get("TASKLOOM_TOKEN")
    if token is None:
        raise ConfigError(
            f"No token for {address}: it has no connection file here. Give it with "
            "Client(address, token=...), or set TASKLOOM_TOKEN."
        )
    return {"address": address, "token": token}
