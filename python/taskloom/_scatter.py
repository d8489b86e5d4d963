"""Values of the client on their way to workers."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from typing import TYPE_CHECKING, Any

from taskloom import serialize
from taskloom._errors import CommClosedError
from taskloom._future import Future, _Origin
from taskloom._outcomes import Outcome

if TYPE_CHECKING:
    from taskloom._client import Client

_SALT = secrets.token_hex(4)
_numbers = itertools.count()
_TRIES = 5
_PAUSE = 0.1


class _Value:
    """One value as it is put on a worker."""

    def __init__(self, value: Any, key: str | None) -> None:
        self.family, self.frames = serialize.serialize(value)
        self.type = type(value).__name__
        self.key = key or f"{self.type}-{_SALT}-{next(_numbers)}"
        self.nbytes = serialize.nbytes_of(self.frames)


async def scatter(client: Client, data: Any, workers: list[str] | None, broadcast: bool) -> Any:
    """Put values on workers; see `Client.scatter`. On the loop's thread."""
    if isinstance(data, dict):
        values = [_Value(value, str(key)) for key, value in data.items()]
    elif type(data) in (list, tuple, set, frozenset):
        values = [_Value(value, None) for value in data]
    else:
        values = [_Value(data, None)]
    futures = await _put(client, values, workers) if values else []
    if broadcast and futures:
        cids = [future._cid for future in futures]
        await client._session.request(
            "replicate", {"cids": cids, "count": None, "workers": workers}
        )
    if isinstance(data, dict):
        return dict(zip(data, futures, strict=True))
    if type(data) in (list, tuple, set, frozenset):
        return type(data)(futures)
    return futures[0]


async def _put(client: Client, values: list[_Value], workers: list[str] | None) -> list[Future]:
    session = client._session
    for tries in range(1, _TRIES + 1):
        params = {"count": len(values), "workers": workers}
        plan = await session.request("scatter-plan", params)
        by_holder: dict[str, list[int]] = {}
        for at, holders in enumerate(plan["holders"]):
            for holder in holders:
                by_holder.setdefault(holder["address"], []).append(at)
        try:
            await asyncio.gather(
                *(
                    _put_on(client, plan, [values[at] for at in places], places, address)
                    for address, places in by_holder.items()
                )
            )
        except CommClosedError:
            if tries == _TRIES:
                raise
            # The worker, or the scheduler that named it, has gone; the next plan knows.
            await asyncio.sleep(_PAUSE * tries)
            continue
        # Numbers of a scheduler that died meanwhile are worth nothing.
        if session.epoch == plan["epoch"]:
            break
    return _announce(client, values, plan)


async def _put_on(
    client: Client, plan: Any, values: list[_Value], places: list[int], address: str
) -> None:
    head = {
        "tids": [plan["tids"][at] for at in places],
        "keys": [value.key for value in values],
        "families": [value.family for value in values],
        "counts": [len(value.frames) for value in values],
        "types": [value.type for value in values],
        "nbytes": [value.nbytes for value in values],
    }
    frames = [frame for value in values for frame in value.frames]
    await client._session.transfers.put(address, plan["epoch"], head, frames)


def _announce(client: Client, values: list[_Value], plan: Any) -> list[Future]:
    """Tell the scheduler; the values lie on the workers already."""
    session = client._session
    keys = [value.key for value in values]
    if session.epoch != plan["epoch"]:
        # A scheduler in place of the one that gave the numbers knows them by name alone.
        first = client._desire(keys, "data")
    else:
        with session.lock:
            first = session.numbers(len(keys))
            session.say(
                {
                    "op": "scattered",
                    "cids": list(range(first, first + len(keys))),
                    "keys": keys,
                    "tids": plan["tids"],
                    "nbytes": [value.nbytes for value in values],
                    "types": [value.type for value in values],
                    "workers": [[holder["id"] for holder in one] for one in plan["holders"]],
                }
            )
        for cid, value in enumerate(values, first):
            if session.outcomes.of(cid).status == "pending":
                session.outcomes[cid] = Outcome("finished", value.type, value.nbytes)
    origin = _Origin("scatter", time.time())
    return [Future(key, client, cid, origin) for cid, key in enumerate(keys, first)]
