"""Values that change hands as files in memory, between real processes of this machine."""

from __future__ import annotations

import gc
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from taskloom import Client, LocalCluster, _data, _files

pytestmark = pytest.mark.skipif(not _files.host_mark(), reason="no files can be handed over here")

# Workers do not have this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
MB = 2**20
ROLES = re.compile("taskloom-(worker|client|nanny)-[0-9a-f]+-[0-9]+-")
FOLDER = Path(_files.SHARED_MEMORY)


def folders(pids=None):
    """Return folders of Taskloom there: of these processes, or of all."""
    found = [path for path in FOLDER.iterdir() if ROLES.match(path.name)]
    return [p for p in found if pids is None or p.name.split("-")[3] in map(str, pids)]


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_mapped(array):
    """Whether the array is a view of a file."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1 GiB") as made:
        with Client(made) as client:
            client.wait_for_workers(2)
            pids = pids_of(client)
        yield made
        with Client(made) as client:
            pids |= pids_of(client)
    until(lambda: not folders(pids.values()))


@pytest.fixture
def client(cluster):
    with Client(cluster) as made:
        made.wait_for_workers(2)
        yield made
        assert not [path for one in folders([os.getpid()]) for path in one.iterdir()]
    assert not folders([os.getpid()])


def make(number):
    return np.full(MB, number, dtype="f8")


def seen(array):
    """Read all of an input and write to it: others must not see that."""
    total = float(array.sum())
    array[:] = -1
    return total, is_mapped(array)


def pids_of(client):
    return {address: info["pid"] for address, info in client.scheduler_info()["workers"].items()}


def test_a_scattered_array_is_a_view_of_a_file_for_everybody(client):
    value = np.arange(MB, dtype="f8")
    future = client.scatter(value)
    for worker in client.scheduler_info()["workers"]:
        assert client.submit(seen, future, workers=[worker]).result(60) == (value.sum(), True)
    found = client.gather(future)
    assert is_mapped(found)
    np.testing.assert_array_equal(found, value)
    found[0] = 5
    assert client.gather(future)[0] == 0


def test_a_result_goes_from_worker_to_worker_and_its_files_with_its_future(client):
    first, second = client.scheduler_info()["workers"]
    made = client.submit(make, 3, workers=[first])
    assert client.submit(seen, made, workers=[second]).result(60) == (3.0 * MB, True)
    pids = pids_of(client).values()

    def values():
        return [path for one in folders(pids) for path in one.rglob("value-*")]

    # Each of them has a name of its own for the same bytes.
    assert len(values()) == 2
    assert len({path.stat().st_ino for path in values()}) == 1
    del made
    until(lambda: not values())


@pytest.mark.parametrize("why", ["no room", "another namespace"])
def test_bytes_go_by_the_link_instead(client, monkeypatch, why):
    if why == "no room":
        monkeypatch.setattr(_files, "_SPACE_SHARE", 0)
    else:
        mark = _files.host_mark().replace("mnt:[", "mnt:[9")
        monkeypatch.setattr(_data, "host_mark", lambda: mark)
    value = np.arange(MB, dtype="f8")
    future = client.scatter(value)
    for worker in client.scheduler_info()["workers"]:
        assert client.submit(np.sum, future, workers=[worker]).result(60) == value.sum()
    found = client.gather(future)
    assert not is_mapped(found)
    np.testing.assert_array_equal(found, value)


def test_more_files_than_may_be_open_are_read(client, monkeypatch):
    monkeypatch.setattr(_files, "_most_maps", lambda: 2)
    futures = client.map(make, range(6))
    found = client.gather(futures)
    assert [float(one[7]) for one in found] == list(range(6))
    if sys.version_info < (3, 13):
        assert sum(map(is_mapped, found)) <= 2


@pytest.mark.parametrize("whose", ["that made it", "that took it"])
def test_a_killed_worker_takes_nothing_with_it_and_leaves_nothing(client, whose):
    first, second = client.scheduler_info()["workers"]
    made = client.submit(make, 4, workers=[first], allow_other_workers=True)
    assert client.submit(seen, made, workers=[second]).result(60)[0] == 4.0 * MB
    pid = pids_of(client)[first if whose == "that made it" else second]
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in pids_of(client).values())
    np.testing.assert_array_equal(client.gather(made), make(4))
    until(lambda: not folders([pid]))
    client.wait_for_workers(2)


_KILLED = """
import os, signal, sys
import numpy as np
from taskloom import Client, _data

client = Client(sys.argv[1])
client.scatter(np.ones(2**20))
_data.remove_files = lambda files: os.kill(os.getpid(), signal.SIGKILL)
print(os.getpid(), flush=True)
client.scatter(np.zeros(2**20))
"""


def test_a_client_that_is_killed_over_a_scatter_leaves_nothing(cluster):
    command = [sys.executable, "-c", _KILLED, cluster.name]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    assert child.returncode == -signal.SIGKILL
    until(lambda: not folders([int(child.stdout)]))


@pytest.fixture
def kept():
    folder = Path(tempfile.mkdtemp(prefix="taskloom-test-", dir=_files.SHARED_MEMORY))
    made = _files.Kept(str(folder), 8 * MB)
    yield made, folder
    made.clear()
    shutil.rmtree(folder)


def written(kept, fill, nbytes=2 * MB):
    """Write a frame; its name and the file's number."""
    made, folder = kept
    path = _files.write_file(bytes([fill]) * nbytes, str(folder), "frame-", made)
    return path, Path(path).stat().st_ino


def test_a_file_is_written_again_when_nobody_has_it(kept):
    path, number = written(kept, 1)
    Path(path).unlink()
    again, same = written(kept, 2)
    assert same == number and again != path
    assert Path(again).read_bytes() == b"\x02" * 2 * MB
    Path(again).unlink()
    # Of one that is larger, the rest is cut off; one that is much larger is left alone.
    shorter, same = written(kept, 3, MB + 5)
    assert same == number and Path(shorter).read_bytes() == b"\x03" * (MB + 5)
    Path(shorter).unlink()
    assert written(kept, 4, 1000)[1] != number


@pytest.mark.parametrize("holder", ["a name", "another name", "a mapping", "a view of a mapping"])
def test_a_file_is_not_written_again_while_somebody_has_it(kept, holder):
    path, number = written(kept, 1)
    if holder == "another name":
        os.link(path, f"{path}-too")
    if "mapping" in holder:
        held = _files.map_file(path)
        if holder == "a view of a mapping":
            held = np.frombuffer(held, dtype="u1")[5:].reshape(-1, 1)
        assert bytes(held[:3]) == b"\x01" * 3
    if holder != "a name":
        Path(path).unlink()
    assert written(kept, 2)[1] != number
    if "mapping" in holder:
        assert bytes(held[-3:]) == b"\x01" * 3
        del held
        gc.collect()
        assert written(kept, 3)[1] == number


def test_a_name_that_is_gone_is_not_mapped(kept):
    path, _ = written(kept, 1)
    Path(path).unlink()
    with pytest.raises(OSError):
        _files.map_file(path)


def test_no_more_is_kept_than_may_be_and_not_for_long(kept, monkeypatch):
    made, folder = kept
    for fill in range(8):
        path, _ = written(kept, fill)
        if fill % 2:
            Path(path).unlink()
    assert sum(path.stat().st_size for path in folder.glob("kept-*")) <= 8 * MB
    monkeypatch.setattr(_files, "_KEPT_S", -1.0)
    made._sweep()
    assert all(path.stat().st_nlink == 2 for path in folder.glob("kept-*"))


def filled(n, megabytes):
    return np.full(megabytes * MB // 8, n, dtype="i8")


def checked(array, n, wait):
    time.sleep(wait)
    assert int(array.min()) == int(array.max()) == n
    return n


def test_values_stay_what_they_are_while_files_are_written_again(cluster):
    rng = random.Random(7)
    with Client(cluster) as client:
        client.wait_for_workers(2)
        workers = list(client.scheduler_info()["workers"])
        held = []
        running = []
        for n in range(150):
            size = rng.choice([1, 2, 2, 3, 8])
            made = client.submit(filled, n, size, workers=[workers[n % 2]])
            other = [workers[(n + rng.randrange(2)) % 2]]
            running.append(client.submit(checked, made, n, rng.random() / 50, workers=other))
            if n % 5 == 0:
                # Views of files in this process outlive their futures.
                held.append((n, client.gather(made)))
            if len(held) > 6:
                held.pop(rng.randrange(len(held)))
            for number, array in held:
                assert int(array.min()) == int(array.max()) == number
        assert client.gather(running) == list(range(150))
        for number, array in held:
            assert int(array.min()) == int(array.max()) == number


SMALL_SHM = """
import sys
import numpy as np
from taskloom import Client, LocalCluster
MB = 2**20

def places():
    # Files that this process has mapped.
    lines = [line for line in open("/proc/self/maps") if "taskloom-worker" in line]
    return {line.split(maxsplit=5)[5].strip() for line in lines}

def make(n):
    return np.full(40 * MB, n, dtype="u1")

def use(*arrays):
    return [int(one[0]) for one in arrays], sorted(places())

# Of 32 MiB half may be taken by one frame: all of these are too large.
where = sys.argv[1]
shape = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1 GiB"}
with LocalCluster(**shape, local_directory=where) as cluster:
    with Client(cluster) as client:
        first, second = client.scheduler_info()["workers"]
        one = client.submit(make, 1, workers=first)
        two = client.submit(make, 2, workers=second)
        small = client.submit(np.full, 2 * MB, 3, "u1", workers=first)
        numbers, mapped = client.submit(use, one, two, small, workers=second).result(timeout=60)
        assert numbers == [1, 2, 3], numbers
        assert any(path.startswith(where) for path in mapped), mapped
        assert any(path.startswith("/dev/shm") for path in mapped), mapped
        assert (client.gather(one) == 1).all()
        data = client.scatter(make(4), workers=[first])
        assert client.submit(use, data, workers=second).result(timeout=60)[0] == [4]
print("all well")
"""


def test_what_has_no_room_in_memory_goes_to_the_scratch_folder(tmp_path):
    shell = 'mount -t tmpfs -o size=32m tmpfs /dev/shm && exec "$@"'
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    script = tmp_path / "small.py"
    script.write_text(SMALL_SHM)
    scratch = tmp_path / "scratch"
    command = [*apart, sys.executable, str(script), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "all well\n"), done.stderr
    # Nothing is left of it.
    assert [path for path in scratch.rglob("*") if path.is_file()] == []
