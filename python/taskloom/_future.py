"""Handles on results."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from taskloom import _pack
from taskloom._outcomes import Outcome

if TYPE_CHECKING:
    from taskloom._client import Client

T = TypeVar("T")


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
