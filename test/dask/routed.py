"""A pytest plugin that routes Dask's own tests to one scheduler, and notes what came of each.

Most of Dask's tests name a scheduler ("sync", "threads"), so that a setting would not reach them:
all values in `dask.base.named_schedulers` are replaced, and the setting is made beside that. Use it
through `run.py`, which says by the environment:

TASKLOOM_ROUTE     ``taskloom``, or ``processes`` for the comparison
TASKLOOM_OUTCOMES  a file of JSON lines, one for each test; tests noted there are not run again
TASKLOOM_LIMIT     seconds that a test may take
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

_ROUTE = os.environ.get("TASKLOOM_ROUTE", "taskloom")
_LIMIT = int(os.environ.get("TASKLOOM_LIMIT", "60"))


class TooLongError(BaseException):
    """A test went on beyond its limit; no test catches it."""


class Routed:
    """The plugin's state in one run."""

    def __init__(self, notes: Path | None) -> None:
        self.notes = notes
        self.stack = contextlib.ExitStack()
        self.calls = 0
        self.known: dict[str, str] = {}
        if notes is not None and notes.exists():
            for line in notes.read_text().splitlines():
                one = json.loads(line)
                self.known[one["id"]] = one["outcome"]

    def start(self) -> None:
        """Start what computes, and put it in the place of Dask's schedulers."""
        import dask
        import dask.base

        get = self._taskloom() if _ROUTE == "taskloom" else self._processes()
        for name in dask.base.named_schedulers:
            dask.base.named_schedulers[name] = get
        self.stack.enter_context(dask.config.set(scheduler=get))

    def _taskloom(self):
        from taskloom import Client, LocalCluster

        cluster = self.stack.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="2 GB")
        )
        # Not the default: what a default client sets is not what is tested here.
        client = self.stack.enter_context(Client(cluster, set_as_default=False))
        client.wait_for_workers(2)
        return client.get

    def _processes(self):
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        import dask
        import dask.multiprocessing

        # One pool for all tests: Dask would start one for every call.
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
        self.stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        self.stack.enter_context(dask.config.set(pool=pool))
        return dask.multiprocessing.get

    def note(self, test: str, outcome: str, why: str) -> None:
        """Write down what came of a test, the worst of its phases."""
        if self.known.get(test) in ("failed", "error"):
            return
        self.known[test] = outcome
        if self.notes is not None:
            with self.notes.open("a") as file:
                file.write(json.dumps({"id": test, "outcome": outcome, "why": why}) + "\n")


def pytest_configure(config):
    notes = os.environ.get("TASKLOOM_OUTCOMES")
    routed = config.stash[_KEY] = Routed(Path(notes) if notes else None)
    config.addinivalue_line("markers", "slow: takes long; run with --runslow")
    routed.start()


def pytest_unconfigure(config):
    routed = config.stash.get(_KEY, None)
    if routed is not None:
        routed.stack.close()


_KEY = pytest.StashKey[Routed]()


def pytest_collection_modifyitems(config, items):
    """Leave out what a run before has noted."""
    known = config.stash[_KEY].known
    left = [item for item in items if item.nodeid not in known]
    if len(left) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in known])
        items[:] = left


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    def stop(*_):
        raise TooLongError(f"longer than {_LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" or report.outcome != "passed":
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        elif report.when != "call" and report.failed:
            outcome = "error"
        why = ""
        if call.excinfo is not None and outcome in ("failed", "error"):
            why = f"{call.excinfo.typename}: {str(call.excinfo.value)[:300]}"
        item.config.stash[_KEY].note(item.nodeid, outcome, why)
    return report
