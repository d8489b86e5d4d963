"""What tasks spend their time on: the executors' profilers and `Client.profile`."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import cloudpickle
import pytest

from taskloom import Client, LocalCluster, get_client
from taskloom._errors import ConfigError
from taskloom._profile import merged
from taskloom.executor import profiler
from taskloom.executor.profiler import Profiler

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def spin(seconds: float) -> int:
    until = time.perf_counter() + seconds
    turns = 0
    while time.perf_counter() < until:
        turns += inner()
    return turns


def inner() -> int:
    return sum(i * i for i in range(2000)) and 1


def other(seconds: float) -> None:
    time.sleep(seconds)


async def waits(seconds: float) -> None:
    await asyncio.sleep(seconds)


def names(tree: dict) -> set[str]:
    below = set().union(*(names(child) for child in tree["children"].values()), set())
    return below | {tree["description"]["name"]}


@pytest.fixture(scope="module", params=["threads", "processes"])
def client(request):
    shape = {"n_workers": 2, "threads_per_worker": 2, "python_threads": request.param == "threads"}
    with LocalCluster(**shape) as cluster, Client(cluster) as client:
        client.gather([client.submit(spin, 0.5, pure=False) for _ in range(4)])
        client.gather(client.map(other, [0.3, 0.31]))
        yield client


def test_tells_where_tasks_spent_their_time(client):
    tree = client.profile()
    assert tree["count"] > 20
    assert {"spin", "inner", "other"} <= names(tree)
    # No code of Taskloom's own is blamed.
    assert not any("taskloom" in one["description"]["filename"] for one in calls(tree))
    [spun] = [one for one in tree["children"].values() if one["description"]["name"] == "spin"]
    assert spun["description"]["filename"] == __file__
    assert spun["description"]["line_number"] == spin.__code__.co_firstlineno
    below = sum(child["count"] for child in spun["children"].values())
    assert 0 < below <= spun["count"]


def calls(tree: dict):
    for child in tree["children"].values():
        yield child
        yield from calls(child)


def test_of_one_function_of_some_workers_or_since_when(client):
    assert "spin" not in names(client.profile("other"))
    assert client.profile("other")["count"] > 10
    assert client.profile("no such function")["count"] == 0
    assert client.profile(stop=time.time() - 3600)["count"] == 0
    assert client.profile(start="1 min")["count"] == client.profile()["count"]
    by_worker = client.profile(merge_workers=False)
    assert len(by_worker) == 2
    assert sum(tree["count"] for tree in by_worker.values()) == client.profile()["count"]
    [first, _] = by_worker
    assert client.profile(workers=first)["count"] == by_worker[first]["count"]


def test_is_a_flame_graph_in_a_notebook_and_a_file(client, tmp_path):
    path = tmp_path / "profile.html"
    tree = client.profile(filename=str(path))
    apart = client.profile(merge_workers=False)
    assert client.profile(merge_workers=False, filename=str(path)) == apart
    for page in (tree._repr_html_(), path.read_text()):
        assert "spin" in page
        assert f"{tree['count']} looks" in page
    assert "Nothing was seen" in client.profile("nothing")._repr_html_()


def test_a_coroutine_that_waits_is_not_blamed_on_its_thread(client):
    client.submit(waits, 0.5).result()
    # It may be seen while it is read, not fifty times while it waits.
    assert client.profile("waits")["count"] < 10


def test_schedulers_and_workers_run_no_python(client):
    with pytest.raises(ConfigError, match="run no Python"):
        client.profile(scheduler=True)


def parts(number: int) -> int:
    client = get_client()
    return sum(client.gather(client.map(abs, [number, 3, 4])))


def test_keeps_nothing_of_what_it_has_seen_alive(client):
    gathered = client.gather(client.map(parts, range(40)))
    assert gathered == [number + 7 for number in range(40)]
    until = time.monotonic() + 10
    while client.who_has() and time.monotonic() < until:
        time.sleep(0.05)
    assert client.who_has() == {}


def test_sleeps_while_nothing_runs(monkeypatch):
    looks = []
    idle = Profiler({})
    monkeypatch.setattr(idle, "_look", lambda: looks.append(1))
    monkeypatch.setattr(profiler, "INTERVAL_S", 0.0)
    sleeps = []
    monkeypatch.setattr(profiler.time, "sleep", lambda _: sleeps.append(1))

    class Asleep(Exception):
        pass

    def wait() -> None:
        raise Asleep

    monkeypatch.setattr(idle._busy, "wait", wait)
    with pytest.raises(Asleep):
        idle.watch()
    assert len(sleeps) == 100
    assert looks == []


def test_old_cycles_are_kept_apart_and_bounded(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(profiler.time, "time", lambda: clock[0])
    seen = Profiler({})
    for _ in range(profiler.KEPT + 50):
        with seen._lock:
            seen._turn(clock[0])
            seen._count(seen._now, "f", [spin.__code__, inner.__code__])
        clock[0] += profiler.CYCLE_S
    everything = json.loads(seen.told("f", None, None))
    assert everything["count"] == profiler.KEPT
    late = json.loads(seen.told(None, clock[0] - 25, None))
    assert 2 <= late["count"] <= 4
    assert merged([everything, late])["count"] == everything["count"] + late["count"]


def test_tasks_of_dask_are_told_by_what_their_keys_call_them(client):
    dask = pytest.importorskip("dask")
    dask.compute(
        [dask.delayed(spin, name="spinning")(0.5, dask_key_name=f"spinning-{n}") for n in (1, 2)]
    )
    assert "spin" in names(client.profile(key="spinning"))
