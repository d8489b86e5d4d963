"""Makes Dask use the current client, by Dask's configuration alone.

While there is a default client, or a thread is within `Client.as_current`, Dask's setting
``scheduler`` is `CurrentClient`, which Dask asks for its ``get`` whenever it computes; so the
client is chosen then, for the thread that computes. ``dataframe.shuffle.method`` is ``tasks``
meanwhile, unless it was set to something: Dask would take the local disk otherwise, which workers
need not share. Both settings are put back afterwards, unless somebody has changed them meanwhile.
"""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskloom._client import Client

_SHUFFLE = "dataframe.shuffle.method"
_lock = threading.Lock()
_uses = 0
_made: list[tuple[str, Any, Any]] = []
"""Settings that were made: name, the value set, and what changes it back."""


class CurrentClient:
    """Stands in Dask's configuration for whichever client is the current one."""

    def __init__(self, before: Any) -> None:
        self._before = before

    @property
    def asynchronous(self) -> bool:
        """Whether Dask must not wait for it."""
        client = _newest()
        return client is not None and client.asynchronous

    @property
    def get(self) -> Any:
        """The current client's `Client.get`; where there is none, what Dask used before."""
        client = _newest()
        if client is not None:
            return client.get
        from dask import threaded
        from dask.base import get_scheduler

        if self._before is None:
            return threaded.get
        return get_scheduler(scheduler=self._before)

    def __repr__(self) -> str:
        return "<the current client of taskloom>"


def _newest() -> Client | None:
    from taskloom._client import Client

    return Client._newest()


def begin_use() -> None:
    """Let Dask, if it is installed, use the current client until `end_use`."""
    global _uses
    if importlib.util.find_spec("dask") is None:
        return
    import dask

    with _lock:
        _uses += 1
        if _uses > 1:
            return
        before = dask.config.get("scheduler", None)
        _set("scheduler", CurrentClient(before))
        if dask.config.get(_SHUFFLE, None) is None:
            _set(_SHUFFLE, "tasks")


def _set(name: str, value: Any) -> None:
    import dask

    _made.append((name, value, dask.config.set({name: value})))


def end_use() -> None:
    """End a use that `begin_use` began."""
    global _uses
    if importlib.util.find_spec("dask") is None:
        return
    import dask

    with _lock:
        _uses -= 1
        if _uses > 0:
            return
        for name, value, change in reversed(_made):
            if dask.config.get(name, None) is value:
                change.__exit__(None, None, None)
        _made.clear()
