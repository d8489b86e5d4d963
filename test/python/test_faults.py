"""What goes wrong in Python tasks, as the person at the client meets it: type, key, what to do."""

from __future__ import annotations

import contextlib
import ctypes
import operator
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

import taskloom
from taskloom import Client, LocalCluster, SerializationError, TaskError, WorkerMemoryError, wait

# The workers cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["processes", "threads"])
def cluster(request):
    """Two workers; the second time each has one Python process with two threads."""
    threads = request.param == "threads"
    with LocalCluster(n_workers=2, threads_per_worker=2, python_threads=threads) as made:
        yield made


@pytest.fixture
def client(cluster):
    with Client(cluster) as made:
        yield made
        # Whatever happened: the cluster goes on.
        assert made.gather(made.map(operator.neg, range(20))) == [-at for at in range(20)]


class Stern(Exception):
    """Cannot be made from its ``args``."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Unpicklable:
    def __reduce__(self):
        raise TypeError("it stays here")


def place_of(error: BaseException) -> str:
    """What the notes say, where Python has notes."""
    return "\n".join(getattr(error, "__notes__", ["In task  on worker http://"]))


def crash():
    ctypes.string_at(0)


def exit_at_once():
    print("these are my last words")
    os._exit(3)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.parametrize(
    ("function", "how", "advice"),
    [
        (crash, r"SIGSEGV, a segmentation fault(?s:.*)in crash", "crashes there, too"),
        (exit_at_once, r"exit code 3(?s:.*)these are my last words", "raise an exception instead"),
        (killed, r"SIGKILL", "more memory"),
    ],
)
def test_a_task_that_ends_its_process(client, function, how, advice):
    future = client.submit(function)
    with pytest.raises(TaskError, match=how) as caught:
        future.result(timeout=60)
    assert (caught.value.key, caught.value.code) == (future.key, "EXECUTOR_DIED")
    assert future.key in str(caught.value) and advice in str(caught.value)
    assert re.search(r"In task .* on worker http://", place_of(caught.value)) is not None


def test_memory_error(client):
    future = client.submit(bytearray, 1 << 60)
    with pytest.raises(MemoryError) as caught:
        future.result(timeout=60)
    assert not isinstance(caught.value, WorkerMemoryError)
    if sys.version_info >= (3, 11):
        assert future.key in place_of(caught.value)
        assert "Make the task smaller" in place_of(caught.value)


def test_unpicklable_argument(client):
    with pytest.raises(taskloom.SerializationError, match=r"Argument 2 .*_thread\.lock.* within"):
        client.submit(print, 1, threading.Lock())
    with pytest.raises(taskloom.SerializationError, match=r"file of the call .*it stays here"):
        client.submit(print, client.submit(int, "1"), file=Unpicklable())
    with pytest.raises(taskloom.SerializationError, match=r"Argument 1 .*it stays here"):
        client.map(print, [Unpicklable()])


@pytest.mark.parametrize(("function", "why"), [(threading.Lock, "lock"), (Unpicklable, "stays")])
def test_unpicklable_result(client, function, why):
    future = client.submit(function)
    with pytest.raises(SerializationError, match=why) as caught:
        future.result(timeout=60)
    assert future.key in str(caught.value) and "Return or pass data instead" in str(caught.value)


def test_exception_whose_constructor_needs_arguments(client):
    def fail():
        raise Stern(7, "no")

    future = client.submit(fail)
    with pytest.raises(Stern, match=r"^7: no") as caught:
        future.result(timeout=60)
    assert caught.value.code == 7 and "in fail" in future.traceback()
    assert client.submit(int, future).exception(timeout=60).code == 7


def test_recursion(client):
    def deeper(n):
        return deeper(n + 1)

    future = client.submit(deeper, 0)
    with pytest.raises(RecursionError, match="maximum recursion depth"):
        future.result(timeout=60)
    assert len(future.traceback()) < 21_000


def test_module_missing_on_the_worker(client, tmp_path, monkeypatch):
    def use():
        import no_such_module_anywhere

        return no_such_module_anywhere

    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere") as caught:
        client.submit(use).result(timeout=60)
    if sys.version_info >= (3, 11):
        assert "client.upload_file" in place_of(caught.value)
    # A function that pickle finds by the name of a module that only the client has.
    (tmp_path / "only_here.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here

    future = client.submit(only_here.answer)
    with pytest.raises(ModuleNotFoundError, match=r"'only_here'.*client\.upload_file") as caught:
        future.result(timeout=60)
    assert future.key in str(caught.value) and sys.executable in str(caught.value)


def test_message_of_a_megabyte(client):
    def fail(length):
        raise ValueError("x" * length)

    future = client.submit(fail, 2**20)
    with pytest.raises(ValueError, match=r"^x+") as caught:
        future.result(timeout=60)
    assert 19_000 < len(str(caught.value)) < 21_000
    assert "1048588 characters in all" in str(caught.value)
    assert len(future.traceback()) < 21_000 and len(repr(future)) < 1000


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_exceptions_that_would_end_who_waits(client, kind):
    def fail():
        raise kind(3)

    future = client.submit(fail)
    with pytest.raises(TaskError, match=kind.__name__) as caught:
        future.result(timeout=60)
    assert caught.value.key == future.key and "class Exception" in str(caught.value)


def test_a_fork_in_user_code(client):
    def fork():
        pid = os.fork()
        if pid == 0:
            return "child"
        return os.waitpid(pid, 0)[1] == 0

    assert client.gather([client.submit(fork) for _ in range(4)]) == [True] * 4


def test_keyboard_interrupt_while_waiting(client, tmp_path):
    path, go = tmp_path / "written", tmp_path / "go"

    def work():
        while not go.exists():
            time.sleep(0.02)
        return path.write_text("x")

    future = client.submit(work)
    # As a terminal and Jupyter do it.
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        future.result(timeout=60)
    # The cell is free, and the work goes on.
    assert future.status == "pending"
    assert client.submit(int, "1").result(timeout=60) == 1
    go.touch()
    assert future.result(timeout=60) == 1 and path.read_text() == "x"


KERNEL = """
import sys, time
from taskloom import Client
client = Client(sys.argv[1])
done = client.submit(lambda: 5, key="of-the-killed")
done.result()
runs = client.submit(time.sleep, 600, key="runs-when-killed")
while "runs-when-killed" not in str(client.call_stack()):
    time.sleep(0.05)
print("both", flush=True)
time.sleep(600)
"""


def test_a_kernel_that_is_killed(cluster, client):
    before = set(client.run(os.getpid).values())
    script = [sys.executable, "-c", KERNEL, cluster.scheduler_address]
    env = {**os.environ, "TASKLOOM_TOKEN": client._session.token}
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env=env) as kernel:
        assert kernel.stdout is not None and kernel.stdout.readline() == "both\n"
        assert client.who_has(["of-the-killed"])["of-the-killed"]
        kernel.kill()
    deadline = time.monotonic() + 60
    while any(client.processing().values()) or client.who_has():
        assert time.monotonic() < deadline, (client.processing(), client.who_has())
        time.sleep(0.05)
    # Only the process that ran its task has gone with it; the workers live.
    assert len(client.scheduler_info()["workers"]) == 2
    assert len(before & set(client.run(os.getpid).values())) >= 1


def test_code_that_holds_the_interpreter(cluster, client):
    # Threads of one process wait for each other.
    seconds = 10 if cluster_has_threads() else 30

    def hold():
        ctypes.PyDLL(None).sleep(seconds)
        return os.getpid()

    futures = [client.submit(hold) for _ in range(2)]
    began = time.monotonic()
    while "holds the interpreter" not in str(client.call_stack(timeout=1)):
        assert time.monotonic() - began < seconds
    others = client.map(lambda x: x + 1, range(100))
    if not cluster_has_threads():
        # Those that were not handed to a process that is held run at once.
        wait(others, timeout=60, return_when="FIRST_COMPLETED")
        assert not all(future.done() for future in futures)
    # Heartbeats go on: nobody was taken for dead, and what the task does is told.
    for _ in range(6):
        workers = client.scheduler_info()["workers"].values()
        assert [one["status"] for one in workers] == ["running"] * 2
        time.sleep(0.5)
    # One is killed, the other comes to its end.
    futures[0].cancel(force=True)
    assert isinstance(futures[1].result(timeout=120), int)
    assert client.gather(others) == list(range(1, 101))


def cluster_has_threads() -> bool:
    """Whether the workers' tasks share one process, whose interpreter one of them can hold."""
    return len(executors()) < 4


def executors() -> list[psutil.Process]:
    """Processes that run Python tasks of clusters of this test."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "taskloom.executor" in one.cmdline():
                found.append(one)
    return found


def test_large_result(capsys):
    free = psutil.virtual_memory().available
    full = 2 * 2**30
    # In the executor, on its way through the worker's memory files, and here.
    nbytes = full if free > 5 * full else free // 5 // 8 * 8
    if nbytes < full:
        with capsys.disabled():
            print(f"\nlarge result: {nbytes / 2**20:.0f} MiB, as {free / 2**30:.1f} GiB are free")
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=0) as one, Client(one) as c:
        future = c.submit(np.arange, nbytes // 8)
        assert c.submit(len, future).result(timeout=120) == nbytes // 8
        assert future.nbytes == pytest.approx(nbytes, rel=0.01)
        value = future.result(timeout=300)
        assert value.nbytes == nbytes and value[-1] == nbytes // 8 - 1


def test_result_beyond_the_memory_of_the_workers():
    limits = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": "512 MiB"}
    with LocalCluster(**limits) as one, Client(one) as client:
        future = client.submit(np.ones, 10**8)
        with pytest.raises(WorkerMemoryError, match="memoryLimit") as caught:
            future.result(timeout=120)
        assert caught.value.key == future.key
        assert client.submit(int, "1").result(timeout=60) == 1
