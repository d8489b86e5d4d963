"""Data links: values travel straight between this process and workers, never by the scheduler.

A raw socket handed over by HTTP Upgrade (``taskloom-data``) carries messages

    magic 'TLD1' · u32 bytes of the head · u32 frames · f64 length of each frame · head · frames

little-endian. Sockets are blocking and used in threads: the system copies straight into the
buffers that arrays are views of, and other threads run meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgpack

from taskloom._errors import AuthenticationError, CommClosedError, ProtocolError
from taskloom._files import FILE_BYTES, Given, host_mark, map_file, remove_files

_PREFIX = struct.Struct("<4sII")
_MAGIC = b"TLD1"
_HEAD_BYTES = 8 * 2**20
_FRAMES = 1_000_000
_FRAME_BYTES = 4 * 2**30
_HANDSHAKE = 10.0
_SILENCE = 300.0
"""Seconds without a byte, while an answer is owed, after which a link is given up."""
_PIECES = 512
"""Buffers handed to the system at a time."""

Buffer = bytes | bytearray | memoryview
Head = dict[str, Any]


class DataLink:
    """One link to one worker; requests take turns on it."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._next = 0
        self._socket = _open(address, token)
        self._is_near: bool | None = None

    def request(self, head: Head, frames: Sequence[Buffer]) -> tuple[Head, list[bytearray]]:
        """Ask, and return head and frames of the answer."""
        with self._lock:
            self._next += 1
            try:
                _send(self._socket, {**head, "id": self._next}, frames)
                answer, found = _receive(self._socket)
            except (OSError, ProtocolError) as error:
                self.close()
                raise CommClosedError(f"{self._address} closed its data link: {error}.") from error
        if "error" in answer:
            raise CommClosedError(f"{self._address}: {answer['error']}")
        return answer, found

    def close(self) -> None:
        """End the link, and what waits on it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def is_near(self) -> bool:
        """Whether the worker sees the files of this process."""
        if self._is_near is None:
            mark = host_mark()
            try:
                answer, _ = self.request({"op": "get-host"}, [])
                self._is_near = mark != "" and answer["host"] == mark
            except CommClosedError:
                # One that does not know the question.
                self._is_near = False
        return self._is_near

    @property
    def closed(self) -> bool:
        """Whether it has ended on this side."""
        return self._socket.fileno() < 0


class DataPool:
    """Data links by address, one each, opened when first needed."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._links: dict[str, DataLink] = {}
        self._lock = threading.Lock()
        self._given = Given()

    def get(self, address: str, head: Head) -> tuple[Head, list[Any]]:
        """Ask a worker for values; blocks, so it is called in a thread of its own."""
        mark = host_mark()
        answer, frames = self._link(address).request({**head, "host": mark} if mark else head, [])
        files = answer.get("files")
        if files is None:
            return answer, frames
        rest = iter(frames)
        try:
            return answer, [next(rest) if one is None else map_file(one) for one in files]
        except OSError:
            # The worker has let go of it meanwhile, or too much is open here.
            return self._link(address).request(head, [])

    def put(self, address: str, head: Head, frames: Sequence[Buffer]) -> None:
        """Give values to a worker; blocks, too."""
        link = self._link(address)
        if any(memoryview(one).nbytes >= FILE_BYTES for one in frames) and link.is_near():
            sent, files = self._given.write(list(frames))
            try:
                link.request({**head, "files": files}, sent)
                return
            except CommClosedError:
                if link.closed:
                    raise
                # It was refused: should that be for the files' sake, bytes will do.
            finally:
                remove_files(files)
        link.request(head, frames)

    def _link(self, address: str) -> DataLink:
        with self._lock:
            link = self._links.get(address)
        if link is None or link.closed:
            link = DataLink(address, self._token)
            with self._lock:
                self._links[address] = link
        return link

    def close(self) -> None:
        """End all links."""
        with self._lock:
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()
        self._given.close()


def _open(address: str, token: str) -> socket.socket:
    url = urlsplit(address)
    try:
        made = socket.create_connection((url.hostname, url.port or 80), timeout=_HANDSHAKE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.sendall(
            f"GET /data HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: taskloom-data\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        # Byte by byte: what follows the answer belongs to the first message.
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            piece = made.recv(1)
            if not piece or len(answer) > 16_384:
                raise CommClosedError("no upgrade")
            answer += piece
    except OSError as error:
        raise CommClosedError(f"Cannot open a data link to {address}: {error}.") from error
    status = answer.split(b" ", 2)[1]
    if status != b"101":
        made.close()
        if status in (b"401", b"403"):
            raise AuthenticationError(address)
        raise CommClosedError(f"Cannot open a data link to {address}: status {status.decode()}.")
    made.settimeout(_SILENCE)
    return made


def encode_message(head: Head, frames: Sequence[Buffer]) -> list[Buffer]:
    """Return the pieces of a message, in order."""
    views = [memoryview(frame).cast("B") for frame in frames]
    packed = msgpack.packb(head)
    lengths = struct.pack(f"<{len(views)}d", *(len(view) for view in views))
    prefix = _PREFIX.pack(_MAGIC, len(packed), len(views))
    return [prefix + lengths + packed, *(view for view in views if len(view))]


def _send(to: socket.socket, head: Head, frames: Sequence[Buffer]) -> None:
    pieces = [memoryview(piece) for piece in encode_message(head, frames)]
    while pieces:
        sent = to.sendmsg(pieces[:_PIECES])
        done = 0
        while done < len(pieces) and sent >= len(pieces[done]):
            sent -= len(pieces[done])
            done += 1
        del pieces[:done]
        if sent:
            pieces[0] = pieces[0][sent:]


def _receive(link: socket.socket) -> tuple[Head, list[bytearray]]:
    magic, head_bytes, count = _PREFIX.unpack(_exactly(link, _PREFIX.size))
    if magic != _MAGIC or head_bytes > _HEAD_BYTES or count > _FRAMES:
        raise ProtocolError("not a taskloom-data message, or one beyond the limits")
    lengths = struct.unpack(f"<{count}d", _exactly(link, 8 * count))
    if any(not 0 <= length <= _FRAME_BYTES or length != int(length) for length in lengths):
        raise ProtocolError("a data frame of a length that is not allowed")
    head = msgpack.unpackb(_exactly(link, head_bytes), strict_map_key=False)
    return head, [_exactly(link, int(length)) for length in lengths]


def _exactly(link: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view = memoryview(buffer)
    at = 0
    while at < size:
        read = link.recv_into(view[at:])
        if read == 0:
            raise CommClosedError("it was closed in the middle of a message")
        at += read
    return buffer
