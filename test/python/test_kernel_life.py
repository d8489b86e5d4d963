"""Interrupts, restarts and ends of the TypeScript kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from conftest import ROOT, wait_until_gone

WAITS = {
    "an ordinary promise": "await new Promise(() => globalThis.hold = 1)",
    "a helper that waits": (
        "async function helper() { await new Promise(r => globalThis.r = r) } await helper()"
    ),
    "an iteration": (
        "async function* g() { yield 1; await new Promise(r => globalThis.r = r) }"
        "for await (const x of g()) void x"
    ),
    "a wait in a cell with an enumeration": (
        "enum Colour { Red } await new Promise(r => globalThis.r = r)"
    ),
    "a promise that a timer keeps alive": "await new Promise(r => setTimeout(r, 600_000))",
}


@pytest.mark.parametrize("code", WAITS.values(), ids=WAITS.keys())
def test_interrupt_ends_a_waiting_cell(kernel, code):
    kernel.run("globalThis.kept = 'still here'")
    message_id = kernel.send(f"console.log('begun'); {code}")
    kernel.wait_for_output("begun")
    kernel.manager.interrupt_kernel()
    outcome = kernel.outcome(message_id)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert [error["ename"] for error in outcome.contents("error")] == ["KeyboardInterrupt"]
    assert "still here" in kernel.run("kept").text


@pytest.mark.parametrize(
    "code", ["while (true) {}", "await (async () => { await 0; while (true) {} })()"]
)
def test_interrupt_ends_a_busy_cell(kernel, code):
    kernel.run("globalThis.kept = 'still here'")
    message_id = kernel.send(f"console.log('begun'); {code}")
    kernel.wait_for_output("begun")
    kernel.manager.interrupt_kernel()
    outcome = kernel.outcome(message_id)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert [error["ename"] for error in outcome.contents("error")] == ["KeyboardInterrupt"]
    assert "still here" in kernel.run("kept").text


def test_interrupt_is_told_to_whoever_listens(kernel):
    kernel.run(
        "globalThis[Symbol.for('taskloom.interrupt')]"
        ".addEventListener('interrupt', () => console.log('heard'), { once: true })"
    )
    message_id = kernel.send("console.log('begun'); await new Promise(r => globalThis.r = r)")
    kernel.wait_for_output("begun")
    kernel.manager.interrupt_kernel()
    assert "heard" in kernel.outcome(message_id).stdout


def test_interrupt_of_an_idle_kernel_does_nothing(kernel):
    kernel.manager.interrupt_kernel()
    assert "3" in kernel.run("1 + 2").text


def test_a_cell_may_catch_the_interrupt(kernel):
    message_id = kernel.send(
        "try { console.log('begun'); await new Promise(r => globalThis.r = r) }"
        "catch (e) { await null; console.log('cleaned up after', e.name) }"
    )
    kernel.wait_for_output("begun")
    kernel.manager.interrupt_kernel()
    outcome = kernel.outcome(message_id)
    assert outcome.reply["status"] == "ok"
    assert "cleaned up after KeyboardInterrupt" in outcome.stdout


def test_a_cell_that_nothing_stops_is_given_up_at_the_second_interrupt(start):
    kernel = start()
    kernel.run("globalThis.kept = 1")
    message_id = kernel.send(
        "console.log('begun');"
        "while (true) { try { await new Promise(r => globalThis.r = r) } catch { void 0 } }"
    )
    kernel.wait_for_output("begun")
    kernel.manager.interrupt_kernel()
    kernel.wait_for_output("Interrupt once more")
    kernel.manager.interrupt_kernel()
    outcome = kernel.outcome(message_id)
    assert "variables are gone" in outcome.contents("error")[0]["evalue"]
    after = kernel.run("typeof globalThis.kept")
    assert "undefined" in after.text
    assert after.reply["execution_count"] == 1


def test_restart(start):
    kernel = start()
    kernel.run("globalThis.kept = 1")
    before = kernel.processes()
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    wait_until_gone(before)
    assert "undefined" in kernel.run("typeof globalThis.kept").text


def test_shutdown_leaves_nothing(start):
    kernel = start()
    processes = kernel.processes()
    assert len(processes) >= 2
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel()
    wait_until_gone(processes)


@pytest.mark.parametrize("code", [None, "while (true) {}"], ids=["idle", "busy"])
def test_deno_goes_with_a_killed_wrapper(start, code):
    kernel = start()
    if code is not None:
        kernel.send(f"console.log('begun'); {code}")
        kernel.wait_for_output("begun")
    wrapper, *below = kernel.processes()
    assert below
    wrapper.kill()
    wait_until_gone(below)


def test_the_end_of_deno_is_told_and_ends_the_kernel(start):
    kernel = start()
    wrapper, *below = kernel.processes()
    message_id = kernel.send("Deno.exit(3)")
    outcome = kernel.outcome(message_id)
    (error,) = outcome.contents("error")
    assert error["ename"] == "KernelDied"
    assert "exit code 3" in error["evalue"]
    wait_until_gone([wrapper, *below])


LAB = """
import sys, time
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
manager = KernelManager(
    kernel_name="taskloom", kernel_spec_manager=KernelSpecManager(kernel_dirs=[sys.argv[1]])
)
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
print(manager.provisioner.pid, flush=True)
time.sleep(600)
"""


def test_the_kernel_goes_with_a_killed_lab(specs):
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB, specs.kernel_dirs[0]], stdout=subprocess.PIPE, text=True
    )
    try:
        wrapper = psutil.Process(int(lab.stdout.readline()))
        processes = [wrapper, *wrapper.children(recursive=True)]
        assert len(processes) >= 2
    finally:
        lab.kill()
        lab.wait()
    wait_until_gone(processes)


def test_what_is_missing_is_said_in_the_notebook(start):
    kernel = start(env={**os.environ, "TASKLOOM_DENO": "/nowhere/deno"})
    outcome = kernel.run("1 + 1")
    (error,) = outcome.contents("error")
    assert "TASKLOOM_DENO is set to '/nowhere/deno'" in error["evalue"]
    processes = kernel.processes()
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel()
    wait_until_gone(processes)


def test_a_deno_that_cannot_start_is_explained(start, tmp_path):
    broken = tmp_path / "deno"
    broken.write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
    broken.chmod(0o755)
    kernel = start(env={**os.environ, "TASKLOOM_DENO": str(broken)})
    (error,) = kernel.run("1 + 1").contents("error")
    assert "exit code 7" in error["evalue"]


def test_sigterm_ends_the_kernel(start):
    kernel = start()
    processes = kernel.processes()
    processes[0].send_signal(signal.SIGTERM)
    wait_until_gone(processes)


def test_install_names_this_python(tmp_path):
    command = [sys.executable, "-m", "taskloom.kernel", "install", "--prefix", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    folder = tmp_path / "share" / "jupyter" / "kernels" / "taskloom"
    assert sys.executable in (folder / "kernel.json").read_text(encoding="utf-8")
    assert (folder / "logo-svg.svg").is_file()
