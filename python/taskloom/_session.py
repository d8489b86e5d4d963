"""One connection of this process to a cluster: its link, and what is said and asked by it.

When the link breaks, the session is away: futures keep their state, what is submitted, cancelled
or released is noted, questions wait. It dials again until its time has passed; once back it says
again all that it still wants (`Ledger`), to a scheduler that may be another.

Other threads put entries into `outcomes` and read them; everything else happens on the loop's
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from taskloom import _loop
from taskloom._connection import is_gone_for_good, is_supervised
from taskloom._context import current_task
from taskloom._errors import (
    AuthenticationError,
    ClusterError,
    CommClosedError,
    ProtocolVersionError,
    TaskloomError,
    TimeoutError,
    VersionMismatchError,
)
from taskloom._ledger import Ledger
from taskloom._link import BAD_VERSION, BROKEN, HANDSHAKE_TIMEOUT, PROTOCOL, Link, Requester
from taskloom._outbox import Outbox
from taskloom._outcomes import PENDING, Outcome, Outcomes, Waiter
from taskloom._pack import Function, Functions
from taskloom._transfers import Transfers
from taskloom._version import __version__
from taskloom._versions import own_versions

Message = dict[str, Any]
T = TypeVar("T")

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
        self.outcomes = Outcomes()
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
        self.transfers = Transfers(self, token)
        self._ledger = Ledger()
        self._outbox = Outbox(self._wake)
        self._awake = False
        self._released: list[int] = []
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
        self.transfers.close()
        self._requester.fail(f"The cluster is gone: {reason}.")
        self.outcomes.ended(reason)
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
                self.outcomes.in_memory(message)
            elif op == "task-erred":
                self.outcomes.erred(message)
            elif op == "lost-keys":
                self.outcomes.lost(message)
            elif op == "cancelled-keys":
                self._ledger.unwant(message["cids"])
                self.outcomes.cancelled(message)
            elif op == "response":
                self._requester.answer(message)
            elif op == "hello":
                self._welcome(message)
            elif op == "task-warning":
                self._warn(message)
            elif op == "closing":
                self._end(message["reason"])

    def _warn(self, message: Message) -> None:
        """Once for each reason, however many tasks it concerns."""
        if message["text"] in self._warned:
            return
        self._warned.add(message["text"])
        if self._on_warning is not None:
            self._on_warning(message)

    # -------------------------------------------------------------------- waiting and asking

    async def wait(
        self, cids: Iterable[int], enough: Callable[[Waiter], bool], timeout: float | None = None
    ) -> None:
        """Wait until enough of the keys have ended. Raises TimeoutError, saying how many had."""
        self._flush()
        await self.outcomes.wait(cids, enough, timeout)

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

    @property
    def epoch(self) -> str:
        """Of the scheduler there is, or was last."""
        return self._epoch
