"""One connection of this process to a cluster: the link, what is known of keys, and data links.

When the link breaks, the session is away: futures keep their state, what is submitted, cancelled
or released is noted, questions wait. It dials again until its time has passed; once back it says
again all that it still wants (`Ledger`), to a scheduler that may be another.

``outcomes`` has an entry for each key that is wanted, and only those. Other threads put entries in
and read them; everything else happens on the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from taskloom import _loop
from taskloom._connection import is_gone_for_good, is_supervised
from taskloom._context import current_task
from taskloom._data import DataPool
from taskloom._errors import (
    AuthenticationError,
    CancelledError,
    ClusterError,
    CommClosedError,
    ProtocolVersionError,
    TaskloomError,
    TimeoutError,
    VersionMismatchError,
)
from taskloom._failure import error_of
from taskloom._ledger import Ledger
from taskloom._link import BAD_VERSION, BROKEN, HANDSHAKE_TIMEOUT, PROTOCOL, Link, Requester
from taskloom._outbox import Outbox
from taskloom._pack import Function, Functions
from taskloom._version import __version__
from taskloom._versions import own_versions

Message = dict[str, Any]
T = TypeVar("T")

_FETCH_RETRY = 0.1
_REDIAL = 0.1
_REDIAL_MOST = 2.0
_FUNCTIONS_KEPT = 1000
_ASKED_AGAIN = frozenset(
    {
        "locate",
        "states",
        "who-has",
        "has-what",
        "processing",
        "story",
        "explain",
        "scheduler-info",
        "scatter-plan",
        "logs",
    }
)
"""Questions that change nothing: asked again when the link broke before the answer."""


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


class Session:
    """See the module. Made on any thread; `open` connects."""

    def __init__(
        self,
        address: str,
        token: str,
        name: str,
        *,
        timeout: float = 10.0,
        reconnect: float = 60.0,
        weight: float | None = None,
        on_warning: Callable[[Message], None] | None = None,
    ) -> None:
        self.id = f"client-{uuid.uuid4().hex[:8]}"
        self.address = address
        self.token = token
        self.name = name
        self.outcomes: dict[int, Outcome] = {}
        self.cluster: Message = {"id": "", "name": "", "kind": ""}
        self.warning: str | None = None
        self.ended: str | None = None
        self.functions = Functions()
        self._timeout, self._reconnect, self._weight = timeout, reconnect, weight
        self._on_warning = on_warning
        self._loop = _loop.loop()
        self._epoch = ""
        self._gone: str | None = None
        self._link: Link | None = None
        self._welcomed = False
        self._hello: asyncio.Future[None] | None = None
        self._back = asyncio.Event()
        self._requester = Requester()
        self._pool = DataPool(token)
        self._ledger = Ledger()
        self._outbox = Outbox(self._wake)
        self._awake = False
        self._released: list[int] = []
        self._waiters: list[Waiter] = []
        self._single: dict[int, list[asyncio.Future[None]]] = {}
        self._warned: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._next_function = 1
        self._next_cid = 1
        self._end_listeners: list[Callable[[str], None]] = []
        self.lock = threading.Lock()
        """Held while numbers are given and what has them is put out."""

    # -------------------------------------------------------------------- from any thread

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        """Run a coroutine on the loop's thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def sync(self, coroutine: Coroutine[Any, Any, T], for_tasks: bool = False) -> T:
        """Run a coroutine and wait. ``for_tasks``: a task that waits gives its slot away."""
        task = current_task() if for_tasks else None
        with contextlib.nullcontext() if task is None else task.waiting():
            return _loop.wait_for(self.start(coroutine))

    def must_be_open(self) -> None:
        """Raise when nothing can be said any more."""
        if self.ended is not None:
            raise self._end_error()

    def numbers(self, count: int) -> int:
        """Give the first of so many new numbers; the caller holds the lock."""
        first = self._next_cid
        self._next_cid += count
        initial = PENDING if self.ended is None else Outcome("lost", reason=self.ended)
        self.outcomes.update(dict.fromkeys(range(first, first + count), initial))
        return first

    def function_number(self, function: Function) -> int:
        """Give the number of a function, telling it when it is new; the caller holds the lock."""
        numbers = self._numbers
        number = numbers.pop(function.hash, None)
        if number is None:
            number = self._next_function
            self._next_function += 1
            self._outbox.put(
                {
                    "op": "register-function",
                    "fn": number,
                    "hash": function.hash,
                    "name": function.name,
                    "blob": function.blob,
                    "language": "python",
                }
            )
        numbers[function.hash] = number
        if len(numbers) > _FUNCTIONS_KEPT:
            oldest = next(iter(numbers))
            self._outbox.put({"op": "release-functions", "fns": [numbers.pop(oldest)]})
        return number

    def say(self, message: Any) -> None:
        """Say a message or task, after all that was said before."""
        self._outbox.put(message)

    def release(self, cid: int) -> None:
        """Let go of a key. Called by finalizers: takes no lock and cannot fail."""
        self._released.append(cid)
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            # The loop is gone when the interpreter ends.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._flush)

    # -------------------------------------------------------------------- saying

    def _flush(self) -> None:
        self._awake = False
        messages = self._outbox.take()
        if self._released:
            released, self._released = self._released, []
            cids = [cid for cid in released if self.outcomes.pop(cid, None) is not None]
            if cids and self.ended is None:
                messages.append({"op": "client-releases-keys", "cids": cids})
        self._transmit(messages)

    def _transmit(self, messages: list[Message]) -> None:
        if not messages or self.ended is not None:
            return
        for message in messages:
            self._ledger.note(message, self._welcomed)
        if self._welcomed and self._link is not None:
            self._link.send(messages)

    # -------------------------------------------------------------------- the link

    async def open(self) -> None:
        """Connect; a scheduler that is being started again is waited for."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                await self._connect()
                return
            except CommClosedError:
                if time.monotonic() > until or not is_supervised(self.address):
                    raise
            await asyncio.sleep(_REDIAL)

    async def _connect(self) -> None:
        hello = self._hello = asyncio.get_running_loop().create_future()
        link = Link(
            self.address,
            self.token,
            self._receive,
            lambda code, reason: self._link_closed(link, code, reason),
        )
        await link.open(self._timeout)
        self._link = link
        register: Message = {
            "op": "register-client",
            "protocol": PROTOCOL,
            "client": self.id,
            "name": self.name,
            "version": __version__,
            "versions": own_versions(),
        }
        if self._weight is not None:
            register["weight"] = self._weight
        link.send([register])
        try:
            await asyncio.wait_for(hello, 10)
        except asyncio.TimeoutError:
            text = f"{self.address} said no hello within 10 s."
            await link.close(HANDSHAKE_TIMEOUT, text)
            raise TimeoutError(text) from None
        except TaskloomError:
            await link.close()
            raise

    def _welcome(self, hello: Message) -> None:
        waiting = self._hello
        back = self.cluster["id"] != ""
        if back and hello["cluster"]["id"] != self.cluster["id"]:
            name = hello["cluster"]["name"]
            text = f"Another cluster ({name}) is at {self.address} now."
            if waiting is not None and not waiting.done():
                waiting.set_exception(ClusterError(text))
            return
        self.cluster = hello["cluster"]
        self.warning = hello.get("warning")
        self._epoch = hello["epoch"]
        self._welcomed = True
        if back:
            # What lies in the outbox was said without a link: it is part of what is said again.
            self._welcomed = False
            self._flush()
            self._welcomed = True
            if self._link is not None:
                self._link.send(self._ledger.resume(self._ledger_outcome))
        self._back.set()
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self._flush()

    def _ledger_outcome(self, cid: int) -> tuple[bool, Message | None]:
        outcome = self.outcomes.get(cid)
        if outcome is None:
            return False, None
        return outcome.status == "pending", outcome.error if outcome.status == "error" else None

    def _link_closed(self, link: Link, code: int, reason: str) -> None:
        hello = self._hello
        if hello is not None and not hello.done():
            hello.set_exception(self._hello_error(code, reason))
        if self._link is not link:
            return
        welcomed, self._welcomed = self._welcomed, False
        self._back.clear()
        if self.ended is not None:
            return
        why = reason or f"the connection to {self.address} was lost"
        if code not in BROKEN or self._reconnect <= 0 or self._gone is not None:
            self._end(self._gone or why)
            return
        if welcomed:
            self._requester.fail(f"The link broke before the answer came: {why}.")
            self._redialing = asyncio.get_running_loop().create_task(self._redial(why))

    def _hello_error(self, code: int, reason: str) -> TaskloomError:
        if code == BAD_VERSION:
            if "protocol" in reason:
                return ProtocolVersionError(f"The scheduler at {self.address} refused: {reason}.")
            return VersionMismatchError(f"The scheduler at {self.address} refused: {reason}.")
        return CommClosedError(f"{self.address} closed the connection: {reason or f'code {code}'}.")

    async def _redial(self, why: str) -> None:
        until = time.monotonic() + self._reconnect
        pause = _REDIAL
        while self.ended is None:
            await asyncio.sleep(pause)
            try:
                await self._connect()
                return
            except (AuthenticationError, ProtocolVersionError, ClusterError) as error:
                self._end(f"{why}; {error}")
            except TaskloomError:
                self._welcomed = False
                if is_gone_for_good(self.cluster["id"]):
                    self._end(f"{why}; its processes have ended")
                elif time.monotonic() >= until:
                    self._end(f"{why}; it was not back in time (reconnect_timeout)")
            pause = min(2 * pause, _REDIAL_MOST)

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call back, on the loop's thread, when the session ends."""
        self._end_listeners.append(listener)

    def cluster_ended(self, reason: str) -> None:
        """Its cluster is known to be gone: nothing is waited for any more. From any thread."""

        def end() -> None:
            self._gone = reason
            if not self._welcomed:
                self._end(reason)

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(end)

    async def close(self) -> None:
        """Say what is left to say, and goodbye."""
        if self.ended is not None:
            return
        self._flush()
        if self._link is not None:
            await self._link.drain()
            self._end("the client was closed")
            await self._link.close()
        self._end("the client was closed")

    def _end(self, reason: str) -> None:
        if self.ended is not None:
            return
        self.ended = reason
        self._welcomed = False
        self._back.set()
        self._pool.close()
        self._requester.fail(f"The cluster is gone: {reason}.")
        changed = []
        for cid, outcome in list(self.outcomes.items()):
            lost = outcome.status == "finished" and outcome.inline is None
            if outcome.status == "pending" or lost:
                self.outcomes[cid] = Outcome("lost", type=outcome.type, reason=reason)
                changed.append(cid)
        self.changed(changed)
        for listener in self._end_listeners:
            listener(reason)

    def _end_error(self) -> CommClosedError:
        return CommClosedError(
            f"This client is not connected any more: {self.ended}. Connect again with Client()."
        )

    # -------------------------------------------------------------------- hearing

    def _receive(self, messages: list[Message]) -> None:
        for message in messages:
            op = message["op"]
            if op == "key-in-memory":
                self._in_memory(message)
            elif op == "task-erred":
                errors = message["errors"]
                for cid, which in zip(message["cids"], message["which"], strict=True):
                    self._set(cid, Outcome("error", error=errors[which]))
                self.changed(message["cids"])
            elif op == "lost-keys":
                for cid in message["cids"]:
                    outcome = self.outcomes.get(cid)
                    # A small result that came along outlives its worker.
                    if outcome is not None and outcome.inline is None:
                        self._set(cid, PENDING)
                self.changed(message["cids"])
            elif op == "cancelled-keys":
                self._ledger.unwant(message["cids"])
                for cid in message["cids"]:
                    self._set(cid, Outcome("cancelled", reason=message["reason"]))
                self.changed(message["cids"])
            elif op == "response":
                self._requester.answer(message)
            elif op == "hello":
                self._welcome(message)
            elif op == "task-warning":
                self._warn(message)
            elif op == "closing":
                self._end(message["reason"])

    def _set(self, cid: int, outcome: Outcome) -> None:
        known = self.outcomes.get(cid)
        if known is not None and known.status != "cancelled":
            self.outcomes[cid] = outcome

    def _in_memory(self, message: Message) -> None:
        outcomes, cids = self.outcomes, message["cids"]
        columns = zip(cids, message["nbytes"], message["types"], message["inline"], strict=True)
        for cid, nbytes, kind, inline in columns:
            known = outcomes.get(cid)
            if known is None or known.status == "cancelled":
                continue
            if inline is None:
                inline = known.inline
            outcomes[cid] = Outcome("finished", kind, nbytes, inline)
        self.changed(cids)

    def _warn(self, message: Message) -> None:
        """Once for each reason, however many tasks it concerns."""
        if message["text"] in self._warned:
            return
        self._warned.add(message["text"])
        if self._on_warning is not None:
            self._on_warning(message)

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
        pending, known = waiter.pending, self.outcomes.get
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

    def outcome(self, cid: int) -> Outcome:
        """What is known of a key; one that was let go of counts as cancelled."""
        return self.outcomes.get(cid, RELEASED)

    def watch(self, waiter: Waiter) -> None:
        """Tell a waiter of changes until `unwatch`."""
        self._waiters.append(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        """Tell a waiter nothing any more."""
        with contextlib.suppress(ValueError):
            self._waiters.remove(waiter)

    # -------------------------------------------------------------------- waiting and asking

    async def wait(
        self, cids: Iterable[int], enough: Callable[[Waiter], bool], timeout: float | None = None
    ) -> None:
        """Wait until enough of the keys have ended. Raises TimeoutError, saying how many had."""
        self._flush()
        total = list(cids)
        if len(total) == 1 and timeout is None:
            while self.outcome(total[0]).status == "pending":
                waiting = asyncio.get_running_loop().create_future()
                self._single.setdefault(total[0], []).append(waiting)
                await waiting
            return
        pending = {cid for cid in total if self.outcome(cid).status == "pending"}
        waiter = Waiter(pending, enough)
        waiter.failed = any(
            self.outcome(cid).status not in ("pending", "finished") for cid in total
        )
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

    async def request(self, method: str, params: object) -> Any:
        """Ask the scheduler, after all that was said before."""
        while True:
            self.must_be_open()
            await self._back.wait()
            self.must_be_open()
            message, waiting = self._requester.ask(method, params)
            self._flush()
            self._transmit([message])
            try:
                return await waiting
            except CommClosedError:
                if self.ended is not None or method not in _ASKED_AGAIN:
                    raise

    async def gather(
        self, keys: dict[int, str], errors: str = "raise", timeout: float | None = None
    ) -> dict[int, tuple[str, Sequence[Any]] | bytes]:
        """Bring the serialised results of keys here: packed, or as family and frames.

        With ``errors='skip'`` those that failed are left out.
        """
        until = None if timeout is None else time.monotonic() + timeout
        skip = errors == "skip"
        found: dict[int, tuple[str, Sequence[Any]] | bytes] = {}
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            await self.wait(keys, lambda w: not w.pending or (w.failed and not skip), left)
            remote: list[int] = []
            waits = False
            for cid, key in keys.items():
                if cid in found:
                    continue
                outcome = self.outcome(cid)
                if outcome.status == "finished":
                    if outcome.inline is None:
                        remote.append(cid)
                    else:
                        found[cid] = outcome.inline
                elif outcome.status != "pending":
                    if not skip:
                        raise self.error(key, outcome)
                else:
                    waits = True
            if not remote:
                if not waits:
                    return found
                continue
            if not await self._fetch(remote, found):
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"{len(found)} of {len(keys)} results came in time.")
                await asyncio.sleep(_FETCH_RETRY)

    def error(self, key: str, outcome: Outcome) -> BaseException:
        """The exception that stands for a key that did not end well."""
        if outcome.status == "error" and outcome.error is not None:
            return error_of(outcome.error)
        reason = outcome.reason or "no reason was given"
        if outcome.status == "lost":
            reason = f"its cluster is gone ({reason})"
        return CancelledError(key, reason)

    async def _fetch(self, cids: list[int], found: dict) -> bool:
        """Bring what can be brought now; False when something must be tried again."""
        where = await self.request("locate", {"cids": cids})
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
        self, holder: str, epoch: str, wanted: list[tuple[int, int]], found: dict
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

    @property
    def epoch(self) -> str:
        """Of the scheduler there is, or was last."""
        return self._epoch
