"""Messages between a worker and its Python executor, through one socket.

A message is ``u32`` bytes of the head, ``u32`` number of frames, the head (a msgpack map, with
``op``), ``u64`` length of each frame, the frames. Little-endian. Whatever is many is a column.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any

import msgpack

_START = struct.Struct("<II")
# Frames of fewer bytes share one buffer.
_SMALL = 64 * 1024


class Link:
    """The executor's end. Any thread may send; one receives."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._reader: Any = self._socket.makefile("rb", buffering=256 * 1024)
        self._lock = threading.Lock()
        self._packer = msgpack.Packer()

    def receive(self) -> tuple[dict[str, Any], list[memoryview]] | None:
        """Wait for a message: its head and frames; None when the worker is gone."""
        try:
            start = self._reader.read(_START.size)
            if len(start) < _START.size:
                return None
            head_bytes, count = _START.unpack(start)
            rest = self._reader.read(head_bytes + 8 * count)
            if len(rest) < head_bytes + 8 * count:
                return None
            head = msgpack.unpackb(memoryview(rest)[:head_bytes], strict_map_key=False)
            sizes = struct.unpack_from(f"<{count}Q", rest, head_bytes)
            return head, self._frames(sizes)
        except (ConnectionError, EOFError, ValueError):
            return None

    def _frames(self, sizes: Sequence[int]) -> list[memoryview]:
        small = memoryview(self._filled(sum(size for size in sizes if size < _SMALL)))
        frames: list[memoryview] = []
        at = 0
        # Small ones come first, so that they are read at once.
        for size in sizes:
            if size < _SMALL:
                frames.append(small[at : at + size])
                at += size
            else:
                frames.append(memoryview(b""))
        for i, size in enumerate(sizes):
            if size >= _SMALL:
                frames[i] = memoryview(self._filled(size))
        return frames

    def _filled(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        at = 0
        while at < size:
            got = self._reader.readinto(view[at:])
            if not got:
                raise EOFError
            at += got
        return buffer

    def send(self, head: dict[str, Any], frames: Sequence[Any] = ()) -> None:
        """Send a message; silently nothing when the worker is gone."""
        views = [memoryview(frame).cast("B") for frame in frames]
        sizes = [view.nbytes for view in views]
        with self._lock:
            packed = self._packer.pack(head)
            start = (
                _START.pack(len(packed), len(views))
                + packed
                + struct.pack(f"<{len(sizes)}Q", *sizes)
            )
            # As they are read: small ones first.
            small = [view for view in views if view.nbytes < _SMALL]
            large = [view for view in views if view.nbytes >= _SMALL]
            try:
                self._socket.sendall(b"".join([start, *small]))
                for view in large:
                    self._socket.sendall(view)
            except OSError:
                pass

    def abandon(self) -> None:
        """In a fork: this end is the parent's."""
        self._lock = threading.Lock()
        # close() would wait for the reader to be closed.
        os.close(self._socket.detach())
