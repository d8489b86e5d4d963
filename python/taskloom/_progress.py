"""``progress(futures)``: a bar for each function, under the cell or on the terminal.

In a notebook the output holds the MIME type that the lab's renderer draws, and html and text for
every other front end; it is kept in the file. At most five updates a second are sent, and a last
one when all have ended.
"""

from __future__ import annotations

import html
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from taskloom._errors import ConfigError, TaskloomError
from taskloom._future import Future, GraphTasks, futures_of
from taskloom._keys import key_prefix
from taskloom._outcomes import Waiter

MIME = "application/vnd.taskloom.progress+json"
INTERVAL = 0.2
"""Least seconds between updates."""
_ASK_SHARE = 10
"""So many times as long as asking has taken it is not asked again."""
_ASK_LIMIT = 2000
"""With more futures pending than this, it is not asked which of them run now."""

Bundle = dict[str, Any]
Show = Callable[[dict[str, Any], bool], None]


class _GraphRows:
    """Rows of one graph: all its tasks, also those that the client holds no future of."""

    def __init__(self, graph: GraphTasks) -> None:
        self.graph = graph
        self.cids: list[int] = []
        """Of its futures."""
        self._left = dict(graph.names)
        self._processing: dict[str, int] = {}
        self._erred: dict[str, int] = {}

    def told(self, answer: dict[str, Any] | None) -> None:
        """Take in what the scheduler has counted; what it has forgotten is done."""
        if answer is None:
            return
        names = answer["names"]
        pairs = zip(answer["waiting"], answer["processing"], strict=True)
        self._left = dict(zip(names, map(sum, pairs), strict=True))
        self._processing = dict(zip(names, answer["processing"], strict=True))
        self._erred = dict(zip(names, answer["erred"], strict=True))

    def rows(self, statuses: set[str], blamed: str) -> list[dict[str, Any]]:
        """Return the rows, given what has become of its futures and whose fault that was."""
        ended = "pending" not in statuses
        rows = []
        for name, total in self.graph.names.items():
            left = 0 if statuses == {"finished"} else self._left.get(name, 0)
            erred = self._erred.get(name, 0) if "error" in statuses else 0
            if ended and erred == 0 and name == blamed:
                # It failed after the last count.
                erred, left = 1, max(0, left - 1)
            rows.append(
                {
                    "name": name,
                    "total": total,
                    "done": total - left - erred,
                    "erred": erred,
                    "cancelled": left if ended else 0,
                    "processing": 0 if ended else self._processing.get(name, 0),
                }
            )
        return rows


class Bars:
    """Counts futures by function, and says so as a bundle.

    Futures of a graph stand for all its tasks, unless `group_by` names the rows.

    Parameters
    ----------
    futures : sequence of Future
        All of one client.
    group_by : callable, optional
        Name of a row, from a future. Default: the function's name.
    single : bool
        Count all in one row.
    """

    def __init__(
        self,
        futures: Sequence[Future],
        group_by: Callable[[Future], str] | None = None,
        single: bool = False,
    ) -> None:
        self.client = futures[0].client
        self._single = single
        self.id = str(uuid.uuid4())
        self._keys: dict[int, str] = {}
        self._rows: dict[str, list[int]] = {}
        self._graphs: dict[int, _GraphRows] = {}
        self._processing: set[int] = set()
        self._started = time.time()
        self.add(futures, group_by)
        self._shown_at = time.time()
        rows = self._all_rows()
        self._done_at_start = sum(row["done"] for row in rows)

    def add(
        self, futures: Sequence[Future], group_by: Callable[[Future], str] | None = None
    ) -> None:
        """Count more futures. They are not kept: what is let go of counts as done."""
        for future in futures:
            if future._cid in self._keys:
                continue
            origin = future._origin
            self._keys[future._cid] = future.key
            if group_by is None and origin is not None and origin.graph is not None:
                graph = origin.graph
                if graph.first not in self._graphs:
                    self._graphs[graph.first] = _GraphRows(graph)
                self._graphs[graph.first].cids.append(future._cid)
            else:
                name = group_by(future) if group_by else (origin.name if origin else future.key)
                self._rows.setdefault(name, []).append(future._cid)
            if origin is not None:
                self._started = min(self._started, origin.created)

    def cids(self) -> list[int]:
        """Numbers of all futures."""
        return list(self._keys)

    def _status(self, cid: int) -> str:
        outcome = self.client._session.outcomes.get(cid)
        # Its task had ended before the cluster did: a client that closes does not undo that.
        if outcome is None or (outcome.status == "lost" and outcome.type):
            return "finished"
        return outcome.status

    def pending(self) -> int:
        """How many have not ended."""
        outcomes = self.client._session.outcomes
        return sum(
            1 for cid in self._keys if (one := outcomes.get(cid)) and one.status == "pending"
        )

    async def ask(self) -> None:
        """Ask the scheduler what only it knows. On the loop's thread."""
        session = self.client._session
        plain = [cid for cids in self._rows.values() for cid in cids]
        pending = [cid for cid in plain if self._status(cid) == "pending"]
        self._processing = set()
        try:
            if 0 < len(pending) <= _ASK_LIMIT:
                states = await session.request("states", {"cids": pending})
                named = zip(pending, states, strict=True)
                self._processing = {cid for cid, state in named if state == "processing"}
            for one in list(self._graphs.values()):
                if any(self._status(cid) == "pending" for cid in one.cids):
                    numbers = {"first": one.graph.first, "count": one.graph.size}
                    one.told(await session.request("graph-progress", numbers))
        except TaskloomError:
            # The link is gone for a while: the counts stay as they are.
            return

    def bundle(self) -> Bundle:
        """Return the state of all rows, as the renderers read it."""
        statuses = {self._status(cid) for cid in self._keys}
        pending = self.pending()
        rows = self._all_rows()
        cluster = self.client._session.cluster
        return {
            "version": 1,
            "id": self.id,
            "cluster": {"id": cluster["id"], "name": cluster["name"]},
            "rows": rows,
            "elapsed": time.time() - self._started,
            "left": self._seconds_left(rows) if pending else None,
            "state": _state(statuses, pending),
            "note": self._note(statuses),
        }

    def _all_rows(self) -> list[dict[str, Any]]:
        """Return rows of plain futures, then those of graphs; of one name, one."""
        rows: dict[str, dict[str, Any]] = {}
        for name, cids in self._rows.items():
            _add_row(rows, self._row(name, cids))
        for one in self._graphs.values():
            statuses = {self._status(cid) for cid in one.cids}
            for row in one.rows(statuses, self._blamed(one.cids)):
                _add_row(rows, row)
        if self._single:
            return _in_one(list(rows.values()))
        return list(rows.values())

    def _row(self, name: str, cids: list[int]) -> dict[str, Any]:
        statuses = [self._status(cid) for cid in cids]
        named = zip(cids, statuses, strict=True)
        waiting = {cid for cid, status in named if status == "pending"}
        return {
            "name": name,
            "total": len(cids),
            "done": statuses.count("finished"),
            "erred": statuses.count("error"),
            "cancelled": statuses.count("cancelled") + statuses.count("lost"),
            "processing": len(waiting & self._processing),
        }

    def _blamed(self, cids: list[int]) -> str:
        """Return what the task is called whose failure the futures have met, or ''."""
        for cid in cids:
            outcome = self.client._session.outcomes.get(cid)
            if outcome is not None and outcome.status == "error" and outcome.error is not None:
                return key_prefix(outcome.error["blame"])
        return ""

    def _seconds_left(self, rows: list[dict[str, Any]]) -> float | None:
        ended = sum(row["done"] + row["erred"] + row["cancelled"] for row in rows)
        done = ended - self._done_at_start
        left = sum(row["total"] for row in rows) - ended
        passed = time.time() - self._shown_at
        return None if done <= 0 or passed < 0.5 else passed / done * left

    def _note(self, statuses: set[str]) -> str | None:
        session = self.client._session
        if "lost" in statuses:
            return f"The cluster is gone: {session.ended}."
        if "error" not in statuses:
            return None
        for cid, key in self._keys.items():
            outcome = session.outcomes.of(cid)
            if outcome.status == "error" and outcome.error is not None:
                return f"{key}: {outcome.error['message'][:500]}"
        return None


def _add_row(rows: dict[str, dict[str, Any]], row: dict[str, Any]) -> None:
    there = rows.setdefault(row["name"], row)
    if there is not row:
        for name, value in row.items():
            if name != "name":
                there[name] += value


def _in_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole: dict[str, dict[str, Any]] = {}
    for row in rows:
        _add_row(whole, {**row, "name": "all"})
    return list(whole.values())


def _state(statuses: set[str], pending: int) -> str:
    if "lost" in statuses:
        return "lost"
    if pending:
        return "running"
    if "error" in statuses:
        return "erred"
    return "cancelled" if "cancelled" in statuses else "finished"


async def follow(bars: Bars, show: Show, interval: float = INTERVAL) -> None:
    """Show bars until none of the futures is pending. On the loop's thread."""
    first = True
    session = bars.client._session
    while True:
        before = time.monotonic()
        if not first:
            await bars.ask()
        # Counting a large graph takes a while: not more than a part of the time.
        pause = max(interval, _ASK_SHARE * (time.monotonic() - before))
        pending = bars.pending()
        show(bars.bundle(), first)
        first = False
        if pending == 0:
            return
        before = time.monotonic()
        waiting = {cid for cid in bars.cids() if session.outcomes.of(cid).status == "pending"}
        await _settled_or(session, waiting, pause)
        rest = interval - (time.monotonic() - before)
        if rest > 0 and bars.pending():
            import asyncio

            await asyncio.sleep(rest)


async def _settled_or(session: Any, waiting: set[int], seconds: float) -> None:
    import asyncio

    waiter = Waiter(waiting, lambda one: not one.pending)
    if not waiting:
        return
    session.outcomes.watch(waiter)
    try:
        await asyncio.wait([waiter.done], timeout=seconds)
    finally:
        session.outcomes.unwatch(waiter)


def progress(
    *futures: Any,
    notebook: bool | None = None,
    multi: bool = True,
    complete: bool = True,
    group_by: Callable[[Future], str] | str | None = "prefix",
    interval: float = INTERVAL,
) -> Any:
    """Show how far futures have come.

    In a notebook the bars go on below the cell while the cell is free; on a terminal the call
    returns when all have ended. Failures are shown, not raised.

    Parameters
    ----------
    *futures : Future or structure of futures
        Which.
    notebook : bool, optional
        Draw in the notebook or on the terminal. Default: where the code runs.
    multi : bool, default True
        A row for each function; False: one for all.
    complete : bool, default True
        Count all futures; False: those that have not ended yet.
    group_by : callable or {'prefix'}, default 'prefix'
        Name of a row, from a future; ``prefix`` is the function's name.
    interval : float, default 0.2
        Seconds between updates, at least 0.2.

    Returns
    -------
    None
        An awaitable when the client is asynchronous and there is no notebook.

    Raises
    ------
    ConfigError
        ``group_by`` is neither.
    """
    if group_by not in (None, "prefix") and not callable(group_by):
        raise ConfigError(f"group_by is a function of a future, or 'prefix', not {group_by!r}.")
    wanted = [one for one in futures_of(list(futures)) if complete or not one.done()]
    if not wanted:
        return None
    from taskloom import _cell

    bars = Bars(wanted, group_by if callable(group_by) else None, not multi)
    in_kernel = _cell.in_kernel() if notebook is None else notebook
    client = bars.client
    if in_kernel:
        show = _cell.displayer()
        show(bars.bundle(), True)
        _cell.shown_by_hand()
        if _cell.in_kernel():
            _cell.following(bars, show)
        client._session.start(
            follow(bars, lambda bundle, first: show(bundle, False), max(INTERVAL, interval))
        )
        return None
    return client._sync(follow(bars, Terminal(), max(INTERVAL, interval)), for_tasks=True)


class Terminal:
    """Draws bars with text, over what it drew before where the output is a terminal."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, bundle: Bundle, first: bool) -> None:
        """Draw."""
        out = sys.stdout
        if not out.isatty():
            if bundle["state"] != "running":
                out.write(text_of(bundle) + "\n")
            return
        text = text_of(bundle)
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        out.write(up + "".join(f"\x1b[K{line}\n" for line in text.split("\n")))
        out.flush()
        self._drawn = text.count("\n") + 1


def data_of(bundle: Bundle) -> dict[str, Any]:
    """Return the bundle with html and text of the same state beside it."""
    return {MIME: bundle, "text/html": html_of(bundle), "text/plain": text_of(bundle)}


def _counts(row: dict[str, Any]) -> str:
    failed = f" · {row['erred']} failed" if row["erred"] else ""
    cancelled = f" · {row['cancelled']} cancelled" if row["cancelled"] else ""
    return f"{row['done']} / {row['total']}{failed}{cancelled}"


def _times(bundle: Bundle) -> str:
    left = bundle["left"]
    more = "" if left is None else f" · about {max(1, round(left))} s left"
    return f"{bundle['elapsed']:.1f} s{more}"


def text_of(bundle: Bundle) -> str:
    """Return one line a function, for terminals and text outputs."""
    rows = bundle["rows"]
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        ended = row["done"] + row["erred"] + row["cancelled"]
        filled = round(30 * ended / max(1, row["total"]))
        lines.append(f"{row['name']:{width}} |{'█' * filled:30}| {_counts(row)}")
    note = [bundle["note"]] if bundle["note"] else []
    return "\n".join([*lines, _times(bundle), *note])


def html_of(bundle: Bundle) -> str:
    """Return a table, for front ends without the extension and for nbconvert."""
    rows = "".join(
        f'<tr><td>{html.escape(row["name"])}</td><td><progress max="{row["total"]}" '
        f'value="{row["done"]}">{_counts(row)}</progress></td><td>{_counts(row)}</td></tr>'
        for row in bundle["rows"]
    )
    note = f"<p>{html.escape(bundle['note'])}</p>" if bundle["note"] else ""
    return f"<table>{rows}</table><p>{_times(bundle)}</p>{note}"
