"""Runs cells in the Deno kernel: a JSON list of sources in, one of their standard outputs out."""

import json
import sys
from queue import Empty

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager


class Manager(KernelManager):
    """A manager of the Deno given on the command line, installed as a kernelspec or not."""

    @property
    def kernel_spec(self):
        command = [sys.argv[1], "jupyter", "--kernel", "--conn", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Deno", language="typescript")


def run(client, source):
    request = client.execute(source)
    text, idle = "", False
    while True:
        try:
            # Deno's last output may come after it says that it is idle.
            message = client.get_iopub_msg(timeout=0.3 if idle else 60)
        except Empty:
            return text
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            text += content["text"]
        elif message["msg_type"] == "error":
            text += f"{content['ename']}: {content['evalue']}\n"
        elif message["msg_type"] == "status":
            idle = content["execution_state"] == "idle"


manager = Manager()
manager.start_kernel(cwd=sys.argv[2])
client = manager.client()
client.start_channels()
try:
    client.wait_for_ready(timeout=60)
    print(json.dumps([run(client, source) for source in json.load(sys.stdin)]))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
