"""A cluster on this machine: a nanny process that starts and watches a scheduler and workers.

This object holds the nanny's standard input: when this process ends, however it ends, the input
ends and with it the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from taskloom._connection import find_cluster, list_connection_files
from taskloom._errors import AuthenticationError, ClusterError, ConfigError, TimeoutError
from taskloom._runtime import node_path, runtime_path
from taskloom._settings import byte_count, divide_machine, format_bytes, seconds

_START_LIMIT = 60.0
_CLOSE_LIMIT = 10.0

Message = dict[str, Any]


class Cluster:
    """A running cluster, by its connection file; `LocalCluster` makes one.

    Parameters
    ----------
    name : str
        Name, id or address.

    Raises
    ------
    ConfigError
        No running cluster of this user is called so.
    """

    def __init__(self, name: str) -> None:
        file = find_cluster(name)
        self.id: str = file["id"]
        self.name: str = file["name"]
        self.kind: str = file["kind"]
        self.token: str = file["token"]
        self._address: str = file["address"]

    @classmethod
    def from_name(cls, name: str) -> Cluster:
        """Return the running cluster of this name, id or address.

        Parameters
        ----------
        name : str
            Name, id or address.

        Returns
        -------
        Cluster
            One that goes on when it is closed here.

        Raises
        ------
        ConfigError
            No running cluster of this user is called so.
        """
        return Cluster(name)

    @property
    def scheduler_address(self) -> str:
        """Where clients connect."""
        return self._address

    @property
    def dashboard_link(self) -> str:
        """The address of the cluster's own dashboard, which asks for the token."""
        return f"{self._address}/"

    def _call(self, method: str, path: str, body: Message | None = None) -> Any:
        request = urllib.request.Request(
            self._address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
            },
        )
        # A proxy of the environment is not for machines of the cluster.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            if error.code == 401:
                raise AuthenticationError(self._address) from None
            try:
                said = json.loads(error.read()).get("message")
            except ValueError:
                said = None
            raise ClusterError(said or f"{self._address} answered {path}: {error.code}") from None
        except OSError as error:
            raise ClusterError(
                f"The scheduler of {self.name} at {self._address} cannot be reached: {error}."
            ) from error
        return json.loads(text) if text else None

    def info(self) -> Message:
        """Return facts of the cluster: workers, threads, memory, tasks.

        Returns
        -------
        dict
            Plain data; bytes and counts.

        Raises
        ------
        ClusterError
            The scheduler cannot be reached.
        """
        return self._call("GET", "/api/info")

    def scale(
        self,
        n: int = 0,
        memory: float | str | None = None,
        cores: int | None = None,
    ) -> None:
        """Ask for so many workers, or for as many as have so much together.

        Parameters
        ----------
        n : int, default 0
            Workers.
        memory : float or str, optional
            Bytes, or text such as ``"20 GB"``, that their limits are to reach.
        cores : int, optional
            Threads that they are to have.

        Raises
        ------
        ConfigError
            Memory or cores were given, and it is not known how much a worker has.
        ClusterError
            The cluster cannot start workers, or ``n`` is no number of them.
        """
        self._call("POST", "/api/scale", {"workers": max(n, self._count(memory, cores) or 0)})

    def adapt(
        self,
        minimum: int = 0,
        maximum: float | None = None,
        *,
        minimum_cores: int | None = None,
        maximum_cores: int | None = None,
        minimum_memory: float | str | None = None,
        maximum_memory: float | str | None = None,
    ) -> None:
        """Have as many workers as the work asks for, within bounds.

        Parameters
        ----------
        minimum : int, default 0
            Never fewer.
        maximum : int, optional
            Never more; None: no bound.
        minimum_cores, maximum_cores : int, optional
            The same by threads.
        minimum_memory, maximum_memory : float or str, optional
            The same by bytes, or text such as ``"20 GB"``.

        Raises
        ------
        ConfigError
            Memory or cores were given, and it is not known how much a worker has, or not one fits.
        ClusterError
            The cluster cannot start workers, or the bounds are no numbers of them.
        """
        least = max(minimum, self._count(minimum_memory, minimum_cores) or 0)
        bounds = [maximum, self._count(maximum_memory, maximum_cores, whole=True)]
        # Dask's word for no bound is infinity.
        most = min((one for one in bounds if one not in (None, math.inf)), default=None)
        self._call("POST", "/api/adapt", {"minimum": least, "maximum": most})

    def _each(self) -> tuple[float, float]:
        """Return threads and bytes of a worker; 0 where that is not known."""
        info = self.info()
        running = info["workers"]["running"] or 1
        return info["threads"] / running, info["memory"]["limit"] / running

    def _count(
        self, memory: float | str | None, cores: int | None, whole: bool = False
    ) -> int | None:
        """Return how many workers have so much; ``whole``: have no more than that."""
        if memory is None and cores is None:
            return None
        threads, limit = self._each()
        needs = []
        for what, wanted, each in (
            ("a memory limit", None if memory is None else byte_count(memory), limit),
            ("threads", cores, threads),
        ):
            if wanted is None:
                continue
            if each == 0:
                raise ConfigError(
                    f"How many workers that makes is not known: none of {self.name} runs with "
                    f"{what} that it tells. Ask for a number of workers instead."
                )
            needs.append(wanted / each)
        if not whole:
            return math.ceil(max(needs))
        if min(needs) < 1:
            raise ConfigError(
                f"Not one worker of {self.name} fits: it has {threads:g} threads and "
                f"{format_bytes(limit) if limit else 'no limit of memory'}."
            )
        return math.floor(min(needs))

    def scale_down(self, workers: str | Iterable[str]) -> list[Message]:
        """Let workers of these names leave, without losing anything.

        Parameters
        ----------
        workers : str or iterable of str
            Names, addresses or hosts.

        Returns
        -------
        list of dict
            What became of each, as `Client.retire_workers` tells it.

        Raises
        ------
        ConfigError
            No worker is called so.
        """
        from taskloom._client import Client

        with Client(self._address, token=self.token, set_as_default=False) as client:
            return client.retire_workers(workers)

    def get_logs(
        self, cluster: bool = True, scheduler: bool = True, workers: bool | Iterable[str] = True
    ) -> dict[str, list[str]]:
        """Return the newest log lines of processes, by their names.

        Parameters
        ----------
        cluster : bool, default True
            Those of nannies.
        scheduler : bool, default True
            The scheduler's.
        workers : bool or iterable of str, default True
            Those of workers, or of some by name.

        Returns
        -------
        dict of str to list of str
            Lines, oldest first, by the process's name; at most 1000 of each.
        """
        found = {}
        for log in self._call("GET", "/api/logs")["logs"]:
            source = log["source"]
            kind = source.partition(" ")[0]
            if kind == "scheduler":
                chosen = scheduler
            elif kind == "nanny":
                chosen = cluster
            elif isinstance(workers, bool):
                chosen = workers
            else:
                chosen = source in workers
            if chosen:
                found[source] = log["lines"]
        return found

    logs = get_logs

    def wait_for_workers(self, n_workers: int = 1, timeout: float | str | None = 30) -> None:
        """Wait until so many workers run.

        Parameters
        ----------
        n_workers : int, default 1
            How many.
        timeout : float or str, default 30
            Seconds, or text such as ``"2 min"``; None: no limit.

        Raises
        ------
        TimeoutError
            The time was over; the message says how many came.
        ClusterError
            The scheduler cannot be reached.
        """
        limit = seconds(timeout)
        until = None if limit is None else time.monotonic() + limit
        while True:
            running = self.info()["workers"]["running"]
            if running >= n_workers:
                return
            if until is not None and time.monotonic() > until:
                raise TimeoutError(
                    f"{running} of {n_workers} workers of {self.name} came within {limit:g} s. "
                    "cluster.get_logs() shows what keeps the others."
                )
            time.sleep(0.05)

    def get_client(self) -> Any:
        """Return a client of this cluster.

        Returns
        -------
        Client
            A new one, which becomes the default.
        """
        from taskloom._client import Client

        return Client(self)

    def close(self, timeout: float | str | None = None) -> None:
        """Let go of it; a cluster of another process goes on.

        Parameters
        ----------
        timeout : float or str, optional
            Accepted, changes nothing: there is nothing to wait for.
        """

    def shutdown(self) -> None:
        """End the cluster with all its processes."""
        self._call("POST", "/api/close", {"reason": "shut down by a Python process"})

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self._address})"

    def _repr_html_(self) -> str:
        from taskloom._html import cluster_html

        return cluster_html(self)


class LocalCluster(Cluster):
    """Starts a scheduler and workers on this machine.

    Parameters
    ----------
    name : str, optional
        For people, and to connect by; at most 100 characters. Default: its id.
    n_workers : int, optional
        Worker processes. Default: up to four cores one a core, beyond that fewer with several
        threads.
    threads_per_worker : int, optional
        Tasks that a worker runs at a time. Default: so that all cores are used.
    processes : bool, optional
        Accepted, changes nothing: workers are always processes (see ``python_threads``).
    memory_limit : float or str, default "auto"
        Of one worker: bytes or text such as ``"2 GiB"``; ``"auto"``: its part of the machine;
        0: no limit.
    host : str, default "127.0.0.1"
        Address to listen on.
    scheduler_port : int, default 0
        0 is a free one.
    local_directory : str, optional
        Where values go that do not fit memory.
    resources : dict, optional
        Amounts that each worker offers to tasks.
    env : dict, optional
        Variables of the workers' environment.
    python : str, optional
        The Python that runs Python tasks. Default: this one.
    python_threads : bool, default False
        Run them as threads of one process a worker, instead of in a process each.
    idle_timeout : float or str, optional
        Seconds without anything to do after which it ends. Default: it does not.
    worker_saturation : float or str, optional
        Tasks a thread before root tasks wait in the queue; ``float("inf")``: they do not.
        Default 1.
    allowed_failures : int, optional
        Deaths of workers that were executing a task which it survives. Default 3.
    journal : str, optional
        Folder in which the scheduler keeps a journal. Default: it keeps none.
    insecure : bool, default False
        Listen beyond loopback without encryption.
    silence_logs : object, optional
        Accepted, changes nothing: logs are read with `get_logs`.
    dashboard_address : object, optional
        Accepted, changes nothing: the scheduler's own address serves the dashboard.
    asynchronous : bool, default False
        ``async with LocalCluster(asynchronous=True) as cluster``.

    Raises
    ------
    ConfigError
        An option cannot be used.
    ClusterError
        It did not start.

    Examples
    --------
    >>> from taskloom import Client, LocalCluster
    >>> with LocalCluster(n_workers=2) as cluster, Client(cluster) as client:
    ...     client.submit(pow, 2, 10).result()
    1024
    """

    def __init__(
        self,
        name: str | None = None,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        processes: bool | None = None,
        memory_limit: float | str | None = "auto",
        *,
        host: str = "127.0.0.1",
        scheduler_port: int = 0,
        local_directory: str | None = None,
        resources: dict[str, float] | None = None,
        env: dict[str, str] | None = None,
        python: str | None = None,
        python_threads: bool = False,
        idle_timeout: float | str | None = None,
        worker_saturation: float | str | None = None,
        allowed_failures: int | None = None,
        journal: str | None = None,
        insecure: bool = False,
        silence_logs: object = None,
        dashboard_address: object = None,
        asynchronous: bool = False,
    ) -> None:
        workers, threads, limit = divide_machine(n_workers, threads_per_worker, memory_limit)
        if name is not None and not 1 <= len(name.strip()) <= 100:
            raise ConfigError("A cluster needs a name of 1 to 100 characters, or none at all.")
        self.id = _free_id()
        self.name = name or self.id
        self.kind = "local"
        self.token = secrets.token_urlsafe(32)
        self.ended: str | None = None
        self._address = ""
        self._shape = (workers, threads, limit)
        self._closing: str | None = None
        self._lines: deque[str] = deque(maxlen=200)
        self._settled = threading.Event()
        self._listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        scheduling: Message = {}
        if worker_saturation is not None:
            infinite = float(worker_saturation) == float("inf")
            scheduling["workerSaturation"] = "inf" if infinite else float(worker_saturation)
        if allowed_failures is not None:
            scheduling["allowedFailures"] = allowed_failures
        cluster: Message = {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "token": self.token,
            "host": host,
            "port": scheduler_port,
            "insecure": insecure,
            "supervise": True,
            "madeBy": _maker(),
            "scheduling": scheduling,
        }
        if journal is not None:
            cluster["journal"] = str(Path(journal).resolve())
        if idle_timeout is not None:
            cluster["idleTimeout"] = (seconds(idle_timeout) or 0) * 1000
        interpreter = python or sys.executable
        self._setup: Message = {
            "role": "nanny",
            "lease": True,
            "cluster": cluster,
            "workers": workers,
            "shape": {
                "threads": threads,
                "memoryLimit": limit,
                "localDirectory": local_directory or "",
                "host": host,
                "insecure": insecure,
                "resources": resources or {},
                "root": str(Path.cwd()),
                "drainTimeout": 20_000,
                "pythonThreads": python_threads,
                "environment": {"TASKLOOM_PYTHON": interpreter, **(env or {})},
            },
        }
        self._process: subprocess.Popen[bytes]
        if not asynchronous:
            self._start()

    def _start(self) -> None:
        node = str(node_path())
        command = [node, str(runtime_path() / "taskloom.mjs"), "nanny", "--supervised"]
        python = self._setup["shape"]["environment"]["TASKLOOM_PYTHON"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A notebook's interrupt is for the cell, not for the cluster.
            start_new_session=True,
            env={**os.environ, "TASKLOOM_NODE": node, "TASKLOOM_PYTHON": python},
        )
        self._order(self._setup)
        for read in (self._read_reports, self._read_lines):
            threading.Thread(target=read, name="taskloom-cluster", daemon=True).start()
        if not self._settled.wait(_START_LIMIT):
            self._process.kill()
            raise self._not_started(f"it took more than {_START_LIMIT:g} s")
        if self.ended is not None:
            raise self._not_started(self.ended)
        weakref.finalize(self, _let_go, self._process)

    def _not_started(self, reason: str) -> ClusterError:
        return ClusterError(f"The local cluster {self.name} did not start: {reason}")

    def _order(self, message: Message) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()

    def _read_reports(self) -> None:
        assert self._process.stdout is not None
        said: str | None = None
        for line in self._process.stdout:
            if not line.startswith(b'{"op":'):
                self._lines.append(line.decode(errors="replace").rstrip())
                continue
            report = json.loads(line)
            if report["op"] == "ready":
                self._address = report["address"]
                self._settled.set()
            elif report["op"] in ("finished", "failed"):
                said = report.get("reason") or report.get("message")
        code = self._process.wait()
        last = "".join(f"\n  {line}" for line in list(self._lines)[-10:])
        reason = said or self._closing or f"its nanny ended (exit code {code}){last}"
        with self._lock:
            self.ended = reason
            listeners, self._listeners = self._listeners, []
        self._settled.set()
        for listener in listeners:
            listener(reason)

    def _read_lines(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line.decode(errors="replace").rstrip())

    def _on_finished(self, listener: Callable[[str], None]) -> None:
        """Call back once, from a thread, when it has ended."""
        with self._lock:
            if self.ended is None:
                self._listeners.append(listener)
                return
        listener(self.ended)

    def close(self, timeout: float | str | None = None) -> Any:
        """End the cluster with all its processes.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds for its processes to end in order; then they are killed. Default 10.

        Returns
        -------
        None
            When they have ended.
        """
        if self.ended is None:
            self._closing = "closed by its owner"
            self._order({"op": "close", "reason": self._closing})
            try:
                self._process.wait(seconds(timeout) or _CLOSE_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return None

    shutdown = close

    def _each(self) -> tuple[float, float]:
        _, threads, limit = self._shape
        return threads, limit

    @property
    def status(self) -> str:
        """``running`` or ``closed``."""
        return "running" if self.ended is None else "closed"

    async def _begin(self) -> LocalCluster:
        if not hasattr(self, "_process"):
            await asyncio.get_running_loop().run_in_executor(None, self._start)
        return self

    def __await__(self) -> Any:
        return self._begin().__await__()

    async def __aenter__(self) -> LocalCluster:
        return await self._begin()

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __repr__(self) -> str:
        workers, threads, limit = self._shape
        memory = f"{format_bytes(limit)} each" if limit else "no limit"
        ended = "" if self.ended is None else f", ended: {self.ended}"
        return (
            f"LocalCluster({self.name!r}, {self._address}, {workers} workers x {threads} threads, "
            f"{memory}{ended})"
        )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Nobody has the cluster any more: end its lease."""
    with contextlib.suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.close()


def _free_id() -> str:
    taken = {file["id"] for file in list_connection_files()}
    while True:
        made = f"local-{secrets.token_hex(2)}"
        if made not in taken:
            return made


def _maker() -> Message:
    notebook = os.environ.get("JPY_SESSION_NAME", "")
    if notebook:
        return {"kind": "notebook", "label": notebook}
    script = Path(sys.argv[0] if sys.argv else "").name
    return {"kind": "script", "label": script or "python"}
