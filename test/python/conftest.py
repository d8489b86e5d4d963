"""Kernels for the tests: each started from the kernelspec in this checkout."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

import psutil
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

ROOT = Path(__file__).parents[2]


@dataclass
class Outcome:
    """All that a front end gets for one request, in the order of arrival."""

    reply: dict
    outputs: list[dict] = field(default_factory=list)

    def contents(self, kind: str) -> list[dict]:
        return [message["content"] for message in self.outputs if message["msg_type"] == kind]

    @property
    def text(self) -> str | None:
        results = self.contents("execute_result")
        return results[0]["data"]["text/plain"] if results else None

    @property
    def stdout(self) -> str:
        return "".join(one["text"] for one in self.contents("stream") if one["name"] == "stdout")

    @property
    def stderr(self) -> str:
        return "".join(one["text"] for one in self.contents("stream") if one["name"] == "stderr")


class Kernel:
    """A running kernel, driven as a front end drives it."""

    def __init__(self, specs: KernelSpecManager, **options) -> None:
        self.manager = KernelManager(kernel_name="taskloom", kernel_spec_manager=specs)
        self.manager.start_kernel(**options)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, code: str, cell_id: str | None = None, **options) -> str:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
            **options,
        }
        message = self.client.session.msg("execute_request", content)
        if cell_id is not None:
            message["metadata"]["cellId"] = cell_id
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def outcome(self, message_id: str, timeout: float = 30) -> Outcome:
        """Read until idle, and not a moment longer: what comes later is lost."""
        outputs = []
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["content"].get("execution_state") == "idle":
                break
            outputs.append(message)
        while True:
            reply = self.client.get_shell_msg(timeout=max(0.01, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == message_id:
                return Outcome(reply["content"], outputs)

    def run(self, code: str, timeout: float = 30, **options) -> Outcome:
        return self.outcome(self.send(code, **options), timeout)

    def wait_for_output(self, text: str, timeout: float = 30) -> None:
        """Read until a stream says ``text``: the cell has come that far."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if text in message["content"].get("text", ""):
                return

    def processes(self) -> list[psutil.Process]:
        """Return the wrapper and all below it."""
        wrapper = psutil.Process(self.manager.provisioner.pid)
        return [wrapper, *wrapper.children(recursive=True)]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="session")
def specs(tmp_path_factory: pytest.TempPathFactory) -> KernelSpecManager:
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "taskloom").symlink_to(ROOT / "python" / "taskloom" / "kernel" / "kernelspec")
    return KernelSpecManager(kernel_dirs=[str(folder)])


@pytest.fixture
def start(specs: KernelSpecManager):
    """Starts kernels that end with the test."""
    kernels = []

    def start_kernel(**options) -> Kernel:
        kernels.append(Kernel(specs, **options))
        return kernels[-1]

    yield start_kernel
    for kernel in kernels:
        kernel.close()


@pytest.fixture(scope="module")
def shared(specs: KernelSpecManager):
    """One kernel for the tests of a module that leave it as it was."""
    kernel = Kernel(specs)
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(shared: Kernel) -> Kernel:
    """The module's kernel, with nothing left to read from an earlier test."""
    for read in (shared.client.get_iopub_msg, shared.client.get_shell_msg):
        try:
            while True:
                read(timeout=0.05)
        except Empty:
            pass
    return shared


def wait_until_gone(processes: list[psutil.Process], seconds: float = 20) -> None:
    """Fail unless all the processes end in time."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    left = [one.pid for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert left == []
