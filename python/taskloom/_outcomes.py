"""What is known of the keys of one client, and who waits for them.

On the loop's thread, but for the entries themselves: other threads put them in and read them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from taskloom._errors import CancelledError, TimeoutError
from taskloom._failure import error_of

Message = dict[str, Any]


class Outcome:
    """What is known of a key. The words are Dask's; ``lost``: its cluster is gone."""

    __slots__ = ("error", "inline", "nbytes", "reason", "status", "type")

    def __init__(
        self,
        status: str,
        type: str = "",
        nbytes: int = 0,
        inline: bytes | None = None,
        error: Message | None = None,
        reason: str = "",
    ) -> None:
        self.status = status
        self.type = type
        self.nbytes = nbytes
        self.inline = inline
        self.error = error
        self.reason = reason


PENDING = Outcome("pending")
RELEASED = Outcome("cancelled", reason="it was released")


class Waiter:
    """Waits for some of many keys; ``enough`` is asked at each change."""

    __slots__ = ("done", "enough", "failed", "on_change", "pending")

    def __init__(
        self,
        pending: set[int],
        enough: Callable[[Waiter], bool],
        on_change: Callable[[list[int]], None] | None = None,
    ) -> None:
        self.pending = pending
        self.failed = False
        self.enough = enough
        self.on_change = on_change
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Outcomes(dict[int, Outcome]):
    """Outcomes by the number of their key: an entry for each key that is wanted, and only those."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[Waiter] = []
        self._single: dict[int, list[asyncio.Future[None]]] = {}

    def of(self, cid: int) -> Outcome:
        """Return what is known of a key; one that was let go of counts as cancelled."""
        return self.get(cid, RELEASED)

    def error(self, key: str, outcome: Outcome) -> BaseException:
        """Return the exception that stands for a key that did not end well."""
        if outcome.status == "error" and outcome.error is not None:
            return error_of(outcome.error)
        reason = outcome.reason or "no reason was given"
        if outcome.status == "lost":
            reason = f"its cluster is gone ({reason})"
        return CancelledError(key, reason)

    # -------------------------------------------------------------------- what the scheduler says

    def in_memory(self, message: Message) -> None:
        """Results are on workers; small ones have come along."""
        cids = message["cids"]
        columns = zip(cids, message["nbytes"], message["types"], message["inline"], strict=True)
        for cid, nbytes, kind, inline in columns:
            known = self.get(cid)
            if known is None or known.status == "cancelled":
                continue
            if inline is None:
                inline = known.inline
            self[cid] = Outcome("finished", kind, nbytes, inline)
        self.changed(cids)

    def erred(self, message: Message) -> None:
        """Tasks have failed."""
        errors = message["errors"]
        for cid, which in zip(message["cids"], message["which"], strict=True):
            self._settle(cid, Outcome("error", error=errors[which]))
        self.changed(message["cids"])

    def lost(self, message: Message) -> None:
        """Results were lost with their workers, and are computed again."""
        for cid in message["cids"]:
            outcome = self.get(cid)
            # A small result that came along outlives its worker.
            if outcome is not None and outcome.inline is None:
                self._settle(cid, PENDING)
        self.changed(message["cids"])

    def cancelled(self, message: Message) -> None:
        """Keys were cancelled."""
        for cid in message["cids"]:
            self._settle(cid, Outcome("cancelled", reason=message["reason"]))
        self.changed(message["cids"])

    def ended(self, reason: str) -> None:
        """The cluster is gone, and with it what is only there."""
        changed = []
        for cid, outcome in list(self.items()):
            lost = outcome.status == "finished" and outcome.inline is None
            if outcome.status == "pending" or lost:
                self[cid] = Outcome("lost", type=outcome.type, reason=reason)
                changed.append(cid)
        self.changed(changed)

    def _settle(self, cid: int, outcome: Outcome) -> None:
        known = self.get(cid)
        if known is not None and known.status != "cancelled":
            self[cid] = outcome

    # -------------------------------------------------------------------- waiting

    def changed(self, cids: Sequence[int]) -> None:
        """Wake what waits for these keys."""
        if self._single:
            for cid in cids:
                for waiting in self._single.pop(cid, ()):
                    if not waiting.done():
                        waiting.set_result(None)
        for waiter in list(self._waiters):
            self._tell(waiter, cids)

    def _tell(self, waiter: Waiter, cids: Sequence[int]) -> None:
        ended = []
        pending, known = waiter.pending, self.get
        for cid in cids:
            if cid in pending:
                status = known(cid, RELEASED).status
                if status != "pending":
                    ended.append(cid)
                    if status != "finished":
                        waiter.failed = True
        if not ended:
            return
        waiter.pending.difference_update(ended)
        if waiter.on_change is not None:
            waiter.on_change(ended)
        if waiter.enough(waiter) and not waiter.done.done():
            waiter.done.set_result(None)

    def watch(self, waiter: Waiter) -> None:
        """Tell a waiter of changes until `unwatch`."""
        self._waiters.append(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        """Tell a waiter nothing any more."""
        with contextlib.suppress(ValueError):
            self._waiters.remove(waiter)

    async def wait(
        self, cids: Iterable[int], enough: Callable[[Waiter], bool], timeout: float | None = None
    ) -> None:
        """Wait until enough of the keys have ended. Raises TimeoutError, saying how many had."""
        total = list(cids)
        if len(total) == 1 and timeout is None:
            while self.of(total[0]).status == "pending":
                waiting = asyncio.get_running_loop().create_future()
                self._single.setdefault(total[0], []).append(waiting)
                await waiting
            return
        pending = {cid for cid in total if self.of(cid).status == "pending"}
        waiter = Waiter(pending, enough)
        waiter.failed = any(self.of(cid).status not in ("pending", "finished") for cid in total)
        if enough(waiter):
            return
        self.watch(waiter)
        try:
            await asyncio.wait_for(waiter.done, timeout)
        except asyncio.TimeoutError:
            done = len(total) - len(waiter.pending)
            raise TimeoutError(
                f"{done} of {len(total)} futures were done within {timeout:g} s. "
                "client.explain(future) tells why one of them waits."
            ) from None
        finally:
            self.unwatch(waiter)
