"""The part of the client that asks: where things are, why, and what goes on.

Every call is a question to the scheduler; the answers are plain data.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskloom._errors import ConfigError, VersionMismatchError
from taskloom._future import Future, futures_of
from taskloom._profile import merged
from taskloom._settings import seconds
from taskloom._submit import worker_names
from taskloom._versions import mismatch, python_versions, used_packages

if TYPE_CHECKING:
    from taskloom._session import Session


_LINES = 1000


class Inspection:
    """See the module."""

    _session: Session
    _sync: Callable[..., Any]
    _request: Callable[..., Any]
    _run_everywhere: Callable[..., Any]

    # -------------------------------------------------------------------- where things are

    def who_has(self, futures: Any = None) -> dict[str, list[str]]:
        """Return the addresses of the workers that hold each key.

        Parameters
        ----------
        futures : Future, key or iterable of them, optional
            Of which. Default: of all keys.

        Returns
        -------
        dict of str to list of str
            Addresses by key, without keys that the cluster does not know.
        """
        return self._request("who-has", {"keys": _keys(futures)})

    def has_what(self, workers: Any = None) -> dict[str, list[str]]:
        """Return the keys that each worker holds.

        Parameters
        ----------
        workers : str or iterable of str, optional
            Only these (names, addresses or hosts). Default: all.

        Returns
        -------
        dict of str to list of str
            Keys by worker address.
        """
        return self._by_worker("has-what", workers)

    def processing(self, workers: Any = None) -> dict[str, list[str]]:
        """Return the keys that each worker is to run.

        Parameters
        ----------
        workers : str or iterable of str, optional
            Only these (names, addresses or hosts). Default: all.

        Returns
        -------
        dict of str to list of str
            Keys by worker address.
        """
        return self._by_worker("processing", workers)

    def nthreads(self, workers: Any = None) -> dict[str, int]:
        """Return the threads of each worker.

        Parameters
        ----------
        workers : str or iterable of str, optional
            Only these (names, addresses or hosts). Default: all.

        Returns
        -------
        dict of str to int
            Tasks that each runs at a time, by worker address.
        """

        def threads(info: dict) -> dict[str, int]:
            return {at: one["nthreads"] for at, one in _chosen(info, workers).items()}

        return self._request("scheduler-info", {}, threads)

    ncores = nthreads

    def scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:
        """Return facts of the cluster; its workers, by address, under ``workers``.

        Parameters
        ----------
        n_workers : int, default -1
            At most so many of the workers; -1: all.

        Returns
        -------
        dict
            Plain data, which a notebook shows as tables.
        """
        from taskloom._html import SchedulerInfo

        def shape(info: dict) -> dict[str, Any]:
            members = info.pop("members")
            if n_workers >= 0:
                members = dict(list(members.items())[:n_workers])
            return SchedulerInfo({**info, "counts": info["workers"], "workers": members})

        return self._request("scheduler-info", {}, shape)

    def _by_worker(self, method: str, workers: Any) -> Any:
        """Ask for what there is by worker address, and keep that of some workers."""

        async def ask() -> dict[str, Any]:
            found = await self._session.request(method, {})
            if workers is None:
                return found
            chosen = _chosen(await self._session.request("scheduler-info", {}), workers)
            return {at: one for at, one in found.items() if at in chosen}

        return self._sync(ask())

    def nbytes(self, keys: Any = None, summary: bool = True) -> dict[str, int]:
        """Return the bytes that each worker holds.

        Parameters
        ----------
        keys : iterable of str, optional
            Refused: bytes of single results are not told here.
        summary : bool, default True
            False is refused.

        Returns
        -------
        dict of str to int
            Bytes by worker address.

        Raises
        ------
        ConfigError
            ``keys`` were given, or ``summary=False``.
        """
        if keys is not None or not summary:
            raise ConfigError(
                "client.nbytes() tells the bytes of each worker; future.nbytes those of a result."
            )
        return self._request(
            "scheduler-info",
            {},
            lambda info: {at: one["nbytes"] for at, one in info["members"].items()},
        )

    # -------------------------------------------------------------------- why, and what happened

    def story(self, *keys: Any) -> list[dict[str, Any]]:
        """Return the newest steps of tasks, on the scheduler and on workers, oldest first.

        Parameters
        ----------
        *keys : Future or str
            Of which tasks.

        Returns
        -------
        list of dict
            Steps, each with ``time`` (milliseconds since 1970), ``where``, ``key`` and ``text``.
        """
        return self._request("story", {"keys": _keys(list(keys)) or []})

    def explain(self, key: Future | str) -> str:
        """Say, in sentences, why a task is where it is.

        Parameters
        ----------
        key : Future or str
            Which task.

        Returns
        -------
        str
            The sentences.
        """
        return self._request("explain", {"key": _key(key)})

    def call_stack(
        self, futures: Any = None, keys: Iterable[str] | None = None, timeout: float | str = 2
    ) -> list[dict[str, Any]]:
        """Return what the running tasks (all, or these) execute at this moment.

        Parameters
        ----------
        futures : Future, key or list of them, optional
            Of which tasks. Default: of all.
        keys : iterable of str, optional
            More of them.
        timeout : float or str, default 2
            Seconds to wait for the workers' answers.

        Returns
        -------
        list of dict
            One for each running task: ``worker``, ``name`` (the worker's), ``key``, ``forMs``,
            ``frames`` and ``note``.
        """
        limit = (seconds(timeout) or 2) * 1000
        both = (
            None if futures is None and keys is None else [*(_keys(futures) or []), *(keys or ())]
        )
        return self._request("call-stack", {"keys": both, "timeoutMs": limit})

    def profile(
        self,
        key: str | None = None,
        start: float | str | None = None,
        stop: float | str | None = None,
        workers: Any = None,
        merge_workers: bool = True,
        filename: str | None = None,
        server: bool = False,
        scheduler: bool = False,
    ) -> Any:
        """Return what the Python tasks of the last hour spent their time on.

        Executors look at the stacks of their running tasks a hundred times a second. A notebook
        shows the result as a flame graph. What a coroutine does is not looked at.

        Parameters
        ----------
        key : str, optional
            Only tasks of functions of this name. Default: all.
        start, stop : float or str, optional
            Since when and until when: seconds since 1970, or text such as ``"30 s"``, so long ago.
            Ten seconds are told apart.
        workers : str or iterable of str, optional
            Only these (names or addresses).
        merge_workers : bool, default True
            Return one tree for all workers instead of one for each, by address.
        filename : str, optional
            Write the flame graph into this HTML file.
        server : bool, default False
            Accepted for Dask's sake: workers run no Python themselves, and True raises ConfigError.
        scheduler : bool, default False
            Accepted for Dask's sake: the scheduler runs no Python, and True raises ConfigError.

        Returns
        -------
        Profile
            A tree: ``count``, ``description`` and ``children`` of each call.

        Raises
        ------
        ConfigError
            ``server`` or ``scheduler`` was asked for, or a time cannot be read.

        Examples
        --------
        >>> client.profile("train", start="5 min")  # doctest: +SKIP
        """
        if server or scheduler:
            raise ConfigError(
                "Scheduler and workers run no Python; client.profile() tells what tasks do."
            )
        params = {
            "name": key,
            "start": _moment(start),
            "stop": _moment(stop),
            "workers": worker_names(workers),
        }

        def read(found: dict[str, list[bytes]]) -> Any:
            trees = {at: merged([json.loads(one) for one in all_]) for at, all_ in found.items()}
            whole = merged(list(trees.values())) if merge_workers or filename else None
            if whole is not None and filename:
                Path(filename).write_text(whole.page(), encoding="utf-8")
            return whole if merge_workers else trees

        return self._request("profile", params, read)

    def logs(self, n: int = 1000) -> list[dict[str, Any]]:
        """Return the newest log lines of scheduler, workers and nannies.

        Parameters
        ----------
        n : int, default 1000
            At most so many lines of each process.

        Returns
        -------
        list of dict
            One for each process: its ``source`` and its ``lines``, oldest first.
        """
        return self._request("logs", {"n": n}, lambda found: found["logs"])

    def get_scheduler_logs(self, n: int | None = None) -> list[str]:
        """Return the newest log lines of the scheduler.

        Parameters
        ----------
        n : int, optional
            At most so many lines. Default 1000.

        Returns
        -------
        list of str
            Lines, oldest first.
        """
        return self._request(
            "logs",
            {"n": _LINES if n is None else n},
            lambda found: [
                line
                for log in found["logs"]
                if log["source"] == "scheduler"
                for line in log["lines"]
            ],
        )

    def get_worker_logs(
        self, n: int | None = None, workers: Any = None, nanny: bool = False
    ) -> dict[str, list[str]]:
        """Return the newest log lines of workers, or of nannies.

        Parameters
        ----------
        n : int, optional
            At most so many lines of each process. Default 1000.
        workers : str or iterable of str, optional
            Only these (names, addresses or hosts). Default: all.
        nanny : bool, default False
            Those of all nannies instead.

        Returns
        -------
        dict of str to list of str
            Lines, oldest first, by the name of the worker or nanny.

        Raises
        ------
        ConfigError
            Both ``nanny`` and ``workers`` were given.
        """
        if nanny and workers is not None:
            raise ConfigError("A nanny has no log for single workers: leave out nanny or workers.")

        async def ask() -> dict[str, list[str]]:
            found = await self._session.request("logs", {"n": _LINES if n is None else n})
            # "worker-0", and "worker-0, ended" or "nanny of-one".
            logs = {log["source"]: log["lines"] for log in found["logs"]}
            logs.pop("scheduler", None)
            logs = {
                source: lines
                for source, lines in logs.items()
                if source.startswith("nanny ") is nanny
            }
            if workers is None:
                return logs
            info = await self._session.request("scheduler-info", {})
            names = {one["name"] for one in _chosen(info, workers).values()}
            names.update(worker_names(workers) or [])
            return {at: lines for at, lines in logs.items() if at.partition(",")[0] in names}

        return self._sync(ask())

    def get_versions(
        self, check: bool = False, packages: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return versions of the client, the cluster's processes, and the workers' Pythons.

        Parameters
        ----------
        check : bool, default False
            Raise VersionMismatchError, with a table, when client and workers differ in what
            matters.
        packages : iterable of str, optional
            More packages to ask for, besides those that values depend on and those that code in
            ``__main__`` has imported.

        Returns
        -------
        dict
            ``client``: versions by package; ``workers``: the same by worker address;
            ``processes``: what the cluster's processes have told of themselves.

        Raises
        ------
        VersionMismatchError
            With ``check``, when versions differ.
        """
        more = (*used_packages(), *(packages or ()))

        async def ask() -> dict[str, Any]:
            members = await self._session.request("versions", {})
            workers = await self._run_everywhere(partial(python_versions, more), None, "return")
            pythons = {at: one for at, one in workers.items() if isinstance(one, dict)}
            found = {"client": python_versions(more), "workers": pythons, "processes": members}
            different = mismatch({"client": found["client"], **pythons}, more) if check else None
            if different is not None:
                raise VersionMismatchError(different)
            return found

        return self._sync(ask())

    def dump_cluster_state(self, filename: str = "taskloom-dump") -> str:
        """Write the cluster's state into a file, for ``taskloom dump show FILE``.

        Tables, stories, logs, versions and settings; no values and no token.

        Parameters
        ----------
        filename : str, default "taskloom-dump"
            Path of the file, which only its owner may read; one that is there is overwritten.

        Returns
        -------
        str
            The path.

        Raises
        ------
        OSError
            The scheduler does not answer, or the file cannot be written.
        """
        path = Path(filename)

        async def write() -> str:
            data = await asyncio.to_thread(_fetch_dump, self._session.address, self._session.token)
            path.touch(mode=0o600)
            path.write_bytes(data)
            return str(path)

        return self._sync(write())


def _fetch_dump(address: str, token: str) -> bytes:
    request = urllib.request.Request(
        f"{address}/api/dump", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=300) as response:
        return response.read()


def _moment(at: float | str | None) -> float | None:
    """Seconds since 1970: given as such, or as text for so long ago."""
    if at is None or isinstance(at, int | float):
        return at
    return time.time() - (seconds(at) or 0)


def _key(one: Future | str) -> str:
    return one.key if isinstance(one, Future) else str(one)


def _keys(of: Any) -> list[str] | None:
    if of is None:
        return None
    if isinstance(of, Future | str):
        return [_key(of)]
    if isinstance(of, dict) or hasattr(of, "__dask_graph__"):
        return [one.key for one in futures_of(of)]
    return [key for one in of for key in _of_one(one)]


def _of_one(one: Any) -> list[str]:
    return (_keys(one) or []) if hasattr(one, "__dask_graph__") else [_key(one)]


def _chosen(info: dict[str, Any], workers: Any) -> dict[str, Any]:
    """Return workers, by address, of which name, address or host is among these; None: all."""
    members, names = info["members"], worker_names(workers)
    if names is None:
        return members
    return {
        at: one
        for at, one in members.items()
        if not {at, one["name"], one["host"]}.isdisjoint(names)
    }
