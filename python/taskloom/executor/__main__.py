"""Entry of an executor process: ``python -m taskloom.executor``, started by a worker.

Descriptor 3 is the link. The first message of the worker is the setup; the first answer says which
Python this is.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import os
import signal
import sys

from taskloom.executor.link import Link

_LINK = 3
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one worker until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a crash in C code leaves behind: the worker puts it into its report.
    faulthandler.enable(all_threads=False)
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    link = Link(_LINK)
    os.set_inheritable(_LINK, False)
    first = link.receive()
    if first is None:
        return
    setup, _ = first
    root = setup["root"]
    if root not in sys.path:
        sys.path.insert(0, root)

    from taskloom._versions import installed, python_versions
    from taskloom.executor.loop import Executor

    executor = Executor(link, setup)
    packages = {**installed(), **python_versions()}
    link.send({"op": "ready", "packages": packages, "executable": sys.executable})
    executor.run()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    # Threads of the user's may go on for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
