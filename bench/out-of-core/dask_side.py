"""The workloads of main.ts on dask.distributed, for comparison in the same run.

Usage: ``python dask_side.py LEAVES CHUNK_MIB``; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import threading
import time

MIB = 2**20


def load(i, mib):
    import numpy as np

    return i + np.random.random(mib * MIB // 8)


def add(a, b):
    return a + b


def total(a):
    import numpy as np

    return float(np.floor(a).mean())


def watched(cluster, work):
    """Peaks of all workers together while ``work`` runs, MiB."""
    import psutil

    processes = [psutil.Process(nanny.pid) for nanny in cluster.workers.values()]
    idle = sum(process.memory_info().rss for process in processes)
    peaks = {"managed": 0.0, "resident": 0.0}
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            managed = sum(ws.nbytes for ws in list(cluster.scheduler.workers.values()))
            resident = sum(process.memory_info().rss for process in processes) - idle
            peaks["managed"] = max(peaks["managed"], managed / MIB)
            peaks["resident"] = max(peaks["resident"], resident / MIB)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    return {**peaks, "seconds": seconds}


def load_reduce(client, leaves, mib):
    level = client.map(load, range(leaves), [mib] * leaves, pure=False)
    while len(level) > 1:
        level = client.map(add, level[::2], level[1::2], pure=False)
    client.submit(total, level[0]).result()


def out_of_core(client, count):
    values = client.map(load, range(count), [8] * count, pure=False)
    totals = client.gather(client.map(total, values))
    assert totals == list(map(float, range(count)))


def cluster_of(limit):
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        memory_limit=limit * MIB,
        dashboard_address=None,
    )


def main(leaves: int, mib: int) -> dict:
    from distributed import Client

    found: dict[str, float] = {}
    with cluster_of(2048) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        peaks = watched(cluster, lambda: load_reduce(client, leaves, mib))
        found["managed_peak_mib"] = round(peaks["managed"])
        found["resident_peak_mib"] = round(peaks["resident"])
        found["reduce_s"] = peaks["seconds"]
    with cluster_of(512) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        peaks = watched(cluster, lambda: out_of_core(client, 3 * 2 * 512 // 8))
        found["out_of_core_s"] = peaks["seconds"]
        found["out_of_core_resident_mib"] = round(peaks["resident"])
    return found


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
