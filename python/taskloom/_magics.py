"""``%taskloom``: clusters from a cell. ``%load_ext taskloom`` brings it.

Examples
--------
>>> %taskloom list                       # doctest: +SKIP
>>> %taskloom start --workers 4 lab      # doctest: +SKIP
>>> %taskloom connect lab                # doctest: +SKIP
>>> %taskloom scale 8                    # doctest: +SKIP
>>> %taskloom stop lab                   # doctest: +SKIP
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from taskloom._connection import list_connection_files
from taskloom._errors import TaskloomError
from taskloom._settings import format_bytes

USAGE = """%taskloom list                        clusters of yours that run
%taskloom start [--workers N] [--threads N] [--memory SIZE] [NAME]
                                      start one on this machine and connect: `client`
%taskloom connect [NAME]              connect to one that runs: `client`
%taskloom info [NAME]                 its workers, memory and tasks
%taskloom scale N [NAME]              have N workers
%taskloom adapt MIN MAX [NAME]        have as many workers as the work asks for
%taskloom restart [NAME]              end all workers and start them anew
%taskloom logs [NAME]                 newest lines of all its processes
%taskloom dashboard [NAME]            where its dashboard is
%taskloom panel [PANEL]               a live panel under the cell: task-stream, progress, workers
%taskloom stop [NAME]                 end one
%taskloom progress on|off             bars under cells that submit work
Without NAME it is the cluster of `client`."""

PANELS = ("task-stream", "progress", "workers")
_START = {"--workers": "n_workers", "--threads": "threads_per_worker", "--memory": "memory_limit"}

_clusters: dict[str, Any] = {}


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%taskloom`` (called by ``%load_ext taskloom``).

    Parameters
    ----------
    ipython : InteractiveShell
        IPython's shell.
    """
    ipython.register_magic_function(lambda line: run(ipython, line), "line", "taskloom")


def run(ipython: Any, line: str) -> Any:
    """Do what a line says; errors are printed in one line, without a traceback."""
    try:
        words = shlex.split(line)
        command = _COMMANDS.get(words[0] if words else "help")
        if command is None:
            print(f"taskloom: there is no {words[0]!r}.\n{USAGE}")
            return None
        return command(ipython, words[1:])
    except (TaskloomError, ValueError) as error:
        print(f"taskloom: {error}")
        return None


def _help(ipython: Any, words: list[str]) -> None:
    print(USAGE)


def _list(ipython: Any, words: list[str]) -> None:
    _at_most(words, 0, "list")
    files = list_connection_files()
    if not files:
        print("No cluster of yours runs. Start one: %taskloom start")
    width = max((len(file["name"]) for file in files), default=0)
    for file in files:
        print(f"{file['name']:{width}}  {file['id']}  {file['kind']}  {file['address']}")


def _start(ipython: Any, words: list[str]) -> Any:
    from taskloom._client import Client
    from taskloom._cluster import LocalCluster

    options: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if word in _START:
            if not value and not rest:
                raise ValueError(f"{word} needs a value.")
            value = value or rest.pop(0)
            options[_START[word]] = value if word == "--memory" else _number(value, word)
        elif word.startswith("-"):
            raise ValueError(f"start has no option {word}.\n{USAGE}")
        elif "name" in options:
            raise ValueError(f"start takes one name, not {options['name']} and {word}.")
        else:
            options["name"] = word
    cluster = LocalCluster(**options)
    _clusters[cluster.id] = cluster
    client = Client(cluster)
    ipython.push({"cluster": cluster, "client": client})
    return client


def _connect(ipython: Any, words: list[str]) -> Any:
    from taskloom._client import Client

    _at_most(words, 1, "connect")
    client = Client(words[0] if words else None)
    ipython.push({"client": client})
    return client


def _named(ipython: Any, words: list[str], verb: str) -> Any:
    """Return the cluster of a name, else that of the notebook's client."""
    from taskloom._client import Client
    from taskloom._cluster import Cluster

    _at_most(words, 1, verb)
    if words:
        return Cluster(words[0])
    own = ipython.user_ns.get("client")
    client = own if isinstance(own, Client) and own.status != "closed" else Client.current()
    return Cluster(client.address)


def _info(ipython: Any, words: list[str]) -> Any:
    return _named(ipython, words, "info")


def _scale(ipython: Any, words: list[str]) -> None:
    workers = _number(words[0] if words else "", "scale")
    cluster = _named(ipython, words[1:], "scale N")
    cluster.scale(workers)
    print(f"{cluster.name} is asked for {_count(workers)}.")


def _adapt(ipython: Any, words: list[str]) -> None:
    low, high = (_number(word, "adapt") for word in [*words, "", ""][:2])
    if low > high:
        raise ValueError(f"adapt needs MIN and MAX in this order, not {low} and {high}.")
    cluster = _named(ipython, words[2:], "adapt MIN MAX")
    cluster.adapt(low, high)
    print(f"{cluster.name} has {low} to {_count(high)} from now on, as the work asks for.")


def _restart(ipython: Any, words: list[str]) -> None:
    from taskloom._client import Client

    cluster = _named(ipython, words, "restart")
    # A client of its own has no futures to forget: what others hold is computed again.
    with Client(cluster, set_as_default=False) as client:
        client.restart()
    print(f"The workers of {cluster.name} have been started anew.")


def _logs(ipython: Any, words: list[str]) -> None:
    for source, lines in _named(ipython, words, "logs").get_logs().items():
        for line in lines[-20:]:
            print(f"{source}: {line}")


def _dashboard(ipython: Any, words: list[str]) -> None:
    cluster = _named(ipython, words, "dashboard")
    print(f"{cluster.dashboard_link}  (taskloom cluster dashboard {cluster.name} lets you in)")


def _panel(ipython: Any, words: list[str]) -> None:
    from IPython.display import display

    _at_most(words, 1, "panel")
    panel = words[0] if words else PANELS[0]
    if panel not in PANELS:
        raise ValueError(f"there is no panel {panel!r}; there are: {', '.join(PANELS)}.")
    cluster = _named(ipython, [], "panel")
    bundle = {"version": 1, "panel": panel, "cluster": cluster.id}
    text = f"Taskloom panel {panel} of {cluster.name}: {_summary(cluster)}"
    data = {"application/vnd.taskloom.panel+json": bundle, "text/plain": text}
    display(data, raw=True)


def _summary(cluster: Any) -> str:
    info = cluster.info()
    used = format_bytes(info["memory"]["used"])
    return f"{_count(info['workers']['running'])}, {used} used"


def _stop(ipython: Any, words: list[str]) -> None:
    cluster = _named(ipython, words, "stop")
    own = _clusters.pop(cluster.id, None)
    if own is None:
        cluster.shutdown()
    else:
        own.close()
    print(f"Cluster {cluster.name} has been ended.")


def _progress(ipython: Any, words: list[str]) -> None:
    from taskloom._cell import set_automatic

    if words not in (["on"], ["off"]):
        raise ValueError("progress is on or off.")
    set_automatic(words == ["on"])


def _at_most(words: list[str], most: int, verb: str) -> None:
    if len(words) > most:
        raise ValueError(f"{verb} takes no {words[most]!r}.\n{USAGE}")


def _number(text: str, of: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{of} needs a whole number of 0 or more, not {text!r}.")
    return int(text)


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


_COMMANDS: dict[str, Callable[[Any, list[str]], Any]] = {
    "help": _help,
    "list": _list,
    "start": _start,
    "connect": _connect,
    "info": _info,
    "scale": _scale,
    "adapt": _adapt,
    "restart": _restart,
    "logs": _logs,
    "dashboard": _dashboard,
    "panel": _panel,
    "stop": _stop,
    "progress": _progress,
}
