"""Runs the kernel, or installs its kernelspec.

``python -m taskloom.kernel -f CONNECTION_FILE`` is what Jupyter calls.
``python -m taskloom.kernel install [--user | --sys-prefix | --prefix PATH]`` registers it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from taskloom._runtime import NodeNotFoundError, RuntimeNotFoundError, node_path, runtime_path
from taskloom.kernel.deno import DenoNotFoundError, DenoProcess, find_deno

PARENT_WATCH_SECONDS = 1.0


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and do what it says.

    Returns
    -------
    int
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m taskloom.kernel", description=__doc__)
    parser.add_argument("-f", dest="connection_file", metavar="FILE", type=Path)
    commands = parser.add_subparsers(dest="command")
    install = commands.add_parser("install", help="register the kernel with Jupyter")
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user (the default)")
    where.add_argument("--sys-prefix", action="store_true", help="for this Python environment")
    where.add_argument("--prefix", metavar="PATH", help="below PATH/share/jupyter/kernels")
    options = parser.parse_args(argv)
    if options.command == "install":
        from taskloom.kernel.install import install_kernelspec

        prefix = sys.prefix if options.sys_prefix else options.prefix
        print(f"Installed the kernelspec in {install_kernelspec(prefix)}")
        return 0
    if options.connection_file is None:
        parser.error("-f FILE is needed: the connection file that Jupyter writes")
    return run(options.connection_file)


def run(connection_file: Path) -> int:
    """Run the kernel of one connection file until it is shut down."""
    connection = json.loads(connection_file.read_text(encoding="utf-8"))
    # Jupyter interrupts by message; a Ctrl+C in the lab's terminal is not meant for a cell.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = None
    try:
        deno, runtime = find_deno(), runtime_path()
        # Deno starts while Python still imports, and looks for Node.
        process = DenoProcess(deno)
        env = {
            "TASKLOOM_KERNEL": "typescript",
            "TASKLOOM_NODE": str(node_path()),
            "TASKLOOM_PYTHON": sys.executable,
        }
    except (DenoNotFoundError, RuntimeNotFoundError, NodeNotFoundError) as error:
        if process is not None:
            process.close()
        return _only_explain(connection, error)

    from taskloom.kernel.bridge import Bridge, KernelEndedError
    from taskloom.kernel.session import DenoStartError

    async def serve() -> None:
        await Bridge(connection, process, lambda: DenoProcess(deno), runtime, env).run()

    try:
        asyncio.run(_until_parent_ends(serve()))
    except DenoStartError as error:
        return _only_explain(connection, error)
    except KernelEndedError as error:
        print(f"taskloom kernel: Deno has ended: {error}", file=sys.stderr)
        return 1
    return 0


def _only_explain(connection: dict[str, Any], error: Exception) -> int:
    """Say in the notebook why there is no kernel, rather than die without a word."""
    from taskloom.kernel.missing import explain

    print(f"taskloom kernel: {error}", file=sys.stderr)
    asyncio.run(_until_parent_ends(explain(connection, str(error))))
    return 1


async def _until_parent_ends(job: Coroutine[Any, Any, None]) -> None:
    """Run ``job`` until it ends, SIGTERM comes, or the process that started the kernel is gone."""
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    tasks = [asyncio.ensure_future(one) for one in (job, terminated.wait(), _parent_gone())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _parent_gone() -> None:
    """Return when the parent process has ended (this process is then adopted by another)."""
    parent = os.getppid()
    jupyter = os.environ.get("JPY_PARENT_PID", "")
    while os.getppid() == parent:
        if jupyter.isdigit() and not _alive(int(jupyter)):
            return
        await asyncio.sleep(PARENT_WATCH_SECONDS)


def _alive(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
