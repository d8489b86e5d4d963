"""Values as live objects: results that exist nowhere else, and copies that save decoding.

A result is kept live, and is not serialised until somebody else needs it, when its type is known to
travel whatever it holds: else a value that cannot be pickled would be found out only when it is
too late to blame its task. Copies are a cache: the least recently used go first.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskloom._files import FILE_BYTES, SHARED_MEMORY, Kept, map_file, write_file
from taskloom.serialize import deserialize, serialize

_FEW = 100


class Sent:
    """A value that came as frames: decoded once, when a task first asks for it."""

    __slots__ = ("_lock", "family", "frames", "nbytes", "value")

    def __init__(self, family: str, frames: Sequence[Any], nbytes: int) -> None:
        self.family = family
        self.frames: Sequence[Any] | None = frames
        self.nbytes = nbytes
        self.value: Any = None
        self._lock = threading.Lock()

    def get(self) -> Any:
        """Give the value."""
        with self._lock:
            if self.frames is not None:
                self.value = deserialize(self.family, self.frames)
                self.frames = None
            return self.value


class Values:
    """Live values of one executor, by task number.

    Parameters
    ----------
    limit : int
        Bytes of copies that are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._owned: dict[int, Any] = {}
        self._copies: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._evicted: list[int] = []
        self._lock = threading.Lock()

    def own(self, tid: int, value: Any) -> None:
        """Keep a value that is nowhere else."""
        with self._lock:
            self._forget(tid)
            self._owned[tid] = value

    def copy(self, tid: int, value: Any, nbytes: int) -> bool:
        """Keep a copy; False when it is too large, which counts as evicted."""
        with self._lock:
            self._forget(tid)
            if nbytes > self._limit:
                self._evicted.append(tid)
                return False
            self._copies[tid] = (value, nbytes)
            self._bytes += nbytes
            while self._bytes > self._limit:
                old, (_, size) = self._copies.popitem(last=False)
                self._bytes -= size
                self._evicted.append(old)
            return True

    def get(self, tid: int) -> tuple[bool, Any]:
        """Give whether it is here, and the value or its `Sent`."""
        with self._lock:
            if tid in self._owned:
                return True, self._owned[tid]
            found = self._copies.get(tid)
            if found is None:
                return False, None
            self._copies.move_to_end(tid)
            return True, found[0]

    def owned(self, tid: int) -> Any:
        """Give a value that is nowhere else; KeyError when it is not here."""
        return self._owned[tid]

    def drop(self, tids: Sequence[int]) -> None:
        """Let go of values for good."""
        with self._lock:
            for tid in tids:
                self._forget(tid)

    def clear(self) -> None:
        """Memory is short: all copies go."""
        with self._lock:
            self._evicted.extend(self._copies)
            self._copies.clear()
            self._bytes = 0

    def take_evicted(self) -> list[int]:
        """Give the copies that were let go of since the last call."""
        if not self._evicted:
            return self._evicted
        with self._lock:
            gone, self._evicted = self._evicted, []
            return gone

    def _forget(self, tid: int) -> None:
        self._owned.pop(tid, None)
        found = self._copies.pop(tid, None)
        if found is not None:
            self._bytes -= found[1]


def travels(value: Any, depth: int = 0) -> bool:
    """Whether a value can certainly be serialised, by its type alone."""
    kind = type(value)
    if kind in (bytes, bytearray, str, int, float, bool, complex, type(None)):
        return True
    if kind in (list, tuple) and depth < 2 and len(value) <= _FEW:
        return all(travels(item, depth + 1) for item in value)
    module = kind.__module__.partition(".")[0]
    name = kind.__name__
    if module == "numpy":
        return name == "ndarray" and not value.dtype.hasobject
    if module == "pandas":
        # Columns of Python objects may hold anything.
        if name == "DataFrame":
            return all(_is_data(dtype) for dtype in value.dtypes)
        return name == "Series" and _is_data(value.dtype)
    return module == "pyarrow" and name in ("Table", "RecordBatch", "ChunkedArray")


def _is_data(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biufcMm" or type(dtype).__name__ == "StringDtype"


class Outbox:
    """Frames on their way out: large ones in files.

    Parameters
    ----------
    folders : sequence of str
        Where: the first that has room is taken. Without any, all go through the link.
    keep_bytes : int
        Bytes of files in memory that may be kept to be written again.
    """

    def __init__(self, folders: Sequence[str], keep_bytes: int) -> None:
        self._places = [
            (folder, Kept(folder, keep_bytes) if folder.startswith(SHARED_MEMORY) else None)
            for folder in folders
        ]

    def put(self, frames: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Give the frames to send, and for each of all frames its file or None."""
        sent: list[Any] = []
        files: list[str | None] = []
        for frame in frames:
            path = None
            if _nbytes(frame) >= FILE_BYTES:
                for folder, kept in self._places:
                    path = write_file(frame, folder, f"frame-{os.getpid()}-", kept)
                    if path is not None:
                        break
            files.append(path)
            if path is None:
                sent.append(frame)
        return sent, files

    def clear(self) -> None:
        """Memory is short: no files are kept."""
        for _, kept in self._places:
            if kept is not None:
                kept.clear()

    def forked(self) -> None:
        """In a fork: files are the parent's."""
        for _, kept in self._places:
            if kept is not None:
                kept.forked()


def _nbytes(frame: Any) -> int:
    return len(frame) if type(frame) is bytes else memoryview(frame).nbytes


def mapped(path: str) -> memoryview:
    """Map a file that the worker has written for this process; what is changed stays here."""
    try:
        return map_file(path)
    finally:
        Path(path).unlink(missing_ok=True)


def written(value: Any) -> tuple[str, list[Any]]:
    """Serialise a value, one that has only been passed on from elsewhere included."""
    if isinstance(value, Sent):
        value = value.get()
    return serialize(value)
