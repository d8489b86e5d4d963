"""The client against real clusters: values, datasets, waiting, lost schedulers. No tasks run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import taskloom
from taskloom import (
    CancelledError,
    Client,
    Cluster,
    ConfigError,
    LocalCluster,
    TimeoutError,
    as_completed,
    wait,
)
from taskloom._connection import find_cluster, list_connection_files


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1 GiB") as made:
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


def test_values_go_to_workers_and_come_back(client):
    values = [1, 2**70, "text", (1, 2), {"a": [None, True]}, b"bytes", {3, 4}, 1 + 2j]
    futures = client.scatter(values)
    assert [future.status for future in futures] == ["finished"] * len(values)
    found = client.gather(futures)
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


def test_arrays_are_views_that_can_be_written_to(client):
    array = np.arange(300_000.0).reshape(300, 1000)
    found = client.scatter(array).result()
    assert (found == array).all()
    found[0, 0] = 5


def test_collections_keep_their_form(client):
    named = client.scatter({"x": 1, "y": 2})
    assert client.gather(named) == {"x": 1, "y": 2}
    nested = {"deep": [named["x"], (named["y"], 3)]}
    assert client.gather(nested) == {"deep": [1, (2, 3)]}
    assert client.gather(iter(client.scatter([7, 8]))) == [7, 8]


def test_broadcast_puts_a_copy_on_every_worker(client):
    future = client.scatter(np.ones(1000), broadcast=True)
    [holders] = client.who_has(future).values()
    assert sorted(holders) == sorted(client.nthreads())


def test_release_lets_go(client):
    future = client.scatter("to be let go of")
    key = future.key
    del future
    until(lambda: client.who_has([key]).get(key, []) == [])


def test_publish_by_name(client, cluster):
    future = client.scatter("value")
    client.publish_dataset({"data": [future], "n": 3}, name="both")
    client.publish_dataset(own=(future, "a tuple is Python's"))
    with pytest.raises(ConfigError, match="both"):
        client.publish_dataset(future, name="both")
    with Client(cluster, set_as_default=False) as other:
        assert other.list_datasets() == ["both", "own"]
        found = other.get_dataset("both")
        assert found["n"] == 3
        assert found["data"][0].result(timeout=20) == "value"
        assert other.get_dataset("own")[1] == "a tuple is Python's"
        assert other.get_dataset("none", default=5) == 5
    for name in ("both", "own"):
        client.unpublish_dataset(name)
    assert client.list_datasets() == []


def test_typescript_and_python_exchange_futures(client, cluster, tmp_path):
    client.publish_dataset({"numbers": client.scatter([1, 2, 3])}, name="from-python")
    script = tmp_path / "other.mjs"
    index = taskloom.runtime_path() / "index.mjs"
    script.write_text(
        f"""import {{ Client }} from {str(index)!r};
        const client = await Client.connect({cluster.name!r});
        const {{ numbers }} = await client.getDataset('from-python');
        const sum = client.submit(list => list.reduce((a, b) => a + b), numbers);
        await client.publishDataset('from-typescript', {{ sum, parts: [sum, 'x'] }});
        await client.close();"""
    )
    subprocess.run([taskloom.node_path(), script], check=True, timeout=60)
    found = client.get_dataset("from-typescript")
    assert found["sum"].result(timeout=20) == 6
    assert found["parts"][1] == "x"


def test_waiting(client):
    futures = client.scatter([1, 2, 3])
    done, not_done = wait(futures)
    assert done == set(futures) and not_done == set()
    assert {future.result() for future in as_completed(futures)} == {1, 2, 3}
    pairs = dict(as_completed(futures, with_results=True))
    assert pairs == dict(zip(futures, [1, 2, 3], strict=True))


@pytest.mark.filterwarnings("ignore:.*nobody")
def test_tasks_that_cannot_run_wait_and_can_be_given_up(client):
    future = client.submit(int, "1", workers="nobody")
    with pytest.raises(TimeoutError, match="explain"):
        future.result(timeout=0.1)
    assert "nobody" in client.explain(future)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    future.cancel(reason="changed my mind")
    with pytest.raises(CancelledError, match="changed my mind"):
        future.result()
    assert future.cancelled() and called.wait(10)
    with pytest.raises(CancelledError):
        client.submit(int, future)


@pytest.mark.filterwarnings("ignore:.*nobody")
def test_interrupt_frees_the_caller(client):
    future = client.submit(int, "1", workers="nobody")
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        future.result()
    timer.join()
    assert future.status == "pending" and client.scatter(1).result() == 1


def test_facts(client, cluster):
    info = client.scheduler_info()
    assert info["counts"]["running"] == 2 and len(info["workers"]) == 2
    assert sorted(client.nthreads().values()) == [1, 1]
    assert {log["source"] for log in client.logs()} >= {"scheduler"}
    assert cluster.name in repr(client) and cluster.token not in repr(client)
    for one in (client, cluster, client.scatter(1)):
        assert "<table>" in one._repr_html_() and cluster.token not in one._repr_html_()


def test_dump(client, tmp_path):
    facts = Path(client.dump_cluster_state(str(tmp_path / "dump"))).stat()
    assert facts.st_mode & 0o077 == 0
    assert facts.st_size > 100


def test_other_ways_to_connect(cluster, tmp_path):
    for target in (cluster.name, cluster.scheduler_address, Cluster(cluster.name)):
        with Client(target, set_as_default=False) as client:
            assert client.scatter(1).result() == 1
    with pytest.raises(ConfigError, match="No running cluster is called nowhere"):
        Client("nowhere")
    with pytest.raises(taskloom.AuthenticationError):
        Client(cluster.scheduler_address, token="wrong")
    with pytest.raises(taskloom.CommClosedError, match="Cannot connect"):
        Client("http://127.0.0.1:1", token="x")


def test_asynchronous(cluster):
    async def main():
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            futures = await client.scatter([1, 2])
            assert await client.gather(futures) == [1, 2]
            assert await futures[0] == 1 and await futures[1].result() == 2
            found = [future async for future in as_completed(futures)]
            assert set(found) == set(futures)
            done, _ = await wait(futures)
            assert len(done) == 2
            return await client.who_has(futures)

    assert len(asyncio.run(main())) == 2


def test_a_synchronous_client_works_within_a_running_loop(cluster):
    async def main():
        with Client(cluster, set_as_default=False) as client:
            return client.scatter(5).result()

    assert asyncio.run(main()) == 5


def test_a_scheduler_that_dies_comes_back_with_the_values():
    with LocalCluster(n_workers=1, name="phoenix") as cluster, Client(cluster) as client:
        futures = client.scatter([1, 2, 3])
        del futures[1]
        os.kill(find_cluster("phoenix")["pid"], signal.SIGKILL)
        assert client.scatter("after").result() == "after"
        assert client.gather(futures) == [1, 3]


def test_a_cluster_that_ends_is_said_to_have_ended():
    cluster = LocalCluster(n_workers=1)
    client = Client(cluster)
    future = client.scatter(np.ones(10_000))
    cluster.close()
    until(lambda: client.status == "closed")
    with pytest.raises(CancelledError, match="its cluster is gone"):
        future.result()
    with pytest.raises(taskloom.CommClosedError, match="closed by its owner"):
        client.scatter(1)
    client.close()


def test_a_cluster_ends_with_its_owner():
    code = (
        "import os, taskloom; cluster = taskloom.LocalCluster(n_workers=1); "
        "print(cluster.id, flush=True); os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    identity = done.stdout.strip()
    assert identity
    until(lambda: identity not in {file["id"] for file in list_connection_files()})


def test_scaling(cluster):
    with LocalCluster(n_workers=1) as own, Client(own) as client:
        own.scale(2)
        client.wait_for_workers(2, timeout=30)
        client.retire_workers(n=1)
        until(lambda: len(client.nthreads()) == 1)
        own.adapt(minimum=1, maximum=2)
        assert own.info()["adaptive"] == {"minimum": 1, "maximum": 2}


def test_scaling_by_memory_and_cores():
    with LocalCluster(n_workers=0, threads_per_worker=2, memory_limit="500 MiB") as cluster:
        # Another process does not know what workers there will be.
        with pytest.raises(ConfigError, match="Ask for a number of workers instead"):
            Cluster(cluster.name).scale(cores=4)
        cluster.scale(cores=3)
        cluster.wait_for_workers(2)
        assert Cluster(cluster.name)._count(None, 5) == 3
        cluster.scale(memory="1.2 GiB")
        cluster.wait_for_workers(3)
        # Of several wishes the largest counts, of several bounds the least.
        cluster.scale(1, cores=4, memory="100 MB")
        until(lambda: cluster.info()["workers"]["running"] == 2)
        cluster.adapt(minimum_cores=2, maximum_cores=5, maximum=7)
        bounds = cluster.info()["adaptive"]
        assert (bounds["minimum"], bounds["maximum"]) == (1, 2)
        with pytest.raises(ConfigError, match=r"Not one worker of .* fits: it has 2 threads"):
            cluster.adapt(maximum_cores=1)
        cluster.adapt(maximum=float("inf"))
        assert cluster.info()["adaptive"] == {"minimum": 0, "maximum": None}
        assert set(cluster.get_logs(cluster=False, workers=False)) == {"scheduler"}
        assert set(cluster.get_logs(False, False, ["worker-0"])) <= {"worker-0"}


def test_scaling_down_by_name():
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(2)
        kept = client.scatter("kept", workers="worker-1")
        [told] = cluster.scale_down(["worker-1"])
        assert (told["name"], told["outcome"], told["lost"]) == ("worker-1", "closed", 0)
        until(lambda: len(client.nthreads()) == 1)
        assert kept.result(timeout=20) == "kept"
        with pytest.raises(ConfigError, match="nobody"):
            cluster.scale_down("nobody")


def test_workers_are_restarted_by_name():
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(2)
        before = {one["name"]: one["pid"] for one in client.scheduler_info()["workers"].values()}
        assert client.restart_workers(["worker-0"]) == {"worker-0": "OK"}
        after = {one["name"]: one["pid"] for one in client.scheduler_info()["workers"].values()}
        assert after["worker-1"] == before["worker-1"] and after["worker-0"] != before["worker-0"]
        with pytest.raises(ConfigError, match=r"No worker is called nobody. There are: worker-0"):
            client.restart_workers("nobody")
        assert client.submit(pow, 2, 3).result(timeout=30) == 8


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.scheduler_info(workers=1),
        lambda client: client.rebalance(key="x"),
        lambda client: client.retire_workers(names="x"),
        lambda client: client.replicate([], branching=3),
    ],
)
def test_unknown_options_are_refused(client, call):
    with pytest.raises(TypeError, match="unexpected keyword"):
        call(client)


def test_dask_parity_page_is_current():
    from conftest import ROOT

    script = ROOT / "scripts" / "dask_parity.py"
    subprocess.run([sys.executable, script, "--check"], check=True)
