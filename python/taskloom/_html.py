"""How clients, futures and clusters look in a notebook: small tables, no scripts, no tokens."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from taskloom._errors import TaskloomError
from taskloom._settings import format_bytes

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._cluster import Cluster
    from taskloom._future import Future


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(text)}</td></tr>'
        for name, text in rows
    )
    return f"<div><strong>{html.escape(title)}</strong><table>{cells}</table></div>"


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
    rows = [("Cluster", session.cluster["name"]), ("Scheduler", session.address)]
    if session.ended is not None:
        rows.append(("Status", f"closed: {session.ended}"))
    elif not client.asynchronous:
        try:
            rows += _facts(session.sync(session.request("scheduler-info", {})))
        except TaskloomError as error:
            rows.append(("Status", str(error)))
    return _table("Client", rows)


def cluster_html(cluster: Cluster) -> str:
    """Return a cluster as a table."""
    rows = [("Name", cluster.name), ("Scheduler", cluster.scheduler_address)]
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
