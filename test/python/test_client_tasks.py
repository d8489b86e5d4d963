"""Python tasks on a real cluster, as a user of the client meets them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import operator
import os
import sys
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import taskloom
from taskloom import (
    Client,
    KilledWorkerError,
    LocalCluster,
    TaskError,
    TaskTimeoutError,
    as_completed,
    fire_and_forget,
    get_client,
    get_worker,
    progress,
    wait,
    worker_client,
)

# The workers cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1) as made:
        yield made


@pytest.fixture
def client(cluster):
    with Client(cluster) as made:
        yield made


class Picky(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

    def __reduce__(self):
        return (Picky, (self.code, str(self)))


def test_submit(client):
    assert client.submit(operator.add, 1, 2).result() == 3
    assert client.submit(int, "ff", base=16).result() == 255
    named = client.submit(operator.add, 1, 1, key="named")
    assert (named.key, named.result(), named.type) == ("named", 2, "int")
    again = client.submit(pow, 2, 5, pure=True)
    assert client.submit(pow, 2, 5, pure=True).key == again.key


def test_futures_anywhere_in_arguments(client):
    one, two = client.submit(int, "1"), client.submit(int, "2")
    assert client.submit(operator.add, one, two).result() == 3
    assert client.submit(operator.add, one, one).result() == 2
    deep = client.submit(lambda d, k: (d["a"][0], d["b"], k), {"a": [one], "b": (two,)}, k=one)
    assert deep.result() == (1, (2,), 1)


@pytest.mark.parametrize("items", [range(300), [0.5, 1.5], ["a", "b"], [(1, 2), [3]], [None]])
def test_map(client, items):
    assert client.gather(client.map(lambda x: [x], items)) == [[x] for x in items]


def test_map_of_columns_and_futures(client):
    ones = client.map(lambda x: x, range(10))
    assert client.gather(client.map(operator.add, ones, range(100))) == list(range(0, 20, 2))
    assert client.gather(client.map(operator.add, ones[::2], ones[1::2])) == [1, 5, 9, 13, 17]
    assert client.gather(client.map(lambda x, k: x + k, [1, 2], k=10)) == [11, 12]
    assert client.gather(client.map(lambda x, k: x + k, [1, 2], k=ones[3])) == [4, 5]
    assert [f.key for f in client.map(str, [1, 2], key="k")] == ["k-0", "k-1"]
    assert client.map(str, []) == []


def test_coroutine_functions_run(client):
    async def later(x):
        await asyncio.sleep(0.01)
        return x

    assert client.submit(later, 5).result() == 5


def test_exceptions_are_raised_as_themselves(client):
    def fail(x):
        raise Picky(7, f"no {x}")

    future = client.submit(fail, 3)
    with pytest.raises(Picky, match="no 3") as caught:
        future.result()
    assert caught.value.code == 7
    assert "in fail" in str(caught.value.__cause__)
    assert isinstance(future.exception(), Picky) and "in fail" in future.traceback()
    # What stands on it fails with the same.
    with pytest.raises(Picky):
        client.submit(int, future).result()
    good = client.submit(int, "1")
    assert client.gather([future, good], errors="skip") == [1]
    with pytest.raises(Picky):
        client.gather([good, future])


def test_retries(client, tmp_path):
    def until_third(path):
        with Path(path).open("a") as file:
            file.write("x")
        if Path(path).stat().st_size < 3:
            raise RuntimeError("not yet")
        return "done"

    assert client.submit(until_third, str(tmp_path / "a"), retries=3).result() == "done"
    future = client.submit(until_third, str(tmp_path / "b"))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            future.result()
        future.retry()
    assert future.result() == "done"


def test_limits_of_time(client):
    with pytest.raises(TaskTimeoutError):
        client.submit(time.sleep, 60, task_timeout=0.3).result(timeout=30)


def test_a_task_that_ends_its_process_is_reported(client):
    with pytest.raises((KilledWorkerError, TaskError)) as caught:
        client.submit(os._exit, 3).result(timeout=60)
    assert "_exit" in str(caught.value)
    assert client.submit(int, "1").result(timeout=30) == 1


def test_wait_and_as_completed(client):
    slow, fast = client.submit(time.sleep, 0.5), client.submit(int, "1")
    done, not_done = wait([slow, fast], return_when="FIRST_COMPLETED")
    assert fast in done | {fast} and len(done) + len(not_done) == 2
    order = as_completed([client.submit(lambda x: x, at) for at in range(5)], with_results=True)
    assert {result for _, result in order} == set(range(5))
    growing = as_completed([fast])
    seen = []
    for future in growing:
        seen.append(future.result())
        if len(seen) < 3:
            growing.add(client.submit(operator.add, future, 1))
    assert seen == [1, 2, 3]


def test_tasks_submit_tasks(client):
    def fib(n):
        if n < 2:
            return n
        inner = get_client()
        return sum(inner.gather([inner.submit(fib, n - 1), inner.submit(fib, n - 2)]))

    assert client.submit(fib, 5).result(timeout=60) == 5

    def within():
        with worker_client() as inner:
            return inner.submit(operator.add, 1, 2).result(), get_worker().name

    total, name = client.submit(within).result(timeout=60)
    assert total == 3 and name in {
        one["name"] for one in client.scheduler_info()["workers"].values()
    }


def test_fire_and_forget(client, tmp_path):
    path = tmp_path / "written"
    fire_and_forget(client.submit(path.write_text, "x"))
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_arrays(client):
    array = client.submit(np.arange, 200_000.0)
    assert client.submit(np.sum, array).result() == np.arange(200_000.0).sum()
    assert (array.result() == np.arange(200_000.0)).all()


def test_run_on_workers(client):
    pids = client.run(os.getpid)
    assert len(set(pids.values())) == 2
    with pytest.raises(ZeroDivisionError):
        client.run(operator.truediv, 1, 0)
    errors = client.run(operator.truediv, 1, 0, on_error="return")
    assert {type(error) for error in errors.values()} == {ZeroDivisionError}
    versions = client.get_versions(check=True)
    assert versions["client"]["python"] in {one["python"] for one in versions["workers"].values()}


def test_run_on_scheduler(client):
    future = client.submit(int, "5", key="seen-from-beside")
    wait(future)

    def look(dask_scheduler):
        return list(dask_scheduler.who_has(["seen-from-beside"])), os.getpid()

    keys, pid = client.run_on_scheduler(look)
    assert keys == ["seen-from-beside"] and pid != os.getpid()


def test_uploaded_modules(client, tmp_path):
    module = tmp_path / "sent_along.py"
    module.write_text("def answer():\n    return 42\n")

    def use():
        import sent_along

        return sent_along.answer()

    with pytest.raises(ModuleNotFoundError):
        client.submit(use).result()
    client.upload_file(module)
    assert client.gather([client.submit(use), *client.map(lambda _: use(), range(4))]) == [42] * 5


def test_executor(client):
    with client.get_executor(retries=1) as pool:
        assert isinstance(pool, concurrent.futures.Executor)
        assert list(pool.map(operator.add, [1, 2], [3, 4])) == [4, 6]
        futures = [pool.submit(pow, 2, at) for at in range(5)]
        assert {f.result() for f in concurrent.futures.as_completed(futures)} == {1, 2, 4, 8, 16}
        with pytest.raises(ZeroDivisionError):
            pool.submit(operator.truediv, 1, 0).result()


def test_asynchronous_tasks(cluster):
    async def main():
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            futures = client.map(lambda x: x + 1, range(10))
            assert await futures[0] == 1
            assert await client.gather(futures) == list(range(1, 11))
            with pytest.raises(ZeroDivisionError):
                await client.submit(operator.truediv, 1, 0)
            return sum([await one async for one in as_completed(futures)])

    assert asyncio.run(main()) == 55


def test_progress_on_a_terminal(client, capsys):
    futures = client.map(lambda x: 1 / x, [1, 2, 0], key="share")
    assert progress(futures) is None
    out = capsys.readouterr().out
    assert "2 / 3 · 1 failed" in out and "ZeroDivisionError" in out


def test_restart():
    with LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
        before = client.run(os.getpid)
        future = client.submit(int, "1")
        client.restart()
        assert future.cancelled()
        assert set(client.run(os.getpid).values()).isdisjoint(before.values())
        assert client.submit(int, "2").result(timeout=30) == 2


def test_a_typescript_task_takes_a_python_result(client, cluster, tmp_path):
    import subprocess

    client.publish_dataset(client.submit(lambda: {"a": [1, 2]}), name="made-in-python")
    script = tmp_path / "other.mjs"
    index = taskloom.runtime_path() / "index.mjs"
    script.write_text(
        f"""import {{ Client }} from {str(index)!r};
        const client = await Client.connect({cluster.name!r});
        const made = await client.getDataset('made-in-python');
        await client.publishDataset('made-in-js', client.submit(v => v.a.concat([3]), made));
        await client.close();"""
    )
    subprocess.run([taskloom.node_path(), script], check=True, timeout=60)
    assert client.submit(sum, client.get_dataset("made-in-js")).result(timeout=30) == 6


def test_dask_graphs(client):
    dask = pytest.importorskip("dask")
    from dask.utils_test import GetFunctionTestMixin

    class Suite(GetFunctionTestMixin):
        get = staticmethod(client.get)

    suite = Suite()
    for name in dir(suite):
        if name.startswith("test_"):
            getattr(suite, name)()
    inc = dask.delayed(lambda x: x + 1)
    total = dask.delayed(sum)([inc(at) for at in range(5)])
    assert client.compute(total).result() == 15
    assert client.compute([total, inc(1)], sync=True) == [15, 2]
    kept = client.persist(total)
    assert client.compute(inc(kept), sync=True) == 16
    assert total.compute(scheduler=client.get) == 15


def test_clients_that_leave_while_their_tasks_stand_in_queue(cluster):
    """Their functions go, also for tasks that an executor had already been given."""
    for number in range(20):
        with Client(cluster, set_as_default=False) as passing:
            leaving = passing.map(lambda x, n=number: (time.sleep(0.002), x + n), range(40))
            leaving[number % 3].result()
    with Client(cluster, set_as_default=False) as staying:
        futures = staying.map(lambda x: x + 1, range(40))
        wait(futures, timeout=30)
        assert staying.gather(futures) == list(range(1, 41))


@pytest.mark.parametrize("count", [0, 3, 300, 30_000, 300_000])
def test_arrays_that_were_gathered_can_be_written_into(client, count):
    future = client.submit(np.arange, count)
    for array in (future.result(), client.gather([future])[0], client.gather({"a": future})["a"]):
        array += 1
        assert array.sum() == count * (count + 1) // 2
    # What one caller writes nobody else sees.
    assert future.result().sum() == count * (count - 1) // 2
