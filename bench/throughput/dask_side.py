"""The workloads of main.ts on dask.distributed, for comparison in the same run.

Usage: ``python dask_side.py SATURATION TASKS LINKS``; prints one JSON object. Start-up is measured
from the first line of the script's work to two ready workers, as main.ts does.
"""

from __future__ import annotations

import json
import statistics
import sys
import time


def inc(x):
    return x + 1


def add(x, y):
    return x + y


def nap(seconds):
    time.sleep(seconds)
    return 0


def second(_first, x):
    return x


def rss():
    import psutil

    return psutil.Process().memory_info().rss


def main(saturation: float, tasks: int, links: int) -> dict:
    import dask
    from distributed import Client, LocalCluster, wait

    dask.config.set({"distributed.scheduler.worker-saturation": saturation})
    found: dict[str, float] = {}

    start = time.perf_counter()
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    client = Client(cluster)
    client.wait_for_workers(2)
    found["startup_s"] = time.perf_counter() - start
    client.gather(client.map(inc, range(200), pure=False))

    start = time.perf_counter()
    client.gather(client.map(inc, range(tasks), pure=False))
    found["independent_per_s"] = tasks / (time.perf_counter() - start)

    start = time.perf_counter()
    future = client.submit(inc, 0, pure=False)
    for _ in range(links):
        future = client.submit(inc, future, pure=False)
    future.result()
    found["chain_per_s"] = links / (time.perf_counter() - start)

    leaves = 1 << (tasks.bit_length() - 1)
    start = time.perf_counter()
    level = client.map(inc, range(leaves), pure=False)
    count = leaves
    while len(level) > 1:
        level = client.map(add, level[::2], level[1::2], pure=False)
        count += len(level)
    level[0].result()
    found["tree_per_s"] = count / (time.perf_counter() - start)

    times = []
    for i in range(100):
        start = time.perf_counter()
        client.submit(inc, i, pure=False).result()
        times.append(time.perf_counter() - start)
    found["latency_p50_ms"] = statistics.median(times) * 1000

    blocker = client.submit(nap, 8, pure=False)
    client.run_on_scheduler(rss)
    before = client.run_on_scheduler(rss)
    waiting = client.map(second, [blocker] * tasks, range(tasks), pure=False)
    time.sleep(4)
    found["bytes_per_waiting_task"] = (client.run_on_scheduler(rss) - before) / tasks
    wait(blocker)
    del waiting
    client.close()
    cluster.close()
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
