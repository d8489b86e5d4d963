"""Waiting for futures: for all or any of them, or for one after the other as they end."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from taskloom._errors import TimeoutError
from taskloom._future import Future, futures_of
from taskloom._outcomes import Waiter
from taskloom._settings import seconds

if TYPE_CHECKING:
    pass

ALL_COMPLETED = "ALL_COMPLETED"
FIRST_COMPLETED = "FIRST_COMPLETED"


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
