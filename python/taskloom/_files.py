"""Frames that change hands as files in memory, between processes of one machine.

Who sees the same files has the same mark, and is told their names instead of their bytes: it maps
them, or takes a name of its own for them, a hard link. src/config/host-mark.ts and
src/worker/store/filed.ts are the other side.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
import shutil
import socket
import sys
import tempfile
import threading
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

SHARED_MEMORY = "/dev/shm"
FILE_BYTES = 2**20
"""Frames from so many bytes on go through files."""
_SPACE_SHARE = 0.5
"""Part of the free space that one frame may take."""
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_numbers = itertools.count()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@lru_cache(maxsize=1)
def host_mark() -> str:
    """Return the mark of this process; '' where the system cannot say."""
    try:
        spaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "user")]  # noqa: PTH115
        device = os.stat(SHARED_MEMORY).st_dev  # noqa: PTH116
        return " ".join([_boot(), str(os.getuid()), str(device), *spaces])
    except (OSError, AttributeError):
        return ""


def _prefix() -> str:
    """Return how the folder of a client is called, as src/config/folder.ts does."""
    pids = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    facts = [socket.gethostname(), str(os.getuid()), _boot(), pids]
    place = hashlib.sha256(" ".join(facts).encode()).hexdigest()[:12]
    return f"taskloom-client-{place}-{os.getpid()}-"


def write_file(frame: Any, folder: str, prefix: str) -> str | None:
    """Write a frame to a new file, and return its name; None when there is no room for it."""
    view = memoryview(frame).cast("B")
    path = ""
    try:
        space = os.statvfs(folder)
        if view.nbytes > _SPACE_SHARE * space.f_bavail * space.f_frsize:
            return None
        fd, path = tempfile.mkstemp(prefix=prefix, dir=folder)
        with os.fdopen(fd, "wb", buffering=0) as file:
            at = 0
            while at < view.nbytes:
                at += file.write(view[at:])
        return path
    except OSError:
        # Full, or gone: the link will do.
        if path:
            Path(path).unlink(missing_ok=True)
        return None


def map_file(path: str) -> memoryview:
    """Return what a file holds; what is changed stays with this process.

    A mapping keeps its file open before Python 3.13, and a process may open only so many: beyond
    half of that, files are read.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_COPY, trackfd=False))
        if len(_maps) < _most_maps():
            made = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
            _maps.add(made)
            return memoryview(made)
        content = memoryview(bytearray(os.fstat(fd).st_size))
        at = 0
        while at < content.nbytes:
            got = os.readv(fd, [content[at:]])
            if not got:
                raise EOFError(f"{path} ends too early.")
            at += got
        return content
    finally:
        os.close(fd)


def _most_maps() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


class Given:
    """Files of this process on their way to workers, in a folder of its own.

    Should the process be killed, a worker that was given some removes the folder.
    """

    def __init__(self) -> None:
        self._folder = ""
        self._pid = 0
        self._lock = threading.Lock()

    def write(self, frames: list[Any]) -> tuple[list[Any], list[str | None]]:
        """Return the frames to send, and for each of all frames its file or None."""
        sent: list[Any] = []
        files: list[str | None] = []
        for frame in frames:
            path = None
            if memoryview(frame).nbytes >= FILE_BYTES and (folder := self._made()):
                path = write_file(frame, folder, f"given-{next(_numbers)}-")
            files.append(path)
            if path is None:
                sent.append(frame)
        return sent, files

    def _made(self) -> str:
        with self._lock:
            if self._pid != os.getpid():
                # Also in a fork: the folder is the parent's.
                try:
                    self._folder = tempfile.mkdtemp(prefix=_prefix(), dir=SHARED_MEMORY)
                except OSError:
                    self._folder = ""
                self._pid = os.getpid()
            return self._folder

    def close(self) -> None:
        """Remove the folder."""
        with self._lock:
            if self._folder and self._pid == os.getpid():
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._pid = "", 0


def remove_files(files: list[str | None]) -> None:
    """Remove those that are still there."""
    for path in files:
        if path is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108
