"""Taskloom: distributed futures and task graphs for notebooks.

Clusters (scheduler, workers, launcher) run on Node, from the compiled runtime that this package
carries; tasks written in Python run in Python processes of the workers. What is named here is
imported when it is first used, so that ``import taskloom`` is quick.

Examples
--------
>>> from taskloom import Client
>>> client = Client()
>>> client.submit(lambda x: x + 1, 1).result()
2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from taskloom._runtime import NodeNotFoundError, RuntimeNotFoundError, node_path, runtime_path
from taskloom._version import __version__

if TYPE_CHECKING:
    from taskloom._client import Client, default_client
    from taskloom._cluster import Cluster, LocalCluster
    from taskloom._errors import (
        AuthenticationError,
        CancelledError,
        ClusterError,
        CommClosedError,
        ConfigError,
        KilledWorker,
        KilledWorkerError,
        LostDataError,
        NoValidWorkerError,
        ProtocolError,
        ProtocolVersionError,
        Reschedule,
        SerializationError,
        TaskError,
        TaskloomError,
        TaskTimeoutError,
        TimeoutError,
        VersionMismatchError,
        VersionWarning,
        WorkerMemoryError,
    )
    from taskloom._future import Future, fire_and_forget, futures_of
    from taskloom._installs import PipInstallError
    from taskloom._magics import load_ipython_extension
    from taskloom._progress import progress
    from taskloom._tasks import get_client, get_worker, rejoin, secede, worker_client
    from taskloom._waiting import as_completed, wait

_PLACES = {
    "_client": ("Client", "default_client"),
    "_cluster": ("Cluster", "LocalCluster"),
    "_errors": (
        "AuthenticationError",
        "CancelledError",
        "ClusterError",
        "CommClosedError",
        "ConfigError",
        "KilledWorker",
        "KilledWorkerError",
        "LostDataError",
        "NoValidWorkerError",
        "ProtocolError",
        "ProtocolVersionError",
        "Reschedule",
        "SerializationError",
        "TaskError",
        "TaskTimeoutError",
        "TaskloomError",
        "TimeoutError",
        "VersionMismatchError",
        "VersionWarning",
        "WorkerMemoryError",
    ),
    "_future": ("Future", "fire_and_forget", "futures_of"),
    "_installs": ("PipInstallError",),
    "_magics": ("load_ipython_extension",),
    "_progress": ("progress",),
    "_tasks": ("get_client", "get_worker", "rejoin", "secede", "worker_client"),
    "_waiting": ("as_completed", "wait"),
}
_HOMES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "AuthenticationError",
    "CancelledError",
    "Client",
    "Cluster",
    "ClusterError",
    "CommClosedError",
    "ConfigError",
    "Future",
    "KilledWorker",
    "KilledWorkerError",
    "LocalCluster",
    "LostDataError",
    "NoValidWorkerError",
    "NodeNotFoundError",
    "PipInstallError",
    "ProtocolError",
    "ProtocolVersionError",
    "Reschedule",
    "RuntimeNotFoundError",
    "SerializationError",
    "TaskError",
    "TaskTimeoutError",
    "TaskloomError",
    "TimeoutError",
    "VersionMismatchError",
    "VersionWarning",
    "WorkerMemoryError",
    "__version__",
    "as_completed",
    "default_client",
    "fire_and_forget",
    "futures_of",
    "get_client",
    "get_worker",
    "load_ipython_extension",
    "node_path",
    "progress",
    "rejoin",
    "runtime_path",
    "secede",
    "wait",
    "worker_client",
]


def __getattr__(name: str) -> object:
    """Import what is asked for by name."""
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'taskloom' has no attribute {name!r}")
    value = getattr(import_module(f"taskloom.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
