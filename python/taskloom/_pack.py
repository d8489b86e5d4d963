"""Functions and arguments on their way out.

A function is pickled by cloudpickle and named by its hash, once for as long as what it uses from
outside stays the same. The arguments of a task are one packed value of family ``pickle`` that
holds ``(args, kwargs)``; a future in them is the persistent id ``('taskloom-dep', i)``, i being
its place among the task's dependencies.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
import threading
import types
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import cloudpickle

from taskloom import _by_value, serialize
from taskloom._errors import SerializationError

FUNCTION_BYTES = 48 * 2**20
"""Bytes of a function with all it captures, and of the arguments of one task."""
_KEPT = 1000

packing = threading.local()
"""``packing.futures`` is a list while arguments are written that should hold no future."""


class Function(NamedTuple):
    """A function as the wire knows it."""

    name: str
    hash: str
    blob: bytes


class _Known(NamedTuple):
    function: Function
    guards: list[tuple[dict, str, object]]
    """Names that it uses, and what they stood for: another value is another function."""


class Functions:
    """Pickled functions of a client, the newest kept.

    ``wrap`` may put something around a function's pickle (files that it needs).
    """

    def __init__(self) -> None:
        self._known: OrderedDict[object, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget all: the next use pickles anew."""
        with self._lock:
            self._known.clear()

    def get(self, fn: Callable, wrap: Callable[[bytes], bytes] | None = None) -> Function:
        """Return a function's pickle and hash."""
        known = self._find(fn)
        if known is not None:
            return known
        guards = _guards(fn)
        try:
            blob = _by_value.dumps(fn)
        except Exception as error:
            raise SerializationError(
                f"The function {function_name(fn)} cannot be pickled: "
                f"{type(error).__name__}: {error}. Let it make what belongs to this process "
                "(locks, sockets, clients) itself, or take it as an argument."
            ) from error
        if wrap is not None:
            blob = wrap(blob)
        if len(blob) > FUNCTION_BYTES:
            raise SerializationError(
                f"The function {function_name(fn)} is {len(blob) / 1e6:.0f} MB with all it uses. "
                "Scatter large values and pass the futures: data = client.scatter(value); "
                "client.submit(fn, data)."
            )
        function = Function(function_name(fn), hashlib.sha256(blob).hexdigest(), blob)
        if guards is not None:
            with self._lock:
                self._known[fn] = _Known(function, guards)
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return function

    def _find(self, fn: Callable) -> Function | None:
        try:
            known = self._known.get(fn)
        except TypeError:
            return None
        if known is None:
            return None
        for names, name, value in known.guards:
            if names.get(name) is not value:
                return None
        return known.function


_SCALARS = (str, int, float, complex, bool, bytes, type(None))
_FIXED = (*_SCALARS, type, types.ModuleType, types.BuiltinFunctionType)


def _guards(fn: Callable) -> list[tuple[dict, str, object]] | None:
    """Return what to compare before a pickle is used again; None: it must not be."""
    if isinstance(fn, types.BuiltinFunctionType | type):
        return []
    if not isinstance(fn, types.FunctionType):
        return None
    guards: list[tuple[dict, str, object]] = []
    seen: set[int] = set()
    stack: list[types.FunctionType] = [fn]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if not goes_by_value(one):
            continue
        for value in (*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()):
            if not _is_fixed(value, stack):
                return None
        for cell in one.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            # A cell can be assigned anew without a name that tells it.
            if not isinstance(value, types.ModuleType | type):
                return None
        for name in _names(one.__code__):
            if name in one.__globals__:
                value = one.__globals__[name]
                if not _is_fixed(value, stack):
                    return None
                guards.append((one.__globals__, name, value))
    return guards


def _is_fixed(value: object, stack: list[types.FunctionType]) -> bool:
    if isinstance(value, types.FunctionType):
        stack.append(value)
        return True
    return isinstance(value, _FIXED)


def goes_by_value(fn: types.FunctionType | type) -> bool:
    """Whether cloudpickle writes its code rather than its name."""
    if fn.__module__ in (None, "__main__") or "<" in fn.__qualname__:
        return True
    return fn.__module__.partition(".")[0] in cloudpickle.list_registry_pickle_by_value()


@lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> frozenset[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return frozenset(names)


def function_name(fn: Callable) -> str:
    """Return the name that keys and panels show."""
    while isinstance(fn, partial):
        fn = fn.func
    name = getattr(fn, "__name__", "") or type(fn).__name__
    if name == "<lambda>":
        return "lambda"
    return name.strip("<>")[:100] or "function"


# ------------------------------------------------------------------------------ arguments

_HEAD = struct.Struct(">BBHI")
_FAMILY = serialize.FAMILIES.index("pickle")
_PLAIN = frozenset({int, float, str, bool, bytes, type(None)})


def pack_frames(frames: Sequence[Any], what: str) -> bytes:
    """Put a pickle into one buffer, unless it is too much for the scheduler."""
    size = serialize.nbytes_of(frames)
    if size > FUNCTION_BYTES:
        raise SerializationError(
            f"{what} are {size / 1e6:.0f} MB, too much to send through the scheduler. Put large "
            "values on the workers first: data = client.scatter(value), then pass the future."
        )
    return serialize.pack("pickle", frames)


def pack_args(
    args: tuple, kwargs: dict, dependency: Callable[[Any], int | None]
) -> tuple[bytes, list[int]]:
    """Write arguments.

    Parameters
    ----------
    args, kwargs : tuple, dict
        Of the call.
    dependency : callable
        Gives the number of an object that is a future, and None for any other.

    Returns
    -------
    bytes
        The packed value.
    list of int
        Numbers of the futures in it, by their place.
    """
    if not kwargs:
        kinds = {type(arg) for arg in args}
        if kinds <= _PLAIN:
            head = pickle.dumps((args, kwargs), 5)
            return _HEAD.pack(0xD7, _FAMILY, 1, len(head)) + head, []
        numbers = _all_futures(args, dependency)
        if numbers is not None:
            return _references(len(numbers)), numbers
    found: list[Any] = []
    packing.futures = found
    try:
        frames = serialize.dumps((args, kwargs))
    except SerializationError as error:
        if not found:
            raise _argument_error(args, kwargs, error) from error.__cause__
    finally:
        packing.futures = None
    if not found:
        return pack_frames(frames, "The arguments"), []
    deps: list[int] = []
    places: dict[int, int] = {}

    def reference(value: object) -> int | None:
        number = dependency(value)
        if number is None:
            return None
        place = places.get(number)
        if place is None:
            place = places[number] = len(deps)
            deps.append(number)
        return place

    try:
        frames = serialize.dumps((args, kwargs), reference)
    except SerializationError as error:
        raise _argument_error(args, kwargs, error, dependency) from error.__cause__
    return pack_frames(frames, "The arguments"), deps


def _argument_error(
    args: tuple,
    kwargs: dict,
    error: SerializationError,
    dependency: Callable[[Any], int | None] = lambda _: None,
) -> SerializationError:
    """Say which argument it is that cannot be pickled."""
    named = [*((f"Argument {at}", arg) for at, arg in enumerate(args, 1)), *kwargs.items()]
    for name, arg in named:
        try:
            serialize.dumps(arg, dependency)
        except SerializationError as why:
            return SerializationError(
                f"{name} of the call cannot be sent to a worker. {why} Make it within the task."
            )
        except Exception:
            continue
    return error


def _all_futures(args: tuple, dependency: Callable[[Any], int | None]) -> list[int] | None:
    """Return the numbers of arguments that are futures, all of them and all different."""
    numbers = []
    for arg in args:
        number = dependency(arg)
        if number is None:
            return None
        numbers.append(number)
    return numbers if len(set(numbers)) == len(numbers) else None


class _Place:
    """Stands for the argument at a place."""

    def __init__(self, place: int) -> None:
        self.place = place


@lru_cache(maxsize=4096)
def _references(count: int) -> bytes:
    """The arguments of a call with futures only: the same for all of so many."""
    places = tuple(_Place(place) for place in range(count))
    reference = serialize.dumps(
        (places, {}), lambda value: value.place if type(value) is _Place else None
    )
    return serialize.pack("pickle", reference)


def pack_plain_column(items: Sequence[Any]) -> tuple[bytes, list[int]] | None:
    """Write the arguments of many calls with one plain value each.

    Returns
    -------
    tuple or None
        All of them as one buffer and where each begins; None if one is not plain.
    """
    kinds = set(map(type, items))
    if not kinds <= _PLAIN:
        return None
    fixed = _fixed_column(kinds, items)
    if fixed is not None:
        return fixed
    # The pickle of ((value,), {}) is the value's own between two constant parts.
    before, after = _frame_parts()
    dumps, pack, extra = pickle.dumps, _HEAD.pack, len(before) + len(after)
    parts: list[bytes] = []
    add = parts.append
    offsets = [0]
    mark = offsets.append
    size = 0
    for item in items:
        # Its own pickle, without the opcodes for protocol and end (and the frame of a long one).
        own = dumps(item, 5)
        own = own[2:-1] if len(own) < 15 or own[2] != 0x95 else own[11:-1]
        length = len(own) + extra
        add(pack(0xD7, _FAMILY, 1, length))
        add(before)
        add(own)
        add(after)
        size += length + 8
        mark(size)
    return b"".join(parts), offsets


def _fixed_column(kinds: set[type], items: Sequence[Any]) -> tuple[bytes, list[int]] | None:
    """Write a column of 32-bit integers or of floats: records of one length, filled by columns."""
    if kinds == {int}:
        code, opcode = "i", b"J"
    elif kinds == {float}:
        code, opcode = "d", b"G"
    else:
        return None
    try:
        values = array(code, items)
    except OverflowError:
        return None
    width = values.itemsize
    # Pickle writes integers little-endian and floats big-endian.
    if (code == "d") == (sys.byteorder == "little"):
        values.byteswap()
    raw = values.tobytes()
    before, after = _frame_parts()
    length = len(before) + 1 + width + len(after)
    record = _HEAD.pack(0xD7, _FAMILY, 1, length) + before + opcode + bytes(width) + after
    step, at = len(record), 8 + len(before) + 1
    column = bytearray(record * len(items))
    for byte in range(width):
        column[at + byte :: step] = raw[byte::width]
    return bytes(column), list(range(0, len(column) + 1, step))


@lru_cache(maxsize=1)
def _frame_parts() -> tuple[bytes, bytes]:
    """What stands before and after the value in the pickle of ``((value,), {})``, unframed."""
    proto, tuple1, empty_dict, tuple2, stop = b"\x80\x05", b"\x85", b"}", b"\x86", b"."
    return proto, tuple1 + empty_dict + tuple2 + stop
