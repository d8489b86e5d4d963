"""Values on the wire: what arguments, results and scattered data become, and back.

A value is a family and frames. The families ``plain``, ``ndarray`` and ``arrow`` are read by
TypeScript and by Python; ``pickle`` is Python's own, as ``js`` is TypeScript's. The family is
found out from the value, and only a family that gives back an equal value of the same type is
taken: a tuple or an integer beyond 2**53 stays ``pickle``.

Frames are bytes-like and may alias the memory of the value. Arrays read from a frame are views of
it: they can be written to when the frame can.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgpack

from taskloom._errors import SerializationError

__all__ = [
    "FAMILIES",
    "SerializationError",
    "deserialize",
    "dumps",
    "loads",
    "nbytes_of",
    "pack",
    "serialize",
    "unpack",
]

Buffer: TypeAlias = "bytes | bytearray | memoryview"
Reference: TypeAlias = "Callable[[Any], int | None]"
Resolve: TypeAlias = "Callable[[int], Any]"

FAMILIES = ("plain", "js", "pickle", "ndarray", "arrow")
"""Names of the families, by the number that stands for each in a packed value."""

_MAGIC = 0xD7
_WIDE = 0x80
_MOST_FRAMES = 0xFFFF
_SAFE = 2**53
# Deeper nesting is left to pickle: msgpack has limits of its own.
_DEPTH = 100
# Buffers of fewer bytes stay within the pickle.
_OUT_OF_BAND = 1024
DEPENDENCY = "taskloom-dep"
_NUMBERS = frozenset("biufcMm")
_LEAVES = frozenset({type(None), bool, float, bytes})
_SCALARS = _LEAVES | {int, str}


# -------------------------------------------------------------------------- entry


def serialize(obj: Any, reference: Reference | None = None) -> tuple[str, list[Buffer]]:
    """
    Write a value as frames.

    Parameters
    ----------
    obj : object
        Any value that can be pickled.
    reference : callable, optional
        Says for an object which dependency of the task it stands for, or None. A value that is
        written with it is always of family ``pickle``.

    Returns
    -------
    family : str
        One of ``plain``, ``ndarray``, ``arrow``, ``pickle``.
    frames : list of buffer
        The first is the head.

    Raises
    ------
    SerializationError
        The value cannot be pickled.
    """
    if reference is not None:
        return "pickle", dumps(obj, reference)
    kind = type(obj)
    if kind in _SCALARS or kind is list or kind is dict:
        head = _plain(obj)
        if head is not None:
            return "plain", [head]
    elif kind is not tuple:
        frames = _ndarray(obj)
        if frames is not None:
            return "ndarray", frames
        frames = _arrow(obj)
        if frames is not None:
            return "arrow", frames
    return "pickle", dumps(obj)


def deserialize(family: str, frames: Sequence[Buffer], resolve: Resolve | None = None) -> Any:
    """
    Read a value.

    Parameters
    ----------
    family : str
        How it was written.
    frames : sequence of buffer
        Its frames. Arrays in the value are views of them.
    resolve : callable, optional
        Gives the value of a dependency by its number.

    Returns
    -------
    object
    """
    if family == "pickle":
        return loads(frames, resolve)
    if family == "plain":
        return msgpack.unpackb(frames[0], strict_map_key=False, **_UNLIMITED)
    if family == "ndarray":
        return _read_ndarray(frames)
    if family == "arrow":
        return _read_arrow(frames)
    raise SerializationError(foreign("This value", family))


def foreign(what: str, family: str) -> str:
    """Say why a value of another language cannot be read, and what to do."""
    if family == "js":
        return (
            f"{what} is of family js, which only TypeScript reads. Let the TypeScript task return "
            "plain data (null, booleans, numbers, strings, Uint8Array, arrays, objects with string "
            "keys), a typed array, an NdArray or an ArrowData."
        )
    return f"{what} is of family {family!r}, which this version of taskloom does not know."


def nbytes_of(frames: Sequence[Buffer]) -> int:
    """Bytes of all frames together."""
    return sum(len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in frames)


# -------------------------------------------------------------------------- one buffer


def pack(family: str, frames: Sequence[Buffer]) -> bytes:
    """
    Write frames as one buffer, for messages that carry small values inline.

    Big-endian: magic byte, family byte, u16 frame count, u32 (u64 if one needs it) length of each
    frame, frames.
    """
    count = len(frames)
    if count > _MOST_FRAMES:
        raise SerializationError(
            f"{count} frames in one value, at most {_MOST_FRAMES} can be sent inline. Put the "
            "arrays into fewer, larger ones."
        )
    number = FAMILIES.index(family)
    if count == 1 and type(frames[0]) is bytes:
        size = len(frames[0])
        if size <= 0xFFFFFFFF:
            return _HEAD_1.pack(_MAGIC, number, 1, size) + frames[0]
    sizes = [memoryview(frame).nbytes for frame in frames]
    wide = any(size > 0xFFFFFFFF for size in sizes)
    head = struct.pack(
        f">BBH{count}{'Q' if wide else 'I'}", _MAGIC, number | (_WIDE if wide else 0), count, *sizes
    )
    return b"".join([head, *(_flat(frame) for frame in frames)])


def unpack(packed: Buffer) -> tuple[str, list[memoryview]]:
    """Give the frames of such a buffer, as views of it. Every length is checked."""
    view = memoryview(packed)
    if len(view) < 4 or view[0] != _MAGIC:
        raise _damaged("it does not start as one")
    wide = view[1] & _WIDE
    number = view[1] & ~_WIDE
    if number >= len(FAMILIES):
        raise _damaged(f"family number {number} is unknown")
    count = (view[2] << 8) | view[3]
    at = 4 + count * (8 if wide else 4)
    if count == 0 or at > len(view):
        raise _damaged(f"its {count} lengths do not fit")
    frames: list[memoryview] = []
    for size in struct.unpack_from(f">{count}{'Q' if wide else 'I'}", view, 4):
        if at + size > len(view):
            raise _damaged(f"frame {len(frames)} passes its end")
        frames.append(view[at : at + size])
        at += size
    if at != len(view):
        raise _damaged(f"{len(view) - at} bytes follow its last frame")
    return FAMILIES[number], frames


_HEAD_1 = struct.Struct(">BBHI")


def _damaged(why: str) -> SerializationError:
    return SerializationError(
        f"A packed value of Taskloom is damaged: {why}. Both sides must run the same taskloom "
        "version."
    )


def _flat(frame: Buffer) -> Buffer:
    if type(frame) is bytes:
        return frame
    view = memoryview(frame)
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


# -------------------------------------------------------------------------- plain

_packer = msgpack.Packer(strict_types=True, use_bin_type=True)
_UNLIMITED = {f"max_{what}_len": 2**32 - 1 for what in ("str", "bin", "array", "map")}


def _plain(obj: Any) -> bytes | None:
    """Give the head of plain data, or None when reading it back would give something else."""
    try:
        return _packer.pack(obj) if _is_plain(obj) else None
    except (ValueError, OverflowError, UnicodeEncodeError):
        # Half of a surrogate pair, or too long.
        _packer.reset()
        return None


def _is_plain(obj: Any) -> bool:
    kind = type(obj)
    if kind in _LEAVES or kind is str:
        return True
    if kind is int:
        return -_SAFE < obj < _SAFE
    return _are_plain(obj, set(), 0)


def _are_plain(obj: Any, seen: set[int], depth: int) -> bool:
    """Whether the items of a list or dict are; nothing may stand in it twice."""
    if depth > _DEPTH or id(obj) in seen:
        return False
    seen.add(id(obj))
    if type(obj) is dict:
        if not set(map(type, obj)) <= {str}:
            return False
        items = obj.values()
    else:
        items = obj
    kinds = set(map(type, items))
    for kind in kinds:
        if kind not in _SCALARS and kind is not list and kind is not dict:
            return False
    if int in kinds:
        whole = items if len(kinds) == 1 else [item for item in items if type(item) is int]
        if min(whole) <= -_SAFE or max(whole) >= _SAFE:
            return False
    if list in kinds or dict in kinds:
        for item in items:
            if type(item) in (list, dict) and not _are_plain(item, seen, depth + 1):
                return False
    return True


# -------------------------------------------------------------------------- ndarray


def _ndarray(obj: Any) -> list[Buffer] | None:
    """
    Write an array of numbers, or a number of NumPy's.

    The head is a map: ``dtype`` as NumPy spells it (``<f8``), ``shape``, ``order`` (``C`` or
    ``F``), and ``scalar`` for what is no array but one of its items. The second frame holds the
    items.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    scalar = False
    if type(obj) is not numpy.ndarray:
        if not isinstance(obj, numpy.generic):
            return None
        scalar = True
    dtype = obj.dtype
    if dtype.kind not in _NUMBERS or dtype.metadata or not dtype.isnative or dtype.itemsize > 16:
        return None
    head: dict[str, Any] = {"dtype": dtype.str, "shape": list(obj.shape), "order": "C"}
    if scalar:
        # A subclass, or a type that shares its dtype with another (longlong), would come back
        # as another type.
        if type(obj) is not dtype.type or type(obj) is not numpy.dtype(dtype.str).type:
            return None
        head["scalar"] = True
        return [msgpack.packb(head), obj.tobytes()]
    if obj.flags.f_contiguous and not obj.flags.c_contiguous:
        head["order"] = "F"
        items = obj.T
    else:
        items = obj if obj.flags.c_contiguous else numpy.ascontiguousarray(obj)
    return [msgpack.packb(head), memoryview(items.reshape(-1).view(numpy.uint8)).cast("B")]


def _read_ndarray(frames: Sequence[Buffer]) -> Any:
    head = msgpack.unpackb(frames[0])
    try:
        import numpy
    except ImportError as error:
        raise SerializationError(
            "This value is an array and numpy is not installed here: pip install numpy."
        ) from error
    dtype = numpy.dtype(head["dtype"])
    shape = tuple(head["shape"])
    if head.get("scalar"):
        return numpy.frombuffer(frames[1], dtype)[0]
    if math.prod(shape) == 0:
        return numpy.empty(shape, dtype, head["order"])
    return numpy.frombuffer(frames[1], dtype).reshape(shape, order=head["order"])


# -------------------------------------------------------------------------- arrow


def _arrow(obj: Any) -> list[Buffer] | None:
    """
    Write a table or record batch of pyarrow's as an IPC stream.

    The head is a map with ``kind``: ``table`` or ``batch``.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is None or type(obj) not in (arrow.Table, arrow.RecordBatch):
        return None
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, obj.schema) as writer:
        writer.write(obj)
    kind = "table" if type(obj) is arrow.Table else "batch"
    return [msgpack.packb({"kind": kind}), memoryview(sink.getvalue())]


def _read_arrow(frames: Sequence[Buffer]) -> Any:
    head = msgpack.unpackb(frames[0])
    try:
        import pyarrow
    except ImportError as error:
        raise SerializationError(
            "This value is an Arrow table and pyarrow is not installed here: pip install pyarrow."
        ) from error
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(frames[1])) as reader:
        if head["kind"] == "batch":
            batches = list(reader)
            if len(batches) == 1:
                return batches[0]
            return pyarrow.RecordBatch.from_pylist([], schema=reader.schema)
        return reader.read_all()


# -------------------------------------------------------------------------- pickle


def dumps(obj: Any, reference: Reference | None = None) -> list[Buffer]:
    """
    Pickle with protocol 5, large buffers out of band.

    What stands in ``__main__`` goes by value (cloudpickle), as does what pickle alone cannot write.

    Parameters
    ----------
    obj : object
        What to write.
    reference : callable, optional
        Says for an object which dependency it stands for, or None. It is written as the persistent
        id ``('taskloom-dep', number)``.

    Returns
    -------
    list of buffer
        The pickle, then its buffers.
    """
    buffers: list[pickle.PickleBuffer] = []
    if reference is None:
        try:
            head = pickle.dumps(obj, 5, buffer_callback=collect(buffers))
            if b"__main__" not in head:
                return [head, *(buffer.raw() for buffer in buffers)]
        except Exception:
            # Whatever a class of the user throws: cloudpickle may do better.
            pass
        buffers.clear()
    return [_written_by_value(obj, reference, buffers), *(buffer.raw() for buffer in buffers)]


def _written_by_value(
    obj: Any, reference: Reference | None, buffers: list[pickle.PickleBuffer]
) -> bytes:
    try:
        from taskloom import _by_value

        base: type[pickle.Pickler] = _by_value.Pickler
    except ImportError:
        base = pickle.Pickler
    sink = io.BytesIO()
    try:
        if reference is None:
            base(sink, 5, buffer_callback=collect(buffers)).dump(obj)
        else:
            _referring(base)(sink, 5, buffer_callback=collect(buffers), reference=reference).dump(
                obj
            )
    except Exception as error:
        raise SerializationError(_unpicklable(obj, error)) from error
    return sink.getvalue()


_referring_classes: dict[type, type] = {}


def _referring(base: type[pickle.Pickler]) -> type:
    """Give a pickler that writes references; a class of its own, as the method costs much."""
    made = _referring_classes.get(base)
    if made is None:

        class Referring(base):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, reference: Reference, **options: Any) -> None:
                super().__init__(*args, **options)
                self.reference = reference

            def persistent_id(self, obj: Any) -> tuple[str, int] | None:
                number = self.reference(obj)
                return None if number is None else (DEPENDENCY, number)

        made = _referring_classes[base] = Referring
    return made


def collect(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return a callback of a pickler: large buffers go to the list, small ones into the pickle."""

    def take(buffer: pickle.PickleBuffer) -> bool:
        try:
            large = buffer.raw().nbytes >= _OUT_OF_BAND
        except BufferError:
            # Not contiguous: pickle copies it.
            return True
        if large:
            buffers.append(buffer)
        return not large

    return take


def _unpicklable(obj: Any, error: BaseException) -> str:
    kind = type(obj)
    text = str(error)
    if len(text) > 1000:
        text = f"{text[:1000]}…"
    hint = "Return or pass data instead of what belongs to this process (locks, sockets, files)."
    if isinstance(error, RecursionError) or "recursion" in text:
        hint = "It is nested too deeply: flatten it, or raise sys.setrecursionlimit in the task."
    return (
        f"A value of type {kind.__module__}.{kind.__qualname__} cannot be pickled: "
        f"{type(error).__name__}: {text}. {hint}"
    )


def loads(frames: Sequence[Buffer], resolve: Resolve | None = None) -> Any:
    """Read what `dumps` wrote; `resolve` gives the value of a dependency by its number."""
    if resolve is None:
        return pickle.loads(frames[0], buffers=frames[1:])
    return _Resolving(frames, resolve).load()


class _Resolving(pickle.Unpickler):
    def __init__(self, frames: Sequence[Buffer], resolve: Resolve) -> None:
        super().__init__(io.BytesIO(frames[0]), buffers=frames[1:])
        self.resolve = resolve

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        name, number = pid
        if name != DEPENDENCY:
            raise pickle.UnpicklingError(f"persistent id {pid!r} is not one of taskloom's")
        return self.resolve(number)
