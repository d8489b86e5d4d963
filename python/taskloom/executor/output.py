"""What tasks print goes to the worker's log, a line at a time, with the key of the task.

What is written below Python, by C code, comes through the process's own pipes without a key.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable


class Forward(io.TextIOBase):
    """Stands for ``sys.stdout`` or ``sys.stderr``.

    Parameters
    ----------
    send : callable
        Takes the key, the level and a text of whole lines.
    key : callable
        Gives the key of the task whose code runs in this thread, or ''.
    level : {'info', 'error'}
        How the log shows it.
    fd : int
        The stream that it stands for, for those who ask by number.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(
        self, send: Callable[[str, str, str], None], key: Callable[[], str], level: str, fd: int
    ) -> None:
        self._send = send
        self._key = key
        self._level = level
        self._fd = fd
        self._rest = threading.local()
        # Some thread has written a line that has not ended.
        self.is_open = False

    def fileno(self) -> int:
        """Give the number of the stream below."""
        return self._fd

    def isatty(self) -> bool:
        """Nobody watches."""
        return False

    def writable(self) -> bool:
        """Say that one may write."""
        return True

    def write(self, text: str) -> int:
        """Send whole lines; keep the rest until its line ends, or the task does."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        whole, newline, rest = (getattr(self._rest, "text", "") + text).rpartition("\n")
        if newline:
            self._say(whole)
        self._rest.text = rest
        if rest:
            self.is_open = True
        return len(text)

    def flush(self) -> None:
        """Lines are sent as they end."""

    def end_line(self) -> None:
        """The task has ended: so has its line."""
        rest = getattr(self._rest, "text", "")
        if rest:
            self._rest.text = ""
            self._say(rest)

    def _say(self, text: str) -> None:
        text = text.encode("utf-8", "backslashreplace").decode()
        self._send(self._key(), self._level, text)
