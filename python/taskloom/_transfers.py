"""Results on their way here, and scattered data on theirs: straight from and to workers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskloom._data import DataPool
from taskloom._errors import CommClosedError, TimeoutError

if TYPE_CHECKING:
    from taskloom._session import Session

Message = dict[str, Any]
Fetched = dict[int, "tuple[str, Sequence[Any]] | bytes"]
"""By the number of their key: family and frames, or packed."""

_RETRY = 0.1


class Transfers:
    """The links of one client to workers.

    Parameters
    ----------
    session : Session
        Says where results are.
    token : str
        The cluster's.
    """

    def __init__(self, session: Session, token: str) -> None:
        self._session = session
        self._pool = DataPool(token)

    def close(self) -> None:
        """Close the links."""
        self._pool.close()

    async def gather(
        self, keys: dict[int, str], errors: str = "raise", timeout: float | None = None
    ) -> Fetched:
        """Bring the serialised results of keys here: packed, or as family and frames.

        With ``errors='skip'`` those that failed are left out.
        """
        until = None if timeout is None else time.monotonic() + timeout
        skip = errors == "skip"
        found: Fetched = {}
        outcomes = self._session.outcomes
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            await self._session.wait(keys, lambda w: not w.pending or (w.failed and not skip), left)
            remote: list[int] = []
            waits = False
            for cid, key in keys.items():
                if cid in found:
                    continue
                outcome = outcomes.of(cid)
                if outcome.status == "finished":
                    if outcome.inline is None:
                        remote.append(cid)
                    else:
                        found[cid] = outcome.inline
                elif outcome.status != "pending":
                    if not skip:
                        raise outcomes.error(key, outcome)
                else:
                    waits = True
            if not remote:
                if not waits:
                    return found
                continue
            if not await self._fetch(remote, found):
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"{len(found)} of {len(keys)} results came in time.")
                await asyncio.sleep(_RETRY)

    async def _fetch(self, cids: list[int], found: Fetched) -> bool:
        """Bring what can be brought now; False when something must be tried again."""
        where = await self._session.request("locate", {"cids": cids})
        by_holder: dict[str, list[tuple[int, int]]] = {}
        complete = True
        for cid, tid, holders in zip(cids, where["tids"], where["holders"], strict=True):
            if holders:
                by_holder.setdefault(random.choice(holders), []).append((cid, tid))
            else:
                complete = False
        epoch = where["epoch"]
        done = await asyncio.gather(
            *(self._fetch_from(holder, epoch, some, found) for holder, some in by_holder.items())
        )
        return complete and all(done)

    async def _fetch_from(
        self, holder: str, epoch: str, wanted: list[tuple[int, int]], found: Fetched
    ) -> bool:
        head = {"op": "get-data", "epoch": epoch, "tids": [tid for _, tid in wanted]}
        try:
            answer, frames = await asyncio.to_thread(self._pool.get, holder, head)
        except CommClosedError:
            # The worker died or closed: the scheduler will say what becomes of its values.
            return False
        if answer.get("busy"):
            return False
        by_tid = {tid: cid for cid, tid in wanted}
        at = 0
        columns = zip(answer["tids"], answer["families"], answer["counts"], strict=True)
        for tid, family, count in columns:
            found[by_tid[tid]] = (family, frames[at : at + count])
            at += count
        return all(cid in found for cid, _ in wanted)

    async def put(self, holder: str, epoch: str, head: Message, frames: Sequence[Any]) -> None:
        """Put values straight onto a worker."""
        columns = {"op": "put-data", "epoch": epoch, **head}
        await asyncio.to_thread(self._pool.put, holder, columns, frames)
