"""What has ended in an executor and is told to the worker, in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from taskloom.executor.link import Link
from taskloom.executor.values import Values

# Results are sent when so many have gathered, or after so many seconds, or so many bytes.
_BATCH = 32
_BATCH_S = 0.002
_BATCH_BYTES = 4 * 2**20


class _Batch:
    def __init__(self) -> None:
        self.rows: list[tuple] = []
        self.failures: list[dict[str, Any]] = []
        self.frames: list[Any] = []
        self.bytes = 0


class Results:
    """Gathers what ends in any thread.

    Parameters
    ----------
    link : Link
        To the worker.
    values : Values
        Whose evictions are told along.
    """

    def __init__(self, link: Link, values: Values) -> None:
        self._link = link
        self._values = values
        self._batch = _Batch()
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._last_sent = 0.0

    def add(
        self,
        row: tuple,
        frames: Sequence[Any] = (),
        nbytes: int = 0,
        failure: dict[str, Any] | None = None,
    ) -> None:
        """Take in what came of a task; it is sent now if that is due."""
        with self._lock:
            batch = self._batch
            batch.rows.append(row)
            batch.frames.extend(frames)
            batch.bytes += nbytes
            if failure is not None:
                batch.failures.append(failure)
        self._flush_if_due(batch)

    def _flush_if_due(self, batch: _Batch) -> None:
        count = len(batch.rows)
        if count >= _BATCH or batch.bytes >= _BATCH_BYTES:
            self.flush()
        elif count == 1:
            if time.perf_counter() - self._last_sent > _BATCH_S:
                self.flush()
            else:
                self._due.set()

    def flush(self) -> None:
        """Tell what has ended."""
        if not self._batch.rows:
            return
        with self._lock:
            batch = self._batch
            if not batch.rows:
                return
            self._batch = _Batch()
            self._last_sent = time.perf_counter()
            self._link.send(
                {
                    "op": "results",
                    "rows": batch.rows,
                    "failures": batch.failures,
                    "evicted": self._values.take_evicted(),
                },
                batch.frames,
            )

    def tell_in_time(self) -> None:
        """Send what waits behind a task that takes long; runs in a thread of its own."""
        while True:
            self._due.wait()
            self._due.clear()
            time.sleep(2 * _BATCH_S)
            self.flush()

    def forked(self) -> None:
        """In a fork of the user's: another thread may have held the lock."""
        self._lock = threading.Lock()
