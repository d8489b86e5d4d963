"""What is told of the memory and processor time of Python executors."""

from __future__ import annotations

import sys
import time

import cloudpickle
import numpy as np
import pytest

from taskloom import Client, LocalCluster, wait

cloudpickle.register_pickle_by_value(sys.modules[__name__])

MB = 2**20


@pytest.fixture(scope="module")
def client():
    shape = {"n_workers": 1, "threads_per_worker": 4, "memory_limit": "1000 MiB"}
    with LocalCluster(**shape) as cluster, Client(cluster) as client:
        yield client


def metrics(client) -> dict:
    """What its newest heartbeat has told; there is none at first."""
    return until(lambda: next(iter(client.scheduler_info()["workers"].values()))["metrics"])


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def hold(megabytes: int, seconds: float) -> int:
    data = np.ones(megabytes * MB, dtype="u1")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data[::4096] += 1
    return data.nbytes


def total(data: np.ndarray, seconds: float) -> int:
    found = int(data[::4096].sum())
    time.sleep(seconds)
    return found


def test_processes_count_in_what_a_worker_tells(client):
    before = metrics(client)
    futures = client.map(hold, [60, 61], seconds=4)
    # Two processes with 60 MiB each, which compute all the time.
    until(lambda: metrics(client)["rss"] > before["rss"] + 110 * MB)
    until(lambda: metrics(client)["cpu"] > 60)
    assert client.gather(futures) == [60 * MB, 61 * MB]


def test_what_processes_share_counts_once(client):
    data = client.scatter(np.ones(300 * MB, dtype="u1"))
    # All four map it at the same time: four times 300 MiB would end the worker.
    futures = [client.submit(total, data, 2 + n / 100) for n in range(4)]
    wait(futures, timeout=30)
    assert {future.status for future in futures} == {"finished"}
    assert metrics(client)["rss"] < 950 * MB
