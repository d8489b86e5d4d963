"""``%taskloom``: clusters from a cell. ``%load_ext taskloom`` brings it.

Examples
--------
>>> %taskloom list                       # doctest: +SKIP
>>> %taskloom start --workers 4 lab      # doctest: +SKIP
>>> %taskloom connect lab                # doctest: +SKIP
>>> %taskloom stop lab                   # doctest: +SKIP
"""

from __future__ import annotations

import shlex
from typing import Any

from taskloom._connection import list_connection_files
from taskloom._errors import TaskloomError

USAGE = """%taskloom list                        clusters of yours that run
%taskloom start [--workers N] [NAME]  start one on this machine and connect: `client`
%taskloom connect NAME                connect to one that runs: `client`
%taskloom stop [NAME]                 end one (default: the one of `client`)
%taskloom dashboard [NAME]            where its dashboard is
%taskloom progress on|off             bars under cells that submit work"""

_clusters: dict[str, Any] = {}


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%taskloom`` (called by ``%load_ext taskloom``)."""
    ipython.register_magic_function(lambda line: run(ipython, line), "line", "taskloom")


def run(ipython: Any, line: str) -> Any:
    """Do what a line says; errors are printed in one line, without a traceback."""
    words = shlex.split(line)
    commands = {
        "list": _list,
        "start": _start,
        "connect": _connect,
        "stop": _stop,
        "dashboard": _dashboard,
        "progress": _progress,
    }
    command = commands.get(words[0] if words else "")
    if command is None:
        print(USAGE)
        return None
    try:
        return command(ipython, words[1:])
    except (TaskloomError, ValueError) as error:
        print(f"taskloom: {error}")
        return None


def _list(ipython: Any, words: list[str]) -> None:
    files = list_connection_files()
    if not files:
        print("No cluster of yours runs. Start one: %taskloom start")
    width = max((len(file["name"]) for file in files), default=0)
    for file in files:
        print(f"{file['name']:{width}}  {file['id']}  {file['kind']}  {file['address']}")


def _start(ipython: Any, words: list[str]) -> Any:
    from taskloom._client import Client
    from taskloom._cluster import LocalCluster

    workers: int | None = None
    name: str | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--workers":
            workers = int(rest.pop(0)) if rest else 0
        elif word.startswith("--workers="):
            workers = int(word.partition("=")[2])
        elif word.startswith("-"):
            raise ValueError(f"start has no option {word}.\n{USAGE}")
        else:
            name = word
    cluster = LocalCluster(name=name, n_workers=workers)
    _clusters[cluster.id] = cluster
    client = Client(cluster)
    ipython.push({"cluster": cluster, "client": client})
    return client


def _connect(ipython: Any, words: list[str]) -> Any:
    from taskloom._client import Client

    client = Client(words[0] if words else None)
    ipython.push({"client": client})
    return client


def _named(words: list[str]) -> Any:
    from taskloom._client import Client
    from taskloom._cluster import Cluster

    return Cluster(words[0] if words else Client.current().address)


def _stop(ipython: Any, words: list[str]) -> None:
    cluster = _named(words)
    own = _clusters.pop(cluster.id, None)
    if own is None:
        cluster.shutdown()
    else:
        own.close()
    print(f"Cluster {cluster.name} has been ended.")


def _dashboard(ipython: Any, words: list[str]) -> None:
    cluster = _named(words)
    print(f"{cluster.dashboard_link}  (taskloom cluster dashboard {cluster.name} lets you in)")


def _progress(ipython: Any, words: list[str]) -> None:
    from taskloom._cell import set_automatic

    if words not in (["on"], ["off"]):
        raise ValueError("progress is on or off.")
    set_automatic(words == ["on"])
