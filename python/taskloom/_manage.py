"""The part of the client that arranges: workers, values, functions beside tasks, datasets."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskloom import _by_value, _pack, serialize
from taskloom._datasets import pack_dataset, unpack_dataset
from taskloom._errors import ConfigError, TimeoutError
from taskloom._failure import error_of
from taskloom._future import Future, futures_of
from taskloom._settings import seconds
from taskloom._submit import worker_names

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._installs import Install
    from taskloom._session import Session


_RAISE: Any = object()


class Management:
    """See the module."""

    _session: Session
    _uploads: list[tuple[str, bytes]]
    _installs: list[Install]
    _sync: Callable[..., Any]
    _request: Callable[..., Any]
    _itself: Callable[[], Client]
    _futures_of_keys: Callable[[list[str]], list[Future]]

    # -------------------------------------------------------------------- workers and values

    def wait_for_workers(self, n_workers: int = 1, timeout: float | str | None = None) -> Any:
        """Wait until at least so many workers run.

        Parameters
        ----------
        n_workers : int, default 1
            How many.
        timeout : float or str, optional
            Seconds, or text such as ``"2 min"``. Default: no limit.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        TimeoutError
            The time was over; the message says how many came.
        """
        limit = seconds(timeout)
        until = None if limit is None else time.monotonic() + limit

        async def wait() -> None:
            while True:
                info = await self._session.request("scheduler-info", {})
                running = info["workers"]["running"]
                if running >= n_workers:
                    return
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(
                        f"{running} of {n_workers} workers came within {limit:g} s. Start workers "
                        f"(cluster.scale({n_workers})), or look at client.logs() for what keeps "
                        "them."
                    )
                await asyncio.sleep(0.05)

        return self._sync(wait())

    def replicate(self, futures: Any, n: int | None = None, workers: Any = None) -> Any:
        """See to it that results lie on several workers, and stay there.

        Parameters
        ----------
        futures : Future, structure of futures, or Dask collection
            What to copy. Those that are pending are waited for.
        n : int, optional
            So many copies of each. Default: one on each worker.
        workers : str or iterable of str, optional
            Only on these (names, addresses or hosts).

        Returns
        -------
        None
            When the copies are there; an awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            No worker runs, or none of these.
        TimeoutError
            Copies were missing after two minutes; they are still being made.
        """
        cids = [future._cid for future in futures_of(futures)]

        async def copy() -> None:
            await self._session.wait(cids, lambda waiter: not waiter.pending)
            params = {"cids": cids, "count": n, "workers": worker_names(workers)}
            await self._session.request("replicate", params)

        return self._sync(copy(), for_tasks=True)

    def rebalance(self, futures: Any = None, workers: Any = None) -> Any:
        """Even out the memory of workers by moving results.

        Parameters
        ----------
        futures : Future, structure of futures, or Dask collection, optional
            What may be moved. Those that are pending are waited for. Default: all results.
        workers : str or iterable of str, optional
            Only between these (names, addresses or hosts).

        Returns
        -------
        int
            How many were moved; an awaitable of it when the client is asynchronous.

        Raises
        ------
        TimeoutError
            Not all were moved within two minutes.
        """
        cids = None if futures is None else [future._cid for future in futures_of(futures)]

        async def move() -> int:
            await self._session.wait(cids or [], lambda waiter: not waiter.pending)
            params = {"cids": cids, "workers": worker_names(workers)}
            return (await self._session.request("rebalance", params))["moved"]

        return self._sync(move(), for_tasks=True)

    def retire_workers(
        self,
        workers: Any = None,
        close_workers: bool = True,
        *,
        n: int | None = None,
        force: bool = False,
        timeout: float | str | None = None,
    ) -> list[dict[str, Any]]:
        """Let workers leave without losing anything; what became of each.

        Parameters
        ----------
        workers : str or iterable of str, optional
            Names, addresses or hosts. Default: those whose memory is not needed, or the best ``n``.
        close_workers : bool, default True
            End their processes.
        n : int, optional
            Without ``workers``: so many.
        force : bool, default False
            Close them even if values are lost.
        timeout : float or str, optional
            Seconds for running tasks to end; then they are given to others. Default 30 s.

        Returns
        -------
        list of dict
            One for each worker: ``name``, ``address``, ``outcome`` (``closed``, ``kept`` or
            ``gone``), ``lost`` (values that were lost with it) and ``reason``.

        Raises
        ------
        ConfigError
            No worker has one of the names.
        """
        limit = seconds(timeout)
        params = {
            "workers": worker_names(workers),
            "count": n,
            "close": close_workers,
            "force": force,
            "timeout": None if limit is None else limit * 1000,
        }
        return self._request("retire-workers", params)

    def restart(self, timeout: float | str | None = None, wait_for_workers: bool = True) -> Any:
        """Forget this client's tasks, kill all workers and start them anew.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds for workers to be back. Default 120.
        wait_for_workers : bool, default True
            Return when they are back.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        TimeoutError
            One was not back in time.
        TaskloomError
            The cluster has no nanny that starts workers.
        """
        limit = seconds(timeout) or 120

        async def restart() -> None:
            session = self._session
            before = _running(await session.request("scheduler-info", {}))
            self._forget(list(session.outcomes))
            await session.request("restart-workers", {})
            if wait_for_workers and (missing := await self._renewed(before, limit)):
                raise _not_back(missing, before, limit)

        return self._sync(restart())

    def restart_workers(
        self, workers: Any, timeout: float | str | None = None, raise_for_error: bool = True
    ) -> Any:
        """End processes of workers and have their nannies start them anew.

        Results that only they held are computed again.

        Parameters
        ----------
        workers : str or iterable of str
            Names or addresses.
        timeout : float or str, optional
            Seconds for them to be back. Default 120.
        raise_for_error : bool, default True
            Raise TimeoutError when one is not back in time.

        Returns
        -------
        dict of str
            By what was given: ``OK`` or ``timed out``.

        Raises
        ------
        ConfigError
            No worker has one of the names.
        TimeoutError
            With ``raise_for_error``: one was not back in time.
        TaskloomError
            The cluster has no nanny that starts workers.
        """
        limit = seconds(timeout) or 120
        wanted = worker_names(workers) or []

        async def restart() -> dict[str, str]:
            session = self._session
            info = await session.request("scheduler-info", {})
            members = {name: one for name, one in _named(info).items() if name in wanted}
            unknown = [name for name in wanted if name not in members]
            if unknown:
                raise ConfigError(
                    f"No worker is called {', '.join(unknown)}. There are: "
                    f"{', '.join(sorted(one['name'] for one in info['members'].values()))}."
                )
            before = {(one["name"], one["pid"]) for one in members.values()}
            names = [name for name, _ in before]
            await session.request("restart-workers", {"names": names})
            missing = {name for name, _ in await self._renewed(before, limit)}
            if missing and raise_for_error:
                raise _not_back({one for one in before if one[0] in missing}, before, limit)
            return {
                name: "timed out" if one["name"] in missing else "OK"
                for name, one in members.items()
            }

        return self._sync(restart())

    async def _renewed(self, before: set[tuple[str, int]], limit: float) -> set[tuple[str, int]]:
        """Wait until workers of these names run in other processes; those that do not in time."""
        until = time.monotonic() + limit
        while True:
            now = _running(await self._session.request("scheduler-info", {})) - before
            names = {name for name, _ in now}
            missing = {one for one in before if one[0] not in names}
            if not missing or time.monotonic() > until:
                return missing
            await asyncio.sleep(0.05)

    def _forget(self, cids: list[int]) -> None:
        from taskloom._outcomes import Outcome

        session = self._session
        reason = "the client restarted the cluster"
        for cid in cids:
            session.outcomes[cid] = Outcome("cancelled", reason=reason)
        session.outcomes.changed(cids)
        session.say(
            {"op": "cancel-keys", "cids": cids, "keys": [], "force": True, "reason": reason}
        )

    # -------------------------------------------------------------------- beside the tasks

    async def _run_everywhere(
        self, function: Callable, workers: Any, on_error: str, args: tuple = (), kwargs: Any = None
    ) -> dict[str, Any]:
        packed = _pack.pack_frames(serialize.dumps((args, kwargs or {})), "The arguments")
        params = {
            "blob": self._carry(_by_value.dumps(function)),
            "args": packed,
            "workers": worker_names(workers),
            "language": "python",
        }
        answers = await self._session.request("run", params)
        results: dict[str, Any] = {}
        for address, answer in answers.items():
            if isinstance(answer, bytes):
                results[address] = serialize.deserialize(*serialize.unpack(answer))
                continue
            error = error_of(answer["error"])
            if on_error == "raise":
                raise error
            if on_error == "return":
                results[address] = error
        return results

    def run(
        self,
        function: Callable,
        *args: Any,
        workers: Any = None,
        wait: bool = True,
        nanny: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> Any:
        """Run a function once on every worker, beside its tasks; results by worker address.

        Parameters
        ----------
        function : callable
            What to run.
        *args
            Positional arguments of the function.
        workers : str or iterable of str, optional
            Only on these (names or addresses).
        wait : bool, default True
            False: return None at once; errors are not told then.
        nanny : bool, default False
            True is refused: no code of users runs in a nanny.
        on_error : {'raise', 'return', 'ignore'}, default 'raise'
            What to do when it raises somewhere.
        **kwargs
            Keyword arguments of the function.

        Returns
        -------
        dict of str
            What it returned, by worker address; with ``return`` exceptions in their places.

        Raises
        ------
        Exception
            With ``raise``: what the function raised.
        ValueError
            ``on_error`` is another word.
        ConfigError
            ``nanny`` was given.
        SerializationError
            The arguments cannot be shipped.
        """
        if on_error not in ("raise", "return", "ignore"):
            raise ValueError(f"on_error is raise, return or ignore, not {on_error!r}.")
        if nanny:
            raise ConfigError("No code of users runs in a nanny. Leave nanny=True out.")
        running = self._run_everywhere(function, workers, on_error, args, kwargs)
        if wait:
            return self._sync(running)
        self._session.start(running)
        return self._sync(asyncio.sleep(0))

    def run_on_scheduler(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        """Run a function beside the scheduler: in a process of its own on this machine.

        No code of users runs in a scheduler. A parameter ``dask_scheduler`` or ``client`` gets a
        client that is connected to it.

        Parameters
        ----------
        function : callable
            What to run.
        *args
            Positional arguments of the function.
        **kwargs
            Keyword arguments of the function.

        Returns
        -------
        object
            What it returned; an awaitable of it when the client is asynchronous.

        Raises
        ------
        Exception
            What the function raised.
        ClusterError
            Its process ended before the function did.
        """
        from taskloom._beside import run_beside

        async def run() -> Any:
            where = (self._session.address, self._session.token)
            return await asyncio.to_thread(run_beside, where, function, args, kwargs)

        return self._sync(run())

    def _carries(self) -> bool:
        return bool(self._uploads or self._installs)

    def _carry(self, blob: bytes) -> bytes:
        """Return a function's pickle with what it needs on workers before it."""
        if not self._carries():
            return blob
        from taskloom._uploads import with_files

        return with_files(self._uploads, blob, self._installs)

    def pip_install(
        self,
        packages: str | os.PathLike | Iterable[Any],
        pip_options: Iterable[str] = (),
    ) -> Any:
        """Have packages on all workers, also on those that come later.

        Only what a worker's environment lacks is installed, into a folder of the user's cache
        there: the environment stays as it is. Functions that are submitted afterwards find it.

        Parameters
        ----------
        packages : str, path or iterable of them
            What pip takes, such as ``"polars>=1"``; a wheel of this machine (``….whl``) travels.
        pip_options : iterable of str
            Of ``pip install``, such as ``["--index-url", "https://…"]``.

        Returns
        -------
        list of str
            Addresses of the workers that have it now.

        Raises
        ------
        PipInstallError
            pip failed on a worker: its own words.

        Examples
        --------
        >>> client.pip_install("polars")  # doctest: +SKIP
        """
        from taskloom._installs import ensure, read_install

        async def install() -> list[str]:
            wanted = await asyncio.to_thread(read_install, packages, list(pip_options))
            done = await self._run_everywhere(ensure, None, "raise", (wanted,))
            self._installs = [*(one for one in self._installs if one != wanted), wanted]
            self._session.functions.clear()
            return list(done)

        return self._sync(install())

    def upload_file(self, filename: str | Path, load: bool = True) -> Any:
        """Give workers a file (.py, .zip, .egg or data) that functions of this client need.

        It travels with each function that is submitted from now on, once per worker and function,
        so workers that come later have it, too.

        Parameters
        ----------
        filename : str or path
            A file of at most 32 MiB.
        load : bool, default True
            Accepted, changes nothing: modules are imported by the functions that need them.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            The file is too large.
        OSError
            It cannot be read.
        """
        from taskloom._uploads import read_upload

        async def keep() -> None:
            name, data = await asyncio.to_thread(read_upload, Path(filename))
            uploads = [one for one in self._uploads if one[0] != name]
            self._uploads = [*uploads, (name, data)]
            self._session.functions.clear()

        return self._sync(keep())

    # -------------------------------------------------------------------- datasets

    def publish_dataset(
        self, *args: Any, name: str | None = None, override: bool = False, **kwargs: Any
    ) -> Any:
        """Keep futures on the cluster under a name, until `unpublish_dataset`.

        ``publish_dataset(data, name="x")`` or ``publish_dataset(x=data)``.

        Parameters
        ----------
        *args
            With ``name``: the one thing to publish, a future, or a structure or Dask collection
            that holds futures.
        name : str, optional
            What it is called.
        override : bool, default False
            Replace what has the name already.
        **kwargs
            Things to publish, by their names.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            It has no name, the name is taken, or a future was released or cancelled.
        SerializationError
            The structure cannot be shipped, or is too large beside its futures.
        """
        if args and (name is None or len(args) > 1):
            raise ConfigError('Name it: publish_dataset(data, name="x").')
        named = {name: args[0]} if args else dict(kwargs)

        async def publish() -> None:
            for one, data in named.items():
                value, cids = pack_dataset(str(one), data)
                params = {"name": str(one), "cids": cids, "value": value, "override": override}
                await self._session.request("publish-dataset", params)

        return self._sync(publish())

    def get_dataset(self, name: Any, default: Any = _RAISE) -> Any:
        """Return what was published under a name; its futures are this client's own.

        Parameters
        ----------
        name : str or list of str
            What it is called. Of a list: all of them, as a list.
        default : object, optional
            Returned when nothing is published under the name. Default: ConfigError is raised.

        Returns
        -------
        object
            The future, structure or collection; an awaitable of it when the client is asynchronous.

        Raises
        ------
        ConfigError
            Nothing is published under the name, or only TypeScript can read it.
        """
        names = name if isinstance(name, list) else [name]

        def read(answer: dict | None) -> Any:
            if answer is None:
                return default
            futures = self._futures_of_keys(answer["keys"]) if answer["keys"] else []
            return unpack_dataset(answer["value"], futures)

        async def ask() -> list[dict | None]:
            found: list[dict | None] = []
            for one in names:
                try:
                    found.append(await self._session.request("get-dataset", {"name": str(one)}))
                except ConfigError:
                    if default is _RAISE:
                        raise
                    found.append(None)
            return found

        def shape(found: list[dict | None]) -> Any:
            data = [read(one) for one in found]
            return data if isinstance(name, list) else data[0]

        return self._sync(ask(), shape)

    def list_datasets(self) -> list[str]:
        """Return the names of all published datasets.

        Returns
        -------
        list of str
            Names in order.
        """
        return self._request("list-datasets", {})

    def unpublish_dataset(self, name: Any) -> Any:
        """Take names back; results that no client holds futures of are let go of.

        Parameters
        ----------
        name : str or list of str
            What is published.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            Nothing is published under the name.
        """

        async def take_back() -> None:
            for one in name if isinstance(name, list) else [name]:
                await self._session.request("unpublish-dataset", {"name": str(one)})

        return self._sync(take_back())

    # -------------------------------------------------------------------- scaling, executor

    def scale(self, n: int) -> Any:
        """Ask for so many workers.

        Parameters
        ----------
        n : int
            Workers: from 0 to 10000.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            It is no such number.
        TaskloomError
            The cluster has no nanny that starts workers.
        """
        return self._request("scale", {"workers": n})

    def get_executor(self, **kwargs: Any) -> Any:
        """Return a `concurrent.futures.Executor` that submits here.

        Parameters
        ----------
        **kwargs
            Options of `submit` for all calls: pure, workers, resources, allow_other_workers,
            retries, priority, fifo_timeout.

        Returns
        -------
        concurrent.futures.Executor
            Runs calls on the cluster.

        Raises
        ------
        ConfigError
            Another option was given.
        """
        from taskloom._pool import ClientExecutor

        return ClientExecutor(self._itself(), **kwargs)

    def write_scheduler_file(self, scheduler_file: str | Path) -> None:
        """Write a connection file, readable by its owner only, for `Client(scheduler_file=...)`.

        Parameters
        ----------
        scheduler_file : str or path
            Path of the file; one that is there is overwritten.
        """
        session = self._session
        path = Path(scheduler_file)
        path.touch(mode=0o600)
        fields = {**session.cluster, "address": session.address, "token": session.token}
        path.write_text(json.dumps(fields), encoding="utf-8")


def _not_back(missing: set, before: set, limit: float) -> TimeoutError:
    return TimeoutError(
        f"{len(before) - len(missing)} of {len(before)} workers were back in {limit:g} s. "
        "client.logs() shows what keeps the others."
    )


def _named(info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Workers by name, and by address."""
    members = info["members"]
    return {**{one["name"]: one for one in members.values()}, **members}


def _running(info: dict[str, Any]) -> set[tuple[str, int]]:
    """Name and process of each worker that runs."""
    members = info["members"].values()
    return {(one["name"], one["pid"]) for one in members if one["status"] == "running"}
