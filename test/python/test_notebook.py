"""What a Python notebook shows: bars under cells, tables, magics."""

from __future__ import annotations

import time

import pytest
from conftest import Kernel
from jupyter_client import KernelManager

MIME = "application/vnd.taskloom.progress+json"


class PythonKernel(Kernel):
    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)


@pytest.fixture(scope="module")
def notebook():
    kernel = PythonKernel()
    started = kernel.run("%load_ext taskloom\n%taskloom start --workers 2", timeout=60)
    assert started.reply["status"] == "ok", started.reply
    yield kernel
    kernel.run("%taskloom stop", timeout=30)
    kernel.close()


def bundles(outcome):
    shown = outcome.contents("display_data") + outcome.contents("update_display_data")
    return [one["data"][MIME] for one in shown if MIME in one["data"]]


def last_update(notebook, seconds=20):
    """Read what comes after a cell until its bars have ended."""
    deadline = time.monotonic() + seconds
    while True:
        message = notebook.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
        bundle = message["content"].get("data", {}).get(MIME)
        if bundle is not None and bundle["state"] != "running":
            return message, bundle


def test_progress_goes_on_below_the_cell(notebook):
    outcome = notebook.run(
        "import time, taskloom\n"
        "futures = client.map(time.sleep, [0.6] * 4)\n"
        "taskloom.progress(futures)"
    )
    assert outcome.reply["status"] == "ok", outcome.reply
    first = bundles(outcome)[0]
    assert first["rows"] == [
        {"name": "sleep", "total": 4, "done": 0, "erred": 0, "cancelled": 0, "processing": 0}
    ]
    message, bundle = last_update(notebook)
    assert message["msg_type"] == "update_display_data"
    assert bundle["state"] == "finished" and bundle["rows"][0]["done"] == 4
    assert bundle["id"] == first["id"]
    assert {"text/html", "text/plain"} <= set(message["content"]["data"])


def test_a_cell_that_takes_long_shows_a_bar_by_itself(notebook):
    outcome = notebook.run("_ = client.gather(client.map(time.sleep, [0.5] * 6))")
    [shown] = [one for one in outcome.contents("display_data") if MIME in one["data"]]
    assert shown["data"][MIME]["rows"][0]["total"] == 6
    updates = bundles(outcome)
    if updates[-1]["state"] == "running":
        _, last = last_update(notebook)
        updates.append(last)
    assert updates[-1]["state"] == "finished"


def test_a_dask_graph_shows_its_kinds_of_tasks(notebook):
    outcome = notebook.run(
        "import dask\n"
        "def load(n):\n"
        "    time.sleep(0.2)\n"
        "    return n\n"
        "parts = [dask.delayed(load)(n) for n in range(8)]\n"
        "dask.delayed(sum)(parts).compute()"
    )
    assert outcome.reply["status"] == "ok" and outcome.text == "28"
    rows = {row["name"]: row for row in bundles(outcome)[-1]["rows"]}
    assert rows["load"]["total"] == 8 and rows["sum"]["total"] == 1
    updates = bundles(outcome)
    assert any(0 < row["done"] < 8 for one in updates for row in one["rows"])
    last = updates[-1] if updates[-1]["state"] != "running" else last_update(notebook)[1]
    assert {(row["done"], row["total"]) for row in last["rows"]} == {(8, 8), (1, 1)}


def test_a_quick_cell_shows_nothing(notebook):
    assert bundles(notebook.run("client.gather(client.map(str, range(10)))")) == []


def test_switched_off(notebook):
    notebook.run("%taskloom progress off")
    assert bundles(notebook.run("_ = client.gather(client.map(time.sleep, [0.8] * 2))")) == []
    notebook.run("%taskloom progress on")


def test_interrupt_frees_the_cell(notebook):
    message = notebook.send("print('here', flush=True); client.submit(time.sleep, 30).result()")
    notebook.wait_for_output("here")
    notebook.manager.interrupt_kernel()
    outcome = notebook.outcome(message)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert notebook.run("client.status").text == "'running'"


def test_objects_show_themselves_as_tables(notebook):
    def html(code):
        return notebook.run(code).contents("execute_result")[0]["data"]["text/html"]

    notebook.run("f = client.submit(pow, 2, 10); f.result()")
    for code, words in {
        "client": ("Client", "2 workers", "worker-0", "Dashboard"),
        "cluster": ("LocalCluster", "2 threads"),
        "f": ("Future", "finished", "int"),
        "client.scheduler_info()": ("worker-1", "Threads"),
        "client.submit(taskloom.get_worker).result()": ("worker-", "Memory"),
    }.items():
        shown = html(code)
        assert "<table>" in shown
        assert [word for word in words if word not in shown] == [], (code, shown)
        # Both themes: colours are the front end's; and a notebook may be given away.
        assert "color" not in shown and "token" not in shown.lower()


def test_magics_read_and_say(notebook):
    def said(line):
        outcome = notebook.run(f"%taskloom {line}")
        assert outcome.reply["status"] == "ok"
        return outcome.stdout

    assert "local-" in said("list")
    assert "%taskloom start" in said("")
    assert "http://127.0.0.1:" in said("dashboard")
    assert "scheduler" in said("logs")
    assert "taskloom: No running cluster" in said("connect nowhere")
    assert "there is no 'dance'" in said("dance")
    assert "taskloom: scale needs a whole number" in said("scale many")
    assert "taskloom: there is no panel 'pie'" in said("panel pie")
    assert "start has no option --wokers" in said("start --wokers 3")
    assert "needs a value" in said("start --workers")
    assert "taskloom: No closing quotation" in said('connect "x')


def test_magics_change_the_cluster(notebook):
    def workers():
        return int(notebook.run("print(len(client.nthreads()))").stdout)

    assert "3 workers" in notebook.run("%taskloom scale 3").stdout
    notebook.run("client.wait_for_workers(3)")
    assert workers() == 3
    before = notebook.run("print(sorted(client.nthreads()))").stdout
    assert "started anew" in notebook.run("%taskloom restart").stdout
    assert "1 to 2 workers" in notebook.run("%taskloom adapt 1 2").stdout
    notebook.run("%taskloom scale 2\nclient.wait_for_workers(2)")
    assert notebook.run("print(sorted(client.nthreads()))").stdout != before
    shown = notebook.run("%taskloom info").contents("execute_result")[0]["data"]
    assert "Workers" in shown["text/html"]


def test_a_panel_in_a_cell(notebook):
    [shown] = notebook.run("%taskloom panel workers").contents("display_data")
    bundle = shown["data"]["application/vnd.taskloom.panel+json"]
    assert bundle["panel"] == "workers"
    assert bundle["cluster"].startswith("local-")
    assert "workers" in shown["data"]["text/plain"]


def test_the_snippet_of_the_sidebar(notebook):
    name = notebook.run("print(cluster.name)").stdout.strip()
    code = (
        f'from taskloom import Client\nclient = Client("{name}")\nclient.submit(int, "5").result()'
    )
    assert notebook.run(code).text == "5"


def test_an_asynchronous_client_in_the_loop_of_the_notebook(notebook):
    outcome = notebook.run(
        "other = await Client(cluster, asynchronous=True, set_as_default=False)\n"
        "found = await other.gather(other.map(lambda x: x + 1, range(3)))\n"
        "await other.close()\n"
        "found"
    )
    assert outcome.text == "[1, 2, 3]", outcome.reply
