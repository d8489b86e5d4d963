"""The part of the client that brings results, puts values, gives tasks up and tries them again."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgpack

from taskloom import serialize
from taskloom._errors import TimeoutError
from taskloom._future import Future, futures_of
from taskloom._settings import seconds
from taskloom._submit import worker_names

if TYPE_CHECKING:
    from taskloom._client import Client
    from taskloom._outcomes import Waiter
    from taskloom._session import Session


class Results:
    """See the module."""

    asynchronous: bool
    _session: Session
    _sync: Callable[..., Any]
    _itself: Callable[[], Client]

    async def _settled(
        self, futures: Sequence[Future], timeout: float | str | None, first: bool = False
    ) -> None:
        total = {future._cid for future in futures}

        def enough(waiter: Waiter) -> bool:
            return not waiter.pending or (first and len(waiter.pending) < len(total))

        await self._session.wait(total, enough, seconds(timeout))

    async def _gather_coroutine(
        self, futures: list[Future], errors: str, timeout: float | str | None, read: bool
    ) -> list[Any]:
        """Bring results here; ``read`` them on the loop's thread, for who must not be held up."""
        keys = {future._cid: future.key for future in futures}
        found = await self._session.transfers.gather(keys, errors, seconds(timeout))
        if not read:
            return [found.get(future._cid) for future in futures]
        return [read_value(found.get(future._cid)) for future in futures]

    def _gather_one(self, future: Future, timeout: float | str | None) -> Any:
        outcome = future._outcome
        if outcome.inline is not None and not self.asynchronous:
            return read_value(outcome.inline)
        return self._sync(
            self._gather_coroutine([future], "raise", timeout, self.asynchronous),
            lambda found: found[0] if self.asynchronous else read_value(found[0]),
            for_tasks=True,
        )

    def gather(
        self,
        futures: Any,
        errors: str = "raise",
        direct: bool | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Bring results here.

        Parameters
        ----------
        futures : Future or nested lists, tuples, sets and dicts of futures
            Of what. Iterators are read to a list.
        errors : {'raise', 'skip'}, default 'raise'
            ``skip`` leaves failed ones out.
        direct : bool, optional
            Accepted, changes nothing: values always come straight from their workers.
        asynchronous : bool, optional
            Give an awaitable, or wait. Default: as the client does.

        Returns
        -------
        object
            The same structure with results in place of futures; an awaitable of it when the client
            is asynchronous.

        Raises
        ------
        Exception
            With ``raise``: the own exception of a task that failed.
        CancelledError
            With ``raise``: a future was cancelled, or its cluster is gone.
        ValueError
            ``errors`` is another word.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors is raise or skip, not {errors!r}.")
        if hasattr(futures, "__next__"):
            futures = list(futures)
        flat = type(futures) is list and set(map(type, futures)) <= {Future}
        wanted = futures if flat else futures_of(futures)

        later = self.asynchronous if asynchronous is None else asynchronous

        def rebuild(found: list[Any]) -> Any:
            if flat:
                if later:
                    return [one for one in found if one is not MISSING]
                return [read_value(one) for one in found if one is not None]
            values = found if later else [read_value(one) for one in found]
            return put_values(futures, dict(zip(wanted, values, strict=True)))

        bringing = self._gather_coroutine(wanted, errors, None, later)
        return self._sync(bringing, rebuild, for_tasks=True, asynchronous=later)

    def scatter(
        self,
        data: Any,
        workers: str | Iterable[str] | None = None,
        broadcast: bool = False,
        direct: bool | None = None,
        hash: bool = True,
        timeout: float | str | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Put values on workers.

        Parameters
        ----------
        data : object
            One value; or a list, tuple, set or dict of values. Keys of a dict name the values.
        workers : str or iterable of str, optional
            Only on these.
        broadcast : bool, default False
            Every worker gets a copy, passed on from worker to worker.
        direct : bool, optional
            Accepted, changes nothing: values always go straight to workers.
        hash : bool, default True
            Accepted, changes nothing: equal values are not told apart from others.
        timeout : float or str, optional
            Seconds, or text; TimeoutError after that.
        asynchronous : bool, optional
            Give an awaitable, or wait. Default: as the client does.

        Returns
        -------
        Future or the same collection of futures
            When the values lie on workers; an awaitable when the client is asynchronous.

        Raises
        ------
        ConfigError
            No worker runs, or none of these.
        TimeoutError
            The time was over.
        SerializationError
            A value cannot be shipped.
        """
        from taskloom._scatter import scatter

        limit = seconds(timeout)

        async def put() -> Any:
            putting = scatter(self._itself(), data, worker_names(workers), broadcast)
            try:
                return await asyncio.wait_for(putting, limit)
            except asyncio.TimeoutError:
                raise TimeoutError(f"The values were not on workers within {limit:g} s.") from None

        return self._sync(put(), asynchronous=asynchronous)

    # -------------------------------------------------------------------- giving up, trying again

    def cancel(
        self,
        futures: Any,
        asynchronous: bool | None = None,
        force: bool = False,
        reason: str | None = None,
        msg: str | None = None,
    ) -> Any:
        """Give futures up, with all that depends on them.

        Parameters
        ----------
        futures : Future, key, or structure of them
            Tasks that this client has no future for are named by their keys, and then need
            ``force``, for somebody else wants them.
        asynchronous : bool, optional
            Give an awaitable, or wait. Default: as the client does.
        force : bool, default False
            Others' too, and running tasks are killed.
        reason, msg : str, optional
            What others are told. Default: that its user cancelled it.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        CommClosedError
            The client is not connected any more.
        """
        keys = [one for one in _leaves(futures) if isinstance(one, str)]
        cids = [future._cid for future in futures_of(futures) if future._cid > 0]
        text = ": ".join(part for part in (reason, msg) if part) or "its user cancelled it"

        async def cancel() -> None:
            from taskloom._outcomes import Outcome

            session = self._session
            session.must_be_open()
            session._flush()
            for cid in cids:
                if session.outcomes.of(cid).status in ("pending", "finished"):
                    session.outcomes[cid] = Outcome("cancelled", reason=text)
            session.outcomes.changed(cids)
            message = {"op": "cancel-keys", "cids": cids, "keys": keys}
            session.say({**message, "force": force, "reason": text})

        return self._sync(cancel(), asynchronous=asynchronous)

    def retry(self, futures: Any, asynchronous: bool | None = None) -> Any:
        """Run failed tasks again, with the failed tasks that they stand on.

        Parameters
        ----------
        futures : Future, structure of futures, or Dask collection
            Which. Those that have not failed stay as they are.
        asynchronous : bool, optional
            Give an awaitable, or wait. Default: as the client does.

        Returns
        -------
        None
            An awaitable when the client is asynchronous.

        Raises
        ------
        CommClosedError
            The client is not connected any more.
        """
        cids = [future._cid for future in futures_of(futures) if future._cid > 0]

        async def retry() -> None:
            from taskloom._outcomes import PENDING

            session = self._session
            session.must_be_open()
            session._flush()
            for cid in cids:
                if session.outcomes.of(cid).status == "error":
                    session.outcomes[cid] = PENDING
            session.say({"op": "retry-keys", "cids": cids})

        return self._sync(retry(), asynchronous=asynchronous)


MISSING = object()
_ONE_PLAIN = serialize.pack("plain", [b""])[:4]
_ONE_PICKLE = serialize.pack("pickle", [b""])[:4]


def read_value(found: Any) -> Any:
    """Read a value as `Session.gather` brings it."""
    if found is None:
        return MISSING
    if type(found) is not bytes:
        return serialize.deserialize(*found)
    # One frame of plain data or a pickle: most small results.
    start = found[:4]
    if start == _ONE_PLAIN:
        return msgpack.unpackb(memoryview(found)[8:], strict_map_key=False)
    if start == _ONE_PICKLE:
        return pickle.loads(memoryview(found)[8:])
    # Arrays are views of this: whoever gathers one may write into it.
    return serialize.deserialize(*serialize.unpack(bytearray(found)))


def put_values(structure: Any, values: dict[Future, Any]) -> Any:
    """Return a structure with results in place of futures; what was left out is missing."""
    if isinstance(structure, Future):
        return values[structure]
    if isinstance(structure, dict):
        items = ((key, put_values(value, values)) for key, value in structure.items())
        return {key: value for key, value in items if value is not MISSING}
    if type(structure) in (list, tuple, set, frozenset):
        items = (put_values(value, values) for value in structure)
        return type(structure)(value for value in items if value is not MISSING)
    return structure


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, list | tuple | set | frozenset):
        return [leaf for one in structure for leaf in _leaves(one)]
    if isinstance(structure, dict):
        return _leaves(list(structure.values()))
    return [structure]
