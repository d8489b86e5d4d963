"""Frames that change hands as files in memory, between processes of one machine.

Who sees the same files has the same mark, and is told their names instead of their bytes: it maps
them, or takes a name of its own for them, a hard link. src/config/host-mark.ts and
src/worker/store/filed.ts are the other side.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import mmap
import os
import shutil
import socket
import tempfile
import threading
import time
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

SHARED_MEMORY = "/dev/shm"
FILE_BYTES = 2**20
"""Frames from so many bytes on go through files."""
_SPACE_SHARE = 0.5
"""Part of the free space that one frame may take."""
_KEPT_MOST = 16
"""Files that are kept to be written again."""
_KEPT_S = 10.0
"""Seconds after which a file that nobody has is removed."""
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


def write_file(frame: Any, folder: str, prefix: str, kept: Kept | None = None) -> str | None:
    """Write a frame to a file of a new name; None when there is no room for it.

    With ``kept``, to one that nobody has any more, where there is one.
    """
    view = memoryview(frame).cast("B")
    path = ""
    try:
        if kept is not None:
            again = kept.write(view, prefix)
            if again is not None:
                return again
        space = os.statvfs(folder)
        if view.nbytes > _SPACE_SHARE * space.f_bavail * space.f_frsize:
            return None
        fd, path = tempfile.mkstemp(prefix=prefix, dir=folder)
        with os.fdopen(fd, "wb", buffering=0) as file:
            _write(file.fileno(), view)
        if kept is not None:
            kept.add(path, view.nbytes)
        return path
    except OSError:
        # Full, or gone: the link will do.
        if path:
            Path(path).unlink(missing_ok=True)
        return None


def _write(fd: int, view: memoryview) -> None:
    at = 0
    while at < view.nbytes:
        at += os.pwrite(fd, view[at:], at)


class Kept:
    """Files in memory of one process, written again when nobody has them any more.

    The system takes longer to give new pages than to copy into those that are there. A file is
    written again when no name of it is left but the one that is kept here, and nobody has locked
    it: whoever maps or reads one by its name holds a shared lock meanwhile (`map_file`), and
    workers keep the names of what they read.

    Parameters
    ----------
    folder : str
        Where the files lie.
    limit : int
        Bytes that are kept at most.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._files: list[_KeptFile] = []
        self._lock = threading.Lock()
        self._sweeps = False

    def write(self, view: memoryview, prefix: str) -> str | None:
        """Write a frame into a file that is free, and give it a name; None: there is none."""
        file = self._take(view.nbytes)
        if file is None:
            return None
        path = os.path.join(self._folder, f"{prefix}kept{next(_numbers)}")  # noqa: PTH118
        try:
            if file.nbytes != view.nbytes:
                os.ftruncate(file.fd, view.nbytes)
                file.nbytes = view.nbytes
            _write(file.fd, view)
            # From its new name on it is not free, whoever has locked it.
            os.link(file.path, path)
        except OSError:
            file.remove()
            raise
        fcntl.flock(file.fd, fcntl.LOCK_UN)
        self._put(file)
        return path

    def add(self, path: str, nbytes: int) -> None:
        """Keep a file that was just written."""
        if nbytes > self._limit:
            return
        name = os.path.join(self._folder, f"kept-{os.getpid()}-{next(_numbers)}")  # noqa: PTH118
        try:
            os.link(path, name)
            file = _KeptFile(name, os.open(name, os.O_RDWR), nbytes)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            return
        self._put(file)

    def clear(self) -> None:
        """Let go of all that nobody has."""
        with self._lock:
            files, self._files = self._files, []
        for file in files:
            file.remove()

    def _take(self, nbytes: int) -> _KeptFile | None:
        """Take out, locked, a file that is free and has room, but not much more."""
        with self._lock:
            for at, file in enumerate(self._files):
                if nbytes <= file.nbytes <= 2 * nbytes and file.lock():
                    return self._files.pop(at)
        return None

    def _put(self, file: _KeptFile) -> None:
        file.since = time.monotonic()
        with self._lock:
            self._files.append(file)
            total = sum(one.nbytes for one in self._files)
            gone = []
            while total > self._limit or len(self._files) > _KEPT_MOST:
                gone.append(self._files.pop(0))
                total -= gone[-1].nbytes
            start, self._sweeps = not self._sweeps, True
        for one in gone:
            one.remove()
        if start:
            self._sweep_later()

    def _sweep_later(self) -> None:
        timer = threading.Timer(_KEPT_S / 2, self._sweep)
        timer.daemon = True
        timer.start()

    def _sweep(self) -> None:
        """Remove what has been free for a while."""
        now = time.monotonic()
        with self._lock:
            old = [one for one in self._files if now - one.since > _KEPT_S and one.free()]
            self._files = [one for one in self._files if one not in old]
            self._sweeps = bool(self._files)
        for one in old:
            one.remove()
        if self._sweeps:
            self._sweep_later()

    def forked(self) -> None:
        """In a fork: they are the parent's."""
        self._lock = threading.Lock()
        self._files = []
        self._limit = 0


class _KeptFile:
    __slots__ = ("fd", "nbytes", "path", "since")

    def __init__(self, path: str, fd: int, nbytes: int) -> None:
        self.path = path
        self.fd = fd
        self.nbytes = nbytes
        self.since = 0.0

    def free(self) -> bool:
        """Whether it has no other name."""
        return os.fstat(self.fd).st_nlink == 1

    def lock(self) -> bool:
        """Lock it, if nobody else has it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if self.free():
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def remove(self) -> None:
        """Let go of it; its bytes go with the last name and the last mapping."""
        os.close(self.fd)
        with contextlib.suppress(OSError):
            os.unlink(self.path)  # noqa: PTH108


def map_file(path: str) -> memoryview:
    """Return what a file holds; what is changed stays with this process.

    A mapping keeps its file open, with the lock that keeps others from writing it again, and a
    process may open only so many: beyond half of that, files are read. Raises OSError when the
    file has lost this name.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        if path.startswith(SHARED_MEMORY):
            fcntl.flock(fd, fcntl.LOCK_SH)
            # Before it was locked it may have lost its name, and been written again.
            os.stat(path)  # noqa: PTH116
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
