"""Bars that appear by themselves under cells of TypeScript notebooks, as they do in Python's."""

from __future__ import annotations

import time

import pytest
from conftest import Kernel

MIME = "application/vnd.taskloom.progress+json"
SLOW = "(ms: number) => new Promise((resolve) => setTimeout(() => resolve(ms), ms))"


@pytest.fixture(scope="module")
def notebook(specs, tmp_path_factory):
    kernel = Kernel(specs)
    outcome = kernel.run(
        'import { automaticProgress, Client, LocalCluster, progress } from "taskloom";\n'
        "const cluster = await LocalCluster.create({ workers: 1, threadsPerWorker: 2 });\n"
        "const client = await Client.connect(cluster);\n"
        f"const slow = {SLOW};",
        timeout=60,
    )
    assert outcome.reply["status"] == "ok", outcome.reply
    yield kernel
    kernel.run("await cluster.close();", timeout=30)
    kernel.close()


def shown(outcome):
    return [one["data"][MIME] for one in outcome.contents("display_data") if MIME in one["data"]]


def last_state(notebook, wanted: str, seconds: float = 20) -> dict:
    """Read what comes after a cell until the bar of this id has ended."""
    deadline = time.monotonic() + seconds
    while True:
        message = notebook.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
        bundle = message["content"].get("data", {}).get(MIME)
        if bundle is not None and bundle["id"] == wanted and bundle["state"] != "running":
            return bundle


def test_under_the_cell_while_it_runs(notebook):
    outcome = notebook.run(
        "const a = await client.gather(client.map(slow, [400, 400, 400, 400, 400, 400]));"
    )
    [bundle] = shown(outcome)
    assert bundle["rows"][0]["name"] == "slow"
    assert bundle["rows"][0]["total"] == 6


def test_goes_on_below_a_cell_that_has_ended(notebook):
    outcome = notebook.run("const b = client.map(slow, [900, 900, 900]);")
    [bundle] = shown(outcome)
    assert bundle["state"] == "running"
    # A cell that runs meanwhile gets no bar of its neighbour's.
    assert shown(notebook.run("console.log(1 + 1);")) == []
    last = last_state(notebook, bundle["id"])
    assert (last["state"], last["rows"][0]["done"]) == ("finished", 3)


def test_a_quick_cell_and_one_with_its_own_bar_show_no_more(notebook):
    assert shown(notebook.run("await client.gather(client.map((x: number) => x, [1, 2]));")) == []
    assert len(shown(notebook.run("await progress(client.map(slow, [700, 700]));"))) == 1


def test_switched_off(notebook):
    notebook.run("automaticProgress(false);")
    assert shown(notebook.run("await client.submit(slow, 900).result();")) == []
    notebook.run("automaticProgress(true);")
