"""Options that calls have as Dask's do: each does what it says, or is refused in words."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import warnings

import cloudpickle
import pytest

import taskloom
from taskloom import (
    CancelledError,
    Client,
    ConfigError,
    LocalCluster,
    TimeoutError,
    futures_of,
    progress,
    wait,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1) as made:
        made.wait_for_workers(2)
        yield made


@pytest.fixture
def client(cluster):
    with Client(cluster) as made:
        yield made


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("method", ["submit", "compute", "persist", "get", "map"])
def test_actors_are_refused(client, method):
    dask = pytest.importorskip("dask")
    lazy = dask.delayed(1) + 1
    arguments = {
        "submit": (int, "1"),
        "map": (int, ["1"]),
        "get": ({"x": (int, "1")}, "x"),
    }.get(method, (lazy,))
    with pytest.raises(ConfigError, match="no actors"):
        getattr(client, method)(*arguments, actors=True)


def test_security_that_would_not_be_is_refused(cluster):
    with pytest.raises(ConfigError, match="not encrypted"):
        Client(cluster, security=True)


def test_a_call_of_a_synchronous_client_may_be_asynchronous(client):
    async def main():
        future = await client.scatter(20, asynchronous=True)
        found = await client.gather({"x": [future]}, asynchronous=True)
        got = await client.get({"x": (int, "5")}, ["x"], asynchronous=True)
        await client.cancel(future, asynchronous=True)
        await client.retry(future, asynchronous=True)
        return found, got, future.cancelled()

    assert asyncio.run(main()) == ({"x": [20]}, (5,), True)


def test_a_call_of_an_asynchronous_client_may_wait(cluster):
    async def main():
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            future = client.scatter([1, 2], asynchronous=False)
            got = client.get({"x": (int, "5")}, "x", asynchronous=False)
            return client.gather(future, asynchronous=False), got

    assert asyncio.run(main()) == ([1, 2], 5)


def test_scatter_gives_up_in_time(client, monkeypatch):
    async def never(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr("taskloom._scatter.scatter", never)
    with pytest.raises(TimeoutError, match=r"within 0.1 s"):
        client.scatter(1, timeout="100 ms")


def test_futures_of_a_client_are_not_cancelled_ones(client):
    kept, given_up = client.scatter([1, 2])
    given_up.cancel(reason="not needed")
    assert futures_of([kept, {"a": given_up}]) == [kept, given_up]
    assert client.futures_of([kept]) == [kept]
    for look in (client.futures_of, lambda o: futures_of(o, client=client)):
        with pytest.raises(CancelledError, match="not needed"):
            look([kept, given_up])


def test_run_without_waiting(client, tmp_path):
    path = tmp_path / "ran"

    def write():
        time.sleep(0.3)
        path.write_text("x")

    assert client.run(write, wait=False) is None
    assert not path.exists()
    until(path.exists)
    with pytest.raises(ConfigError, match="nanny"):
        client.run(os.getpid, nanny=True)


def test_workers_are_chosen_by_name_and_by_address(client):
    members = client.scheduler_info()["workers"]
    [address] = [at for at, one in members.items() if one["name"] == "worker-0"]
    [future] = client.scatter([1], workers="worker-0")
    for workers in ("worker-0", [address]):
        assert list(client.nthreads(workers)) == [address]
        assert client.has_what(workers)[address] == [future.key]
        assert client.processing(workers) == {address: []}
        assert set(client.get_worker_logs(workers=workers)) <= {"worker-0"}
    assert len(client.scheduler_info(n_workers=1)["workers"]) == 1
    assert client.scheduler_info(0)["workers"] == {}


def test_logs_of_nannies_and_of_workers(client):
    assert all(name.startswith("worker-") for name in client.get_worker_logs())
    nannies = client.get_worker_logs(nanny=True)
    assert nannies and all(name.startswith("nanny ") for name in nannies)
    assert client.get_scheduler_logs(n=None)
    assert len(client.get_scheduler_logs(n=1)) == 1
    with pytest.raises(ConfigError, match="leave out nanny or workers"):
        client.get_worker_logs(workers="worker-0", nanny=True)


def test_bytes_of_single_results_are_not_told_by_nbytes(client):
    assert set(client.nbytes()) == set(client.nthreads())
    for options in ({"keys": ["x"]}, {"summary": False}):
        with pytest.raises(ConfigError, match=r"future\.nbytes"):
            client.nbytes(**options)


def test_datasets_by_several_names_and_with_any_default(client):
    client.publish_dataset(first=client.scatter(1))
    client.publish_dataset(second=2)
    first, second = client.get_dataset(["first", "second"])
    assert (first.result(), second) == (1, 2)
    assert client.get_dataset("none", default=None) is None
    assert client.get_dataset(["second", "none"], default=3) == [2, 3]
    with pytest.raises(ConfigError, match="No dataset named none"):
        client.get_dataset("none")
    client.unpublish_dataset(["first", "second"])
    assert client.list_datasets() == []


def test_a_default_is_not_for_links_that_are_gone(cluster):
    client = Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(taskloom.CommClosedError):
        client.get_dataset("none", default=5)


def test_call_stacks_of_futures_keys_and_collections(client):
    db = pytest.importorskip("dask.bag")

    def sleeps(x):
        time.sleep(60)

    single = client.submit(sleeps, 1, key="sleeps-alone")
    bag = client.persist(db.from_sequence([1], npartitions=1).map(sleeps), optimize_graph=False)
    [part] = futures_of(bag)

    def seen(*arguments, **options):
        return {one["key"] for one in client.call_stack(*arguments, **options)}

    until(lambda: seen() >= {single.key, part.key})
    assert seen(single) == seen(keys=[single.key]) == {single.key}
    assert seen(bag) == seen([bag]) == {part.key}
    assert seen(bag, keys=[single.key]) == {single.key, part.key}
    client.cancel([single, part], force=True)


@pytest.mark.parametrize("method", ["compute", "persist", "get"])
def test_options_of_graphs_reach_their_tasks(client, method, tmp_path):
    dask = pytest.importorskip("dask")
    path = str(tmp_path / "tries")

    def second_time(_=None):
        with open(path, "a") as file:  # noqa: PTH123
            file.write("x")
        if os.path.getsize(path) < 2:  # noqa: PTH202
            raise ValueError("not yet")
        return taskloom.get_worker().name

    def go(**options):
        if method == "get":
            options["sync"] = False
            [future] = client.get({"x": (second_time,)}, ["x"], **options)
        else:
            future = getattr(client, method)(dask.delayed(second_time)(), **options)
        return futures_of(future)[0]

    assert go(retries=1, workers=["worker-1"], priority=2).result(timeout=30) == "worker-1"
    found = go(workers="nobody", allow_other_workers=True, fifo_timeout="1 s").result(timeout=30)
    assert found.startswith("worker-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stuck = go(resources={"nothing-has-this": 1})
        until(lambda: "nothing-has-this" in client.explain(stuck))


def test_progress_of_all_in_one_row_and_of_what_is_left(client, capsys):
    ended = client.submit(int, "1")
    wait(ended)
    later = client.map(lambda x: x, range(3), key="later")
    progress(ended, later, notebook=False, multi=False)
    assert capsys.readouterr().out.startswith("all |")
    wait(later)
    assert progress(ended, notebook=False, complete=False) is None
    assert capsys.readouterr().out == ""
    progress(ended, notebook=False, group_by="prefix")
    assert capsys.readouterr().out.startswith("int |")
    with pytest.raises(ConfigError, match="group_by is a function"):
        progress(ended, notebook=False, group_by="spans")
    with pytest.raises(TypeError, match="unexpected keyword"):
        progress(ended, notebook=False, width=5)
