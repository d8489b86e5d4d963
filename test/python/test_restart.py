"""A kernel that is restarted takes its futures along: the cluster forgets them."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import taskloom

SUBMIT = """
import { Client } from "taskloom";
const client = await Client.connect("restarts");
const done = client.map((x: number) => x * 2, [1, 2, 3]);
await client.gather(done);
const waits = client.submit(() => new Promise(() => undefined));
while ((await client.processing())[Object.keys(await client.hasWhat())[0]].length === 0);
console.log(`${done.length} done, one runs`);
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("TASKLOOM_RUNTIME_DIR", str(tmp_path))
    command = [taskloom.node_path(), str(taskloom.runtime_path() / "taskloom.mjs"), "cluster"]
    process = subprocess.Popen(
        [*command, "start", "--name", "restarts", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    deadline = time.monotonic() + 30
    while not (files := list(tmp_path.glob("*.json"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    yield json.loads(files[0].read_text())
    process.terminate()
    process.wait(timeout=30)


def tasks(cluster: dict) -> dict:
    request = urllib.request.Request(
        cluster["address"] + "/api/info", headers={"Authorization": "Bearer " + cluster["token"]}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["tasks"]


def test_cluster_forgets_the_futures_of_a_restarted_kernel(cluster: dict, start: Any) -> None:
    kernel = start()
    outcome = kernel.run(SUBMIT)
    assert "3 done, one runs" in outcome.stdout, outcome.stderr
    assert tasks(cluster)["memory"] == 3
    assert tasks(cluster)["processing"] == 1

    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    deadline = time.monotonic() + 20
    while any(tasks(cluster).values()):
        assert time.monotonic() < deadline, tasks(cluster)
        time.sleep(0.05)

    # The new kernel finds the same cluster, and a free worker.
    again = kernel.run(SUBMIT.replace("const waits", "client.submit(() => 1); const waits"))
    assert "3 done, one runs" in again.stdout, again.stderr


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        taskloom.nothing  # noqa: B018
