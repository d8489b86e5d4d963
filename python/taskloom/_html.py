"""How clients, futures and clusters look in a notebook: small tables, no scripts, no tokens."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from taskloom._errors import TaskloomError
from taskloom._settings import format_bytes

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._cluster import Cluster
    from taskloom._context import TaskWorker
    from taskloom._future import Future


MOST_WORKERS = 50
"""Rows of a table of workers."""
_LEFT = "text-align:left;vertical-align:top"


class SchedulerInfo(dict):
    """What `Client.scheduler_info` returns: a dict that a notebook shows as a table of workers."""

    def _repr_html_(self) -> str:
        rows = [("Cluster", self["name"]), ("Scheduler", _link(self["address"]))]
        rows += _facts({**self, "workers": self["counts"]})
        return _table("Scheduler", rows, workers_html(list(self["workers"].values()), True))


class _Html(str):
    """Text that is HTML already."""


def _link(address: str) -> _Html:
    there = html.escape(address)
    return _Html(f'<a href="{there}/" target="_blank" rel="noopener">{there}</a>')


def _cell(text: str) -> str:
    return text if isinstance(text, _Html) else html.escape(text)


def _table(title: str, rows: Sequence[tuple[str, str]], more: str = "") -> str:
    """Return a table of names and texts; colours and fonts are left to the front end's theme."""
    cells = "".join(
        f'<tr><th style="{_LEFT}">{html.escape(name)}</th>'
        f'<td style="{_LEFT}">{_cell(text)}</td></tr>'
        for name, text in rows
    )
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table>{more}</div>"


def workers_html(members: list[dict], shown: bool = False) -> str:
    """Return a table of workers that opens by a click, or is open."""
    if not members:
        return ""
    members = sorted(members, key=lambda one: (len(str(one["name"])), str(one["name"])))
    heads = ("Worker", "Threads", "Memory", "Tasks", "Results", "State")
    head = "".join(f'<th style="{_LEFT}">{text}</th>' for text in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_LEFT}">{html.escape(text)}</td>' for text in row) + "</tr>"
        for row in map(_worker_row, members[:MOST_WORKERS])
    )
    left = len(members) - MOST_WORKERS
    more = f"<p>and {left} more</p>" if left > 0 else ""
    count = "1 worker" if len(members) == 1 else f"{len(members)} workers"
    return (
        f"<details{' open' if shown else ''}><summary>{count}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</details>"
    )


def _worker_row(worker: dict) -> tuple[str, ...]:
    used = (worker.get("metrics") or {}).get("rss", worker.get("nbytes", 0))
    limit = worker.get("memoryLimit") or 0
    memory = format_bytes(used) + (f" of {format_bytes(limit)}" if limit else "")
    return (
        str(worker["name"]),
        str(worker["nthreads"]),
        memory,
        str(worker.get("processing", 0)),
        str(worker.get("inMemory", 0)),
        str(worker.get("status", "")),
    )


def worker_html(worker: TaskWorker) -> str:
    """Return the worker of a task as a table."""
    limit = format_bytes(worker.memory_limit) if worker.memory_limit else "no limit"
    threads = str(worker.nthreads)
    return _table(
        "Worker",
        [
            ("Name", worker.name),
            ("Address", worker.address),
            ("Threads", threads),
            ("Memory", limit),
        ],
    )


def _facts(info: dict) -> list[tuple[str, str]]:
    workers, memory, tasks = info["workers"], info["memory"], info["tasks"]
    missing = workers["starting"] + workers["pending"]
    more = f" ({missing} more on their way)" if missing else ""
    used = format_bytes(memory["used"])
    limit = f" of {format_bytes(memory['limit'])}" if memory["limit"] else ""
    return [
        ("Workers", f"{workers['running']}{more}, {info['threads']} threads"),
        ("Memory", used + limit),
        ("Tasks", f"{tasks['processing']} processing, {tasks['memory']} in memory"),
    ]


def client_html(client: Client) -> str:
    """Return a client as a table."""
    if not hasattr(client, "_session"):
        return _table("Client", [("Status", "not connected: await it")])
    session = client._session
    rows = [("Cluster", session.cluster["name"]), ("Dashboard", _link(session.address))]
    members: list[dict] = []
    if session.ended is not None:
        rows.append(("Status", f"closed: {session.ended}"))
    elif not client.asynchronous:
        try:
            info = session.sync(session.request("scheduler-info", {}))
            members = list(info["members"].values())
            rows += _facts(info)
        except TaskloomError as error:
            rows.append(("Status", str(error)))
    return _table("Client", rows, workers_html(members))


def cluster_html(cluster: Cluster) -> str:
    """Return a cluster as a table."""
    rows = [("Name", cluster.name), ("Dashboard", _link(cluster.scheduler_address))]
    ended = getattr(cluster, "ended", None)
    if ended is not None:
        rows.append(("Status", f"ended: {ended}"))
    else:
        try:
            rows += _facts(cluster.info())
        except TaskloomError as error:
            rows.append(("Status", str(error)))
    return _table(type(cluster).__name__, rows)


def future_html(future: Future) -> str:
    """Return a future as a table."""
    outcome = future._outcome
    rows = [("Key", future.key), ("Status", outcome.status)]
    if outcome.status == "finished":
        rows += [("Type", outcome.type), ("Size", format_bytes(outcome.nbytes))]
    elif outcome.status == "error" and outcome.error is not None:
        rows.append(("Error", outcome.error["message"][:500]))
    elif outcome.reason:
        rows.append(("Reason", outcome.reason))
    return _table("Future", rows)
