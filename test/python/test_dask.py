"""Dask's collections on a cluster, by the ways a user takes."""

from __future__ import annotations

import sys
import threading
import time
import warnings

import cloudpickle
import pytest

import taskloom

dask = pytest.importorskip("dask")
np = pytest.importorskip("numpy")

import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
from dask.base import get_scheduler  # noqa: E402
from dask.utils_test import GetFunctionTestMixin  # noqa: E402

# Workers do not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SHUFFLE = "dataframe.shuffle.method"


@pytest.fixture(scope="module")
def cluster():
    with taskloom.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="1 GB", resources={"licence": 1}
    ) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def client(cluster):
    with taskloom.Client(cluster) as client:
        yield client


def worker_name(*_):
    return taskloom.get_worker().name


class TestGet(GetFunctionTestMixin):
    """Dask's own tests of a scheduler."""

    @pytest.fixture(autouse=True)
    def _client(self, client):
        self.get = client.get


def test_a_default_client_is_dasks_scheduler_until_it_closes(cluster):
    before = get_scheduler()
    with taskloom.Client(cluster) as first:
        assert get_scheduler() == first.get
        assert dask.config.get(SHUFFLE) == "tasks"
        second = taskloom.Client(cluster)
        assert get_scheduler() == second.get
        second.close()
        assert get_scheduler() == first.get
        # Only an executor has a worker to name.
        assert dask.delayed(worker_name)().compute()
    assert get_scheduler() == before
    assert dask.config.get(SHUFFLE, None) is None
    assert dask.config.get("scheduler", None) is None


def test_clients_that_are_not_the_default_are_dasks_within_as_current(cluster):
    with taskloom.Client(cluster, set_as_default=False) as client:
        assert get_scheduler() is None
        with client.as_current():
            assert get_scheduler() == client.get
            seen = []
            other = threading.Thread(target=lambda: seen.append(get_scheduler()))
            other.start()
            other.join()
            assert seen == [dask.threaded.get]
        assert get_scheduler() is None


def test_settings_of_the_user_stay(cluster):
    with dask.config.set({SHUFFLE: "disk", "scheduler": "sync"}):
        with taskloom.Client(cluster) as client:
            assert dask.config.get(SHUFFLE) == "disk"
            assert get_scheduler() == client.get
            with dask.config.set(scheduler="threads"):
                assert get_scheduler() is dask.threaded.get
        assert get_scheduler() is dask.local.get_sync
    client = taskloom.Client(cluster)
    dask.config.set(scheduler="threads")
    client.close()
    assert dask.config.get("scheduler") == "threads"
    dask.config.set(scheduler=None)


def test_an_asynchronous_client_is_refused_by_compute(cluster):
    import asyncio

    async def use():
        async with taskloom.Client(cluster, asynchronous=True) as client:
            with pytest.raises(RuntimeError, match="asynchronous"):
                dask.delayed(1).compute()
            return await client.compute(da.arange(10, chunks=5).sum())

    assert asyncio.run(use()) == 45


def test_arrays_bags_and_delayed(client):
    x = da.random.default_rng(1).random((200, 200), chunks=50)
    assert np.isclose((x - x.mean()).sum().compute(), 0)
    assert (x + x.T).compute().shape == (200, 200)
    assert dict(db.from_sequence("abca").frequencies().compute())["a"] == 2
    assert dask.delayed(sum)([dask.delayed(len)("ab"), 1]).compute() == 3


def test_compute_of_many_computes_what_they_share_once(client):
    @dask.delayed(pure=False)
    def draw():
        return np.random.default_rng().random()

    base = draw()
    first, second = client.compute([base + 1, base + 2], sync=True)
    assert second - first == pytest.approx(1)
    total, (inner, other) = client.gather(client.compute([base, [base, 3]]))
    assert inner == total
    assert other == 3


def test_persist_gives_futures_at_once(client):
    x = da.ones((40, 40), chunks=10) + 1
    kept = x.persist()
    held = taskloom.futures_of(kept)
    assert len(held) == 16
    assert {type(one) for one in held} == {taskloom.Future}
    names = {one.key for one in held}
    assert kept.sum().compute() == 3200
    # Later graphs build on the very futures: nothing is computed or copied again.
    again = kept.persist()
    assert {one.key for one in taskloom.futures_of(again)} == names
    one, two = dask.persist(x.sum(), x.mean())
    assert (float(one), float(two)) == (3200, 2)


def test_collections_of_futures_have_a_token(client):
    import pandas as pd

    dd = pytest.importorskip("dask.dataframe")
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        kept = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2).persist()
        taskloom.wait(kept, timeout=20)
        assert (kept.a + 1).sum().compute() == 55
    first, second = (client.submit(pow, 2, n) for n in (1, 2))
    assert dask.base.tokenize(first) == dask.base.tokenize(first) != dask.base.tokenize(second)


def test_futures_and_large_values_in_graphs(client):
    five = client.submit(lambda: 5)
    assert dask.delayed(sum)([five, 2]).compute() == 7
    # More than goes through the scheduler, both as data and within a task.
    large = np.arange(7_000_000, dtype="f8")
    assert da.from_array(large, chunks=1_000_000).sum().compute() == large.sum()
    assert dask.delayed(len)(large).compute() == len(large)


def test_graphs_in_several_messages(client, monkeypatch):
    monkeypatch.setattr("taskloom._collections.GRAPH_TASKS", 7)
    x = da.ones(60, chunks=2)
    assert (x + 1).sum().compute() == 120
    assert client.compute((x * 2), sync=True).sum() == 120


def test_annotations_of_layers_choose_workers(client):
    names = sorted(worker["name"] for worker in client.scheduler_info()["workers"].values())
    x = db.from_sequence(range(8), npartitions=4)
    with dask.annotate(workers=names[0]):
        first = x.map(worker_name)
    with dask.annotate(workers=[names[1]]):
        second = x.map(lambda _: worker_name())
    found = dask.compute(first, second, optimize_graph=False)
    assert [set(one) for one in found] == [{names[0]}, {names[1]}]
    # Of the whole call, and over an annotation.
    assert set(client.compute(first, workers=names[1], optimize_graph=False, sync=True)) == {
        names[1]
    }
    with dask.annotate(workers=names[0]):
        assert set(x.map(worker_name).compute()) == {names[0]}


def test_annotated_retries_priority_and_resources(client, tmp_path):
    path = str(tmp_path / "tries")

    def fails_twice(part):
        with open(path, "a") as file:  # noqa: PTH123
            file.write("x")
        with open(path) as file:  # noqa: PTH123
            if len(file.read()) < 3:
                raise ValueError("not yet")
        return part

    x = db.from_sequence([1, 2], npartitions=1)
    with dask.annotate(retries=2, priority=7, resources={"licence": 1}):
        tried = x.map_partitions(fails_twice)
    assert sorted(tried.map(lambda v: v + 1).compute(optimize_graph=False)) == [2, 3]
    with dask.annotate(resources={"nothing-has-this": 1}):
        asked = x.map(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stuck = taskloom.futures_of(client.persist(asked, optimize_graph=False))[0]
        until = time.monotonic() + 30
        while "nothing-has-this" not in str(client.explain(stuck)):
            assert time.monotonic() < until
            time.sleep(0.1)


def test_dataframes_shuffle_by_tasks(client):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"a": np.arange(100) % 7, "b": np.arange(100.0)})
    ddf = dd.from_pandas(frame, npartitions=5)
    by = ddf.groupby("a").b.apply(lambda s: s.sum(), meta=("b", "f8")).compute()
    assert by.sort_index().tolist() == frame.groupby("a").b.sum().tolist()
    joined = ddf.merge(ddf, on="a").compute()
    assert len(joined) == len(frame.merge(frame, on="a"))
    kept = ddf.persist()
    assert len(taskloom.futures_of(kept)) == 5
    assert kept.b.sum().compute() == frame.b.sum()


def test_xarray_means_groups_and_writes_in_parallel(client, tmp_path):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    values = np.arange(48 * 6, dtype="f8").reshape(48, 6)
    data = xr.Dataset(
        {"t": (("time", "x"), values)}, coords={"time": np.arange(48), "x": np.arange(6)}
    )
    chunked = data.chunk({"time": 12, "x": 3})
    np.testing.assert_allclose(chunked.t.mean("time").compute(), values.mean(0))
    season = (data.time // 12).rename("season")
    np.testing.assert_allclose(
        chunked.t.groupby(season).mean().compute(), data.t.groupby(season).mean()
    )
    store = tmp_path / "out.zarr"
    chunked.to_zarr(store)
    xr.testing.assert_equal(xr.open_zarr(store).compute(), data)


def test_tasks_are_called_by_their_keys(client):
    from dask.utils import key_split

    from taskloom._keys import key_prefix

    token = "4b2104b9f3a34f0c9f3a34f0c9f3a34f"
    for key in ["x", "x-1", "a-b-1", "x-abcdefab", f"read-csv-{token}-0", token, "('x-2', 1)"]:
        assert key_prefix(key) == key_split(key)

    # Chunked along one dimension of three: the parts of a collection are one group all the same.
    x = da.ones((40, 3, 3), chunks=(1, 3, 3)).persist()
    taskloom.wait(x)
    [future, *others] = taskloom.futures_of(x)
    assert future._origin.name.startswith("ones")
    names = future._origin.graph.names
    assert sum(names.values()) == future._origin.graph.size >= 40
    assert len({one.key.rpartition("-")[0] for one in [future, *others]}) == 1


def test_different_keys_are_different_tasks(client):
    keys = [("x", 0.9, 1), ("x", 0, 9.1), ("x", "0", 1), ("x", 0, 1), ("x", "0, 1"), ("x", (0, 1))]
    graph = {key: (str, repr(key)) for key in keys}
    assert client.get(graph, keys) == tuple(repr(key) for key in keys)


def test_progress_of_a_collection_counts_all_tasks_of_its_graph(client, capsys):
    x = da.ones((40, 40), chunks=(10, 10)).map_blocks(slowly).sum().persist()
    taskloom.progress(x, notebook=False)
    shown = capsys.readouterr().out
    names = {line.split(" |")[0].strip() for line in shown.splitlines() if " |" in line}
    assert len(names) >= 2
    assert "16 / 16" in shown and "sum-aggregate" in names


def test_progress_of_a_collection_that_fails(client, capsys):
    x = da.ones(8, chunks=1).map_blocks(fail_at_once, dtype=float).sum().persist()
    taskloom.progress(x, notebook=False)
    shown = capsys.readouterr().out
    assert "failed" in shown and "no luck" in shown


def slowly(block):
    time.sleep(0.05)
    return block


def fail_at_once(block):
    raise ValueError("no luck")
