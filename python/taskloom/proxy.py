"""What jupyter-server-proxy starts for ``/taskloom/``: the launcher, on a unix socket.

The launcher listens on no port: whoever reaches it has passed Jupyter's own login, and the
socket lies in a folder that only this user can open.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from taskloom._runtime import node_path, runtime_path


def setup() -> dict[str, Any]:
    """Return the definition of the proxied launcher.

    Returns
    -------
    dict
        As jupyter-server-proxy's ``ServerProxy.servers`` takes it. It is made when the Jupyter
        server starts, so ``TASKLOOM_PARENT_PID`` is that server's process.
    """
    script = runtime_path() / "taskloom.mjs"
    return {
        "command": [str(node_path()), str(script), "launcher", "--socket", "{unix_socket}"],
        "environment": {
            # The launcher ends with this process, even when that one is killed outright.
            "TASKLOOM_PARENT_PID": str(os.getpid()),
            "TASKLOOM_PYTHON": sys.executable,
        },
        "unix_socket": True,
        "timeout": 20,
        "absolute_url": False,
        # A dashboard left open is not work: it must not keep an idle server alive.
        "update_last_activity": False,
        "launcher_entry": {"enabled": False, "title": "Taskloom"},
    }
