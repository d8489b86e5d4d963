"""The cell of a notebook that submits work, and what is shown under it.

A bar appears by itself under a cell whose tasks take longer than `DELAY`, as long as the cell
runs or when it ends; it goes on while they do. It is switched off by ``%taskloom progress off``,
``TASKLOOM_PROGRESS=off``, or by calling ``progress`` in the cell. Only IPython kernels: in
scripts and terminals nothing happens by itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._future import Future

DELAY = 0.5
"""Seconds that tasks of a cell may take without a bar."""
MOST = 100_000
"""Futures that one bar counts; of more it shows the first."""

_automatic = os.environ.get("TASKLOOM_PROGRESS", "").lower() not in ("off", "0", "false", "no")
_cell: _Cell | None = None
_hooked = False
_followed: list[tuple[Any, Callable[[dict, bool], None]]] = []
"""Bars that are on a page and have not been seen to end."""


class _Cell:
    """What one execution of a cell has submitted."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.bars: Any = None
        self.by_hand = False
        self.ended = False
        self.show: Callable[[dict, bool], None] | None = None


def shell() -> Any:
    """Return IPython's shell, or None outside of it."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def in_kernel() -> bool:
    """Whether the code runs in a notebook's kernel."""
    ipython = shell()
    return ipython is not None and getattr(ipython, "kernel", None) is not None


def set_automatic(on: bool) -> None:
    """Show bars by themselves, or not."""
    global _automatic
    _automatic = on


def displayer(parent: Any = None) -> Callable[[dict, bool], None]:
    """Return what shows bundles under the cell that runs now, also from another thread later."""
    from taskloom._progress import data_of

    ipython = shell()
    publisher: Any = getattr(ipython, "display_pub", None)
    session = getattr(publisher, "session", None)
    display_id = uuid.uuid4().hex
    if session is None:
        from IPython.display import publish_display_data

        def show_plainly(bundle: dict, first: bool) -> None:
            publish_display_data(data_of(bundle), transient={"display_id": display_id})

        return show_plainly
    parent = parent or publisher.parent_header

    def show(bundle: dict, first: bool) -> None:
        kind = "display_data" if first else "update_display_data"
        content = {
            "data": data_of(bundle),
            "metadata": {},
            "transient": {"display_id": display_id},
        }
        # The first goes to its cell, whatever runs by now. Updates find it by the display's id, and
        # name the cell that runs: readers such as nbclient hear of no other.
        latest = parent if first else (publisher.parent_header or parent)
        with contextlib.suppress(Exception):
            session.send(publisher.pub_socket, kind, content, parent=latest, ident=publisher.topic)

    return show


def following(bars: Any, show: Callable[[dict, bool], None]) -> None:
    """Tell the state of bars again at the end of each cell, until they have ended.

    What is sent between two cells is heard by front ends, but not by what runs notebooks without
    one.
    """
    _hook()
    _followed.append((bars, show))


def _tell_again() -> None:
    for one in list(_followed):
        bars, show = one
        over = bars.pending() == 0
        show(bars.bundle(), False)
        if over:
            _followed.remove(one)


def _hook() -> None:
    global _hooked
    if _hooked:
        return
    _hooked = True
    ipython = shell()
    ipython.events.register("pre_run_cell", _begin)
    ipython.events.register("post_run_cell", _end)
    _begin()


def shown_by_hand() -> None:
    """The cell shows progress itself."""
    if _cell is not None:
        _cell.by_hand = True


def noticed(client: Client, futures: list[Future]) -> None:
    """A cell (or other code) has submitted work."""
    if not _automatic or not in_kernel():
        return
    _hook()
    cell = _cell
    if cell is None or cell.by_hand or cell.ended:
        return
    from taskloom._progress import Bars

    if cell.bars is None:
        cell.bars = Bars(futures[:MOST])
        client._session.start(_later(cell))
    elif cell.bars.client is client and len(cell.bars.cids()) < MOST:
        cell.bars.add(futures)


def _begin(*_: object) -> None:
    global _cell
    _cell = _Cell(getattr(shell().display_pub, "parent_header", None))


def _end(*_: object) -> None:
    """The cell has ended: a front end takes no first output for it any more."""
    cell = _cell
    _tell_again()
    if cell is None:
        return
    if cell.bars is not None and not cell.by_hand and cell.show is None and cell.bars.pending():
        _show(cell)
    cell.ended = True


def _show(cell: _Cell) -> None:
    cell.show = displayer(cell.parent)
    cell.show(cell.bars.bundle(), True)
    following(cell.bars, cell.show)


async def _later(cell: _Cell) -> None:
    """Show the bar when it takes long, and follow it. On the loop's thread."""
    import asyncio

    from taskloom._progress import follow

    await asyncio.sleep(DELAY)
    if cell.by_hand or cell.bars.pending() == 0:
        # Later submissions of the same cell begin anew.
        cell.bars = None if cell.show is None else cell.bars
        if cell.show is None:
            return
    if cell.show is None:
        if cell.ended:
            return
        _show(cell)
    show = cell.show
    assert show is not None
    await follow(cell.bars, lambda bundle, first: show(bundle, False))
