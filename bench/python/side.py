"""The workloads of main.ts, on one of the two sides: the same code, another library.

Usage: ``python side.py (taskloom | dask) SATURATION SCALE [NAME ...]``; prints one JSON object of
seconds or tasks a second, and of processor seconds of all processes (``_cpu``), which say more than
the clock where others use the machine. Two workers of one thread. Results are looked at, so that
no side is paid for a value that has not come: arrays that arrive are summed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

MB = 10**6
PARTITIONS = 100


def inc(x: int) -> int:
    """Do next to nothing."""
    return x + 1


def add(x: int, y: int) -> int:
    """Do next to nothing with two."""
    return x + y


def array(mb: int, seed: int = 0) -> np.ndarray:
    """Make so many megabytes."""
    return np.full(mb * MB // 8, seed + 1, dtype="f8")


def total(x: np.ndarray) -> float:
    """Read all of it."""
    return float(x.sum())


def part(number: int, rows: int, keys: int, name: str) -> pd.DataFrame:
    """Make a partition."""
    random = np.random.default_rng(number)
    return pd.DataFrame({"key": random.integers(0, keys, rows), name: random.random(rows)})


def seconds(act: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def fastest(once: Callable[[int], float]) -> float:
    """Return the least of four.

    Memory that a virtual machine has not touched before comes slowly, and whoever runs first would
    pay for it.
    """
    return min(once(seed) for seed in range(4))


class Workloads:
    """What both sides do.

    Parameters
    ----------
    client : Client
        Of one of them.
    scale : float
        Part of the tasks.
    """

    def __init__(self, client: Any, scale: float) -> None:
        self.client = client
        self.scale = scale
        info = client.scheduler_info()["workers"]
        self.workers = list(info)

    def map(self) -> float:
        """Map no-ops and gather; tasks a second."""
        count = int(100_000 * self.scale)
        took = seconds(lambda: self.client.gather(self.client.map(inc, range(count), pure=False)))
        return count / took

    def tree(self) -> float:
        """Add up pairs of pairs; tasks a second."""
        leaves = 1 << (int(10_000 * self.scale).bit_length() - 1)
        start = time.perf_counter()
        level = self.client.map(inc, range(leaves), pure=False)
        count = leaves
        while len(level) > 1:
            level = self.client.map(add, level[::2], level[1::2], pure=False)
            count += len(level)
        assert level[0].result() == leaves * (leaves + 1) // 2
        return count / (time.perf_counter() - start)

    def chain(self) -> float:
        """Run one after the other; links a second."""
        links = int(1000 * self.scale)
        start = time.perf_counter()
        future = self.client.submit(inc, 0, pure=False)
        for _ in range(links):
            future = self.client.submit(inc, future, pure=False)
        assert future.result() == links + 1
        return links / (time.perf_counter() - start)

    def between(self) -> float:
        """Read 200 MB on another worker than the one that made them."""
        first, second = self.workers[:2]

        def once(seed: int) -> float:
            made = self.client.submit(array, 200, seed, workers=[first], pure=False)
            self.client.submit(len, made, workers=[first], pure=False).result()
            read = partial(self.client.submit, total, made, workers=[second], pure=False)
            return seconds(lambda: read().result())

        return fastest(once)

    def scatter(self) -> float:
        """Give 500 MB to a worker, where a task reads them."""

        def once(seed: int) -> float:
            value = array(500, seed)

            def act() -> None:
                future = self.client.scatter(value)
                read = self.client.submit(total, future, pure=False).result()
                assert read == len(value) * (seed + 1)

            return seconds(act)

        return fastest(once)

    def gather(self) -> float:
        """Take 500 MB from a worker, and read them."""

        def once(seed: int) -> float:
            made = self.client.submit(array, 500, seed, pure=False)
            self.client.submit(len, made, pure=False).result()
            return seconds(lambda: total(self.client.gather(made)))

        return fastest(once)

    def groupby(self) -> float:
        """Aggregate a frame of 100 partitions by key."""
        frame = self._frame("x", 20_000)
        return seconds(lambda: frame.groupby("key").agg(["sum", "mean", "count"]).compute())

    def join(self) -> float:
        """Merge two frames of 100 partitions by a column."""
        left, right = self._frame("x", 5_000), self._frame("y", 5_000)
        merged = left.merge(right, on="key")
        return seconds(lambda: (merged.x * merged.y).sum().compute())

    def _frame(self, name: str, rows: int) -> Any:
        import dask.dataframe as dd

        meta = part(0, 1, 1, name)
        keys = 100 if rows > 10_000 else 200_000
        return dd.from_map(
            part, range(PARTITIONS), rows=rows, keys=keys, name=name, meta=meta.iloc[:0]
        )

    def mean(self) -> float:
        """Take the mean of 1,600 random chunks."""
        import dask.array as da

        x = da.random.random((20_000, 20_000), chunks=(500, 500))
        return seconds(lambda: x.mean().compute())

    def rechunk(self) -> float:
        """Turn 40 columns of chunks into 40 rows, 256 MB."""
        import dask.array as da

        side = 40
        x = da.random.random((5600, 5600), chunks=(5600, 5600 // side))
        return fastest(lambda _: seconds(lambda: x.rechunk((5600 // side, 5600)).sum().compute()))


NAMES = [
    "map", "tree", "chain", "between", "scatter", "gather", "groupby", "join", "mean", "rechunk",
]  # fmt: skip


@contextmanager
def dask_side(saturation: float) -> Iterator[Any]:
    """Start dask.distributed."""
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.scheduler.worker-saturation": saturation})
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        yield client


@contextmanager
def taskloom_side(_saturation: float) -> Iterator[Any]:
    """Start Taskloom."""
    import dask

    from taskloom import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Client(cluster) as client,
        dask.config.set({"scheduler": client.get, "dataframe.shuffle.method": "tasks"}),
    ):
        yield client


def processor_seconds() -> dict[int, float]:
    """Give what this process and all it started have used, by process."""
    import psutil

    own = psutil.Process()
    used = {}
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            used[process.pid] = times.user + times.system
    return used


def main(side: str, saturation: float, scale: float, names: list[str]) -> dict[str, float]:
    """Run them all."""
    start = taskloom_side if side == "taskloom" else dask_side
    with start(saturation) as client:
        client.wait_for_workers(2)
        client.gather(client.map(inc, range(200), pure=False))
        workloads = Workloads(client, scale)
        found = {}
        for name in names:
            before = processor_seconds()
            found[name] = getattr(workloads, name)()
            after = processor_seconds()
            found[f"{name}_cpu"] = sum(used - before.get(pid, 0) for pid, used in after.items())
            print(f"{side} {name} {found[name]:.4g}", file=sys.stderr, flush=True)
        return found


if __name__ == "__main__":
    which, saturation, scale, *chosen = sys.argv[1:]
    print(json.dumps(main(which, float(saturation), float(scale), chosen or NAMES)))
