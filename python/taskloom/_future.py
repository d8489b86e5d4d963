"""Handles on results, and waiting for many of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from taskloom import _pack
from taskloom._errors import TimeoutError
from taskloom._outcomes import Outcome, Waiter

if TYPE_CHECKING:
    from taskloom._client import Client

T = TypeVar("T")

ALL_COMPLETED = "ALL_COMPLETED"
FIRST_COMPLETED = "FIRST_COMPLETED"

_callbacks: concurrent.futures.ThreadPoolExecutor | None = None


class GraphTasks(NamedTuple):
    """The tasks of one graph."""

    first: int
    """Their numbers begin with this."""
    size: int
    names: dict[str, int]
    """How many are called what (`key_prefix`)."""


class _Origin(NamedTuple):
    """What futures of one call share."""

    name: str
    created: float
    graph: GraphTasks | None = None


class HoldsFuture(Exception):
    """A future was met where arguments are written that should hold none."""


class Future(Generic[T]):
    """A result that is, or will be, on the cluster.

    The cluster keeps the result while a future of it lives: it is let go when the future is
    garbage collected or released. In an asynchronous client's hands, ``await future`` gives the
    result.

    Parameters
    ----------
    key : str
        Name of a task or of data on the cluster.
    client : Client, optional
        Default: the current client; in a task that of its cluster.

    Raises
    ------
    ConfigError
        No client was given and there is none.
    """

    __slots__ = ("__weakref__", "_cid", "_client", "_origin", "key")

    def __init__(
        self,
        key: str,
        client: Client | None = None,
        _cid: int = 0,
        _origin: _Origin | None = None,
    ) -> None:
        self.key = key
        self._cid = _cid
        if _cid == 0:
            from taskloom._tasks import get_client

            client = client or get_client()
            self._cid = client._desire([key])
            _origin = _Origin(key.rpartition("-")[0] or key, time.time())
        self._client = client
        self._origin = _origin

    @property
    def client(self) -> Client:
        """The client whose future it is."""
        assert self._client is not None
        return self._client

    @property
    def _outcome(self) -> Outcome:
        return self.client._session.outcomes.of(self._cid)

    @property
    def status(self) -> str:
        """``pending``, ``finished``, ``error``, ``cancelled`` or ``lost``."""
        return self._outcome.status

    @property
    def type(self) -> str:
        """Name of the result's type, once finished."""
        return self._outcome.type

    @property
    def nbytes(self) -> int:
        """Bytes of the result, once finished."""
        return self._outcome.nbytes

    def done(self) -> bool:
        """Whether there is nothing to wait for any more, however it ended.

        Returns
        -------
        bool
            False while it is pending.
        """
        return self._outcome.status != "pending"

    def cancelled(self) -> bool:
        """Whether it was cancelled.

        Returns
        -------
        bool
            True after a cancellation, and after its release.
        """
        return self._outcome.status == "cancelled"

    def result(self, timeout: float | str | None = None) -> T:
        """Wait for the result and bring it here.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or text such as ``"2 s"``. Default: no limit.

        Returns
        -------
        object
            The result; an awaitable of it when the client is asynchronous.

        Raises
        ------
        Exception
            The task's own exception, if it failed.
        CancelledError
            It was cancelled, or its cluster is gone.
        TimeoutError
            The time was over.
        """
        return self.client._gather_one(self, timeout)

    def exception(self, timeout: float | str | None = None) -> BaseException | None:
        """Wait; return the exception of a failed task, or None.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or text such as ``"2 s"``. Default: no limit.

        Returns
        -------
        BaseException or None
            What `result` would raise; an awaitable of it when the client is asynchronous.

        Raises
        ------
        TimeoutError
            The time was over.
        """
        return self.client._sync(
            self.client._settled([self], timeout), lambda _: self._error(), for_tasks=True
        )

    def traceback(self, timeout: float | str | None = None) -> str | None:
        """Wait; return the worker's traceback of a failed task as text, or None.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or text such as ``"2 s"``. Default: no limit.

        Returns
        -------
        str or None
            The traceback; an awaitable of it when the client is asynchronous.

        Raises
        ------
        TimeoutError
            The time was over.
        """
        return self.client._sync(
            self.client._settled([self], timeout),
            lambda _: (self._outcome.error or {}).get("traceback"),
            for_tasks=True,
        )

    def _error(self) -> BaseException | None:
        outcome = self._outcome
        if outcome.status in ("pending", "finished"):
            return None
        return self.client._session.outcomes.error(self.key, outcome)

    def cancel(self, reason: str | None = None, msg: str | None = None, force: bool = False) -> Any:
        """Give it up, with all that depends on it.

        Parameters
        ----------
        reason, msg : str, optional
            What others are told. Default: that its user cancelled it.
        force : bool, default False
            Also when others want it, and killing it if it runs.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.
        """
        return self.client.cancel([self], reason=reason, msg=msg, force=force)

    def retry(self) -> Any:
        """Run it again if it failed, with the failed tasks it stands on.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.
        """
        return self.client.retry([self])

    def release(self) -> None:
        """Let go of the result now; the future is of no use afterwards."""
        cid, self._cid = self._cid, -1
        if cid > 0:
            self.client._session.release(cid)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call back when it has ended, however it did, in a thread for such calls.

        Parameters
        ----------
        fn : callable
            Gets the future.
        """
        global _callbacks
        if _callbacks is None:
            _callbacks = concurrent.futures.ThreadPoolExecutor(1, "taskloom-callbacks")
        pool = _callbacks

        async def later() -> None:
            with contextlib.suppress(Exception):
                await self.client._settled([self], None)
            pool.submit(fn, self)

        self.client._session.start(later())

    def __await__(self) -> Any:
        return self.client._awaitable(
            self.client._gather_coroutine([self], "raise", None, True), lambda values: values[0]
        ).__await__()

    def __del__(self) -> None:
        # The interpreter may be ending: what it would need may be gone.
        try:
            if self._cid > 0:
                self._client._session.release(self._cid)  # type: ignore[union-attr]
        except Exception:
            pass

    def __dask_tokenize__(self) -> tuple:
        # A key may be used again after its release, a number is not.
        client = self._client._session.id if self._client is not None else ""
        return (type(self).__name__, self.key, client, self._cid)

    def __reduce__(self) -> tuple:
        found = getattr(_pack.packing, "futures", None)
        if found is not None:
            found.append(self)
            raise HoldsFuture(self.key)
        return (Future, (self.key,))

    def __repr__(self) -> str:
        outcome = self._outcome
        more = ""
        if outcome.status == "finished":
            more = f", type: {outcome.type}"
        elif outcome.status == "error" and outcome.error is not None:
            more = f", {outcome.error['message'][:200]}"
        return f"<Future: {outcome.status}{more}, key: {self.key}>"

    def _repr_html_(self) -> str:
        from taskloom._html import future_html

        return future_html(self)


def futures_of(o: object, client: Client | None = None) -> list[Future]:
    """Return the futures in a structure or collection.

    Parameters
    ----------
    o : object
        Where to look: in lists, tuples, sets, values of dicts, and graphs of Dask collections.
    client : Client, optional
        Given one, a future that is cancelled is raised. Default: it is returned as well.

    Returns
    -------
    list of Future
        In order, each once.

    Raises
    ------
    CancelledError
        A client was given, and one of the futures is cancelled.
    """
    found: list[Future] = []
    stack = [o]
    while stack:
        one = stack.pop()
        if isinstance(one, Future):
            found.append(one)
        elif isinstance(one, dict):
            stack.extend(reversed(list(one.values())))
        elif isinstance(one, list | tuple | set | frozenset):
            stack.extend(reversed(list(one)))
        elif hasattr(one, "__dask_graph__"):
            graph = one.__dask_graph__() or {}
            stack.extend(reversed(list(dict(graph).values())))
    futures = list(dict.fromkeys(found))
    for one in futures if client is not None else ():
        error = one._error() if one.cancelled() else None
        if error is not None:
            raise error
    return futures


class DoneAndNotDone(NamedTuple):
    """What `wait` returns."""

    done: set[Future]
    not_done: set[Future]


def wait(
    fs: Any,
    timeout: float | str | None = None,
    return_when: str = ALL_COMPLETED,
) -> Any:
    """Wait until all, or any, of the futures have ended.

    Parameters
    ----------
    fs : Future, iterable or structure of futures, or Dask collection
        For what to wait. Failed ones count as done and nothing is raised for them.
    timeout : float or str, optional
        Seconds, or text such as ``"2 s"``. Default: no limit.
    return_when : {'ALL_COMPLETED', 'FIRST_COMPLETED'}, default 'ALL_COMPLETED'
        For how many.

    Returns
    -------
    DoneAndNotDone
        Two sets of futures; an awaitable of it when the client is asynchronous.

    Raises
    ------
    TimeoutError
        The time was over.
    ValueError
        ``return_when`` is another word.
    """
    whole = isinstance(fs, Future | dict) or hasattr(fs, "__dask_graph__")
    futures = futures_of(fs if whole else list(fs))
    if not futures:
        return DoneAndNotDone(set(), set())
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED):
        raise ValueError(f"return_when is ALL_COMPLETED or FIRST_COMPLETED, not {return_when!r}.")

    def result(_: object) -> DoneAndNotDone:
        done = {future for future in futures if future.done()}
        return DoneAndNotDone(done, set(futures) - done)

    client = futures[0].client
    waiting = client._settled(futures, timeout, first=return_when == FIRST_COMPLETED)
    return client._sync(waiting, result, for_tasks=True)


class as_completed:
    """The futures in the order in which they end, failed and cancelled ones included.

    More can be added while it runs. Iterates with ``for`` and, for asynchronous clients, with
    ``async for``.

    Parameters
    ----------
    futures : iterable of Future, optional
        With which to begin.
    loop : object, optional
        Accepted, changes nothing.
    with_results : bool, default False
        Give pairs of future and result.
    raise_errors : bool, default True
        With results: raise the exception of a failed future (else it is the result).
    timeout : float or str, optional
        Seconds, or text, from now; TimeoutError after that. Default: no limit.
    """

    def __init__(
        self,
        futures: Iterable[Future] | None = None,
        loop: object = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: float | str | None = None,
    ) -> None:
        from taskloom._settings import seconds

        self.with_results = with_results
        self.raise_errors = raise_errors
        limit = seconds(timeout)
        self._until = None if limit is None else time.monotonic() + limit
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._count = 0
        self._fresh: asyncio.Event | None = None
        self.update(futures or ())

    def add(self, future: Future) -> None:
        """Add a future.

        Parameters
        ----------
        future : Future
            One more to hand out.
        """
        self.update([future])

    def update(self, futures: Iterable[Future]) -> None:
        """Add futures.

        Parameters
        ----------
        futures : iterable of Future
            More to hand out.
        """
        by_client: dict[int, list[Future]] = {}
        for future in futures:
            by_client.setdefault(id(future.client), []).append(future)
            self._count += 1
        for some in by_client.values():
            some[0].client._session.start(self._follow(some))

    async def _follow(self, futures: list[Future]) -> None:
        """Hand out futures as they end. On the loop's thread."""
        session = futures[0].client._session
        by_cid: dict[int, list[Future]] = {}
        for future in futures:
            if future.done():
                self._ended.put(future)
            else:
                by_cid.setdefault(future._cid, []).append(future)
        if not by_cid:
            return

        def ended(cids: list[int]) -> None:
            for cid in cids:
                for future in by_cid.pop(cid):
                    self._ended.put(future)

        waiter = Waiter(set(by_cid), lambda w: not w.pending, ended)
        session.outcomes.watch(waiter)
        try:
            await waiter.done
        finally:
            session.outcomes.unwatch(waiter)

    def count(self) -> int:
        """How many have not been handed out yet.

        Returns
        -------
        int
            A number of futures.
        """
        return self._count

    def is_empty(self) -> bool:
        """Whether all have been handed out.

        Returns
        -------
        bool
            True when there is nothing left to iterate over.
        """
        return self._count == 0

    def has_ready(self) -> bool:
        """Whether one can be handed out at once.

        Returns
        -------
        bool
            True when one has ended that was not handed out.
        """
        return not self._ended.empty()

    def clear(self) -> None:
        """Forget all that have not been handed out."""
        self._ended = queue.SimpleQueue()
        self._count = 0

    def _left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def _next_future(self) -> Future:
        from taskloom._context import current_task

        task = current_task()
        try:
            if not self._ended.empty():
                future = self._ended.get_nowait()
            else:
                with contextlib.nullcontext() if task is None else task.waiting():
                    future = self._ended.get(timeout=self._left())
        except queue.Empty:
            raise TimeoutError(f"{self._count} futures had not ended in time.") from None
        self._count -= 1
        return future

    def _item(self, future: Future) -> Any:
        if not self.with_results:
            return future
        error = future._error()
        if error is None:
            return future, future.result()
        if self.raise_errors:
            raise error
        return future, error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Wait for the next that ends, and hand it out.

        Returns
        -------
        Future or tuple
            With ``with_results`` a pair of future and result.

        Raises
        ------
        StopIteration
            All have been handed out.
        TimeoutError
            The time was over.
        Exception
            With ``with_results`` and ``raise_errors``: the exception of a failed future.
        """
        if self._count == 0:
            raise StopIteration
        return self._item(self._next_future())

    next = __next__

    def next_batch(self, block: bool = True) -> list[Any]:
        """Return all that have ended and were not handed out.

        Parameters
        ----------
        block : bool, default True
            Wait for the first.

        Returns
        -------
        list
            Futures, or pairs of future and result; empty when there are none.

        Raises
        ------
        TimeoutError
            The time was over.
        """
        batch = [next(self)] if block and self._count else []
        while self._count and not self._ended.empty():
            batch.append(next(self))
        return batch

    def batches(self) -> Iterator[list[Any]]:
        """Give all that have ended, again and again, as lists.

        Yields
        ------
        list
            Futures, or pairs of future and result; never empty.
        """
        while self._count:
            yield self.next_batch()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._count == 0:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        if self._ended.empty():
            future = await loop.run_in_executor(None, self._next_future)
        else:
            future = self._next_future()
        if not self.with_results:
            return future
        error = future._error()
        if error is not None:
            if self.raise_errors:
                raise error
            return future, error
        return future, await future


def fire_and_forget(obj: object) -> None:
    """Let tasks run to their end whether or not anybody holds their futures.

    Parameters
    ----------
    obj : Future or structure of futures
        Which. Results are let go of as soon as they are there; stop one by its key with
        ``client.cancel([key], force=True)``.
    """
    by_client: dict[Any, list[int]] = {}
    for future in futures_of(obj):
        by_client.setdefault(future.client, []).append(future._cid)
    for client, cids in by_client.items():
        client._session.say({"op": "fire-and-forget", "cids": cids})
