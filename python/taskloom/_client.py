"""The client: submits functions to a cluster and follows the results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

from taskloom import _default, _loop
from taskloom._errors import ConfigError, TaskloomError, VersionWarning
from taskloom._future import Future, futures_of
from taskloom._inspect import Inspection
from taskloom._installs import Install
from taskloom._locate import locate, process_name, read_scheduler_file
from taskloom._manage import Management
from taskloom._results import Results
from taskloom._session import Session
from taskloom._settings import seconds
from taskloom._submit import Submission, no_actors

Message = dict[str, Any]

_clients: list[weakref.ref[Client]] = []
_current = threading.local()


class Client(Submission, Results, Inspection, Management):
    """Connects to a cluster and submits work to it.

    Parameters
    ----------
    address : str or cluster, optional
        A cluster object, the name or id of a cluster, or ``http://host:port``. Default: the
        cluster of ``TASKLOOM_SCHEDULER``, else the active one (chosen in the sidebar), else a
        local one that is made for this client and ends with it.
    loop : object, optional
        Accepted, changes nothing: a thread of the library runs all links.
    timeout : float or str, default 10
        Seconds to connect in.
    set_as_default : bool, default True
        Be the one that `get_client` and Dask's collections use.
    scheduler_file : str or path, optional
        A connection file instead of an address.
    security : object, optional
        Refused: links are not encrypted.
    asynchronous : bool, default False
        Calls give awaitables: ``client = await Client(asynchronous=True)``.
    name : str, optional
        Shown in the scheduler's log. Default: the script and its process.
    token : str, optional
        Of the cluster; default: its connection file's, or ``TASKLOOM_TOKEN``.
    weight : float, optional
        Part of the workers that it gets while other clients have work, too; above 0 and at most
        1000. Default 1.
    reconnect_timeout : float or str, default 60
        Seconds for which a scheduler that is lost is dialled again; 0: not at all.
    on_warning : callable, optional
        Hears ``{code, text, cids, count}`` of what has not failed yet; default:
        ``warnings.warn``.
    **kwargs
        Options of `LocalCluster` (``n_workers=2``): it is made whatever runs already.

    Raises
    ------
    ConfigError
        No such cluster runs, its token is not known, or an option cannot be used.
    AuthenticationError
        The scheduler refused the token.
    CommClosedError
        Nothing answers at the address.
    TimeoutError
        The scheduler did not answer in time.

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
        if security:
            raise ConfigError(
                "Links are not encrypted: leave security out, and go through a tunnel where the "
                "network is not yours."
            )
        if weight is not None and not 0 < weight <= 1000:
            raise ConfigError(f"weight must be above 0 and at most 1000, not {weight}.")
        if scheduler_file is not None:
            address = read_scheduler_file(Path(scheduler_file))
        self.asynchronous = asynchronous
        self._own_cluster: Any = None
        self._where = (address, token, kwargs)
        self._set_as_default = set_as_default
        self._options: Message = {
            "name": name or f"{process_name()}-{os.getpid()}",
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

    def _itself(self) -> Client:
        return self

    # -------------------------------------------------------------------- life

    def _begin(self) -> None:
        address, token, kwargs = self._where
        where, self._own_cluster = locate(address, token, kwargs)
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
        """Leave the cluster, which forgets this client's futures; end it if it is the client's.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds for the client's own cluster to end, before it is killed. Default 10.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.
        """
        with contextlib.suppress(ValueError):
            _clients.remove(weakref.ref(self))
        self._leave_dask()
        if self.asynchronous:
            return self._aclose(timeout)
        _loop.wait_for(self._session.start(self._session.close()))
        if self._own_cluster is not None:
            self._own_cluster.close(timeout)
        return None

    def _leave_dask(self) -> None:
        if self._is_dasks:
            self._is_dasks = False
            _default.end_use()

    async def _aclose(self, timeout: float | str | None) -> None:
        if not hasattr(self, "_session"):
            return
        await asyncio.wrap_future(self._session.start(self._session.close()))
        if self._own_cluster is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._own_cluster.close, timeout)

    def shutdown(self) -> Any:
        """End the cluster with all its processes, and this client.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.
        """
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
        """Return the client of the innermost `as_current`, else the newest default one.

        Parameters
        ----------
        allow_global : bool, default True
            Go on to the newest default one; else only this thread's `as_current` counts.

        Returns
        -------
        Client
            The current client.

        Raises
        ------
        ValueError
            There is none.
        """
        client = cls._newest() if allow_global else (getattr(_current, "stack", None) or [None])[-1]
        if client is None:
            raise ValueError("There is no client yet. Connect first: client = Client().")
        return client

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        """Be the current client of this thread, and Dask's there, within a ``with`` block.

        Yields
        ------
        None
            Nothing: the client is at hand already.
        """
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
        asynchronous: bool | None = None,
    ) -> Any:
        """Run on the loop's thread: wait, or give an awaitable when asynchronous."""
        if self.asynchronous if asynchronous is None else asynchronous:
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

    # -------------------------------------------------------------------- Dask's collections

    def get(
        self,
        dsk: Any,
        keys: Any,
        workers: str | Iterable[str] | None = None,
        allow_other_workers: bool | None = None,
        resources: dict[str, float] | None = None,
        sync: bool = True,
        asynchronous: bool | None = None,
        direct: bool | None = None,
        retries: int | None = None,
        priority: float | None = None,
        fifo_timeout: float | str = "60 s",
        actors: object = None,
        **kwargs: Any,
    ) -> Any:
        """Compute keys of a Dask graph, as Dask's schedulers do.

        Options of tasks hold for all of them; they go before annotations.

        Parameters
        ----------
        dsk : graph
            What Dask gives a scheduler.
        keys : key or nested lists of keys
            Wanted results.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        allow_other_workers : bool, optional
            Take ``workers`` as a wish. Default: False.
        resources : dict, optional
            Amounts of worker resources that each task holds while it runs.
        sync : bool, default True
            Give results rather than futures.
        asynchronous : bool, optional
            Give an awaitable of results, or wait for them. Default: as the client does.
        direct : bool, optional
            Accepted, changes nothing: values always come straight from their workers.
        retries : int, optional
            How often a task is tried again when it raises. Default 0.
        priority : float, optional
            Larger runs first. Default 0.
        fifo_timeout : float or str, default "60 s"
            Seconds within which submissions count as one for the order of execution.
        actors : object, optional
            Accepted for Dask's sake: there are no actors, and True raises ConfigError.
        **kwargs
            Whatever else Dask hands to schedulers: ignored.

        Returns
        -------
        object
            Results, or futures, nested as the keys are, with tuples for lists; results are an
            awaitable when the client is asynchronous.

        Raises
        ------
        Exception
            A task's own exception, with ``sync``.
        """
        from taskloom._collections import get

        no_actors(actors)
        options = {
            "workers": workers,
            "allow_other_workers": allow_other_workers,
            "resources": resources,
            "retries": retries,
            "priority": priority,
            "fifo_timeout": fifo_timeout,
        }
        return get(self, dsk, keys, sync, asynchronous, **options)

    def compute(
        self,
        collections: Any,
        sync: bool = False,
        optimize_graph: bool = True,
        workers: str | Iterable[str] | None = None,
        allow_other_workers: bool | None = None,
        resources: dict[str, float] | None = None,
        retries: int | None = None,
        priority: float | None = None,
        fifo_timeout: float | str = "60 s",
        actors: object = None,
        traverse: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Compute Dask collections; futures of their results, or with ``sync`` the results.

        Options of tasks hold for all of them; they go before annotations.

        Parameters
        ----------
        collections : collection, or list of them
            Together they are one graph: what they share is computed once.
        sync : bool, default False
            Wait and give results.
        optimize_graph : bool, default True
            Let Dask optimise the graph.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        allow_other_workers : bool, optional
            Take ``workers`` as a wish. Default: False.
        resources : dict, optional
            Amounts of worker resources that each task holds while it runs.
        retries : int, optional
            How often a task is tried again when it raises. Default 0.
        priority : float, optional
            Larger runs first. Default 0.
        fifo_timeout : float or str, default "60 s"
            Seconds within which submissions count as one for the order of execution.
        actors : object, optional
            Accepted for Dask's sake: there are no actors, and True raises ConfigError.
        traverse : bool, default True
            Look for collections in lists, tuples, sets and dicts.
        **kwargs
            For Dask's optimisation.

        Returns
        -------
        Future or list of Future
            One for each collection; with ``sync`` results in their places.

        Raises
        ------
        Exception
            A task's own exception, with ``sync``.
        """
        from taskloom._collections import compute

        no_actors(actors)
        options = {
            "workers": workers,
            "allow_other_workers": allow_other_workers,
            "resources": resources,
            "retries": retries,
            "priority": priority,
            "fifo_timeout": fifo_timeout,
        }
        return compute(self, collections, options, sync, optimize_graph, traverse, **kwargs)

    def persist(
        self,
        collections: Any,
        optimize_graph: bool = True,
        workers: str | Iterable[str] | None = None,
        allow_other_workers: bool | None = None,
        resources: dict[str, float] | None = None,
        retries: int | None = None,
        priority: float | None = None,
        fifo_timeout: float | str = "60 s",
        actors: object = None,
        **kwargs: Any,
    ) -> Any:
        """Compute Dask collections and keep them on the cluster, as collections of futures.

        Options of tasks hold for all of them; they go before annotations.

        Parameters
        ----------
        collections : collection, or list of them
            Together they are one graph.
        optimize_graph : bool, default True
            Let Dask optimise the graph.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).
        allow_other_workers : bool, optional
            Take ``workers`` as a wish. Default: False.
        resources : dict, optional
            Amounts of worker resources that each task holds while it runs.
        retries : int, optional
            How often a task is tried again when it raises. Default 0.
        priority : float, optional
            Larger runs first. Default 0.
        fifo_timeout : float or str, default "60 s"
            Seconds within which submissions count as one for the order of execution.
        actors : object, optional
            Accepted for Dask's sake: there are no actors, and True raises ConfigError.
        **kwargs
            For Dask's optimisation.

        Returns
        -------
        collection, or list of them
            At once; the tasks run meanwhile.
        """
        from taskloom._collections import persist

        no_actors(actors)
        options = {
            "workers": workers,
            "allow_other_workers": allow_other_workers,
            "resources": resources,
            "retries": retries,
            "priority": priority,
            "fifo_timeout": fifo_timeout,
        }
        return persist(self, collections, options, optimize_graph, **kwargs)

    def futures_of(self, futures: Any) -> list[Future]:
        """Return the futures in a structure or collection.

        Parameters
        ----------
        futures : Future, structure of futures, or Dask collection
            Where to look: in lists, tuples, sets, values of dicts, and graphs of collections.

        Returns
        -------
        list of Future
            In order, each once.

        Raises
        ------
        CancelledError
            One of them is cancelled.
        """
        return futures_of(futures, self)

    def normalize_collection(self, collection: Any) -> Any:
        """Return a Dask collection as it is: its keys get a mark when it is computed.

        Parameters
        ----------
        collection : collection
            Any.

        Returns
        -------
        collection
            The same.
        """
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
    """Return the client given, else the current one.

    Parameters
    ----------
    c : Client, optional
        What to return. Default: the current client.

    Returns
    -------
    Client
        The one given or found.

    Raises
    ------
    ValueError
        None was given and there is none.
    """
    return c or Client.current()
