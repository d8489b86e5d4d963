"""What a client would have to say again to a scheduler that knows nothing of it.

All that it still wants, and what that stands on. It is kept from what the client says, so it is
what the client wants now; what was said while there was no link is in it as well.

A task stays while its key is wanted or a task that stays depends on it: ``refs`` counts twice the
dependents, and one for being wanted; -1 is gone. Tasks lie in segments, in the columns in which
they were sent, so that a future costs a few numbers and no object. Pure: no clock, no link.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

Message = dict[str, Any]
Outcome = Callable[[int], "tuple[bool, dict[str, Any] | None]"]
"""For a cid: whether it is pending, and the error record if it has failed."""

SMALL = 64
"""Graphs of fewer tasks are put together."""
SEGMENT = 1024
"""So many tasks make a segment."""

NO_OPTIONS: dict[str, Any] = {
    "priority": 0,
    "retries": 0,
    "timeout": 0,
    "workers": None,
    "allowOtherWorkers": False,
    "resources": None,
}

_COMMANDS = frozenset(
    {"cancel-keys", "retry-keys", "fire-and-forget", "publish-dataset", "unpublish-dataset"}
)


class _Segment:
    __slots__ = (
        "args",
        "cids",
        "deps",
        "fifo",
        "first",
        "fns",
        "keys",
        "live",
        "offsets",
        "options",
        "order",
        "parts",
        "refs",
        "rows",
    )

    def __init__(self, message: Message, fns: list[int], refs: list[int]) -> None:
        self.first: int = message["first"]
        self.cids: list[int] | None = message.get("cids")
        self.keys: list[str] = list(message["keys"])
        self.fns = fns
        self.parts: list[bytes] = [message["args"]]
        self.offsets: list[int] = list(message["argOffsets"])
        self.deps: list[int] = list(message["deps"])
        self.rows: list[int] = list(message["depOffsets"])
        self.order: list[int] | None = message.get("order")
        self.options: dict[str, Any] = message["options"]
        self.fifo: float = message["fifoTimeout"]
        self.refs = refs
        self.live = len(refs)

    def number(self, at: int) -> int:
        return self.first + at if self.cids is None else self.cids[at]

    def place(self, cid: int) -> int:
        """Where a number stands, or -1."""
        if self.cids is None:
            at = cid - self.first
            return at if at < len(self.keys) else -1
        at = bisect_right(self.cids, cid) - 1
        return at if at >= 0 and self.cids[at] == cid else -1

    def inputs(self, at: int) -> list[int]:
        return self.deps[self.rows[at] : self.rows[at + 1]] if self.rows else []

    def joined_args(self) -> bytes:
        if len(self.parts) > 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0] if self.parts else b""

    def takes(self, message: Message) -> bool:
        """Whether a small graph can be put to it."""
        count = len(message["keys"])
        return (
            self.cids is None
            and self.live > 0
            and self.order is None
            and message.get("order") is None
            and message.get("cids") is None
            and count < SMALL
            and len(self.keys) + count <= SEGMENT
            and self.first + len(self.keys) == message["first"]
            and self.options == message["options"]
            and self.fifo == message["fifoTimeout"]
        )

    def join(self, message: Message, fns: list[int], refs: list[int]) -> None:
        base, before = self.offsets[-1], len(self.deps)
        rows = message["depOffsets"]
        if rows and not self.rows:
            self.rows = [0] * (len(self.keys) + 1)
        if self.rows:
            ends = rows[1:] if rows else [0] * len(fns)
            self.rows.extend(before + end for end in ends)
        self.keys.extend(message["keys"])
        self.fns.extend(fns)
        self.refs.extend(refs)
        self.offsets.extend(base + end for end in message["argOffsets"][1:])
        self.deps.extend(message["deps"])
        self.parts.append(message["args"])
        self.live += len(fns)

    def choose(self, places: list[int]) -> Message:
        """The columns of some tasks, for themselves."""
        whole = memoryview(self.joined_args())
        offsets, parts, deps, rows, size = [0], [], [], [0], 0
        for at in places:
            part = whole[self.offsets[at] : self.offsets[at + 1]]
            parts.append(part)
            size += len(part)
            offsets.append(size)
            deps.extend(self.inputs(at))
            rows.append(len(deps))
        return {
            "cids": [self.number(at) for at in places],
            "keys": [self.keys[at] for at in places],
            "fn": [self.fns[at] for at in places],
            "args": b"".join(parts),
            "argOffsets": offsets,
            "deps": deps,
            "depOffsets": rows if deps else [],
        }

    def compact(self) -> None:
        """Give back the memory of tasks that are gone."""
        places = [at for at, refs in enumerate(self.refs) if refs > 0]
        kept = self.choose(places)
        self.order = None if self.order is None else [self.order[at] for at in places]
        self.refs = [self.refs[at] for at in places]
        self.cids, self.keys, self.fns = kept["cids"], kept["keys"], kept["fn"]
        self.parts, self.offsets = [kept["args"]], kept["argOffsets"]
        self.deps, self.rows = kept["deps"], kept["depOffsets"]

    def graph(self, start: int, end: int, outcome: Outcome) -> Message | None:
        """The tasks of a range that stay, as one part of what is said again."""
        places = [at for at in range(start, end) if self.refs[at] > 0]
        if not places:
            return None
        chosen = self.choose(places)
        cids = chosen["cids"]
        wants = [cid for at, cid in zip(places, cids, strict=True) if self.refs[at] & 1]
        message: Message = {
            "op": "update-graph",
            "first": cids[0],
            "options": self.options,
            "fifoTimeout": self.fifo,
            "wants": "all" if len(wants) == len(places) else wants,
            "again": "part",
            **chosen,
        }
        if self.order is not None:
            message["order"] = [self.order[at] for at in places]
        failed = _failures(cids, outcome)
        if failed["tasks"]:
            message["failed"] = failed
        return message


def _failures(cids: list[int], outcome: Outcome) -> Message:
    tasks: list[int] = []
    which: list[int] = []
    errors: list[dict[str, Any]] = []
    for at, cid in enumerate(cids):
        _, error = outcome(cid)
        if error is None:
            continue
        known = next((i for i, one in enumerate(errors) if one is error), -1)
        if known < 0:
            errors.append(error)
            known = len(errors) - 1
        tasks.append(at)
        which.append(known)
    return {"tasks": tasks, "which": which, "errors": errors}


class _Named:
    """A key known by its name only: the client's own data, or another's task."""

    __slots__ = ("data", "key", "refs")

    def __init__(self, key: str, data: bool) -> None:
        self.key, self.data, self.refs = key, data, 1


class _Function:
    __slots__ = ("message", "registered", "uses")

    def __init__(self, message: Message) -> None:
        self.message, self.uses, self.registered = message, 0, True


class _Said:
    """A command: kept while nobody has heard it; cancels and retries until they have an effect."""

    __slots__ = ("at", "message", "unheard")

    def __init__(self, message: Message, at: int, unheard: bool) -> None:
        self.message, self.at, self.unheard = message, at, unheard


class Ledger:
    """Takes in what the client says (`note`) and tells what must be said again (`resume`)."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._firsts: list[int] = []
        self._named: dict[int, _Named] = {}
        self._functions: dict[int, _Function] = {}
        self._commands: list[_Said] = []
        self._last = 0
        self._dead = 0

    def __len__(self) -> int:
        """How many tasks and data would be said again."""
        return len(self._named) + sum(segment.live for segment in self._segments)

    def note(self, message: Message, heard: bool) -> None:
        """Take in a message; ``heard``: there is a link to say it over."""
        op = message["op"]
        if op == "update-graph":
            self._add_graph(message)
        elif op == "register-function":
            self._functions[message["fn"]] = _Function(message)
        elif op == "release-functions":
            for fn in message["fns"]:
                self._release_function(fn)
        elif op in ("client-desires-keys", "scattered"):
            data = op == "scattered" or message.get("again") == "data"
            for cid, key in zip(message["cids"], message["keys"], strict=True):
                self._named[cid] = _Named(key, data)
                self._last = max(self._last, cid)
        elif op == "client-releases-keys":
            self.unwant(message["cids"])
        elif op in _COMMANDS:
            self._add_command(message, heard)

    def unwant(self, cids: Iterable[int]) -> None:
        """Let go of keys: released, cancelled, or never to be there."""
        stack: list[int] = []
        for cid in cids:
            self._change(cid, -1, stack)
        self._let_go(stack)

    def resume(self, outcome: Outcome) -> list[Message]:
        """All of it as messages, cancels between the graphs where they were said."""
        self._forget_commands()
        said: list[Message] = [kept.message for kept in self._functions.values()]
        self._say_named(said, "data")
        self._say_named(said, "others")
        self._say_graphs(said, outcome)
        unwanted = [cid for cid, one in self._named.items() if not one.refs & 1]
        if unwanted:
            said.append({"op": "client-releases-keys", "cids": unwanted})
        for one in self._commands:
            if one.message["op"] == "retry-keys":
                cids = [cid for cid in one.message["cids"] if outcome(cid)[0]]
                if cids:
                    said.append({"op": "retry-keys", "cids": cids})
        unused = [fn for fn, kept in self._functions.items() if not kept.registered]
        if unused:
            said.append({"op": "release-functions", "fns": unused})
        for one in self._commands:
            if one.unheard:
                one.unheard = False
                self._let_go(_cids_of(one.message))
        return said

    # -------------------------------------------------------------------- taking in

    def _add_command(self, message: Message, heard: bool) -> None:
        if not heard:
            for cid in _cids_of(message):
                self._change(cid, 2, [])
        if message["op"] == "cancel-keys":
            self.unwant(message["cids"])
        if heard and message["op"] not in ("cancel-keys", "retry-keys"):
            return
        self._commands.append(_Said(message, self._last, not heard))
        if len(self._commands) % 100 == 0:
            self._forget_commands()

    def _add_graph(self, message: Message) -> None:
        count = len(message["keys"])
        if count == 0:
            return
        fn, first = message["fn"], message["first"]
        fns = [fn] * count if isinstance(fn, int) else list(fn)
        for used in (fn,) if isinstance(fn, int) else fns:
            kept = self._functions.get(used)
            if kept is not None:
                kept.uses += count if isinstance(fn, int) else 1
        wants = message["wants"]
        refs = [1] * count
        if wants != "all":
            wanted = set(wants)
            refs = [1 if first + at in wanted else 0 for at in range(count)]
        if self._segments and self._segments[-1].takes(message):
            self._segments[-1].join(message, fns, refs)
        else:
            self._segments.append(_Segment(message, fns, refs))
            self._firsts.append(first)
        self._last = first + count - 1
        for dep in message["deps"]:
            self._change(dep, 2, [])
        if wants != "all":
            stack: list[int] = []
            for cid in range(first + count - 1, first - 1, -1):
                self._change(cid, 0, stack)
            self._let_go(stack)

    def _release_function(self, fn: int) -> None:
        kept = self._functions.get(fn)
        if kept is None:
            return
        kept.registered = False
        if kept.uses == 0:
            del self._functions[fn]

    # -------------------------------------------------------------------- counting

    def _change(self, cid: int, by: int, stack: list[int]) -> None:
        """By -1: wanted no more; by 2 or -2: a dependent more or less."""
        named = self._named.get(cid)
        if named is not None:
            if by != -1 or named.refs & 1:
                named.refs += by
            if named.refs == 0:
                del self._named[cid]
            return
        found = self._find(cid)
        if found is None:
            return
        segment, at = found
        refs = segment.refs[at]
        if refs < 0 or (by == -1 and not refs & 1):
            return
        segment.refs[at] = refs + by
        if refs + by == 0:
            self._drop(segment, at, stack)

    def _let_go(self, stack: list[int]) -> None:
        while stack:
            self._change(stack.pop(), -2, stack)

    def _drop(self, segment: _Segment, at: int, stack: list[int]) -> None:
        segment.refs[at] = -1
        segment.live -= 1
        fn = segment.fns[at]
        kept = self._functions.get(fn)
        if kept is not None:
            kept.uses -= 1
            if kept.uses == 0 and not kept.registered:
                del self._functions[fn]
        stack.extend(segment.inputs(at))
        if segment.live == 0:
            self._dead += 1
            if self._dead > 32 and self._dead * 2 > len(self._segments):
                self._sweep()
        elif len(segment.keys) >= SMALL and segment.live * 4 < len(segment.keys):
            segment.compact()

    def _sweep(self) -> None:
        self._segments = [segment for segment in self._segments if segment.live > 0]
        self._firsts = [segment.first for segment in self._segments]
        self._dead = 0

    def _find(self, cid: int) -> tuple[_Segment, int] | None:
        index = bisect_right(self._firsts, cid) - 1
        if index < 0:
            return None
        segment = self._segments[index]
        at = segment.place(cid)
        return None if at < 0 else (segment, at)

    def _has(self, cid: int) -> bool:
        if cid in self._named:
            return True
        found = self._find(cid)
        return found is not None and found[0].refs[found[1]] > 0

    def _forget_commands(self) -> None:
        """Drop those about keys that are no more."""
        self._commands = [
            one
            for one in self._commands
            if one.unheard or any(self._has(cid) for cid in _cids_of(one.message))
        ]

    # -------------------------------------------------------------------- saying again

    def _say_named(self, said: list[Message], again: str) -> None:
        chosen = [(cid, one) for cid, one in self._named.items() if one.data == (again == "data")]
        if chosen:
            said.append(
                {
                    "op": "client-desires-keys",
                    "cids": [cid for cid, _ in chosen],
                    "keys": [one.key for _, one in chosen],
                    "again": again,
                }
            )

    def _say_graphs(self, said: list[Message], outcome: Outcome) -> None:
        commands = [one for one in self._commands if one.message["op"] != "retry-keys"]
        queue = iter(commands)
        command = next(queue, None)
        for segment in self._segments:
            start, count = 0, len(segment.keys)
            while start < count:
                end = start
                limit = float("inf") if command is None else command.at
                while end < count and segment.number(end) <= limit:
                    end += 1
                graph = segment.graph(start, end, outcome)
                if graph is not None:
                    said.append(graph)
                if end < count and command is not None:
                    said.append(_repeated(command))
                    command = next(queue, None)
                start = end
        while command is not None:
            said.append(_repeated(command))
            command = next(queue, None)
        said.append(_LAST)


def _repeated(said: _Said) -> Message:
    """What was heard has been done to others: now it is about this client's tasks alone."""
    if said.message["op"] == "cancel-keys" and not said.unheard:
        return {**said.message, "keys": [], "force": False}
    return said.message


def _cids_of(message: Message) -> list[int]:
    return list(message.get("cids", ()))


_LAST: Message = {
    "op": "update-graph",
    "first": 0,
    "keys": [],
    "fn": 0,
    "args": b"",
    "argOffsets": [0],
    "deps": [],
    "depOffsets": [],
    "options": NO_OPTIONS,
    "fifoTimeout": 0,
    "wants": "all",
    "again": "last",
}
