"""The client as an executor of the standard library."""

from __future__ import annotations

import concurrent.futures
import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from taskloom._errors import ConfigError, TaskloomError

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._future import Future

_OPTIONS = frozenset(
    {"pure", "workers", "resources", "allow_other_workers", "retries", "priority", "fifo_timeout"}
)


class ClientExecutor(concurrent.futures.Executor):
    """Runs calls on a cluster; see `Client.get_executor`."""

    def __init__(self, client: Client, **kwargs: Any) -> None:
        unknown = set(kwargs) - _OPTIONS
        if unknown:
            raise ConfigError(f"get_executor has no option {', '.join(sorted(unknown))}.")
        self._client = client
        self._options = kwargs
        self._futures: weakref.WeakSet[Future] = weakref.WeakSet()
        self._shut = False

    def _wrap(self, future: Future) -> concurrent.futures.Future:
        self._futures.add(future)
        outer: concurrent.futures.Future = concurrent.futures.Future()

        def copy(inner: Future) -> None:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                if inner.cancelled():
                    if outer.cancel():
                        outer.set_running_or_notify_cancel()
                    return
                try:
                    outer.set_result(inner.result())
                except BaseException as error:
                    outer.set_exception(error)

        def given_up(done: concurrent.futures.Future) -> None:
            if done.cancelled() and not inner_done():
                with contextlib.suppress(TaskloomError):
                    future.cancel()

        inner_done = future.done
        future.add_done_callback(copy)
        outer.add_done_callback(given_up)
        return outer

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        """Run ``fn(*args, **kwargs)`` on a worker."""
        self._must_be_open()
        return self._wrap(self._client.submit(fn, *args, **{**self._options, **kwargs}))

    def map(
        self, fn: Callable, *iterables: Iterable, timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        """Run ``fn`` once for each item; the results in order."""
        self._must_be_open()
        futures = self._client.map(fn, *iterables, **self._options)
        self._futures.update(futures)

        def results() -> Iterator[Any]:
            for at, future in enumerate(futures):
                yield future.result(timeout)
                futures[at] = None  # type: ignore[call-overload]

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; wait for those that were made, or give them up."""
        self._shut = True
        futures = list(self._futures)
        if cancel_futures or not wait:
            if futures and cancel_futures:
                self._client.cancel(futures)
            return
        if futures:
            from taskloom._waiting import wait as wait_for

            wait_for(futures)

    def _must_be_open(self) -> None:
        if self._shut:
            raise RuntimeError("This executor was shut down.")
