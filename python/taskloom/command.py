"""The ``taskloom`` console command: hands over to the compiled runtime on Node."""

from __future__ import annotations

import os
import sys

from taskloom._runtime import NodeNotFoundError, RuntimeNotFoundError, node_path, runtime_path


def main() -> None:
    """Run the command line with Node in place of this process."""
    try:
        node, script = node_path(), runtime_path() / "taskloom.mjs"
    except (NodeNotFoundError, RuntimeNotFoundError) as error:
        sys.exit(f"taskloom: {error}")
    # Tasks written in Python run on the Python that this command belongs to.
    os.environ.setdefault("TASKLOOM_PYTHON", sys.executable)
    os.environ.setdefault("TASKLOOM_NODE", str(node))
    os.execv(node, [str(node), str(script), *sys.argv[1:]])
