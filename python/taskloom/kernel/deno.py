"""The Deno process behind the kernel: found, started on free ports, ended.

It never outlives the wrapper: on Linux the system itself ends it with its parent, elsewhere it
goes when the wrapper's socket closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

PORT_NAMES = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_PR_SET_PDEATHSIG = 1


class DenoNotFoundError(RuntimeError):
    """The Deno that runs TypeScript cells is not installed."""


def find_deno() -> Path:
    """Return the Deno executable.

    Returns
    -------
    pathlib.Path
        ``TASKLOOM_DENO`` if set, else the one of the ``deno`` Python package, else the one
        beside this Python, else ``deno`` of the PATH.

    Raises
    ------
    DenoNotFoundError
        If there is none.
    """
    named = os.environ.get("TASKLOOM_DENO")
    if named:
        if shutil.which(named) is None:
            raise DenoNotFoundError(f"TASKLOOM_DENO is set to {named!r}, which cannot be run.")
        return Path(named)
    with contextlib.suppress(ImportError, OSError):
        return Path(os.fsdecode(importlib.import_module("deno").find_deno_bin()))
    found = shutil.which("deno", path=str(Path(sys.executable).parent)) or shutil.which("deno")
    if found is None:
        raise DenoNotFoundError(
            "TypeScript notebooks run on Deno, which is not installed. Install it for this Python "
            f"({sys.executable}): pip install 'taskloom[typescript]', then restart the kernel."
        )
    return Path(found)


class DenoProcess:
    """A running ``deno jupyter`` and the private folder with its connection file.

    Attributes
    ----------
    folder : pathlib.Path
        Readable by this user only; also holds the wrapper's socket.
    info : dict
        The connection file of Deno's own sockets.
    """

    def __init__(self, deno: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="taskloom-kernel-")
        self.folder = Path(self._folder.name)
        self.info: dict[str, Any] = {
            "transport": "tcp",
            "ip": "127.0.0.1",
            "key": uuid.uuid4().hex,
            "signature_scheme": "hmac-sha256",
            "kernel_name": "taskloom",
            **dict(zip(PORT_NAMES, _free_ports(len(PORT_NAMES)), strict=True)),
        }
        path = self.folder / "connection.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.info), encoding="utf-8")
        self._process = subprocess.Popen(
            [str(deno), "jupyter", "--quiet", "--kernel", "--conn", str(path)],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def returncode(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End the process, kindly at first, and remove the folder; again does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    """Return free ports of the loopback address; all are held until all are known."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
